//! Stacks written by tifffile: the same values and the same voxel size here.

use std::process::Command;
use test_peers::python;
use volume::stack::{SpacingSource, Stack};

/// Writes the value `(i * 37) % 60000`, i counting voxels in C order, as 5×48×40 in every layout.
const SCRIPT: &str = "import sys, os, numpy as np, tifffile as t
a = ((np.arange(5 * 48 * 40, dtype=np.int64) * 37) % 60000).reshape(5, 48, 40).astype(np.uint16)
at = lambda name: os.path.join(sys.argv[1], name)
res = (1 / 0.0076, 1 / 0.008)
ij = dict(imagej=True, resolution=res, metadata={'axes': 'ZYX', 'spacing': 0.08, 'unit': 'um'})
t.imwrite(at('imagej.tif'), a, **ij)
t.imwrite(at('imagej_float.tif'), a.astype(np.float32), **ij)
ome = {'axes': 'ZYX', 'PhysicalSizeZ': 80, 'PhysicalSizeZUnit': 'nm', 'PhysicalSizeY': 0.008,
       'PhysicalSizeYUnit': 'µm', 'PhysicalSizeX': 0.0076, 'PhysicalSizeXUnit': 'µm'}
t.imwrite(at('ome.ome.tif'), a, metadata=ome)
t.imwrite(at('ome_tiled.ome.tif'), a, metadata=ome, tile=(32, 16), compression='zlib', predictor=True)
t.imwrite(at('big_endian.tif'), a, byteorder='>', photometric='minisblack')
t.imwrite(at('big_tiff.tif'), a, bigtiff=True, byteorder='>', photometric='minisblack', rowsperstrip=7)
t.imwrite(at('tiled.tif'), a, tile=(16, 16), photometric='minisblack')
t.imwrite(at('deflate.tif'), a, compression='zlib', photometric='minisblack')
t.imwrite(at('deflate_strips.tif'), a.astype(np.uint64), compression='zlib', rowsperstrip=5, photometric='minisblack')
t.imwrite(at('inverted.tif'), a, photometric='miniswhite')
t.imwrite(at('channels.tif'), a, imagej=True, resolution=res, metadata={'axes': 'CYX', 'spacing': 0.08, 'unit': 'um'})
t.imwrite(at('time.ome.tif'), a.astype(np.uint32), metadata={'axes': 'TYX'})
t.imwrite(at('shaped.tif'), a.reshape(5, 2, 24, 40), photometric='minisblack')
# as ImageJ writes above 4 GB: all slices behind one another, one page
import struct
b = bytearray(open(at('imagej.tif'), 'rb').read()); e = '<' if b[:2] == b'II' else '>'
first = struct.unpack(e + 'I', b[4:8])[0]; n = struct.unpack(e + 'H', b[first:first + 2])[0]
b[first + 2 + 12 * n:first + 6 + 12 * n] = bytes(4)
open(at('one_page.tif'), 'wb').write(b)
# the remedy that the message gives
for name in ('channels.tif', 'time.ome.tif', 'one_page.tif'):
    t.imwrite(at('fixed_' + name.split('.')[0] + '.tif'), t.imread(at(name)), photometric='minisblack')
os.mkdir(at('slices'))
for z, s in enumerate(a): t.imwrite(at('slices/s%d.tif' % (z + 8)), s)
";

#[test]
fn tifffile_and_this_crate_agree() {
    let Some(python) = python("tifffile, numpy") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&python)
        .env("PYTHONUTF8", "1")
        .args(["-c", SCRIPT])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<u64> = (0..5 * 48 * 40).map(|i| i * 37 % 60000).collect();
    let names = [
        "imagej.tif",
        "imagej_float.tif",
        "ome.ome.tif",
        "ome_tiled.ome.tif",
        "big_endian.tif",
        "big_tiff.tif",
        "tiled.tif",
        "deflate.tif",
        "deflate_strips.tif",
        "inverted.tif",
        "slices",
        "fixed_channels.tif",
        "fixed_time.tif",
        "fixed_one_page.tif",
    ];
    for name in names {
        let stack = Stack::open(&folder.path().join(name), None).unwrap();
        assert_eq!(stack.shape_zyx(), [5, 48, 40], "{name}");
        assert_eq!(stack.read_label_slab(0..5).unwrap(), expected, "{name}");
        let image = stack.read_slab(1..4).unwrap();
        let same = image.iter().zip(&expected[48 * 40..]).all(|(a, b)| *a == *b as f32);
        assert!(same && image.len() == 3 * 48 * 40, "{name}");
        let source = match name {
            "imagej.tif" | "imagej_float.tif" => Some(&SpacingSource::ImageJ),
            "ome.ome.tif" | "ome_tiled.ome.tif" => Some(&SpacingSource::Ome),
            _ => None,
        };
        assert_eq!(stack.spacing_source(), source, "{name}");
        if source.is_some() {
            let spacing = stack.grid().unwrap().spacing_zyx_mm();
            let near = spacing.iter().zip([8e-5, 8e-6, 7.6e-6]).all(|(a, b)| (a / b - 1.0).abs() < 1e-6);
            assert!(near, "{name}: {spacing:?}");
        } else {
            assert_eq!(stack.grid().unwrap_err().code(), "E140", "{name}");
        }
    }
    for name in ["channels.tif", "time.ome.tif", "one_page.tif", "shaped.tif"] {
        let error = Stack::open(&folder.path().join(name), None).unwrap_err();
        assert_eq!(error.code(), "E144", "{name}: {error}");
    }
}
