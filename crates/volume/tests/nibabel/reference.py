"""What nibabel reads from NIfTI files: those named on the command line, or files of all kinds made here.

    reference.py OUT [FILE…]    writes OUT/references.json and the values beside it
"""

import itertools
import json
import pathlib
import sys

try:
    import nibabel as nib
    import numpy as np
except ImportError as error:
    print(f"{error.name} is not installed", file=sys.stderr)
    sys.exit(77)

OUT = pathlib.Path(sys.argv[1])


def turned(angles, spacing, offset, shear=0.0):
    cx, cy, cz = np.cos(angles)
    sx, sy, sz = np.sin(angles)
    rotation = (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = offset
    return affine


# Name, affine, which forms are set.
GEOMETRIES = [
    ("ras", turned((0, 0, 0), (1.5, 2, 3), (-10, 20, -30)), "both"),
    ("lps", turned((0, 0, 0), (-1.5, -2, 3), (10, 20, 30)), "sform"),
    ("spl", np.array([[0, 0, -2.0, 5], [0, -3.0, 0, 6], [1.5, 0, 0, 7], [0, 0, 0, 1]]), "qform"),
    ("oblique", turned((0.3, -0.2, 0.5), (0.7, 0.8, 2.5), (-100.5, 33.25, 12)), "both"),
    ("left", turned((0.1, 0.7, -1.1), (-0.7, 0.8, 2.5), (1, 2, 3)), "qform"),
    ("sheared", turned((0.2, 0.1, 0.4), (1, 1.2, 2), (4, 5, 6), shear=0.02), "sform"),
    ("none", np.diag([2.0, 3, 4, 1]), "none"),
]
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SCALINGS = [(0.0, 0.0), (1.0, 0.0), (np.nan, np.nan), (2.5, -1024.0), (-0.125, 3.0), (1.0, 10.0)]
SHAPES = [(5, 4, 3), (4, 3, 2, 2), (1, 6, 5), (7, 5, 1)]


def make():
    """Headers by nibabel, with raw numbers behind them: it would choose slope and intercept itself."""
    random = np.random.default_rng(0)
    count = 0
    for dtype, order, (version, kind) , (name, affine, forms) in itertools.product(
        DTYPES, "<>", enumerate([nib.Nifti1Header, nib.Nifti2Header], 1), GEOMETRIES
    ):
        shape, (slope, inter) = SHAPES[count % len(SHAPES)], SCALINGS[count % len(SCALINGS)]
        header = kind(endianness=order)
        header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
        header.set_data_shape(shape)
        header.set_zooms(tuple(np.linalg.norm(affine[:3, :3], axis=0)) + (1.0,) * (len(shape) - 3))
        if forms in ("both", "sform"):
            header.set_sform(affine, code=1)
        if forms in ("both", "qform"):
            header.set_qform(affine, code=1)
        header.set_xyzt_units("mm")
        start = 352 if version == 1 else 544
        header["vox_offset"], header["scl_slope"], header["scl_inter"] = start, slope, inter
        header["magic"] = b"n+1" if version == 1 else b"n+2"
        number = np.dtype(dtype)
        if number.kind == "f":
            data = random.normal(scale=1000, size=shape).astype(number)
        else:
            limits = np.iinfo(number)
            low = 0 if count % 3 else limits.min
            data = random.integers(low, limits.max, size=shape, dtype=number, endpoint=True)
            data.flat[0] = limits.max
        payload = data.astype(number.newbyteorder(order)).tobytes(order="F")
        path = OUT / f"{count:03}_{dtype}{'lb'[order == '>']}{version}_{name}.nii"
        path.write_bytes(header.binaryblock + b"\0" * (start - len(header.binaryblock)) + payload)
        count += 1
        yield path


def snapped(affine):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / spacing)
    result = affine.copy()
    result[:3, :3] = (u @ vt) * spacing
    return result


def describe(index, path):
    image = nib.load(path)
    values = OUT / f"{index:04}.values"
    values.write_bytes(np.asarray(image.get_fdata(dtype=np.float64), "<f8").tobytes(order="F"))
    stored = np.asanyarray(image.dataobj.get_unscaled())
    slope, inter = image.dataobj.slope, image.dataobj.inter
    ids = None
    if stored.dtype.kind in "iu" and (slope, inter) == (1, 0) and stored.ndim == 3 and stored.min() >= 0:
        ids = OUT / f"{index:04}.ids"
        ids.write_bytes(stored.astype("<u8").tobytes(order="F"))
    return {
        "file": str(path),
        "shape": list(image.shape),
        "affine": image.affine.tolist(),
        "snapped": snapped(image.affine).tolist(),
        "sform_code": int(image.header["sform_code"]),
        "qform_code": int(image.header["qform_code"]),
        "datatype": int(image.header["datatype"]),
        "values": str(values),
        "ids": ids and str(ids),
    }


files = [pathlib.Path(name) for name in sys.argv[2:]] or list(make())
references = [describe(index, path) for index, path in enumerate(files)]
(OUT / "references.json").write_text(json.dumps(references))
