"""NIfTI files: every type, order of bytes and version, and the damages that have names."""

import gzip
import math
import struct

TYPES = {2: "B", 4: "h", 8: "i", 16: "f", 64: "d", 256: "b", 512: "H", 768: "I", 1024: "q", 1280: "Q"}


def nifti(version=1, big=False, dims=(3, 2, 2), code=2, slope=0.0, inter=0.0, sform=True, qform=False,
          values=None, offset=None, extension=b"", magic=None, bitpix=None):
    order = ">" if big else "<"
    kind = TYPES.get(code, "B")
    dim = [len(dims), *dims] + [1] * (7 - len(dims))
    pixdim = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0]
    bits = 8 * struct.calcsize(kind) if bitpix is None else bitpix
    rows = [2.0, 0.0, 0.0, -5.0, 0.0, 3.0, 0.0, 6.0, 0.0, 0.0, 4.0, 7.0]
    quaternion = [0.0, 0.0, math.sqrt(0.5), 1.0, 2.0, 3.0]
    if version == 1:
        start = 352 + len(extension) if offset is None else offset
        header = struct.pack(order + "i10s18sihcB", 348, b"", b"", 0, 0, b"r", 0)
        header += struct.pack(order + "8h3fhhhh8f", *dim, 0, 0, 0, 0, code, bits, 0, *pixdim)
        header += struct.pack(order + "3fhBB4f2i", start, slope, inter, 0, 0, 2, 0, 0, 0, 0, 0, 0)
        header += struct.pack(order + "80s24shh", b"seed", b"", int(qform), int(sform))
        header += struct.pack(order + "6f12f16s4s", *quaternion, *rows, b"", magic or b"n+1\0")
        assert len(header) == 348
    else:
        start = 544 + len(extension) if offset is None else offset
        header = struct.pack(order + "i8shh8q3d8d", 540, magic or b"n+2\0\r\n\x1a\n", code, bits, *dim, 0, 0, 0, *pixdim)
        header += struct.pack(order + "q2d2d2d2q80s24sii", start, slope, inter, 0, 0, 0, 0, 0, 0, b"seed", b"",
                              int(qform), int(sform))
        header += struct.pack(order + "6d12diii16sB15s", *quaternion, *rows, 0, 2, 0, b"", 0, b"")
        assert len(header) == 540
    if values is None:
        values = [i % 100 for i in range(math.prod(min(max(n, 1), 8) for n in dims))]
    payload = struct.pack(f"{order}{len(values)}{kind}", *values)
    return header + (b"\1\0\0\0" if extension else b"\0\0\0\0") + extension + payload


def packed(data, members=1):
    size = -(-len(data) // members)
    return b"".join(gzip.compress(data[i:i + size], 6, mtime=0) for i in range(0, len(data), size))


def cases():
    """(outcome when read as an image, name, bytes)"""
    for version in (1, 2):
        for big in (False, True):
            for code in TYPES:
                scale = (0.5, -1.0) if code in (4, 1280) else (0.0, 0.0)
                name = f"v{version}{'b' if big else 'l'}{code}"
                yield "ok", name, nifti(version, big, code=code, slope=scale[0], inter=scale[1])
        yield "ok", f"v{version}channels", nifti(version, dims=(2, 2, 2, 3))
        yield "ok", f"v{version}flat", nifti(version, dims=(4, 3))
        yield "ok", f"v{version}qform", nifti(version, sform=False, qform=True)
        yield "ok", f"v{version}noform", nifti(version, sform=False)
        yield "ok", f"v{version}nan", nifti(version, slope=math.nan, inter=math.inf)
        yield "ok", f"v{version}extension", nifti(version, extension=struct.pack("<ii8s", 16, 6, b"comment"))
        yield "ok", f"v{version}trailing", nifti(version) + b"more"
        yield "ok", f"v{version}bitpix", nifti(version, bitpix=-1)
        yield "E101", f"v{version}cut", nifti(version)[:-3]
        yield "E101", f"v{version}claim", nifti(version, dims=(10_000, 10_000, 10_000), values=[])
        yield "E106", f"v{version}claimgz", packed(nifti(version, dims=(10_000, 10_000, 10_000), values=[]))
        yield "E104", f"v{version}rgb", nifti(version, code=128, values=[0] * 36)
        yield "E105", f"v{version}offset", nifti(version, offset=17)
        yield "E105", f"v{version}axes", nifti(version, dims=(2, 2, 2, 2, 2))
    yield "E105", "v2overflow", nifti(2, dims=(2**62, 3, 2), values=[])
    yield "E103", "pair", nifti(magic=b"ni1\0")
    yield "E103", "page", b"<html><body>404 Not Found</body></html>"
    yield "E103", "empty", b""
    yield "ok", "labels", nifti(code=16, values=[0.0, 1.0005, 2.0, 3, 4, 5, 6, 7, 8, 9, 10, 2.0])
    yield "ok", "fractions", nifti(code=64, values=[0.5, 1.5, 1e300, -1e300, math.nan, math.inf, 7, 8, 9, 2**60, 11, 12])
    yield "ok", "ids", nifti(2, code=1280, values=[2**64 - 1, 2**53 + 1, 2**53, *range(9)])
    yield "ok", "signed", nifti(2, True, code=1024, values=[-(2**63), 2**63 - 1, *range(10)])
    yield "ok", "gz", packed(nifti())
    yield "ok", "members", packed(nifti(2, True, code=8), 4) + bytes(40)
    yield "E101", "gzcut", packed(nifti())[:-9]
    yield "E101", "gzbetween", packed(nifti()[:356], 2)
    yield "E102", "gzgarbage", packed(nifti()) + b"garbage"
    broken = bytearray(packed(nifti()))
    broken[-8] ^= 1
    yield "E102", "gzsum", bytes(broken)
    yield "E103", "gzgz", packed(packed(nifti()))
    # Far more zeros than the file is long.
    yield "ok", "gzzeros", packed(nifti(dims=(100, 100, 20), values=[0] * 200_000))


KEPT = {
    "v1l2", "v2b1280", "v1channels", "v2qform", "v1nan", "v1extension", "v1cut", "v2claim", "v1claimgz", "v1rgb", "v2offset",
    "v1axes", "v2overflow", "pair", "page", "empty", "fractions", "ids", "signed", "members", "gzbetween", "gzgarbage", "gzsum",
    "gzgz", "gzzeros",
}
