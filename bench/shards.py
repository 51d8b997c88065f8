"""Random patches out of one sharded case: our reader against zarr-python, on the same files, in turns.

Both sides are long-lived processes that have the case open: ours is `shards serve` (crates/patches/examples/shards), the peer is
this file with `--serve`. In each round both get the same patches; what is timed is reading them into an array of their own, nothing
else. One round of each is warm-up. Both return the sum of the bits that they read, which must agree.

Our side reads on the calling thread. zarr-python fetches chunks concurrently and decodes them on a pool of threads, as it comes.
"""
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

import harness

SHAPE = (300, 512, 512)
SIZES = (40, 64, 96, 128, 160)
PATCHES = 12
ROUNDS = 7
GOALS = {96: 0.2}
CARGO = ["cargo", "build", "--quiet", "--release", "-p", "patches", "--example", "shards"]
PROGRAM = harness.ROOT / "target/release/examples/shards"


def serve(path):
    import numpy
    import zarr

    image = zarr.open_group(path, mode="r")["image"]
    print("ready", flush=True)
    for line in sys.stdin:
        size, *places = line.split()
        size, seconds, processor, total = int(size), 0.0, 0.0, 0
        for place in places:
            z, y, x = map(int, place.split(","))
            started, before = time.perf_counter(), time.process_time()
            patch = image[0, z:z + size, y:y + size, x:x + size]
            processor += time.process_time() - before
            seconds += time.perf_counter() - started
            total += int(patch.view(numpy.uint32).sum(dtype=numpy.uint64))
        print(seconds, processor, total % 2**64, flush=True)


class Server:
    """A process that answers a line of patches by seconds, processor seconds and the sum of their bits."""

    def __init__(self, command, ready):
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=harness.environment(),
        )
        if ready:
            self.process.stdout.readline()

    def read(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if len(answer) != 3:
            harness.stop(f"a reader ended early: {self.process.args}")
        return float(answer[0]), float(answer[1]), int(answer[2])

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            harness.stop(f"a reader failed: {self.process.args}")


def measure(readers, size):
    """Milliseconds and processor milliseconds per patch of each round, of ours and of the peer."""
    found = ([], [])
    for turn in range(ROUNDS + 1):
        numbers = random.Random(size * 1000 + turn)
        places = [",".join(str(numbers.randint(0, n - size)) for n in SHAPE) for _ in range(PATCHES)]
        line = " ".join([str(size), *places])
        sums = set()
        for reader, times in zip(readers, found):
            seconds, processor, total = reader.read(line)
            sums.add(total)
            if turn > 0:
                times.append((1e3 * seconds / PATCHES, 1e3 * processor / PATCHES))
        if len(sums) != 1:
            harness.stop(f"the two sides read different values from patches of {size}³")
    return found


def side(times):
    wall, processor = zip(*times)
    return {"seconds": harness.rounded(statistics.median(wall) / 1e3),
            "seconds_each": [harness.rounded(t / 1e3) for t in wall],
            "processor_seconds": harness.rounded(statistics.median(processor) / 1e3)}


def main():
    where = harness.machine()
    subprocess.run(CARGO, cwd=harness.ROOT, check=True)
    case = harness.WORK / "shards" / "made"
    shutil.rmtree(case, ignore_errors=True)
    subprocess.run([PROGRAM, "make", "--out", case, "--shape", ",".join(map(str, SHAPE))], check=True)
    readers = [Server([PROGRAM, "serve", case], False), Server([sys.executable, __file__, "--serve", case], True)]
    cases = []
    print(f"{'patch':>6}  {'ours ms':>8}  {'zarr-python ms':>14}  {'times faster':>12}  {'of processor time':>17}  goal")
    for size in SIZES:
        ours, peer = map(side, measure(readers, size))
        ratio, work = (ours[key] / peer[key] for key in ("seconds", "processor_seconds"))
        goals = {"ratio": GOALS[size]} if size in GOALS else {}
        met = {key: ratio <= limit for key, limit in goals.items()}
        verdict = "-" if not goals else "met" if all(met.values()) else "missed"
        cases.append({
            "case": f"read-{size}", "work": f"{size}³ voxels of one channel at random places, {PATCHES} a round",
            "runs": ROUNDS, "ratio": harness.rounded(ratio), "processor_ratio": harness.rounded(work),
            "goals": goals, "met": met, "ours": ours, "peer": peer,
        })
        print(f"{size:>5}³  {1e3 * ours['seconds']:8.2f}  {1e3 * peer['seconds']:14.2f}  {1 / ratio:12.2f}  {1 / work:17.2f}  {verdict}")
    for reader in readers:
        reader.close()
    shutil.rmtree(case.parent)
    path = harness.write("shards", cases, where, harness.versions("zarr", "numcodecs", "numpy"))
    print(f"written: {pathlib.Path(path).relative_to(harness.ROOT)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
