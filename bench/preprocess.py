"""Preprocessing side by side: against MONAI's usual chain (images only) and against nnU-Net's preprocessing step.

Equal are the raw files, orientation, spacing and kind of normalisation, the disk that is written to and the cores granted.
What is not equal stands in each case's notes. The peers' clocks start after their imports, ours with the process; beside
them stands what the whole processes take.
"""
import itertools
import json
import os
import pathlib
import re
import shutil
import statistics
import sys
import time

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = pathlib.Path(sys.executable)
RUNS = int(os.environ.get("BENCH_RUNS", 5))
FASTER = {"monai": 1 / 3, "nnunet": 1 / 5}
MEMORY = 1 / 2

DESCRIPTOR = """\
name = "bench"
title = "Images alone, for measuring"
source = "-"
citation = "-"
licence = "-"
modality = "mri"
channels = ["image"]
mirror_axes = []

[raw]
layout = "table"
folder = "."
cases = [
{cases}
]

[grid]
unit = "mm"
spacing_zyx = [{mm}, {mm}, {mm}]
patch_zyx = [40, 56, 40]
source = "-"

[intensity]
rule = "mri-zscore"
nonzero = true

[text]
anatomy = "-"
imaging = "-"
vocabulary = []
stride = 4
tile_yx = [64, 64]
"""


OUT = WORK / "out"
COUNTER = itertools.count()
# how long ext4 remembers deleted inodes, and a little more
FORGOTTEN_SECONDS = 6


def fresh():
    """A place where nothing has been. Nothing is deleted between runs: ext4 looks for inodes that were not freed in the last
    seconds, so a run just after a deletion pays for it, and more so the more files it writes."""
    OUT.mkdir(parents=True, exist_ok=True)
    return OUT / str(next(COUNTER))


def removed(path):
    """The path, with nothing there."""
    shutil.rmtree(path, ignore_errors=True)
    return path


# --- against MONAI ----------------------------------------------------------------------------------------------------


def against_monai(name, what, raw, images, mm, runs):
    """All images at one target spacing; both sides use every core."""
    script = harness.shared("peers/monai_preprocess.py")
    descriptor = WORK / f"{name}.toml"
    rows = (f'    {{ id = "{path.name.split(".")[0]}", image = "{path.relative_to(raw)}" }},' for path in images)
    descriptor.write_text(DESCRIPTOR.replace("{cases}", "\n".join(rows)).replace("{mm}", f"{mm:.1f}"))
    written = {}

    def ours(observe):
        out = fresh()
        command = [BIN / "preprocess", "--dataset", descriptor, "--raw", raw, "--out", out,
                   "--workers", harness.cores(), "--quiet"]
        run = harness.run(command, observe=observe)
        written["ours"] = finished(out, len(images))
        return run

    def peer(observe):
        command = [PYTHON, script, fresh(), mm, harness.cores(), *images]
        run = harness.run(command, observe=observe)
        found = re.search(r"monai seconds ([0-9.]+) volumes (\d+) voxels (\d+)", run.output)
        if found is None or int(found[2]) != len(images):
            harness.stop(f"MONAI's script printed '{run.output.strip()}', expected its seconds for {len(images)} volumes")
        run.inner_seconds = float(found[1])
        written["peer"] = int(found[3])
        return run

    sides = harness.alternate(
        Side("preprocess", ours, f"preprocess --dataset {name}.toml --raw RAW --out OUT --workers {harness.cores()}"),
        Side("MONAI", peer, f"monai_preprocess.py OUT {mm:g} {harness.cores()} IMAGES"), runs)
    return harness.case(
        name, what, "volumes", len(images), *sides, {"ratio": FASTER["monai"], "memory_ratio": MEMORY},
        ["MONAI writes f32 arrays, uncompressed, not synchronised; ours compressed Zarr shards with checksums, "
         "synchronised, and a manifest with SHA-256 of every input and output",
         "MONAI's crop keeps what is above 0 after normalisation, ours what is not 0",
         f"voxels written: ours {written['ours']}, MONAI {written['peer']}"])


def finished(out, cases):
    """Voxels of the cases below `out`, all of which must be there."""
    manifest = json.loads((out / "manifest.json").read_text())
    if manifest["counts"].get("cases") != cases:
        harness.stop(f"{out} holds {manifest['counts']}, expected {cases} cases")
    header, *rows = (out / "cases.csv").read_text().splitlines()
    column = header.split(",").index("shape")
    total = 0
    for row in rows:
        z, y, x = map(int, row.split(",")[column].split("x"))
        total += z * y * x
    return total


# --- against nnU-Net --------------------------------------------------------------------------------------------------

# The step that `nnUNetv2_preprocess` is, with a clock that starts after the imports. Its workers are spawned and import
# everything once more inside the step; how long that alone takes is said beside it.
NNUNET_STEP = """\
import multiprocessing
import time
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
if __name__ == "__main__":
    started = time.perf_counter()
    preprocess([4], configurations=("3d_fullres",), num_processes=({cores},), show_progress_bar=False)
    print("nnunet seconds", time.perf_counter() - started)
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool({cores}) as pool:
        pool.map(abs, range({cores}), chunksize=1)
        print("nnunet workers started in", time.perf_counter() - started)
"""


def against_nnunet(raw, runs):
    """The 208 labelled cases of Task04: nnU-Net's preprocessing step alone, with its own fingerprint and plan."""
    base = WORK / "nnunet"
    places = {f"nnUNet_{part}": base / part for part in ("raw", "preprocessed", "results")}
    env = harness.environment(**places, nnUNet_def_n_proc=harness.cores())
    prepared = base / "prepared"
    if not prepared.exists():
        print("bench: nnU-Net converts, takes its fingerprint and plans (not timed)", file=sys.stderr)
        removed(base)
        for place in places.values():
            place.mkdir(parents=True)
        tools = PYTHON.parent
        task = training_only(raw, base / "Task04_Hippocampus")
        n = str(harness.cores())
        harness.run([tools / "nnUNetv2_convert_MSD_dataset", "-i", task, "-np", n], env)
        harness.run([tools / "nnUNetv2_extract_fingerprint", "-d", "4", "-np", n], env)
        harness.run([tools / "nnUNetv2_plan_experiment", "-d", "4"], env)
        prepared.touch()
    task, cases = base / "Task04_Hippocampus", len(training(raw))
    step = base / "step.py"
    step.write_text(NNUNET_STEP.replace("{cores}", str(harness.cores())))
    dataset = places["nnUNet_preprocessed"] / "Dataset004_Hippocampus"
    plan = json.loads((dataset / "nnUNetPlans.json").read_text())["configurations"]["3d_fullres"]
    starts = []

    def ours(observe):
        out = fresh()
        command = [BIN / "preprocess", "--dataset", "msd04-hippocampus", "--raw", task, "--out", out,
                   "--workers", harness.cores(), "--quiet"]
        run = harness.run(command, observe=observe)
        finished(out, cases)
        return run

    def peer(observe):
        written = dataset / plan["data_identifier"]
        if written.exists():
            written.rename(fresh())
        run = harness.run([PYTHON, step], env, observe=observe)
        found = re.search(r"nnunet seconds ([0-9.]+)", run.output)
        made = len(list(written.glob("*.pkl")))
        if found is None or made != cases:
            harness.stop(f"nnU-Net made {made} of {cases} cases: {run.output.strip()[-300:]}")
        run.inner_seconds = float(found[1])
        if not observe:
            starts.append(float(re.search(r"workers started in ([0-9.]+)", run.output)[1]))
        return run

    sides = harness.alternate(
        Side("preprocess", ours, f"preprocess --dataset msd04-hippocampus --raw RAW --out OUT --workers {harness.cores()}"),
        Side("nnU-Net", peer, f"nnUNetv2_preprocess -d 4 -c 3d_fullres -np {harness.cores()}"), runs)
    start = statistics.median(starts)
    faster = (statistics.median(r.clock for r in sides[1].runs) - start) / statistics.median(r.clock for r in sides[0].runs)
    return harness.case(
        "nnunet-task04-labelled", f"{cases} labelled cases at {plan['spacing']} mm", "volumes", cases, *sides,
        {"ratio": FASTER["nnunet"], "memory_ratio": MEMORY},
        ["nnU-Net's conversion, fingerprint and plan are not timed; ours has none of them to do",
         f"nnU-Net's step starts its workers, which import everything anew: {start:.1f} s (median). Without that ours is "
         f"{faster:.2f} times as fast, its own start included",
         "both normalise by z-score, crop, compress and store where the foreground lies"])


def training(raw):
    """The labelled pairs that dataset.json lists."""
    return json.loads((raw / "dataset.json").read_text())["training"]


def training_only(raw, task):
    """A task folder of links that lists no test image: nnU-Net preprocesses labelled cases only."""
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (task / folder).mkdir(parents=True)
    listed = json.loads((raw / "dataset.json").read_text())
    for pair in listed["training"]:
        for path in pair.values():
            (task / path).symlink_to(raw / path)
    listed["test"], listed["numTest"] = [], 0
    (task / "dataset.json").write_text(json.dumps(listed))
    return task


# --- generated volumes ------------------------------------------------------------------------------------------------


def body_like(count, edge):
    """`count` gzipped volumes of edge³ voxels of 0.8 mm, i16: a body of smooth tissue and bone with noise, and 0 around it,
    so that both sides' crops keep the same body and write as much."""
    import nibabel
    import numpy as np
    from scipy import ndimage

    folder = WORK / f"body-{edge}"
    paths = [folder / "images" / f"body_{i:02}.nii.gz" for i in range(count)]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    axis = np.linspace(-1, 1, edge, dtype="f4")
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    body = np.broadcast_to((y / 0.7) ** 2 + (x / 0.9) ** 2 < 1, (edge,) * 3)
    for seed, path in enumerate(paths):
        if path.exists():
            continue
        random = np.random.default_rng(seed)
        coarse = random.standard_normal((edge // 16,) * 3, dtype="f4")
        tissue = ndimage.zoom(coarse, edge / coarse.shape[0], order=1)
        values = 1000 + 60 * tissue + 12 * random.standard_normal(body.shape, dtype="f4")
        values[tissue > 1.2] += 600
        values = np.where(body, values.clip(1, 4000), 0)
        temporary = path.with_name(f".{path.name}.tmp.nii.gz")
        nibabel.save(nibabel.Nifti1Image(values.astype("i2").T, np.diag([0.8, 0.8, 0.8, 1])), temporary)
        temporary.rename(path)
    return folder, paths


def main():
    raw = harness.shared("data/Task04_Hippocampus")
    if OUT.exists():  # left by a benchmark that was stopped
        removed(OUT)
        time.sleep(FORGOTTEN_SECONDS)
    WORK.mkdir(parents=True, exist_ok=True)
    packages = ["monai", "nnunetv2", "torch", "numpy", "scipy", "nibabel", "blosc2"]
    # before the runs: they take minutes, in which a working tree can change
    where, versions = harness.machine(), harness.versions(*packages)
    images = sorted(raw.glob("images*/hippocampus_*.nii.gz"))
    all_images = f"{len(images)} images of Task04"
    folder, volumes = body_like(8, 256)
    cases = [
        against_monai("monai-task04-1.0mm", f"{all_images} at 1.0 mm (their own spacing)", raw, images, 1.0, RUNS),
        against_monai("monai-task04-1.5mm", f"{all_images} at 1.5 mm", raw, images, 1.5, RUNS),
        against_monai("monai-body256-1.5mm", "8 generated volumes of 256³ at 0.8 mm, i16 gzipped, to 1.5 mm", folder, volumes, 1.5, RUNS),
        against_nnunet(raw, RUNS),
    ]
    removed(OUT)
    path = harness.write("preprocess", cases, where, versions)
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs; load before: {where['load_before']}")


if __name__ == "__main__":
    main()
