"""A pretraining step side by side: against the published arrangement in PyTorch, whose language model runs in every step, and
against the same work on the encoder alone.

Equal are the network (3-D ResNet-50 and both heads), batch, patch, precision, device and the cores granted. Ours reads its
patches from shards and makes both views of them in every step, and clips gradients; the peers step on two tensors that never
change. Ours embeds the text before training, which is not in its steps.

BENCH_DEVICE=cpu|cuda, BENCH_PRECISIONS="fp32 bf16", BENCH_SHAPE=16x64x64, BENCH_BATCH=4, BENCH_STEPS=6, BENCH_RUNS=3,
BENCH_OURS="more flags for pretrain". A case is printed and kept as soon as it is measured.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = pathlib.Path(sys.executable)
DEVICE = os.environ.get("BENCH_DEVICE", "cpu")
PRECISIONS = os.environ.get("BENCH_PRECISIONS", "fp32 bf16").split()
SHAPE = os.environ.get("BENCH_SHAPE", "16x64x64" if DEVICE == "cpu" else "32x160x160")
BATCH = int(os.environ.get("BENCH_BATCH", 4 if DEVICE == "cpu" else 16))
RUNS = int(os.environ.get("BENCH_RUNS", 3))
STEPS = int(os.environ.get("BENCH_STEPS", 6 if DEVICE == "cpu" else 20))
MORE = os.environ.get("BENCH_OURS", "").split()
GOALS = {"reference": 0.5, "encoder": 0.95}


def data():
    """Shards and text of a made data set of four-channel MRI, once."""
    root = WORK / "pretrain"
    made, shards, text = root / "phantom", root / "shards", root / "text"
    if not (text / "manifest.json").exists():
        run = lambda *words: harness.run(words, ok=(0, 3))
        run(BIN / "data-manifests", "phantom", "--out", made, "--only", "mri", "--quiet")
        raw = next(made.glob("*/descriptor.toml")).parent
        run(BIN / "preprocess", "--dataset", raw / "descriptor.toml", "--raw", next(raw.glob("*/dataset.json")).parent,
            "--out", shards, "--quiet")
        run(BIN / "text-synth", "caption", "--shards", shards, "--out", root / "captions", "--quiet")
        run(BIN / "text-synth", "report", "--captions", root / "captions", "--out", root / "reports", "--quiet")
        run(BIN / "text-synth", "embed", "--reports", root / "reports", "--out", text, "--quiet")
    return shards, text


class GpuMemory:
    """The most memory in use on the GPU while it is watched, beyond what was in use before, MiB."""

    def __init__(self):
        self.before = self.peak = self.used()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    @staticmethod
    def used():
        words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    def watch(self):
        while not self.stop.wait(0.2):
            self.peak = max(self.peak, self.used())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def measured(command, observe, memory):
    """A run; where the device is a GPU and memory is observed, its peak goes into `memory`."""
    if not (observe and DEVICE != "cpu"):
        return harness.run(command, observe=observe)
    with GpuMemory() as gpu:
        run = harness.run(command, observe=observe)
    memory.append(gpu.peak - gpu.before)
    return run


def ours(precision):
    shards, text = data()
    words = [BIN / "pretrain", "--shards", shards, "--text", text, "--encoder", "resnet50", "--patch-zyx", SHAPE.replace("x", ","),
             "--batch", BATCH, "--steps", STEPS + 3, "--precision", precision, "--device", DEVICE, "--log-every", 1, "--legacy",
             "--holdout", 0, "--test-cases", "use", "--checkpoint-every", 1000, "--quiet", *MORE]
    waits, memory = [], []

    def start(observe):
        with harness.scratch(WORK / "pretrain") as out:
            run = measured([*words, "--out", out / "run"], observe, memory)
            lines = [json.loads(line) for line in (out / "run/timing.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"][3:]
        run.inner_seconds = statistics.median(line["seconds"] for line in steps)
        waits.append(statistics.mean(line["data_wait"] for line in steps))
        return run

    return Side("pretrain", start, harness.shown(words)), waits, memory


def peer(name, *command):
    memory = []

    def start(observe):
        run = measured([PYTHON, *command], observe, memory)
        run.inner_seconds = float(re.search(r"seconds_per_step ([0-9.]+)", run.output)[1])
        return run

    return Side(name, start, harness.shown(command)), memory


def main():
    where = harness.machine()
    if DEVICE != "cpu":
        name = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
        where["gpu"] = subprocess.run(name, capture_output=True, text=True, check=True).stdout.strip()
    versions = harness.versions("torch", "monai", "transformers")
    reference = harness.shared("peers/torch_steps.py")
    result = "pretrain" if DEVICE == "cpu" else "pretrain-cuda"
    cases = []
    for precision in PRECISIONS:
        peers = {
            "reference": peer("PyTorch with BERT in the loop", reference, "pretrain", precision, DEVICE, SHAPE, BATCH, STEPS),
            "encoder": peer("PyTorch, encoder alone", ROOT / "bench/torch_pretrain.py", precision, DEVICE, SHAPE, BATCH, STEPS),
        }
        for name, (side, memory) in peers.items():
            mine, waits, own_memory = ours(precision)
            harness.alternate(mine, side, RUNS)
            work = f"two views of {BATCH} patches of {SHAPE} through ResNet-50, forward, backward, update; {precision} on {DEVICE}"
            notes = [f"waiting for data: {100 * statistics.mean(waits):.1f} % of our time"]
            if memory:
                notes.append(f"memory in use on the GPU, MiB: ours {max(own_memory)}, peer {max(memory)}")
            cases.append(harness.case(f"{name}-{precision}", work, "steps", 1, mine, side, {"ratio": GOALS[name]}, notes))
            harness.table(cases[-1:])
            print(f"{cases[-1]['case']}: {'; '.join(notes)}", flush=True)
            path = harness.write(result, cases, where, versions)
    print()
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs of {STEPS} steps")


if __name__ == "__main__":
    main()
