//! Directories that the stages before would have written, and runs of the executable.
#![expect(dead_code, reason = "each test file uses a part")]

use data_manifests::descriptor::Modality;
use data_manifests::records::{self, Caption, Plane};
use data_manifests::{CaseRow, CaseSplit, CaseStatus, Descriptor, Manifest, cases};
use patches::{CaseRecord, ChannelRecord, Normalisation, ShardStore, SourceRecord, write_case};
use serde_json::json;
use std::path::Path;

/// The executable, without anything from this process's environment that matters to it.
pub(crate) fn text_synth() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"));
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL");
    command
}

/// A volume to be written as shards: raw values are `[channel, z, y, x]`.
pub(crate) struct Volume {
    pub id: &'static str,
    pub dataset: &'static str,
    pub shape_zyx: [usize; 3],
    pub spacing_zyx_mm: [f64; 3],
    pub normalisation: Normalisation,
    pub raw: Vec<f32>,
}

/// Writes a finished shard directory in `directory`.
pub(crate) fn shards(directory: &Path, volumes: &[Volume]) {
    let descriptor = Descriptor::find(volumes[0].dataset).unwrap();
    let mut rows = Vec::new();
    for volume in volumes {
        let rule = volume.normalisation;
        let stored: Vec<f32> = volume
            .raw
            .iter()
            .map(|raw| {
                let clipped = rule.clip.map_or(*raw, |[low, high]| raw.clamp(low, high));
                if rule.keep_zeros && *raw == 0.0 { 0.0 } else { (clipped - rule.subtract) / rule.divide }
            })
            .collect();
        let voxels: usize = volume.shape_zyx.iter().product();
        let channels =
            descriptor.channels.iter().zip(stored.chunks(voxels)).map(|(name, values)| ChannelRecord {
                name: name.clone(),
                normalisation: rule,
                minimum: values.iter().copied().fold(f32::INFINITY, f32::min),
                maximum: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                moments: None,
            });
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let record = CaseRecord {
            schema: CaseRecord::SCHEMA.into(),
            id: volume.id.into(),
            subject: volume.id.into(),
            dataset: volume.dataset.into(),
            modality: descriptor.modality,
            channels: channels.collect(),
            shape_zyx: volume.shape_zyx,
            spacing_zyx_mm: volume.spacing_zyx_mm,
            affine,
            work: String::new(),
            source: SourceRecord {
                image: "$RAW/a".into(),
                image_sha256: String::new(),
                label: None,
                label_sha256: None,
                steps: volume::prepare::Steps::identity(volume::Grid { shape_zyx: volume.shape_zyx, affine }),
            },
            label: None,
            warnings: Vec::new(),
        };
        let case = ShardStore::case_directory(directory, volume.id);
        fs_err::create_dir_all(&case).unwrap();
        write_case(&case, &record, &stored, None, &[]).unwrap();
        rows.push(CaseRow {
            id: volume.id.into(),
            subject: volume.id.into(),
            image: "$RAW/a".into(),
            label: String::new(),
            split: CaseSplit::Train,
            shape: cases::triple(&volume.shape_zyx),
            spacing: cases::triple(&volume.spacing_zyx_mm),
            status: CaseStatus::Done,
            digest: String::new(),
            label_voxels: String::new(),
        });
    }
    let toml = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../data-manifests/datasets")
        .join(format!("{}.toml", volumes[0].dataset));
    fs_err::copy(toml, directory.join("dataset.toml")).unwrap();
    stage::atomic::write(&directory.join(cases::FILE_NAME), &cases::to_csv(&rows).unwrap()).unwrap();
    let mut manifest = Manifest::new("preprocess", "0", "preprocess", &json!({}), Vec::new()).unwrap();
    manifest.datasets = vec![volumes[0].dataset.into()];
    manifest.licence = "CC-BY-SA 4.0".into();
    manifest.finish(directory, |_| "shards").unwrap();
}

/// Normalisation of a CT window.
pub(crate) fn window(low: f32, high: f32) -> Normalisation {
    let (subtract, divide) = (f32::midpoint(low, high), (high - low) / 2.0);
    Normalisation { clip: Some([low, high]), subtract, divide, keep_zeros: false }
}

fn noise(i: usize) -> f32 {
    // a fixed hash, so that pictures are textured and the same everywhere
    let x = (i as u32).wrapping_mul(2_654_435_761) ^ 0x9e37_79b9;
    (x.wrapping_mul(x >> 15 | 1) >> 8) as f32 / (1 << 24) as f32 - 0.5
}

/// An abdomen of sorts: air, a ring of fat, soft tissue, a spine, a gas bubble that grows with z.
pub(crate) fn ct(id: &'static str) -> Volume {
    let shape = [12, 60, 80];
    let raw = (0..shape.iter().product()).map(|i| {
        let (z, y, x) = (i / 4800, i / 80 % 60, i % 80);
        let (dy, dx) = (y as f32 - 30.0, x as f32 - 40.0);
        let r = (dy / 26.0).hypot(dx / 36.0);
        let base = if (dy + 14.0).hypot(dx) < 5.0 {
            600.0
        } else if (dy - 8.0).hypot(dx + 16.0) < 2.0 + z as f32 * 0.4 {
            -900.0
        } else if r < 0.85 {
            55.0
        } else if r < 1.0 {
            -100.0
        } else {
            -1000.0
        };
        base + 10.0 * noise(i)
    });
    Volume {
        id,
        dataset: "msd03-liver",
        shape_zyx: shape,
        spacing_zyx_mm: [5.0, 3.0, 3.0],
        normalisation: window(-1000.0, 1000.0),
        raw: raw.collect(),
    }
}

/// A brain of sorts in four channels: zeros outside, a lesion that is bright in the first.
pub(crate) fn mri(id: &'static str) -> Volume {
    let shape = [10, 40, 36];
    let voxels: usize = shape.iter().product();
    let raw = (0..4 * voxels).map(|flat| {
        let (c, i) = (flat / voxels, flat % voxels);
        let (z, y, x) = (i / 1440, i / 36 % 40, i % 36);
        let (dy, dx) = (y as f32 - 20.0, x as f32 - 18.0);
        if (dy / 18.0).hypot(dx / 15.0) >= 1.0 {
            0.0
        } else if (dy - 6.0).hypot(dx - 7.0) < 1.5 + z as f32 * 0.3 {
            if c == 0 { 900.0 } else { 300.0 }
        } else if dx.abs() < 3.0 && dy.abs() < 6.0 {
            if c == 3 { 900.0 } else { 200.0 }
        } else {
            500.0 + 60.0 * noise(flat)
        }
    });
    Volume {
        id,
        dataset: "msd01-braintumour",
        shape_zyx: shape,
        spacing_zyx_mm: [1.0; 3],
        normalisation: Normalisation { clip: None, subtract: 500.0, divide: 150.0, keep_zeros: true },
        raw: raw.collect(),
    }
}

/// Neuropil of sorts: cells parted by dark lines, with one dark organelle that grows with z.
pub(crate) fn em(id: &'static str) -> Volume {
    let shape = [4, 200, 460];
    let raw = (0..shape.iter().product()).map(|i| {
        let (z, y, x) = (i / 92_000, i / 460 % 200, i % 460);
        let (my, mx) = ((y + 3 * z) % 50, (x + 2 * z) % 70);
        let inside = (y as f32 - 75.0).hypot(x as f32 - 100.0) < 12.0 + z as f32;
        let base = if my < 4 || mx < 4 {
            60.0
        } else if inside {
            50.0
        } else {
            170.0
        };
        base + 30.0 * noise(i)
    });
    Volume {
        id,
        dataset: "cremi-a",
        shape_zyx: shape,
        spacing_zyx_mm: [4e-5, 4e-6, 4e-6],
        normalisation: Normalisation { clip: None, subtract: 127.5, divide: 127.5, keep_zeros: false },
        raw: raw.collect(),
    }
}

/// Runs `caption` and gives what it wrote.
pub(crate) fn captions(shards: &Path, out: &Path, extra: &[&str]) -> Vec<Caption> {
    let mut command = text_synth();
    command.args(["caption", "--quiet", "--shards"]).arg(shards).arg("--out").arg(out).args(extra);
    command.assert().success();
    records::read_lines(&out.join(records::CAPTIONS)).unwrap()
}

/// A finished caption directory with `n` captions in it, made by hand.
pub(crate) fn caption_directory(directory: &Path, n: usize) -> Vec<Caption> {
    let captions: Vec<_> = (0..n)
        .map(|i| Caption {
            id: format!("patient_{i}:axial:0:0"),
            case: format!("patient_{i}"),
            dataset: "msd03-liver".into(),
            plane: Plane::Axial,
            index: 0,
            box_zyx: [0, 0, 0, 1, 8, 8],
            caption: format!("Axial CT slice of the abdomen with {i} dense structures."),
            captioner: "measure/3".into(),
            facts: [("modality".to_owned(), json!("ct")), ("anatomy".to_owned(), json!("abdomen"))].into(),
        })
        .collect();
    stage::atomic::write(&directory.join(records::CAPTIONS), &records::to_lines(&captions).unwrap()).unwrap();
    let descriptor = Descriptor::find("msd03-liver").unwrap();
    assert_eq!(descriptor.modality, Modality::Ct);
    let parameters = json!({
        "captioner": "measure/3",
        "plan": {"planes": ["axial"], "stride": 1, "tile_yx": [8, 8], "seed": 0},
        "text": descriptor.text,
    });
    let manifest = Manifest::new("caption", "0", "text-synth", &parameters, Vec::new()).unwrap();
    manifest.finish(directory, |_| "captions").unwrap();
    captions
}

/// Every byte below a directory, as text.
pub(crate) fn everything(directory: &Path) -> String {
    let files = data_manifests::digest::files_below(directory).unwrap();
    let read = |f: &String| String::from_utf8_lossy(&fs_err::read(directory.join(f)).unwrap()).into_owned();
    files.iter().map(read).collect::<Vec<_>>().join("\n")
}

/// A file of reference numbers.
pub(crate) fn golden(name: &str) -> std::path::PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    std::env::var_os("GTGM_GOLDEN").map_or_else(own, Into::into).join(name)
}

/// A BLIP directory: the tiny reference model and a vocabulary of as many words as it has embeddings.
pub(crate) fn tiny_blip(directory: &Path) {
    fs_err::create_dir_all(directory).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(golden("blip_tiny").join(name), directory.join(name)).unwrap();
    }
    let special = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "figure", "3", "."].map(str::to_owned);
    let words: Vec<String> = special.into_iter().chain((7..200).map(|n| format!("word{n}"))).collect();
    stage::atomic::write(&directory.join("vocab.txt"), words.join("\n").as_bytes()).unwrap();
}

/// Size (height, width) and values of a grey PNG file.
pub(crate) fn read_png(bytes: &[u8]) -> ([usize; 2], Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut values = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut values).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Grayscale, png::BitDepth::Eight));
    ([info.height as usize, info.width as usize], values)
}
