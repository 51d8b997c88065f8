"""MetaImage and NRRD files: encodings, orders of axes, and the damages that have names."""

import gzip
import struct
import zlib

VOXELS = struct.pack("<12h", *range(-5, 7))


def meta(voxels=VOXELS, **fields):
    known = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": True, "CompressedData": False, "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "1 2 3", "ElementSpacing": "1 2 3", "DimSize": "2 3 2", "ElementType": "MET_SHORT",
    }
    lines = [f"{key} = {value}" for key, value in {**known, **fields}.items() if value is not None]
    return ("\n".join([*lines, "ElementDataFile = LOCAL"]) + "\n").encode() + voxels


def nrrd(voxels=VOXELS, **fields):
    known = {
        "type": "short", "dimension": 3, "space": "left-posterior-superior", "sizes": "2 3 2",
        "space directions": "(1,0,0) (0,2,0) (0,0,3)", "space origin": "(1,2,3)", "endian": "little", "encoding": "raw",
    }
    lines = [f"{key}: {value}" for key, value in {**known, **fields}.items() if value is not None]
    return ("\n".join(["NRRD0004", *lines, "", ""])).encode() + voxels


def cases():
    """(outcome when read as an image, name, bytes)"""
    yield "ok", "meta", meta()
    yield "ok", "metaz", meta(zlib.compress(VOXELS), CompressedData=True)
    yield "ok", "metabig", meta(BinaryDataByteOrderMSB=True)
    yield "ok", "metaseries", meta(NDims=4, DimSize="2 3 1 2", ElementSpacing="1 1 1 1", TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", Offset="0 0 0 0")
    yield "E101", "metacut", meta()[:-3]
    yield "E102", "metazcut", meta(b"\x78\x9c" + b"\xff" * 40, CompressedData=True)
    yield "E106", "metaclaim", meta(zlib.compress(VOXELS), CompressedData=True, DimSize="9999 9999 9999")
    yield "E105", "metaoverflow", meta(DimSize="4611686018427387904 3 2")
    yield "E122", "metaflat", meta(TransformMatrix="1 0 0 1 0 0 0 0 1")
    yield "E149", "metachannels", meta(ElementNumberOfChannels=3)
    yield "E149", "metaend", meta()[:60]
    yield "ok", "nrrd", nrrd()
    yield "ok", "nrrdgz", nrrd(gzip.compress(VOXELS, mtime=0), encoding="gzip")
    yield "ok", "nrrdskip", nrrd(b"more" + VOXELS, **{"byte skip": -1})
    yield "ok", "nrrdspacings", nrrd(**{"space": None, "space directions": None, "space origin": None, "spacings": "1 2 3"})
    yield "ok", "nrrdlist", nrrd(dimension=4, sizes="2 3 1 2", **{"space directions": "(1,0,0) (0,2,0) (0,0,3) none"})
    yield "E149", "nrrdvector", nrrd(dimension=4, sizes="2 2 3 1", **{"space directions": "none (1,0,0) (0,2,0) (0,0,3)"})
    yield "E149", "nrrdlines", nrrd(encoding="bzip2")
    yield "E140", "nrrdsize", nrrd(**{"space directions": "(1,0,0) (0,0,0) (0,0,3)"})


KEPT = {
    "metaz", "metaseries", "metazcut", "metaclaim", "metaoverflow", "metaend", "nrrdgz", "nrrdskip", "nrrdspacings", "nrrdlist",
    "nrrdvector", "nrrdsize",
}
