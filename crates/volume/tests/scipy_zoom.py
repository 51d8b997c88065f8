"""Resizes raw float32 volumes as scikit-image's resize(order=3, mode="edge", anti_aliasing=False) does.

usage: scipy_zoom.py DIRECTORY Z,Y,X Z,Y,X    (shape of data.raw, shape of expected.raw)
"""

import sys
from pathlib import Path

try:
    import numpy as np
    from scipy import ndimage
except ImportError as error:
    print(error)
    sys.exit(77)

folder = Path(sys.argv[1])
old, new = ([int(n) for n in text.split(",")] for text in sys.argv[2:4])
data = np.fromfile(folder / "data.raw", "<f4").reshape(old).astype(float)
out = ndimage.zoom(data, [b / a for a, b in zip(old, new)], order=3, mode="nearest", grid_mode=True)
assert list(out.shape) == new, out.shape
np.clip(out, data.min(), data.max()).astype("<f4").tofile(folder / "expected.raw")
