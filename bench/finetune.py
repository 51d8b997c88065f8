"""A training step of `finetune` side by side: against PyTorch with the same network, and against the reference's choice, nnU-Net's
plain U-Net of 32 to 256 channels.

Equal are patch, batch, precision and the cores granted, and with `same` the network. Our steps read what turned patches show from shards
and augment them in every step; the peers' step on tensors that never change.

BENCH_PRECISIONS="fp32 bf16", BENCH_RUNS=3, BENCH_STEPS=20, BENCH_PEERS="same reference".
"""
import json
import os
import statistics

import harness
from harness import Side
from harness_finetune import BATCH, PATCH, ROOM, measure, train_words

STEPS = int(os.environ.get("BENCH_STEPS", 20))


def ours(shards, _model, _volumes, precision):
    waits = []

    def start(observe):
        with harness.scratch(ROOM) as out:
            run = harness.run([*train_words(shards, out / "run", precision), "--steps", STEPS + 3], observe=observe)
            lines = [json.loads(line) for line in (out / "run/timing.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"][3:]
        run.inner_seconds = statistics.median(line["seconds"] for line in steps)
        waits.append(statistics.mean(line["data_wait"] for line in steps))
        return run

    notes = lambda: [f"waiting for data: {100 * statistics.mean(waits):.1f} % of our time"]
    return Side("finetune train", start, harness.shown(train_words(shards, "OUT", precision))), notes


if __name__ == "__main__":
    measure("finetune", "train", "steps", f"a step of {BATCH} patches of {PATCH}", 1.0, STEPS, ours)
