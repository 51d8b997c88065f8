"""Tiny files to start fuzzing from; the same files on every run, standard library only.

    python3 fuzz/seeds.py            seeds of every target, in fuzz/corpus/TARGET/
    python3 fuzz/seeds.py --replay   those that crates/volume/tests/corpus/ keeps, named by the outcome expected
"""

import pathlib
import random
import sys

import itk_seeds
import nifti_seeds
import stack_seeds

HERE = pathlib.Path(__file__).resolve().parent


def scans():
    yield from nifti_seeds.cases()
    yield from itk_seeds.cases()


TARGETS = {
    "nifti_image": scans,
    "nifti_label": scans,
    "gzip": nifti_seeds.cases,
    "stack_tiff": stack_seeds.tiffs,
    "stack_png": stack_seeds.pngs,
}
# Folder of the replay, its cases and the names of those that it keeps (all where None).
REPLAYED = {
    "nifti": (scans, nifti_seeds.KEPT | itk_seeds.KEPT),
    "tiff": (stack_seeds.tiffs, None),
    "png": (stack_seeds.pngs, None),
}


def replay():
    for kind, (cases, kept) in REPLAYED.items():
        folder = HERE.parent / "crates/volume/tests/corpus" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for outcome, name, data in cases():
            if kept is None or name in kept:
                (folder / f"{outcome}_{name}").write_bytes(data)


def main():
    if sys.argv[1:] == ["--replay"]:
        replay()
        return
    choice = random.Random(0)
    for target, cases in TARGETS.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for _, name, data in cases():
            (folder / name).write_bytes(data)
            if target == "gzip" and data[:2] != b"\x1f\x8b":
                # The first byte says how the rest is packed.
                (folder / f"{name}-packed").write_bytes(bytes([choice.randrange(256)]) + data)


main()
