//! Others read the same: zarr-python the values, ome-zarr-models the metadata.

use crate::support::{image, record};
use data_manifests::descriptor::{LabelKind, Modality};
use patches::stack::{Numbers, StackArray};
use patches::{LabelCount, LabelRecord, LabelType, LabelVoxels, write_case};
use std::path::Path;
use std::process::Command;
use test_peers::python;
use volume::hdf5::StackInfo;

fn run(python: &Path, script: &str, arguments: &[&str]) {
    let output = Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn zarr_python_reads_the_same_values() {
    let Some(python) = python("zarr, numpy") else { return };
    let shape = [20, 70, 130];
    let count = 20 * 70 * 130;
    // the image as whole numbers of 24 bits, which Python makes without rounding too
    let data: Vec<f32> = (0..3 * count).map(|i| ((i * 7919) % 16_777_213) as f32).collect();
    let script = "import sys, warnings, zarr, numpy as np\n\
        warnings.simplefilter('error')\n\
        path, dtype, top, unlike = sys.argv[1], sys.argv[2], np.uint64(sys.argv[3]), int(sys.argv[4])\n\
        g = zarr.open_group(path, mode='r')\n\
        n = 20 * 70 * 130\n\
        i = np.arange(3 * n, dtype=np.uint64)\n\
        a = g['image'][:]\n\
        assert a.shape == (3, 20, 70, 130) and a.dtype == np.float32, (a.shape, a.dtype)\n\
        assert (a.ravel() == (i * 7919 % 16777213).astype(np.float32)).all()\n\
        assert (g['image'][1, 3:17, 30:66, 60:129] == a[1, 3:17, 30:66, 60:129]).all()\n\
        name = g['labels'].attrs['ome']['labels'][0]\n\
        l = g['labels'][name]['0'][:]\n\
        i = i[:n]\n\
        assert l.shape == (20, 70, 130) and l.dtype == np.dtype(dtype), l.dtype\n\
        assert (l.ravel() == np.where(i % unlike == 0, top, i % 3)).all()\n\
        assert g['foreground'][:].tolist() == [[1, 0, 0, 0], [2, 5, 6, 7]]\n\
        assert g.attrs['gtgm']['id'] == 'case' and g.attrs['gtgm']['schema'] == 'gtgm/case/2'\n";
    for (dtype, top) in [
        ("uint8", 255u64),
        ("uint16", 65_535),
        ("uint32", u32::MAX.into()),
        ("uint64", (1 << 53) + 1),
        ("uint64", u64::MAX),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let labels: Vec<u64> = (0..count).map(|i| if i % 5 == 0 { top } else { i % 3 }).collect();
        let label = Some((LabelType::for_maximum(top), LabelVoxels::Wide(&labels)));
        write_case(directory.path(), &record(3, shape), &data, label, &[[1, 0, 0, 0], [2, 5, 6, 7]]).unwrap();
        run(&python, script, &[&directory.path().to_string_lossy(), dtype, &top.to_string(), "5"]);
    }
}

#[test]
fn ome_zarr_metadata_is_valid() {
    let Some(python) = python("zarr, ome_zarr_models.v05") else { return };
    let shape = [6, 7, 8];
    let script = "import sys, json, zarr\n\
        from ome_zarr_models.v05 import Image\n\
        from ome_zarr_models.v05.image_label import ImageLabel\n\
        from ome_zarr_models.v05.labels import Labels\n\
        g = zarr.open_group(sys.argv[1], mode='r')\n\
        expected = json.loads(sys.argv[2])\n\
        image = Image.from_zarr(g)\n\
        ome = image.ome_attributes\n\
        assert ome.version == '0.5', ome.version\n\
        def check(multiscale, path, axes):\n\
        \x20   assert [a.name for a in multiscale.axes] == axes\n\
        \x20   units = [a.unit for a in multiscale.axes if a.type == 'space']\n\
        \x20   assert units == [expected['unit']] * 3, units\n\
        \x20   scale, translation = multiscale.datasets[0].coordinateTransformations\n\
        \x20   assert multiscale.datasets[0].path == path\n\
        \x20   assert (scale.type, translation.type) == ('scale', 'translation')\n\
        \x20   lead = len(axes) - 3\n\
        \x20   assert list(scale.scale) == [1.0] * lead + expected['scale'], scale\n\
        \x20   assert list(translation.translation) == [0.0] * lead + expected['translation'], translation\n\
        check(ome.multiscales[0], 'image', ['c', 'z', 'y', 'x'])\n\
        assert list(image.labels.ome_attributes.labels) == ['label']\n\
        Labels.from_zarr(g['labels'])\n\
        label = ImageLabel.from_zarr(g['labels/label'])\n\
        check(label.ome_attributes.multiscales[0], '0', ['z', 'y', 'x'])\n\
        colours = label.ome_attributes.image_label.colors\n\
        assert [int(c.label_value) for c in colours] == [1, 2], colours\n\
        assert label.ome_attributes.image_label.source.image == '../../'\n\
        grid = g.attrs['gtgm_grid']\n\
        assert grid['coordinates_of'] == 'pixel-centre' and grid['oblique'] == expected['oblique'], grid\n";
    let straight =
        [[0.5, 0.0, 0.0, -10.0], [0.0, 0.75, 0.0, 20.5], [0.0, 0.0, 4.0, 7.0], [0.0, 0.0, 0.0, 1.0]];
    let mut oblique = straight;
    (oblique[0][1], oblique[1][0]) = (0.1, -0.1);
    let em = straight.map(|row| row.map(|v| v * 1e-6));
    for (modality, affine, spacing, expected) in [
        (
            Modality::Mri,
            straight,
            [4.0, 0.75, 0.5],
            r#"{"unit": "millimeter", "scale": [4.0, 0.75, 0.5], "translation": [7.0, 20.5, -10.0], "oblique": false}"#,
        ),
        (
            Modality::Ct,
            oblique,
            [4.0, 0.75, 0.5],
            r#"{"unit": "millimeter", "scale": [4.0, 0.75, 0.5], "translation": [7.0, 20.5, -10.0], "oblique": true}"#,
        ),
        (
            Modality::Em,
            em,
            [4e-6, 0.75e-6, 0.5e-6],
            r#"{"unit": "nanometer", "scale": [4.0, 0.75, 0.5], "translation": [7.0, 20.5, -10.0], "oblique": false}"#,
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut record = record(2, shape);
        (record.modality, record.affine, record.spacing_zyx_mm) = (modality, affine, spacing);
        let voxels = (0..3).map(|value| LabelCount { value, voxels: 112 }).collect();
        record.label = Some(LabelRecord { kind: LabelKind::Semantic, distinct: 2, voxels });
        let labels: Vec<u32> = (0..336).map(|i| i % 3).collect();
        let label = Some((LabelType::U8, LabelVoxels::Narrow(&labels)));
        write_case(directory.path(), &record, &image(2, shape), label, &[[1, 0, 0, 1], [2, 0, 0, 2]])
            .unwrap();
        run(&python, script, &[&directory.path().to_string_lossy(), expected]);
    }
}

#[test]
fn python_reads_label_maps_and_affinities_of_stacks() {
    let Some(python) = python("zarr, numpy, ome_zarr_models.v05") else { return };
    let info = |name: &str| StackInfo {
        name: name.to_owned(),
        shape_zyx: [20, 300, 270],
        resolution_zyx_nm: [40.0, 4.0, 5.0],
        offset_zyx_nm: [80.0, 0.0, -8.0],
    };
    let (section, channels) = (300 * 270, 2);
    let folder = tempfile::tempdir().unwrap();
    let [labels, affinities] = ["labels.zarr", "affinities.zarr"].map(|name| folder.path().join(name));
    for directory in [&labels, &affinities] {
        fs_err::create_dir(directory).unwrap();
    }
    let file = StackArray::create_labels(&labels, &info("neuron_ids"), Numbers::U64).unwrap();
    let ids: Vec<u64> = (0..20 * section as u64).map(|i| (1 << 53) + 1 + i % 97).collect();
    file.write_ids([0; 3], [20, 300, 270], &ids).unwrap();
    let offsets = [[-1, 0, 0], [0, -9, 3]];
    let file =
        StackArray::create_affinities(&affinities, &info("affinities"), &offsets, Numbers::F32).unwrap();
    for (from, to) in [(0, 7), (7, 20)] {
        let places = (0..channels).flat_map(|c| (from..to).map(move |z| (c, z)));
        let values = places.flat_map(|(c, z)| (0..section).map(move |i| ((c * 20 + z) * section + i) as f32));
        file.write_sections(from, &values.map(|v| v % 8191.0 / 8192.0).collect::<Vec<f32>>()).unwrap();
    }
    let script = "import sys, zarr, numpy as np\n\
        from ome_zarr_models.v05 import Image\n\
        from ome_zarr_models.v05.image_label import ImageLabel\n\
        from ome_zarr_models.v05.labels import Labels\n\
        g = zarr.open_group(sys.argv[1], mode='r')\n\
        assert g['labels'].attrs['ome']['labels'] == ['neuron_ids']\n\
        Labels.from_zarr(g['labels'])\n\
        label = ImageLabel.from_zarr(g['labels/neuron_ids'])\n\
        a = g['labels/neuron_ids/0'][:]\n\
        i = np.arange(20 * 300 * 270, dtype=np.uint64)\n\
        assert a.shape == (20, 300, 270) and a.dtype == np.uint64, (a.shape, a.dtype)\n\
        assert (a.ravel() == np.uint64(2**53 + 1) + i % np.uint64(97)).all()\n\
        h = zarr.open_group(sys.argv[2], mode='r')\n\
        image = Image.from_zarr(h)\n\
        b = h['0'][:]\n\
        assert b.shape == (2, 20, 300, 270) and b.dtype == np.float32\n\
        i = np.arange(b.size).astype(np.float32)\n\
        assert (b.ravel() == i % np.float32(8191) / np.float32(8192)).all()\n\
        assert h.attrs['offsets'] == [[-1, 0, 0], [0, -9, 3]]\n\
        for m, lead in [(label.ome_attributes.multiscales[0], []), (image.ome_attributes.multiscales[0], [1.0])]:\n\
        \x20   scale, translation = m.datasets[0].coordinateTransformations\n\
        \x20   assert list(scale.scale) == lead + [40.0, 4.0, 5.0], scale\n\
        \x20   assert list(translation.translation)[len(lead):] == [80.0, 0.0, -8.0], translation\n\
        \x20   assert [a.unit for a in m.axes if a.type == 'space'] == ['nanometer'] * 3\n";
    run(&python, script, &[&labels.to_string_lossy(), &affinities.to_string_lossy()]);
}
