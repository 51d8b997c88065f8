"""Writes label maps in OME-Zarr 0.4 with zarr-python: python label_zarr.py FOLDER SPACING_ZYX TRANSLATION_ZYX SHAPE_ZYX ID….

FOLDER/ID.raw holds the voxels. The first map is a label image beside an empty image, the others are images of their own.
"""

import json
import sys
from pathlib import Path

import numpy as np
import zarr

folder = Path(sys.argv[1])
scale, translation, shape = (json.loads(word) for word in sys.argv[2:5])
axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
transforms = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
image = {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}


def put(group, data):
    group.attrs["multiscales"] = [image]
    group.create_array("0", data=data, chunks=(5, 6, 7))


for number, case in enumerate(sys.argv[5:]):
    data = np.fromfile(folder / f"{case}.raw", np.uint8).reshape(shape)
    store = zarr.open_group(folder / f"{case}.zarr", mode="w", zarr_format=2)
    if number > 0:
        put(store, data)
        continue
    put(store, np.zeros_like(data))
    labels = store.create_group("labels")
    labels.attrs["labels"] = ["classes"]
    group = labels.create_group("classes")
    group.attrs["image-label"] = {"version": "0.4"}
    put(group, data)
