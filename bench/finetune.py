"""Fine-tuning side by side: a training step and a sliding-window prediction, against PyTorch with the same network, and against the
reference's choice, nnU-Net's plain U-Net of 32 to 256 channels.

Equal are patch, batch, precision and the cores granted, and with `same` the network. Our steps read what turned patches show from shards
and augment them in every step; the peers' step on tensors that never change. Our predictions read, resample, blend, take the largest score
on the image's own grid and write it; the peers' stop at the blended scores of a tensor in memory. A prediction's seconds are those of one
volume more in a run of several, so that starting up does not count on either side.

BENCH_PRECISIONS="fp32 bf16", BENCH_RUNS=3, BENCH_STEPS=20, BENCH_WORK="train predict", BENCH_PEERS="same reference".
"""
import itertools
import json
import os
import re
import shutil
import statistics
import sys

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = sys.executable
PRECISIONS = os.environ.get("BENCH_PRECISIONS", "fp32 bf16").split()
RUNS = int(os.environ.get("BENCH_RUNS", 3))
STEPS = int(os.environ.get("BENCH_STEPS", 20))
WORKS = os.environ.get("BENCH_WORK", "train predict").split()
PEERS = os.environ.get("BENCH_PEERS", "same reference").split()
PATCH, BATCH, VOLUMES = "40x56x40", 2, 4
GOALS = {"train": 1.0, "predict": 0.8}
ROOM = WORK / "finetune"


def quiet(*words):
    harness.run(words)


def prepare(raw):
    """Shards of Task04 with patches of 40×56×40, a model of one step, and volumes of twice that patch; once."""
    import nibabel
    import numpy as np

    shards, model, volumes = ROOM / "shards", ROOM / "model", ROOM / "volumes"
    descriptor = ROOM / "task04.toml"
    ROOM.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "data-manifests/datasets/msd04-hippocampus.toml").read_text()
    descriptor.write_text(re.sub(r"patch_zyx = .*", f"patch_zyx = [{PATCH.replace('x', ', ')}]", text))
    quiet(BIN / "preprocess", "--dataset", descriptor, "--raw", raw, "--out", shards, "--quiet")
    if not (model / "manifest.json").exists():
        shutil.rmtree(model, ignore_errors=True)
        quiet(*train_words(shards, model, "fp32"), "--steps", 1)
    volumes.mkdir(exist_ok=True)
    for i in range(VOLUMES):
        random = np.random.default_rng(i)
        x, y, z = (2 * int(n) for n in reversed(PATCH.split("x")))
        image = nibabel.Nifti1Image(random.standard_normal((x, y, z)).astype(np.float32), np.eye(4))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, volumes / f"v{i}.nii.gz")
    return shards, model, volumes


def train_words(shards, out, precision):
    return [BIN / "finetune", "train", "--shards", shards, "--out", out, "--network", "resenc", "--from-scratch", "--validate-every", 0,
            "--log-every", 1, "--checkpoint-every", 100000, "--batch", BATCH, "--precision", precision, "--quiet"]


def ours_train(shards, precision, waits):
    words = train_words(shards, "OUT", precision)

    def start(observe):
        with harness.scratch(ROOM) as out:
            run = harness.run([*train_words(shards, out / "run", precision), "--steps", STEPS + 3], observe=observe)
            lines = [json.loads(line) for line in (out / "run/timing.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"][3:]
        run.inner_seconds = statistics.median(line["seconds"] for line in steps)
        waits.append(statistics.mean(line["data_wait"] for line in steps))
        return run

    return Side("finetune train", start, " ".join(map(str, words[1:])).replace(str(ROOT), ".").replace(str(ROOT.parent), ".."))


def ours_predict(model, volumes, precision):
    files = sorted(volumes.glob("*.nii.gz"))
    words = [BIN / "finetune", "predict", "--model", model, "--precision", precision, "--window-batch", BATCH, "--quiet"]

    def start(observe):
        def predict(count):
            with harness.scratch(ROOM) as out:
                return harness.run([*words, "--out", out / "run", "--input", *files[:count]], observe=observe)

        one, all_of_them = predict(1), predict(len(files))
        all_of_them.inner_seconds = (all_of_them.seconds - one.seconds) / (len(files) - 1)
        return all_of_them

    return Side("finetune predict", start, " ".join(map(str, words[1:])).replace(str(ROOT), ".").replace(str(ROOT.parent), ".."))


def peer(name, *command):
    def start(observe):
        run = harness.run([PYTHON, *command], observe=observe)
        run.inner_seconds = float(re.search(r"seconds_per_step ([0-9.]+)", run.output)[1])
        return run

    return Side(name, start, " ".join(map(str, command)).replace(str(ROOT), ".").replace(str(ROOT.parent), ".."))


def main():
    raw = harness.shared("data/Task04_Hippocampus")
    reference, same = harness.shared("peers/torch_steps.py"), ROOT / "bench/torch_finetune.py"
    where = harness.machine()
    versions = harness.versions("torch", "monai", "dynamic-network-architectures")
    shards, model, volumes = prepare(raw)
    cases = []
    for precision, what in itertools.product(PRECISIONS, WORKS):
        steps = STEPS if what == "train" else 4
        peers = {
            "same": peer("PyTorch, the same network", same, what, precision, "cpu", model / "plan.json", PATCH, BATCH, steps),
            "reference": peer("PyTorch, plain U-Net", reference, {"train": "finetune"}.get(what, what), precision, "cpu", PATCH, BATCH,
                              steps),
        }
        for name, side in ((name, peers[name]) for name in PEERS):
            waits = []
            mine = ours_train(shards, precision, waits) if what == "train" else ours_predict(model, volumes, precision)
            harness.alternate(mine, side, RUNS)
            work = (f"a step of {BATCH} patches of {PATCH}" if what == "train" else f"a volume of twice {PATCH} along each axis")
            notes = [f"waiting for data: {100 * statistics.mean(waits):.1f} % of our time"] if waits else []
            cases.append(harness.case(f"{what}-{name}-{precision}", f"{work}, {precision}", "steps" if what == "train" else "volumes", 1,
                                      mine, side, {"ratio": GOALS[what]}, notes))
            harness.table(cases[-1:])
            path = harness.write("finetune", cases, where, versions)
    print()
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs")


if __name__ == "__main__":
    main()
