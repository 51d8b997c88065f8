use super::*;
use crate::slices::{Slice, axes};
use data_manifests::Descriptor;
use data_manifests::records::Plane;
use patches::{CaseRecord, ChannelRecord, Normalisation, SourceRecord};

/// A slice across the middle of a volume of 4 × 5 × 6 voxels that is dark but for one voxel.
struct Marked {
    descriptor: Descriptor,
    record: CaseRecord,
    slice: Slice,
    pixels: Vec<f32>,
}

impl Marked {
    fn new(dataset: &str, plane: Plane, marker_zyx: [usize; 3]) -> Self {
        let descriptor = Descriptor::find(dataset).unwrap();
        let shape = [4, 5, 6];
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let normalisation = match descriptor.modality {
            Modality::Ct => {
                Normalisation { clip: Some([-175.0, 250.0]), subtract: 0.0, divide: 1.0, keep_zeros: false }
            }
            _ => Normalisation { clip: None, subtract: 0.0, divide: 1.0, keep_zeros: false },
        };
        let [dark, light] = if descriptor.modality == Modality::Ct { [-175.0, 250.0] } else { [0.0, 255.0] };
        let [axis, row, column] = axes(plane);
        let mut box_zyx = [0, 0, 0, shape[0], shape[1], shape[2]];
        (box_zyx[axis], box_zyx[axis + 3]) = (marker_zyx[axis], marker_zyx[axis] + 1);
        let mut pixels = vec![dark; shape[row] * shape[column]];
        pixels[marker_zyx[row] * shape[column] + marker_zyx[column]] = light;
        let channel =
            ChannelRecord { name: "a".into(), normalisation, minimum: dark, maximum: light, moments: None };
        Self {
            record: CaseRecord {
                schema: CaseRecord::SCHEMA.into(),
                id: "c".into(),
                subject: "c".into(),
                dataset: dataset.into(),
                modality: descriptor.modality,
                channels: vec![channel],
                shape_zyx: shape,
                spacing_zyx_mm: [1.0; 3],
                affine,
                work: String::new(),
                source: SourceRecord {
                    image: String::new(),
                    image_sha256: String::new(),
                    label: None,
                    label_sha256: None,
                    steps: volume::prepare::Steps::identity(volume::Grid { shape_zyx: shape, affine }),
                },
                label: None,
                warnings: Vec::new(),
            },
            descriptor,
            slice: Slice {
                case: "c".into(),
                plane,
                index: marker_zyx[axis],
                tile: 0,
                tiles: [1, 1],
                box_zyx,
            },
            pixels,
        }
    }

    fn image(&self) -> SliceImage<'_> {
        SliceImage {
            descriptor: &self.descriptor,
            record: &self.record,
            slice: &self.slice,
            pixels: &self.pixels,
        }
    }
}

/// Row and column of the brightest pixel, and the picture's size.
fn brightest(dataset: &str, plane: Plane, marker_zyx: [usize; 3]) -> ([usize; 2], [usize; 2]) {
    let picture = picture(&Marked::new(dataset, plane, marker_zyx).image());
    let at = picture.values.iter().position(|v| *v == 255).unwrap();
    assert_eq!(picture.values.iter().filter(|v| **v == 0).count(), picture.values.len() - 1);
    ([at / picture.width, at % picture.width], [picture.height, picture.width])
}

#[test]
fn a_marker_lies_where_radiologists_look_for_it() {
    // in RAS+ the last voxels are the patient's head, front and right
    let top_front_right = [3, 4, 5];
    for plane in [Plane::Axial, Plane::Coronal, Plane::Sagittal] {
        assert_eq!(brightest("msd03-liver", plane, top_front_right).0, [0, 0], "{plane:?}");
    }
    // axial: the back is below, the patient's left at the right
    assert_eq!(brightest("msd03-liver", Plane::Axial, [1, 0, 5]), ([4, 0], [5, 6]));
    assert_eq!(brightest("msd03-liver", Plane::Axial, [1, 4, 0]), ([0, 5], [5, 6]));
    // coronal: the feet below, left at the right
    assert_eq!(brightest("msd03-liver", Plane::Coronal, [0, 2, 5]), ([3, 0], [4, 6]));
    assert_eq!(brightest("msd03-liver", Plane::Coronal, [3, 2, 0]), ([0, 5], [4, 6]));
    // sagittal: the feet below, the back at the right
    assert_eq!(brightest("msd03-liver", Plane::Sagittal, [0, 4, 2]), ([3, 0], [4, 5]));
    assert_eq!(brightest("msd03-liver", Plane::Sagittal, [3, 0, 2]), ([0, 4], [4, 5]));
    // electron microscopy as it is stored
    for plane in [Plane::Axial, Plane::Coronal, Plane::Sagittal] {
        assert_eq!(brightest("cremi-a", plane, [0, 0, 0]).0, [0, 0], "{plane:?}");
    }
    assert_eq!(brightest("cremi-a", Plane::Axial, [0, 1, 4]), ([1, 4], [5, 6]));
}

#[test]
fn pixels_become_square() {
    let mut marked = Marked::new("cremi-a", Plane::Coronal, [1, 2, 3]);
    marked.record.spacing_zyx_mm = [4e-5, 4e-6, 4e-6];
    let picture = picture(&marked.image());
    assert_eq!([picture.height, picture.width], [40, 6]);
    // centres of the new rows 14 and 15 lie 0.05 old rows before and behind row 1, that of 24 as far before row 2
    let column: Vec<u8> = (0..40).map(|r| picture.values[r * 6 + 3]).collect();
    assert_eq!((column[14], column[15], column[24], column[25]), (242, 242, 13, 0));
    assert!(column[5..15].is_sorted() && column[15..25].is_sorted_by(|a, b| a >= b), "{column:?}");
    assert!((0..40).all(|r| picture.values[r * 6 + 2] == 0));
}

#[test]
fn a_window_lies_in_what_was_stored() {
    let show = |anatomy: &str, stored: [f32; 2]| {
        let grey = window(anatomy, stored);
        assert!(grey.black >= stored[0] && grey.white <= stored[1]);
        (grey.window.unwrap(), grey.black, grey.white)
    };
    assert_eq!(show("abdomen", [-175.0, 250.0]), ("soft tissue", -150.0, 250.0));
    assert_eq!(show("abdomen", [-100.0, 240.0]), ("soft tissue", -100.0, 240.0));
    assert_eq!(show("chest", [-1000.0, 400.0]), ("lung", -1000.0, 150.0));
    assert_eq!(show("Lungs and heart", [f32::NEG_INFINITY, f32::INFINITY]), ("lung", -1000.0, 150.0));
    // the lung was clamped away
    assert_eq!(show("chest", [-175.0, 250.0]), ("soft tissue", -150.0, 250.0));
    assert_eq!(show("lumbar spine", [-1000.0, 1000.0]), ("bone", -500.0, 1000.0));
    assert_eq!(show("brain", [-1000.0, 1000.0]), ("brain", 0.0, 80.0));
    assert_eq!(show("abdomen", [200.0, 1500.0]), ("stored range", 200.0, 1500.0));
}

#[test]
fn the_greys_are_among_the_facts() {
    let facts = |marked: &Marked| {
        let mut facts = Facts::default();
        Grey::of(&marked.image()).state(&marked.image(), &mut facts);
        facts
    };
    let ct = facts(&Marked::new("msd03-liver", Plane::Axial, [0, 0, 0]));
    assert_eq!(ct.get_word("window"), Some("soft tissue"));
    assert_eq!((ct.get("window_level_hu"), ct.get("window_width_hu")), (Some(50.0), Some(400.0)));
    let mut marked = Marked::new("msd04-hippocampus", Plane::Axial, [0, 0, 0]);
    // tissue begins above 0.2: 101 values from 1 to 2 and much darkness
    marked.record.shape_zyx = [1, 20, 10];
    marked.slice.box_zyx = [0, 0, 0, 1, 20, 10];
    marked.pixels = (0..200).map(|i| if i <= 100 { 1.0 + i as f32 / 100.0 } else { 0.0 }).collect();
    let mri = facts(&marked);
    assert_eq!((mri.get("picture_black"), mri.get("picture_white")), (Some(1.005), Some(1.995)));
    let picture = picture(&marked.image());
    assert_eq!((picture.values[0], picture.values[199 - 50], picture.values[199 - 100]), (0, 128, 255));
    assert_eq!(facts(&Marked::new("cremi-a", Plane::Axial, [0, 0, 0])).iter().count(), 0);
}

#[test]
fn a_png_gives_the_picture_back() {
    let picture = picture(&Marked::new("msd03-liver", Plane::Axial, [2, 1, 3]).image());
    let bytes = super::png(&picture).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    let mut values = vec![0; picture.values.len()];
    let info = reader.next_frame(&mut values).unwrap();
    assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
    assert_eq!(values, picture.values);
}

/// What a rule makes of raw values decides what may be said of them.
mod scales {
    use super::*;
    use crate::captioner::Scale;
    use crate::measure;
    use crate::wording::Wording;
    use data_manifests::descriptor::Intensity;

    fn said(marked: &Marked) -> String {
        let facts = measure::facts(&marked.image());
        let phrases = measure::phrases(&facts, &Wording::new(0, "a"));
        phrases.into_iter().map(|phrase| phrase.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hounsfield_units_are_stated_where_the_rule_says_so() {
        let mut marked = Marked::new("msd09-spleen", Plane::Axial, [1, 2, 3]);
        assert!(marked.image().scale() == Scale::Hounsfield && said(&marked).contains("HU"));
        for rule in [Intensity::Window { low: 0.0, high: 20.0 }, Intensity::MinMax {}, Intensity::None {}] {
            marked.descriptor.intensity = rule.into();
            let text = said(&marked);
            assert!(marked.image().scale() == Scale::Relative, "{text}");
            assert!(!text.contains("HU") && !text.contains("attenuation"), "{text}");
            assert!(text.contains("imaged tissue fills") || text.contains("shows tissue"), "{text}");
            assert_eq!(Grey::of(&marked.image()).window, None);
        }
    }

    #[test]
    fn bright_and_dark_do_not_depend_on_how_a_channel_was_scaled() {
        let mut standard = Marked::new("msd04-hippocampus", Plane::Axial, [1, 2, 3]);
        standard.pixels = (0..30).map(|i| ((i * 37) % 30) as f32 / 6.0 - 2.45).collect();
        let channel = &mut standard.record.channels[0];
        (channel.normalisation.subtract, channel.normalisation.divide) = (100.0, 20.0);
        (channel.minimum, channel.maximum) = (-2.45, 29.0 / 6.0 - 2.45);
        // the same raw values, from 51 on, in another unit
        let mut scaled = Marked::new("msd04-hippocampus", Plane::Axial, [1, 2, 3]);
        scaled.descriptor.intensity = Intensity::MinMax {}.into();
        scaled.pixels = standard.pixels.iter().map(|v| (v * 20.0 + 49.0) / 98.0).collect();
        let channel = &mut scaled.record.channels[0];
        (channel.normalisation.subtract, channel.normalisation.divide) = (51.0, 98.0);
        (channel.minimum, channel.maximum) = (0.0, 1.0);
        channel.moments = Some([49.0 / 98.0, 20.0 / 98.0]);
        let [one, other] = [&standard, &scaled].map(|marked| measure::facts(&marked.image()));
        for name in ["a_bright_fraction", "a_dark_fraction", "a_mean_sd", "tissue_fraction", "picture_black"]
        {
            let [one, other] = [&one, &other].map(|facts| facts.get(name).unwrap());
            assert!((one - other).abs() < 1e-3, "{name}: {one} and {other}");
        }
        assert!(one.get("a_bright_fraction").unwrap() > 0.1);
    }

    #[test]
    fn more_than_8_bits_of_grey_are_shown_in_the_volumes_range() {
        let mut marked = Marked::new("cremi-a", Plane::Axial, [1, 2, 3]);
        assert_eq!(marked.image().scale(), Scale::Grey([0.0, 255.0]));
        let eight = measure::facts(&marked.image()).get("grey_mean").unwrap();
        marked.descriptor.intensity = Intensity::MinMax {}.into();
        let channel = &mut marked.record.channels[0];
        (channel.normalisation.subtract, channel.normalisation.divide) = (1000.0, 60_000.0);
        (channel.minimum, channel.maximum) = (0.0, 1.0);
        marked.pixels.iter_mut().for_each(|value| *value /= 255.0);
        let grey = Grey::of(&marked.image());
        assert_eq!((grey.black, grey.white), (1000.0, 61_000.0));
        assert!((measure::facts(&marked.image()).get("grey_mean").unwrap() - eight).abs() < 1e-2);
    }
}
