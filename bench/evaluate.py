"""Scoring side by side with the usual Python libraries: Dice, HD95, NSD and ASSD of the same pairs of label maps.

Equal are the files, the four definitions (surfels of google-deepmind/surface-distance) and the cores granted; the means of both
sides must agree to four digits, or there is no result. What is not equal stands in the notes.

BENCH_RUNS=5, BENCH_PAIRS=52, BENCH_SMALL=1 leaves out the large pairs, BENCH_PREDICTIONS=DIR adds label maps of Task04 that `finetune predict` wrote.
"""
import csv
import itertools
import math
import os
import pathlib
import re
import shutil
import statistics
import sys

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = sys.executable
RUNS = int(os.environ.get("BENCH_RUNS", 5))
METRICS = ["dice", "hd95:surfel", "nsd:surfel@1mm", "assd:surfel"]
MEMORY = 1 / 3
OUT = WORK / "evaluate-out"
COUNTER = itertools.count()

DESCRIPTOR = """\
name = "bench"
title = "Generated organs, for measuring"
source = "-"
citation = "-"
licence = "-"
modality = "ct"
channels = ["image"]
mirror_axes = []

[raw]
layout = "msd"
folder = "."

[labels]
kind = "semantic"
classes = ["background", "one", "two", "three"]

[grid]
unit = "mm"
spacing_zyx = [1.5, 0.8, 0.8]
patch_zyx = [32, 64, 64]
source = "-"

[intensity]
rule = "ct-window"
low = -1000.0
high = 1000.0

[text]
anatomy = "-"
imaging = "-"
vocabulary = []
stride = 4
tile_yx = [64, 64]

[tolerance]
nsd_mm = 1.0
source = "-"
"""


def side_by_side(name, what, references, predictions, dataset, classes, pairs, faster, runs):
    """Scores two folders of label maps of the same names with both."""
    script = harness.shared("peers/python_metrics.py")
    means = {}

    def ours(observe):
        out = OUT / str(next(COUNTER))
        command = [BIN / "evaluate", "score", "--references", references, "--predictions", predictions, "--dataset", dataset,
                   "--metrics", ",".join(METRICS), "--tolerance-mm", 1, "--out", out, "--quiet"]
        run = harness.run(command, observe=observe)
        means["ours"] = table_means(out / "metrics.csv", pairs * classes)
        return run

    def peer(observe):
        run = harness.run([PYTHON, script, references, predictions, classes, harness.cores()], observe=observe)
        found = re.search(r"python metrics seconds ([0-9.]+) pairs (\d+) dice hd95 nsd assd \[(.*)\]", run.output)
        if found is None or int(found[2]) != pairs:
            harness.stop(f"the peer printed '{run.output.strip()[-300:]}', expected its seconds for {pairs} pairs")
        run.inner_seconds = float(found[1])
        means["peer"] = [float(value) for value in found[3].split(",")]
        return run

    sides = harness.alternate(
        Side("evaluate", ours, f"evaluate score --references R --predictions P --metrics {','.join(METRICS)}"),
        Side("surface-distance", peer, f"python_metrics.py R P {classes} {harness.cores()}"), runs)
    for metric, a, b in zip(METRICS, means["ours"], means["peer"]):
        if not math.isclose(a, b, abs_tol=1e-4):
            harness.stop(f"{name}: {metric} is {a:.6f} here and {b:.6f} with the peer")
    return harness.case(
        name, what, "pairs", pairs, *sides, {"ratio": 1 / faster, "memory_ratio": MEMORY},
        ["the peer measures only classes that both maps hold; here all do",
         "ours checks values and grids, digests every input and writes tables, summary and manifest; the peer prints means",
         f"means of {', '.join(METRICS)}: {', '.join(f'{m:.4f}' for m in means['ours'])}, equal on both sides to 1e-4"])


def table_means(path, rows):
    """Means over all cases and classes of each metric."""
    values = {metric: [] for metric in METRICS}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            values[row["definition"]].append(float(row["value"]))
    if any(len(found) != rows for found in values.values()):
        harness.stop(f"{path} has {[len(found) for found in values.values()]} values, expected {rows} of each metric")
    return [statistics.fmean(found) for found in values.values()]


# --- pairs ------------------------------------------------------------------------------------------------------------


def hippocampi(raw, count):
    """The first label maps of Task04 and imitations of them: each class shifted by a voxel along its own axis."""
    import nibabel
    import numpy as np

    folder = WORK / "evaluate-task04"
    references, predictions = folder / "references", folder / "predictions"
    files = sorted(raw.glob("labelsTr/hippocampus_*.nii.gz"))[:count]
    if len(files) < count:
        harness.stop(f"{raw} has {len(files)} label maps, expected {count}")
    for place in (references, predictions):
        place.mkdir(parents=True, exist_ok=True)
    for i, file in enumerate(files):
        link, path = references / file.name, predictions / file.name
        if not link.exists():
            link.symlink_to(file)
        if not path.exists():
            image = nibabel.load(file)
            labels = np.asarray(image.dataobj).astype(np.uint8)
            guess = np.zeros_like(labels)
            for label in (1, 2):
                guess[np.roll(labels == label, 1, (i + label) % 3)] = label
            save(guess, image.affine, path)
    return references, predictions


def predicted(raw, predictions):
    """A folder of label maps that a model made of Task04, and one of their references."""
    folder = WORK / "evaluate-predicted"
    shutil.rmtree(folder, ignore_errors=True)
    references, own = folder / "references", folder / "predictions"
    for place in (references, own):
        place.mkdir(parents=True)
    files = sorted(pathlib.Path(predictions).resolve().glob("hippocampus_*.nii.gz"))
    files = [file for file in files if (raw / "labelsTr" / file.name).exists()]
    if not files:
        harness.stop(f"{predictions} has no label map of a case with a reference")
    for file in files:
        (references / file.name).symlink_to(raw / "labelsTr" / file.name)
        (own / file.name).symlink_to(file)
    return references, own, len(files)


def organs(count, shape):
    """Pairs of three bumpy bodies in a volume as large as a CT of the abdomen, the prediction with another bumpiness."""
    import numpy as np
    from scipy import ndimage

    folder = WORK / f"evaluate-{shape[0]}x{shape[1]}x{shape[2]}"
    references, predictions = folder / "references", folder / "predictions"
    for place in (references, predictions):
        place.mkdir(parents=True, exist_ok=True)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    bodies = [((-0.3, -0.1, 0.1), (0.45, 0.5, 0.6)), ((0.45, 0.3, -0.2), (0.25, 0.3, 0.5)), ((0.5, -0.5, 0.3), (0.2, 0.2, 0.4))]
    for seed in range(count):
        path = references / f"body_{seed:02}.nii.gz"
        if path.exists() and (predictions / path.name).exists():
            continue
        random = np.random.default_rng(seed)
        zoom = [n / 16 for n in shape]
        base = ndimage.zoom(random.standard_normal((16,) * 3), zoom, order=1)
        other = base + 0.3 * ndimage.zoom(random.standard_normal((16,) * 3), zoom, order=1)
        for bumps, place in ((base, references), (other, predictions)):
            labels = np.zeros(shape, np.uint8)
            for label, (centre, radii) in enumerate(bodies, 1):
                squares = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii))
                labels[squares + 0.15 * bumps < 1] = label
            save(labels, np.diag([0.8, 0.8, 1.5, 1.0]), place / path.name)
    descriptor = folder / "organs.toml"
    descriptor.write_text(DESCRIPTOR)
    return references, predictions, descriptor


def save(labels, affine, path):
    """Writes a label map, whole or not at all."""
    import nibabel

    temporary = path.with_name(f"tmp-{path.name}")
    image = nibabel.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, temporary)
    temporary.rename(path)


def main():
    raw = harness.shared("data/Task04_Hippocampus")
    shutil.rmtree(OUT, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    # before the runs: they take minutes, in which a working tree can change
    where, versions = harness.machine(), harness.versions("surface-distance", "numpy", "scipy", "nibabel")
    count = int(os.environ.get("BENCH_PAIRS", 52))
    references, predictions = hippocampi(raw, count)
    cases = [side_by_side("task04", f"{count} pairs of Task04", references, predictions, "msd04-hippocampus", 2, count, 5, RUNS)]
    if os.environ.get("BENCH_PREDICTIONS"):
        references, predictions, count = predicted(raw, os.environ["BENCH_PREDICTIONS"])
        cases.append(side_by_side("predicted", f"{count} predictions of Task04 by a model", references, predictions, "msd04-hippocampus", 2,
                                  count, 5, RUNS))
    if not os.environ.get("BENCH_SMALL"):
        shape = (512, 512, 300)
        references, predictions, descriptor = organs(5, shape)
        cases.append(side_by_side("organs512", "5 generated pairs of 512×512×300 with 3 classes", references, predictions,
                                  descriptor, 3, 5, 10, RUNS))
    shutil.rmtree(OUT, ignore_errors=True)
    path = harness.write("evaluate", cases, where, versions)
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs; load before: {where['load_before']}")


if __name__ == "__main__":
    main()
