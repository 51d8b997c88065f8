//! NIfTI files written by this crate.

use volume::nifti::{ImageType, write_image, write_labels};
use volume::scan::{Format, read_image, read_labels};
use volume::{Grid, same_geometry};

fn grid(shape_zyx: [usize; 3]) -> Grid {
    let (sin, cos) = 0.3_f64.sin_cos();
    let affine = [
        [-1.5 * cos, 2.0 * sin, 0.0, 11.0],
        [1.5 * sin, 2.0 * cos, 0.0, -12.5],
        [0.0, 0.0, 3.0, 100.25],
        [0.0, 0.0, 0.0, 1.0],
    ];
    Grid::new(shape_zyx, affine).unwrap()
}

#[test]
fn written_images_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let grid = grid([3, 4, 5]);
    let data: Vec<f32> = (0..120).map(|i| i as f32 - 60.25).collect();
    for name in ["i.nii", "i.1.nii", "i.nii.gz", "i.b.nii.gz"] {
        let path = folder.path().join(name);
        write_image(&path, &data, 2, &grid, ImageType::F32).unwrap();
        let image = read_image(&path).unwrap();
        assert_eq!((image.channels, &image.data), (2, &data));
        assert!(image.warnings.is_empty(), "{:?}", image.warnings);
        assert!(same_geometry(&image.grid, &grid) < 1e-4);
        let first = fs_err::read(&path).unwrap();
        write_image(&path, &data, 2, &grid, ImageType::F32).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), first);
    }
    let path = folder.path().join("short.nii.gz");
    write_image(&path, &data, 2, &grid, ImageType::I16).unwrap();
    assert_eq!(read_image(&path).unwrap().data[0], -60.0);
    assert!(write_image(&path, &[1e6; 60], 1, &grid, ImageType::I16).is_err());
    // A failed write leaves the file as it was, and nothing beside it.
    assert_eq!(read_image(&path).unwrap().data[0], -60.0);
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 5);
}

#[test]
fn long_axes_need_the_second_version() {
    let folder = tempfile::tempdir().unwrap();
    let grid = Grid::from_spacing([1, 2, 40_000], [1.0; 3], [0.0; 3]).unwrap();
    let labels: Vec<u8> = (0..80_000).map(|i| (i % 7) as u8).collect();
    let path = folder.path().join("long.nii.gz");
    write_labels(&path, &labels, &grid).unwrap();
    let found = read_labels(&path).unwrap();
    assert_eq!((found.stored.format, found.grid), (Format::Nifti2, grid));
    assert!(found.data.iter().zip(&labels).all(|(a, b)| *a == u32::from(*b)));
}
