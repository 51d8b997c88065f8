"""Writes scans with SimpleITK: python itk_python.py FOLDER. Each NAME.ENDING has its twin NAME.nii.gz with the same voxels in the same places."""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(sys.argv[1])
KINDS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def image(kind, shape_zyx=(4, 5, 6)):
    random = np.random.default_rng(7)
    if kind.startswith("float"):
        values = random.normal(0, 100, shape_zyx).astype(kind)
    else:
        low = 0 if kind.startswith("u") else -100
        values = random.integers(low, 100, shape_zyx).astype(kind)
    made = sitk.GetImageFromArray(values)
    made.SetSpacing((0.7, 1.5, 2.25)[: made.GetDimension()])
    made.SetOrigin((-12.5, 30.25, 101.0)[: made.GetDimension()])
    return made


def turned(made):
    """Axes swapped and turned by 20 degrees: no axis of the file is one of the world."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    matrix = np.array([[0, c, -s], [0, s, c], [-1, 0, 0]])
    made.SetDirection(matrix.flatten().tolist())
    return made


def write(made, name, endings):
    sitk.WriteImage(made, str(ROOT / f"{name}.nii.gz"), useCompression=True)
    for ending, compress in endings:
        # a scan of each name, since .mhd and .nhdr have files beside them
        tag = ("zipped" if compress else "plain") + ending[1:]
        sitk.WriteImage(made, str(ROOT / f"{name}_{tag}{ending}"), useCompression=compress)
        (ROOT / f"{name}_{tag}.twin").write_text(f"{name}.nii.gz")


ALL = [(ending, compress) for ending in (".mha", ".mhd", ".nrrd", ".nhdr") for compress in (False, True)]
for kind in KINDS:
    write(image(kind), kind, [(".mha", True), (".nrrd", False)])
write(turned(image("int16", (7, 6, 5))), "turned", ALL)
write(image("float32", (1, 5, 6)), "slice", [(".mha", False), (".nrrd", True)])
parts = [image("int16"), image("int16") * 2 + 1]
# a fourth axis, as series have it
write(sitk.JoinSeries(parts), "series", [(".mha", True), (".nrrd", True), (".mhd", False)])

# channels that alternate voxel by voxel, beside the same ones as a series
write(sitk.JoinSeries([turned(image("int16")), turned(image("int16") * 2 + 1), turned(image("int16") - 7)]), "channels", [])
vector = sitk.Compose([turned(image("int16")), turned(image("int16") * 2 + 1), turned(image("int16") - 7)])
for ending, compress in ALL:
    tag = ("zipped" if compress else "plain") + ending[1:]
    sitk.WriteImage(vector, str(ROOT / f"vector_{tag}{ending}"), useCompression=compress)
    (ROOT / f"vector_{tag}.twin").write_text("channels.nii.gz")
