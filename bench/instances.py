"""Voxels per second of each way to make instances, on generated volumes of four sizes (crates/label-maps/examples/
voxels_per_second): the stage is linear if they are the same for all sizes. A block has 8 sections, so that the smallest volume
already has two layers of blocks with halos. The goal is that the largest volume, eight times the smallest, takes, per voxel, at most a quarter
more processor time than the smallest; other things that the machine does count little then. What the last doubling of the volume adds is
told beside it: by then no volume fits the processor's caches.
"""
import json

import harness

SECTIONS, SPREAD = (16, 32, 64, 128), 1.25
PROGRAM = harness.ROOT / "target/release/examples/voxels_per_second"


def main():
    where, versions = harness.machine(), harness.versions()
    lines = json.loads(harness.run([PROGRAM, "--json", *SECTIONS]).output)
    cases = []
    print(f"{'method':>24}  {'million voxels per processor second, small to large':>52}  growth  last doubling  goal")
    for method in dict.fromkeys(line["method"] for line in lines):
        sizes = [line for line in lines if line["method"] == method]
        rates = [line["per_processor_second"] for line in sizes]
        growth, doubling = rates[0] / rates[-1], rates[-2] / rates[-1]
        met = growth <= SPREAD
        cases.append({"case": method, "goals": {"growth": SPREAD}, "met": met, "growth": harness.rounded(growth),
                      "last_doubling": harness.rounded(doubling), "sizes": sizes})
        said = "  ".join(f"{rate / 1e6:.2f}" for rate in rates)
        print(f"{method:>24}  {said:>52}  {growth:6.2f}  {doubling:13.2f}  {'met' if met else 'missed'}")
    path = harness.write("instances", cases, where, versions)
    print(f"written: {path.relative_to(harness.ROOT)}")


if __name__ == "__main__":
    main()
