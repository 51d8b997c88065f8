"""Resamples label maps onto the grids of images by nibabel.processing.resample_from_to(order=0).

usage: nibabel_align.py DIRECTORY    (label_N.nii and image_N.nii become expected_N.raw, 64-bit integers z, y, x)

Voxels beyond the outer centres of a label, but within their extent, count as its own: mode grid-constant. scipy's plain
constant makes them 0, which the second file, inner_N.raw, has.
"""

import sys
from pathlib import Path

try:
    import nibabel
    import numpy as np
    from nibabel.processing import resample_from_to
except ImportError as error:
    print(error)
    sys.exit(77)

folder = Path(sys.argv[1])
for path in sorted(folder.glob("label_*.nii")):
    number = path.stem.removeprefix("label_")
    label = nibabel.load(path)
    image = nibabel.load(folder / f"image_{number}.nii")
    for name, mode in [("expected", "grid-constant"), ("inner", "constant")]:
        out = resample_from_to(label, (image.shape, image.affine), order=0, mode=mode, cval=0)
        voxels = np.rint(np.asarray(out.dataobj)).astype("<u8").transpose(2, 1, 0)
        np.ascontiguousarray(voxels).tofile(folder / f"{name}_{number}.raw")
