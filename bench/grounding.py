"""The check of sentences against what is known: how many injected contradictions of each kind it finds, and how often it objects
to what is true. 500 generated slices of CT, MRI and electron microscopy with measured facts; no peer does this, so the numbers
stand alone. The generator is text-synth/examples/grounding.
"""
import json
import time

import harness

SLICES, SEEDS = 500, (0, 1, 2)
RECALL, FALSE_ALARMS = 0.95, 0.05
PROGRAM = harness.ROOT / "target/release/examples/grounding"


def main():
    where, versions = harness.machine(), harness.versions()
    cases = []
    print(f"{'kind':>10}  {'injected':>8}  {'found':>6}  recall  goal")
    for seed in SEEDS:
        started = time.perf_counter()
        found = json.loads(harness.run([PROGRAM, SLICES, seed]).output)
        seconds = time.perf_counter() - started
        met = {kind: count["share"] >= RECALL for kind, count in found["kinds"].items()}
        met["false_alarms"] = found["not_supported"]["share"] <= FALSE_ALARMS
        cases.append({"case": f"seed-{seed}", "goals": {"recall": RECALL, "false_alarms": FALSE_ALARMS}, "met": met,
                      "seconds": harness.rounded(seconds), **found})
        for kind, count in found["kinds"].items():
            verdict = "met" if met[kind] else "missed"
            print(f"{kind:>10}  {count['all']:>8}  {count['hit']:>6}  {count['share']:.3f}   {verdict}")
        alarms = found["not_supported"]
        print(f"seed {seed}: objected to {alarms['objected']} of {alarms['sentences']} untouched sentences of the template, to "
              f"{found['false_alarms_free_wording']['objected']} of {found['false_alarms_free_wording']['sentences']} true ones in other "
              f"words; {'met' if met['false_alarms'] else 'missed'}")
    path = harness.write("grounding", cases, where, versions)
    print(f"written: {path.relative_to(harness.ROOT)}")


if __name__ == "__main__":
    main()
