"""A pretraining step side by side: against the published arrangement in PyTorch, whose language model runs in every step, and
against the same work on the encoder alone.

Equal are the network (3-D ResNet-50 and both heads), batch, patch, precision and the cores granted. Ours reads its patches
from shards and makes both views of them in every step, and clips gradients; the peers step on two tensors that never change.
Ours embeds the text before training, which is not in its steps.
"""
import itertools
import json
import os
import pathlib
import re
import statistics
import sys

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = pathlib.Path(sys.executable)
RUNS = int(os.environ.get("BENCH_RUNS", 3))
STEPS = int(os.environ.get("BENCH_STEPS", 6))
PATCH, BATCH = (16, 64, 64), 4
GOALS = {"reference": 0.5, "encoder": 0.95}
COUNTER = itertools.count()


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


def ours(precision):
    shards, text = data()
    words = [BIN / "pretrain", "--shards", shards, "--text", text, "--encoder", "resnet50", "--patch-zyx", ",".join(map(str, PATCH)),
             "--batch", BATCH, "--steps", STEPS + 1, "--precision", precision, "--log-every", 1, "--legacy", "--holdout", 0,
             "--test-cases", "use", "--checkpoint-every", 1000, "--quiet"]
    waits = []

    def start(observe):
        out = WORK / "pretrain" / f"out-{os.getpid()}-{next(COUNTER)}"
        run = harness.run([*words, "--out", out], observe=observe)
        lines = [json.loads(line) for line in (out / "timing.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"][1:]
        run.inner_seconds = statistics.median(line["seconds"] for line in steps)
        waits.append(statistics.mean(line["data_wait"] for line in steps))
        return run

    command = "pretrain " + " ".join(map(str, words[1:])).replace(str(ROOT), ".")
    return Side("pretrain", start, command), waits


def peer(name, *command):
    def start(observe):
        run = harness.run([PYTHON, *command], observe=observe)
        run.inner_seconds = float(re.search(r"seconds_per_step ([0-9.]+)", run.output)[1])
        return run

    return Side(name, start, " ".join(map(str, command)).replace(str(ROOT), "."))


def main():
    where = harness.machine()
    shape = "x".join(map(str, PATCH))
    reference = harness.shared("peers/torch_steps.py")
    cases = []
    for precision in ("fp32", "bf16"):
        peers = {
            "reference": peer("PyTorch with BERT in the loop", reference, "pretrain", precision, "cpu", shape, BATCH, STEPS),
            "encoder": peer("PyTorch, encoder alone", ROOT / "bench/torch_pretrain.py", precision, shape, BATCH, STEPS),
        }
        for name, side in peers.items():
            mine, waits = ours(precision)
            harness.alternate(mine, side, RUNS)
            work = f"two views of {BATCH} patches of {shape} through ResNet-50, forward, backward, update; {precision}"
            notes = [f"waiting for data: {100 * statistics.mean(waits):.1f} % of our time"]
            cases.append(harness.case(f"{name}-{precision}", work, "steps", 1, mine, side, {"ratio": GOALS[name]}, notes))
    harness.table(cases)
    for case in cases:
        print(f"{case['case']}: {case['notes'][0]}")
    versions = harness.versions("torch", "monai", "transformers")
    print(f"\n{harness.write('pretrain', cases, where, versions).relative_to(ROOT)}: medians of {RUNS} alternating runs of {STEPS} steps")


if __name__ == "__main__":
    main()
