"""Writes OME-Zarr images with zarr-python: python ome_zarr_python.py FOLDER. Voxel i of an array (C order) is (i * 37) % 250."""

import sys
from pathlib import Path

import numcodecs
import numpy as np
import zarr

ROOT = Path(sys.argv[1])
SHAPE = (5, 48, 40)
UNITS = {"z": "micrometer", "y": "micrometer", "x": "nanometer"}


def values(shape, dtype=np.uint16):
    return ((np.arange(np.prod(shape), dtype=np.int64) * 37) % 250).reshape(shape).astype(dtype)


def axes(names, units=UNITS, orientation=None):
    described = []
    for name in names:
        axis = {"name": name, "type": {"t": "time", "c": "channel"}.get(name, "space")}
        if name in units:
            axis["unit"] = units[name]
        if orientation and name in orientation:
            axis["orientation"] = {"type": "anatomical", "value": orientation[name]}
        described.append(axis)
    return described


def image(names, levels=("0",), translation=True, **more):
    lead = [1.0] * (len(names) - 3)
    datasets = []
    for i, path in enumerate(levels):
        transforms = [{"type": "scale", "scale": lead + [0.08 * 2**i, 0.008 * 2**i, 7.6 * 2**i]}]
        if translation:
            transforms.append({"type": "translation", "translation": [0.0] * len(lead) + [0.4, 0.016, -15.2]})
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return {"axes": axes(names, **more), "datasets": datasets}


def group(name, image, version, labels=None):
    store = zarr.open_group(ROOT / name, mode="w", zarr_format=3 if version == "0.5" else 2)
    put(store, image, version)
    return store


def put(store, image, version):
    if version == "0.5":
        store.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        store.attrs["multiscales"] = [{"version": "0.4", **image}]


def labels(store, name, data, image, version):
    parent = store.create_group("labels")
    if version == "0.5":
        parent.attrs["ome"] = {"version": "0.5", "labels": [name]}
    else:
        parent.attrs["labels"] = [name]
    label = parent.create_group(name)
    put(label, image, version)
    label.create_array("0", data=data, chunks=(2, 16, 16))


ZYX = ["z", "y", "x"]
a = values(SHAPE)
# Zarr 2: every codec, order and separator that is found
V2 = {
    "blosc": dict(compressors=numcodecs.Blosc("lz4"), chunks=(2, 16, 16)),
    "zlib": dict(compressors=numcodecs.Zlib(), chunks=(5, 48, 40)),
    "gzip": dict(compressors=numcodecs.GZip(), chunks=(3, 20, 17)),
    "zstd": dict(compressors=numcodecs.Zstd(), chunks=(1, 48, 40)),
    "raw": dict(compressors=None, chunks=(2, 16, 16)),
    "fortran": dict(compressors=numcodecs.Blosc("zstd"), chunks=(2, 16, 16), order="F"),
}
for name, options in V2.items():
    store = group(f"v2_{name}.zarr", image(ZYX), "0.4")
    separator = "." if name == "raw" else "/"
    encoding = {"name": "v2", "separator": separator}
    store.create_array("0", data=a, chunk_key_encoding=encoding, **options)
for dtype in ["u1", ">u2", ">f4", "<f8", "i2", "i4", "u8", "f2", "i8"]:
    store = group(f"type_{dtype.strip('<>')}.zarr", image(ZYX), "0.4")
    store.create_array("0", data=a.astype(dtype), chunks=(2, 16, 16))
# Zarr 3
V3 = {
    "plain": dict(chunks=(2, 16, 16)),
    "blosc": dict(chunks=(2, 16, 16), compressors=zarr.codecs.BloscCodec(cname="lz4")),
    "gzip": dict(chunks=(2, 16, 16), compressors=zarr.codecs.GzipCodec()),
    "sharded": dict(chunks=(2, 16, 16), shards=(4, 48, 48)),
    "transposed": dict(chunks=(2, 16, 16), filters=[zarr.codecs.TransposeCodec(order=(2, 0, 1))]),
}
for name, options in V3.items():
    group(f"v3_{name}.zarr", image(ZYX), "0.5").create_array("0", data=a, **options)
# channels, time, and levels that a path names
store = group("channels.ome.zarr", image(["t", "c", *ZYX], levels=["s0", "s1"]), "0.5")
store.create_array("s0", data=values((1, 3, *SHAPE)), chunks=(1, 2, 2, 16, 16))
store.create_array("s1", data=values((1, 3, 3, 24, 20)), chunks=(1, 1, 2, 16, 16))
store = group("times.zarr", image(["t", *ZYX]), "0.4")
store.create_array("0", data=values((2, *SHAPE)), chunks=(1, 2, 16, 16))
# labels beside an image, without a unit of their own
for version in ["0.4", "0.5"]:
    store = group(f"labelled_{version}.zarr", image(ZYX), version)
    store.create_array("0", data=a, chunks=(2, 16, 16))
    ids = a.astype(np.uint64) + (1 << 53) + 1
    labels(store, "cells", ids, image(ZYX, units={}, translation=False), version)
# patients, as ITK has them
lps = {"z": "inferior-to-superior", "y": "anterior-to-posterior", "x": "right-to-left"}
millimetres = dict.fromkeys(ZYX, "millimeter")
for name, orientation in [("lps", lps), ("odd", {**lps, "y": "dorsal-to-ventral"})]:
    store = group(f"{name}.zarr", image(ZYX, units=millimetres, orientation=orientation), "0.5")
    store.create_array("0", data=a, chunks=(2, 16, 16))
# what is wrong
store = group("sparse.zarr", image(ZYX), "0.5")
sparse = store.create_array("0", shape=SHAPE, dtype="u2", chunks=(2, 16, 16), fill_value=7)
sparse[:2, :16, :] = a[:2, :16, :]
store = group("torn.zarr", image(ZYX), "0.5")
store.create_array("0", data=a, chunks=(2, 16, 16))
torn = ROOT / "torn.zarr" / "0" / "c" / "1" / "0" / "0"
torn.write_bytes(torn.read_bytes()[:-9])
group("unitless.zarr", image(ZYX, units={}), "0.4").create_array("0", data=a, chunks=(2, 16, 16))
group("turned.zarr", image(["x", "y", "z"]), "0.4").create_array("0", data=a, chunks=(2, 16, 16))
store = zarr.open_group(ROOT / "collection.zarr", mode="w", zarr_format=2)
store.attrs["bioformats2raw.layout"] = 3
zarr.open_group(ROOT / "bare.zarr", mode="w", zarr_format=3).create_array("0", data=a)
store = group("complex.zarr", image(ZYX), "0.5")
store.create_array("0", data=a.astype("c8"), chunks=(2, 16, 16))
