"""What `finetune` and `predict` are measured on: shards of Task04, a model of one step, volumes of twice its patch; and the peers.

BENCH_PRECISIONS="fp32 bf16", BENCH_RUNS=3, BENCH_PEERS="same reference" hold for both.
"""
import os
import re
import shutil
import sys

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = sys.executable
PRECISIONS = os.environ.get("BENCH_PRECISIONS", "fp32 bf16").split()
RUNS = int(os.environ.get("BENCH_RUNS", 3))
PEERS = os.environ.get("BENCH_PEERS", "same reference").split()
PATCH, BATCH, VOLUMES = "40x56x40", 2, 4
ROOM = WORK / "finetune"


def train_words(shards, out, precision):
    """A training run of ours, from random weights, but for its number of steps."""
    return [BIN / "finetune", "train", "--shards", shards, "--out", out, "--network", "resenc", "--from-scratch", "--validate-every", 0,
            "--log-every", 1, "--checkpoint-every", 100000, "--batch", BATCH, "--precision", precision, "--quiet"]


def prepare():
    """Shards of Task04 with patches of 40×56×40, a model of one step, and volumes of twice that patch; once."""
    import nibabel
    import numpy as np

    raw = harness.shared("data/Task04_Hippocampus")
    shards, model, volumes = ROOM / "shards", ROOM / "model", ROOM / "volumes"
    descriptor = ROOM / "task04.toml"
    ROOM.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "data-manifests/datasets/msd04-hippocampus.toml").read_text()
    descriptor.write_text(re.sub(r"patch_zyx = .*", f"patch_zyx = [{PATCH.replace('x', ', ')}]", text))
    harness.run([BIN / "preprocess", "--dataset", descriptor, "--raw", raw, "--out", shards, "--quiet"])
    if not (model / "manifest.json").exists():
        shutil.rmtree(model, ignore_errors=True)
        harness.run([*train_words(shards, model, "fp32"), "--steps", 1])
    volumes.mkdir(exist_ok=True)
    for i in range(VOLUMES):
        random = np.random.default_rng(i)
        x, y, z = (2 * int(n) for n in reversed(PATCH.split("x")))
        image = nibabel.Nifti1Image(random.standard_normal((x, y, z)).astype(np.float32), np.eye(4))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, volumes / f"v{i}.nii.gz")
    return shards, model, volumes


def peers(what, precision, model, steps):
    """The peers asked for, by name: PyTorch with the network of the model's plan, and the reference's plain U-Net."""
    same, reference = ROOT / "bench/torch_finetune.py", harness.shared("peers/torch_steps.py")
    work = {"train": "finetune"}.get(what, what)
    known = {
        "same": _peer("PyTorch, the same network", same, what, precision, "cpu", model / "plan.json", PATCH, BATCH, steps),
        "reference": _peer("PyTorch, plain U-Net", reference, work, precision, "cpu", PATCH, BATCH, steps),
    }
    return {name: known[name] for name in PEERS}


def _peer(name, *command):
    def start(observe):
        run = harness.run([PYTHON, *command], observe=observe)
        run.inner_seconds = float(re.search(r"seconds_per_step ([0-9.]+)", run.output)[1])
        return run

    return Side(name, start, harness.shown(command))


def measure(benchmark, what, unit, work, goal, steps, ours):
    """Each precision beside each peer; `ours(precision)` gives a side and a function that says more of its runs."""
    where, versions = harness.machine(), harness.versions("torch", "monai", "dynamic-network-architectures")
    shards, model, volumes = prepare()
    cases = []
    for precision in PRECISIONS:
        for name, side in peers(what, precision, model, steps).items():
            mine, notes = ours(shards, model, volumes, precision)
            harness.alternate(mine, side, RUNS)
            cases.append(harness.case(f"{name}-{precision}", f"{work}, {precision}", unit, 1, mine, side, {"ratio": goal}, notes()))
            harness.table(cases[-1:])
            path = harness.write(benchmark, cases, where, versions)
    print()
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs")
