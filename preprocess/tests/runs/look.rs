//! `preprocess info` and `preprocess preview`.

use crate::support::{Task, classes, shared};
use data_manifests::descriptor::{Intensity, Modality};
use serde_json::Value;
use volume::Grid;

const SHAPE: [usize; 3] = [20, 24, 22];

#[test]
fn info_tells_geometry_values_and_what_a_run_does() {
    let mut task = Task::new();
    task.describe(|d| (d.grid.spacing_zyx, d.modality) = ([2.0, 1.0, 1.0], Modality::Mri));
    // x runs down, y to the left, z to the front
    let affine = [[0.0, -1.5, 0.0, 3.0], [0.0, 0.0, 1.0, 4.0], [-2.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid::new([4, 5, 6], affine).unwrap();
    let image: Vec<f32> = (0..120).map(|v| v as f32).collect();
    let labels: Vec<u32> = (0..120).map(|v| u32::from(v > 60) + u32::from(v > 100)).collect();
    task.case("a", &grid, 1, &image, &labels);
    let files = ["raw/imagesTr/a.nii.gz", "raw/labelsTr/a.nii.gz"];
    let (code, text, said) = task.ask(&["info", files[0], files[1], "--dataset", "dataset.toml"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let text: String =
        text.lines().filter(|line| !line.contains("  file ")).fold(String::new(), |all, l| all + l + "\n");
    // what a case needs follows from how it is worked on
    let words = ["at most ", " of shards, ", " of memory"].map(|part| text.find(part).unwrap());
    let text = format!("{}at most [DISK] of shards, [MEMORY]{}", &text[..words[0]], &text[words[2]..]);
    insta::assert_snapshot!(text, @r#"
raw/imagesTr/a.nii.gz
  shape     4x5x6 voxels (z,y,x)
  spacing   1x1.5x2 mm (z,y,x)
  axes      x,y,z run to ILA, by sform (sform_code 1, qform_code 1)
  affine               0        -1.5           0           3
                       0           0           1           4
                      -2           0           0           5
  values    0 to 119, mean 59.5, standard deviation 34.64, 0.8 % zeros
            percentiles 0.5 %: 0.595, 25 %: 29.75, 50 %: 59.5, 75 %: 89.25, 99.5 %: 118.41
  labels    no: values change from voxel to voxel (0 % of neighbours are equal)
  run       axes z,y,x become -x,z,-y: RAS of 6x4x5
            as test: 6x4x7 voxels of 2x1x1 mm, ct-window; at most [DISK] of shards, [MEMORY] of memory
raw/labelsTr/a.nii.gz
  shape     4x5x6 voxels (z,y,x)
  spacing   1x1.5x2 mm (z,y,x)
  axes      x,y,z run to ILA, by sform (sform_code 1, qform_code 1)
  affine               0        -1.5           0           3
                       0           0           1           4
                      -2           0           0           5
  values    0 to 2, mean 0.65, standard deviation 0.73768, 50.8 % zeros
            percentiles 0.5 %: 0, 25 %: 0, 50 %: 0, 75 %: 1, 99.5 %: 2
  labels    likely: 3 distinct integers in pieces (96 % of neighbours are equal)
                   0           61 voxels  50.83 %
                   1           40 voxels  33.33 %
                   2           19 voxels  15.83 %
  run       axes z,y,x become -x,z,-y: RAS of 6x4x5
"#);
    let (code, text, _) = task.ask(&["info", files[0], files[1], "--dataset", "dataset.toml", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["schema"].as_str()), (0, Some("gtgm/info/1")));
    let [image, label] = [&json["volumes"][0], &json["volumes"][1]];
    assert_eq!(image["statistics"][0]["max"], 119.0);
    assert_eq!(image["statistics"][0]["percentiles"][2], serde_json::json!([50.0, 59.5]));
    assert_eq!(image["preparation"]["canonical_from"], serde_json::json!(["-x", "z", "-y"]));
    assert_eq!(image["preparation"]["target"]["shape_zyx"], serde_json::json!([6, 4, 7]));
    assert_eq!(
        (image["labels"]["likely"].as_bool(), label["labels"]["likely"].as_bool()),
        (Some(false), Some(true))
    );
    assert_eq!(label["labels"]["values"], serde_json::json!([[0.0, 61], [1.0, 40], [2.0, 19]]));
}

/// A grid, voxels and an intensity rule, what a run and `info` say of them, and whether that costs the case.
#[test]
fn info_foresees_what_rule_foreground_and_resampling_do() {
    let shape_zyx = [30, 64, 64];
    let voxels: usize = shape_zyx.iter().product();
    let image = |value: &dyn Fn(usize) -> f32| (0..voxels).map(value).collect::<Vec<_>>();
    let ct = (Modality::Ct, Intensity::CtWindow { low: -160.0, high: 240.0 });
    let mri = (Modality::Mri, Intensity::MriZscore { nonzero: true });
    let em = (Modality::Em, Intensity::EmScale {});
    let cases = [
        ("rescaled twice", 1.0, ct.clone(), image(&|i| -2048.0 + (i % 1000) as f32), "E133", "W131"),
        ("a mask", 1.0, mri.clone(), image(&|i| if i == 9 { 5.0 } else { 0.0 }), "E133", ""),
        ("16 bits", 1.0, em, image(&|i| (i % 4000) as f32), "E131", ""),
        ("centimetres", 0.1, mri, image(&|i| (i % 90) as f32), "", "W150"),
        ("unscaled", 1.0, ct, image(&|i| (i % 2000) as f32), "", "W131"),
    ];
    for (name, mm, (modality, intensity), image, error, warning) in cases {
        let mut task = Task::new();
        task.describe(|d| (d.modality, d.intensity) = (modality, intensity.into()));
        let grid = Grid::from_spacing(shape_zyx, [mm; 3], [0.0; 3]).unwrap();
        task.case("a", &grid, 1, &image, &(0..voxels as u32).map(|i| i % 3).collect::<Vec<_>>());
        let (status, messages) = task.run(&[]);
        let run = crate::support::said(&messages);
        assert_eq!(status.is_err(), !error.is_empty(), "{name}: {run}");
        assert!(run.contains(error) && run.contains(warning), "{name}: {run}");
        let (code, text, said) = task.ask(&["info", "raw/imagesTr/a.nii.gz", "--dataset", "dataset.toml"]);
        assert_eq!(code, i32::from(!error.is_empty()), "{name}: {said}");
        assert!(said.contains(error) && text.contains(warning), "{name}: {text}{said}");
        if !error.is_empty() {
            // in the same words, but for the path and what the run adds
            let words =
                |text: &str| text.split_once("a.nii.gz: ").unwrap().1.split(". ").next().unwrap().to_owned();
            assert_eq!(words(&run), words(&said), "{name}");
        }
        let fix = if name == "rescaled twice" { "Hounsfield units, rescaled once" } else { "" };
        assert!(run.contains(fix), "{name}: {run}");
    }
}

#[test]
fn info_of_flawed_files_says_what_the_run_says() {
    let Some(flawed) = shared("flawed") else { return };
    let task = Task::new();
    // those whose flaw is in the file itself
    let flaws = [
        ("bitflip", "E102"),
        ("constant", "E132"),
        ("label_not_integer", "E111"),
        ("label_value_unknown", "E110"),
        ("nan_inf", "E130"),
        ("not_nifti", "E103"),
        ("truncated", "E101"),
        ("zero_spacing", "E140"),
    ];
    for (flaw, code) in flaws {
        let path = flawed.join(format!("{flaw}.nii.gz"));
        let (status, _, text) = task.ask(&["info", path.to_str().unwrap(), "--dataset", "dataset.toml"]);
        assert!(status == 1 && text.starts_with(&format!("{code} case {flaw}: ")), "{text}");
        let (_, json, _) = task.ask(&["info", path.to_str().unwrap(), "--dataset", "dataset.toml", "--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["errors"][0]["code"], code);
    }
    let slice = flawed.join("one_slice.nii.gz");
    let (status, text, _) = task.ask(&["info", slice.to_str().unwrap()]);
    assert!(status == 0 && text.contains("  W105 volume of 1×51×35"), "{text}");
    let (status, _, text) = task.ask(&["info", "raw"]);
    assert!(status == 1 && text.starts_with("E103 case raw: this is a folder"), "{text}");
    let (status, _, text) = task.ask(&["info", "nowhere.nii"]);
    assert!(status == 1 && text.contains("E100 case nowhere") && text.contains("nowhere.nii"), "{text}");
}

#[test]
fn info_of_a_cremi_file_lists_its_stacks() {
    let Some(em) = shared("EM_ssTEM/sample_vnc.h5") else { return };
    let task = Task::new();
    let (status, text, _) = task.ask(&["info", em.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    for words in
        ["/volumes/raw", "/volumes/labels/neuron_ids", "/volumes/labels/mitochondria", "50x4.6x4.6 nm"]
    {
        assert!(text.contains(words), "{text}");
    }
}

/// Colours of a picture's pixels.
fn pixels(path: &std::path::Path) -> (usize, Vec<[u8; 3]>) {
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(fs_err::File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (info.width as usize, bytes.as_chunks::<3>().0.to_vec())
}

#[test]
fn a_preview_shows_both_sides_in_one_place() {
    let mut task = Task::new();
    task.describe(|d| {
        d.modality = Modality::Mri;
        d.intensity = Intensity::MriZscore { nonzero: false }.into();
        classes(&mut d.labels, &["background", "a"]);
    });
    // one object in the body's right, front and upper part of a volume that is stored LPS
    let affine = [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let grid = Grid::new(SHAPE, affine).unwrap();
    let [depth, height, width] = SHAPE;
    let mut image = Vec::new();
    let mut labels = Vec::new();
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let inside = (12..18).contains(&z) && (3..9).contains(&y) && (2..8).contains(&x);
                image.push(if inside { 900.0 } else { 100.0 + ((x * 7 + y * 3 + z) % 11) as f32 });
                labels.push(u32::from(inside));
            }
        }
    }
    task.case("a", &grid, 1, &image, &labels);
    image[0] += 1.0;
    task.case("b", &grid, 1, &image, &labels);
    task.run_cleanly(&[]);
    let words = ["preview", "--shards", "shards", "--raw", "raw", "--out", "pictures"];
    let (code, _, text) = task.ask(&words);
    assert!(code == 0 && text.ends_with("2 pictures: pictures\n"), "{text}");
    let (picture_width, picture) = pixels(&task.file("pictures/a.png"));
    // the outline, in the first colour, lies at the same place of both halves, right of the body: left in its panel
    let orange: Vec<(usize, usize)> = picture
        .iter()
        .enumerate()
        .filter(|(_, p)| **p == [230, 159, 0])
        .map(|(i, _)| (i / picture_width, i % picture_width))
        .collect();
    let half = (picture_width - 16) / 2;
    let (left, right): (Vec<_>, Vec<_>) = orange.into_iter().partition(|(_, column)| *column < half);
    // below the panels the legend has one square of it
    let last = left.iter().map(|(row, _)| *row).max().unwrap();
    let left: Vec<_> = left.into_iter().filter(|(row, _)| row + 14 <= last).collect();
    assert!(left.len() > 500);
    let moved: Vec<_> = left.iter().map(|(row, column)| (*row, column + half)).collect();
    assert_eq!(moved, right);
    let axial: Vec<_> = left.iter().filter(|(row, _)| *row < 500).collect();
    let mean = |of: fn(&(usize, usize)) -> usize| axial.iter().map(|p| of(p)).sum::<usize>() / axial.len();
    assert!(mean(|p| p.1) < 16 + 420 / 2 && mean(|p| p.0) < 110 + 420 / 2, "not right and front");

    assert_eq!(task.ask(&[&words[..], &["--only", "b", "--out", "more"]].concat()[..]).0, 2);
    let (code, _, text) = task.ask(&["preview", "--shards", "shards", "--raw", "raw", "--out", "shards/x"]);
    assert!(code == 1 && text.contains("E165 --out lies in the shard directory"), "{text}");
    let (code, _, text) = task.ask(&[&words[..], &["--only", "c"]].concat());
    assert!(code == 1 && text.contains("E196 no such case: c."), "{text}");
    // a raw file that is gone costs its picture
    fs_err::remove_file(task.raw().join("imagesTr/b.nii.gz")).unwrap();
    let (code, _, text) = task.ask(&words);
    assert!(code == 3 && text.contains("E194 case b"), "{text}");
}

#[test]
fn info_of_slices_needs_a_voxel_size() {
    let task = Task::new();
    slices(&task.file("cell6"));
    let (code, _, text) = task.ask(&["info", "cell6"]);
    assert!(code == 1 && text.starts_with("E140 case cell6"), "{text}");
    fs_err::write(task.file("cell6.json"), "{\"spacing_zyx_um\": [0.05, 0.004, 0.004]}").unwrap();
    let (code, text, said) = task.ask(&["info", "cell6"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        text.contains("3x4x5 voxels") && text.contains("50x4x4 nm") && text.contains("0 to 135"),
        "{text}"
    );
}

/// Three slices of 4 by 5 pixels.
fn slices(folder: &std::path::Path) {
    fs_err::create_dir_all(folder).unwrap();
    for z in 0..3_u8 {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 5, 4);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&(0..20).map(|i| i * 7 + z).collect::<Vec<u8>>()).unwrap();
        writer.finish().unwrap();
        fs_err::write(folder.join(format!("s{z}.png")), bytes).unwrap();
    }
}

#[test]
fn a_run_takes_the_voxel_size_of_stacks_from_a_flag_and_a_new_one_makes_them_anew() {
    let task = Task::new();
    slices(&task.raw().join("stacks/cell6"));
    task.describe(|d| {
        d.raw = data_manifests::descriptor::Raw::Stack {
            folder: ".".into(),
            images: Some("stacks".into()),
            labels: None,
            spacing_zyx: None,
            unit: None,
        };
        d.labels = None;
        d.grid.spacing_zyx = [1.0; 3];
    });
    let (code, text) = task.process(&[]);
    assert!(code == 1 && text.contains("E140 case cell6") && text.contains("or --spacing-zyx"), "{text}");
    let (code, text) = task.process(&["--spacing-zyx", "1,1,1"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(task.open("cell6").record().shape_zyx, [3, 4, 5]);
    let (code, text) = task.process(&["--spacing-zyx", "2,1,1"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("I170 0 cases reused, 1 recomputed (plan changed: spacing_zyx)"), "{text}");
    // from the first slice to the last, as MONAI resamples
    assert_eq!(task.open("cell6").record().shape_zyx, [5, 4, 5]);

    let (code, text) = Task::noise(1, [8, 8, 8]).process(&["--spacing-zyx", "1,1,1"]);
    assert!(code == 1 && text.contains("E168 --spacing-zyx cannot be used"), "{text}");
}
