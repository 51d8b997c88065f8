"""TIFF and PNG slices: every number type, compression and layout that is read, and what is refused."""

import struct
import zlib

IMAGEJ = b"ImageJ=1.54f\nimages=2\nslices=2\nunit=micron\nspacing=0.05\n\0"
OME = b"<OME><Image><Pixels SizeZ='2' SizeC='1' SizeT='1' PhysicalSizeZ='50' PhysicalSizeZUnit='nm'/></Image></OME>\0"


def packbits(data):
    return b"".join(bytes([len(part) - 1]) + part for part in (data[i:i + 128] for i in range(0, len(data), 128)))


# By the codes of the compression tag; LZW is met through mutation of the code.
PACK = {1: bytes, 8: zlib.compress, 32773: packbits}


def tiff(kind="H", order="<", large=False, compression=1, shape=(4, 5), pages=2, tile=None, text=b"", photometric=1,
         samples=1, claim=None, many=None):
    """`pages` pages of `shape` (y, x), in one strip or in square tiles; `claim` is stated in place of the shape, `many` as
    the number of values of the strips' offsets."""
    height, width = shape
    size = struct.calcsize(kind)
    sample_format = 3 if kind in "efd" else 1 if kind.isupper() else 2
    out = bytearray((b"II" if order == "<" else b"MM"))
    out += struct.pack(order + "HHHQ", 43, 8, 0, 0) if large else struct.pack(order + "HI", 42, 0)
    link = len(out) - (8 if large else 4)

    def block(data):
        at = len(out)
        out.extend(data)
        out.extend(bytes(-len(out) % 8))
        return at

    for page in range(pages):
        values = [(page * height * width + i) % 100 for i in range(height * width * samples)]
        if tile:
            across, down = -(-width // tile), -(-height // tile)
            parts = []
            for ty in range(down):
                for tx in range(across):
                    parts.append([values[y * width + x] if y < height and x < width else 0
                                  for y in range(ty * tile, ty * tile + tile) for x in range(tx * tile, tx * tile + tile)])
        else:
            parts = [values]
        packed = [PACK[compression](struct.pack(f"{order}{len(part)}{kind}", *part)) for part in parts]
        places = [block(part) for part in packed]
        stated = claim or shape
        tags = {
            256: [stated[1]], 257: [stated[0]], 258: [8 * size] * samples, 259: [compression], 262: [photometric],
            277: [samples], 339: [sample_format] * samples,
        }
        if tile:
            tags |= {322: [tile], 323: [tile], 324: places, 325: [len(part) for part in packed]}
        else:
            tags |= {273: places, 278: [stated[0]], 279: [len(part) for part in packed]}
        entries = []
        for tag, numbers in sorted(tags.items()):
            data = struct.pack(f"{order}{len(numbers)}I", *numbers)
            entries.append((tag, 4, len(numbers), data))
        if text and page == 0:
            entries.append((270, 2, len(text), text))
            entries.append((282, 5, 1, struct.pack(order + "II", 250, 1)))
            entries.append((283, 5, 1, struct.pack(order + "II", 250, 1)))
        if many:
            entries = [(tag, number, many if tag == 273 else count, data) for tag, number, count, data in entries]
        room = 8 if large else 4
        written = []
        for tag, number, count, data in sorted(entries):
            value = data.ljust(room, b"\0") if len(data) <= room else struct.pack(order + ("Q" if large else "I"), block(data))
            written.append(struct.pack(order + ("HHQ" if large else "HHI"), tag, number, count) + value)
        table = struct.pack(order + ("Q" if large else "H"), len(written)) + b"".join(written)
        at = block(table + bytes(room))
        out[link:link + room] = struct.pack(order + ("Q" if large else "I"), at)
        link = at + len(table)
    return bytes(out)


def tiffs():
    """(outcome when read, name, bytes)"""
    for order in "<>":
        end = "l" if order == "<" else "b"
        for large in (False, True):
            for kind in "BHIQbhiqefd":
                yield "ok", f"{end}{'big' if large else ''}_{'u' if kind.isupper() else 'i'}{kind}", tiff(kind, order, large)
        for compression in (8, 32773):
            yield "ok", f"{end}_pack{compression}", tiff("H", order, compression=compression)
        yield "ok", f"{end}_tiles", tiff("B", order, tile=16, shape=(20, 18), pages=1)
        yield "ok", f"{end}_tilespacked", tiff("H", order, tile=16, shape=(20, 18), compression=8)
        yield "ok", f"{end}_inverted", tiff("B", order, photometric=0)
    yield "ok", "imagej", tiff(text=IMAGEJ)
    yield "ok", "ome", tiff(text=OME)
    whole = tiff()
    yield "E101", "cut", whole[:-3]
    yield "E101", "pixels", whole[:20]
    yield "E106", "claim", tiff(claim=(60_000, 60_000))
    yield "E106", "claimpacked", tiff(claim=(60_000, 60_000), compression=8)
    yield "E101", "manystrips", tiff(many=1 << 18)
    yield "E101", "manystripsbig", tiff(many=1 << 40, large=True)
    yield "E143", "palette", tiff("B", photometric=3)
    yield "E143", "colours", tiff("B", photometric=2, samples=3)
    yield "E143", "empty", b""
    yield "E143", "page", b"<html><body>404 Not Found</body></html>"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(bits=8, colour=0, interlace=0, shape=(4, 5), claim=None, extra=b""):
    height, width = shape
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = -(-width * samples * bits // 8)
    stated = claim or shape
    header = struct.pack(">IIBBBBB", stated[1], stated[0], bits, colour, 0, 0, interlace)
    if interlace:
        # Adam7: column and row of the first pixel, and steps between them, of each pass.
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for x, y, dx, dy in passes]
        rows = [-(-w * samples * bits // 8) for h, w in sizes if w > 0 for _ in range(h)]
    else:
        rows = [row] * height
    data = b"".join(bytes([i % 5 if i else 0]) + bytes((i * n + j) % 40 for j in range(n)) for i, n in enumerate(rows))
    palette = chunk(b"PLTE", bytes(range(3 * min(2**bits, 85)))) if colour == 3 else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + palette + chunk(b"IDAT", zlib.compress(data))
            + chunk(b"IEND", b""))


def pngs():
    """(outcome when read, name, bytes)"""
    for bits in (1, 2, 4, 8, 16):
        yield "ok", f"grey{bits}", png(bits)
        yield "ok", f"interlaced{bits}", png(bits, interlace=1)
    yield "E143", "palette", png(8, 3)
    yield "E143", "rgb", png(8, 2)
    yield "E143", "alpha", png(16, 4)
    yield "ok", "text", png(extra=chunk(b"tEXt", b"Comment\0seed") + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900))))
    yield "E106", "claim", png(claim=(0x7FFF0000, 0x7FFF0000))
    yield "E101", "cut", png()[:-9]
    yield "E143", "page", b"<html><body>404 Not Found</body></html>"
