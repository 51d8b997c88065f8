//! A descriptor of a raw folder that nobody has described: what `dataset.json` and the headers say, and plain defaults for the
//! rest, each of them marked as one.

use crate::descriptor::{
    Descriptor, Grid, Intensities, Intensity, Modality, Raw, Resampling, Text, Tolerance, Unit,
};
use crate::plan::rules;
use crate::raw::index::{FILE_NAME, Index, Kind};
use crate::raw::{self, open};
use rayon::prelude::*;
use stage::{Message, Severity};
use std::path::Path;
use volume::Orientation;

/// Window of CT intensities where no plan says better: from lung to dense bone.
const CT_WINDOW: [f32; 2] = [-1000.0, 1000.0];
/// GPU memory that the patch is made for, as nnU-Net's default.
const GPU_GB: f64 = 8.0;
/// Problems that are named where there is nothing else.
const PROBLEMS_SHOWN: usize = 5;
const COMPLETE: &str = "derived, to be completed";

impl Descriptor {
    /// Describes a Decathlon or nnU-Net v2 folder by its `dataset.json` and the headers of its training images.
    ///
    /// Taken from there: name (of the folder), channels, labels with regions and ignore value, licence, reference, modality (CT
    /// where the first channel is called CT, EM where it is called EM, else MRI), the kind of each channel's intensity rule by its name as
    /// nnU-Net chooses it, spacing and patch by nnU-Net's rules from the headers. Defaults that a plan or a person should complete: a wide window for CT and plain z-scores for MRI (`preprocess plan`
    /// measures the intensities), no mirror axes, no anatomy beyond `body`, the class names as vocabulary, and one voxel as
    /// tolerance of surface distances, which is no published number.
    ///
    /// # Errors
    /// `E191` where there is no such folder, `E198` with all that is wrong in `dataset.json`, `E022` where the geometry cannot be told.
    pub fn from_folder(folder: &Path) -> anyhow::Result<Self> {
        if !folder.join(FILE_NAME).is_file() {
            return Err(Message::error("E191", "the folder has no dataset.json")
                .detail(folder.display().to_string())
                .fix("Give a Decathlon or nnU-Net folder, a descriptor in TOML, or a built-in name")
                .into());
        }
        let index = Index::read(folder).map_err(|e| {
            Message::error("E191", "dataset.json cannot be read")
                .detail(format!("{e:#}"))
                .fix("Correct the line")
        })?;
        if index.flaws().next().is_some() {
            return Err(index.refusal().into());
        }
        let own = own_name(folder)?;
        let channels =
            if index.channels.is_empty() { vec!["image".to_owned()] } else { index.channels.clone() };
        let modality = modality(&channels);
        let labels = index.labels.as_ref().map(|declared| declared.labels());
        let classes = labels.as_ref().map(|l| l.classes.clone()).unwrap_or_default();
        let known = |text: Option<String>| text.unwrap_or_else(|| "not stated in dataset.json".to_owned());
        let raw = match index.kind {
            Kind::Msd => Raw::Msd { folder: own.clone() },
            Kind::Nnunet => Raw::Nnunet { folder: own.clone() },
        };
        let mut descriptor = Self {
            title: index.text(&["name"]).unwrap_or_else(|| own.clone()),
            citation: known(index.text(&["reference", "citation"])),
            licence: known(index.text(&["licence", "license", "Licence", "License", "LICENSE"])),
            labels,
            ..plain(&own, modality, channels, raw)
        };
        descriptor.text.vocabulary = classes.iter().skip(1).cloned().collect();
        descriptor.intensity = descriptor.channels.iter().map(|name| rule(name)).collect::<Vec<_>>().into();
        descriptor.measure(folder)?;
        if descriptor.labels.is_some() {
            let nsd_mm = descriptor.grid.spacing_zyx.into_iter().fold(0.0, f64::max);
            descriptor.tolerance =
                Some(Tolerance { nsd_mm, source: format!("one voxel of the grid ({COMPLETE})") });
        }
        Self::parse(&toml::to_string(&descriptor)?, &folder.display().to_string())
    }

    /// Describes a folder of images without labels, at any depth: [`Raw::Images`] without patterns. Spacing, patch and defaults are those of
    /// [`Descriptor::from_folder`]; the number of channels is that of the first image.
    ///
    /// # Errors
    /// `E191` where there is no image, `E022` where none can be read.
    pub fn of_images(folder: &Path, modality: Modality) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            return Err(Message::error("E191", "there is no such folder")
                .detail(folder.display().to_string())
                .fix("Give the folder that holds the images")
                .into());
        }
        let own = own_name(folder)?;
        let raw = Raw::Images { folder: own.clone(), images: Vec::new(), exclude: Vec::new(), subject: None };
        let name = match modality {
            Modality::Ct => "CT",
            Modality::Mri => "MRI",
            Modality::Em => "EM",
        };
        let mut descriptor = plain(&own, modality, vec![name.to_owned()], raw);
        let listing = raw::list(&descriptor, folder)?;
        let counts = listing.cases.iter().filter_map(|case| open::header(&case.image).ok());
        if let Some((channels, _)) = counts.into_iter().next().filter(|(channels, _)| *channels > 1) {
            descriptor.channels = (0..channels).map(|channel| format!("{name} {channel}")).collect();
            descriptor.text.imaging = imaging(modality, &descriptor.channels);
        }
        descriptor.measure(folder)?;
        Self::parse(&toml::to_string(&descriptor)?, &folder.display().to_string())
    }

    /// Fills in spacing and patch from the headers.
    fn measure(&mut self, folder: &Path) -> anyhow::Result<()> {
        let grids = headers(self, folder)?;
        let spacings: Vec<[f64; 3]> = grids.iter().map(|g| g.0).collect();
        let shapes: Vec<[f64; 3]> = grids.iter().map(|g| g.1).collect();
        let spacing = rules::target_spacing(&spacings, &shapes);
        let resampled: Vec<[f64; 3]> =
            grids.iter().map(|(from, shape)| rules::resampled_shape(*shape, *from, spacing)).collect();
        let outputs = self.labels.as_ref().map_or(0, |labels| labels.classes.len()).max(2);
        self.grid.spacing_zyx = spacing;
        self.grid.patch_zyx = rules::patch_size(spacing, rules::median(&resampled), outputs, GPU_GB);
        self.grid.source = format!("nnU-Net's rules on {} headers ({COMPLETE})", grids.len());
        Ok(())
    }
}

/// What nothing but the folder's name and the modality tells.
fn plain(own: &str, modality: Modality, channels: Vec<String>, raw: Raw) -> Descriptor {
    Descriptor {
        name: slug(own),
        title: own.to_owned(),
        source: format!("raw folder {own}"),
        citation: "not stated".to_owned(),
        licence: "not stated".to_owned(),
        modality,
        train_cases: None,
        test_cases: None,
        raw,
        tolerance: None,
        labels: None,
        grid: Grid {
            unit: Unit::Mm,
            spacing_zyx: [1.0; 3],
            patch_zyx: [1; 3],
            source: String::new(),
            resampling: Resampling::Linear,
        },
        intensity: Intensities::All(match modality {
            Modality::Ct => Intensity::CtWindow { low: CT_WINDOW[0], high: CT_WINDOW[1] },
            Modality::Mri => Intensity::MriZscore { nonzero: false },
            Modality::Em => Intensity::EmScale {},
        }),
        text: Text {
            anatomy: "body".to_owned(),
            imaging: imaging(modality, &channels),
            vocabulary: Vec::new(),
            stride: 10,
            tile_yx: [224, 224],
        },
        channels,
        mirror_axes: Vec::new(),
        published: Vec::new(),
    }
}

/// Name of a folder; 'dir/.' and 'dir/..' have none of their own.
fn own_name(folder: &Path) -> anyhow::Result<String> {
    let own = fs_err::canonicalize(folder)?;
    Ok(own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Spacing (mm) and shape of every readable training image, canonical, z, y, x.
fn headers(descriptor: &Descriptor, folder: &Path) -> anyhow::Result<Vec<([f64; 3], [f64; 3])>> {
    let listing = raw::list(descriptor, folder)?;
    let read: Vec<_> = listing.cases.par_iter().map(|case| open::header(&case.image)).collect();
    // a case whose header cannot be read is reported when it is worked on
    let grids: Vec<_> = read
        .iter()
        .flatten()
        .map(|(_, grid)| {
            let canonical = Orientation::to_canonical(grid).apply_to_grid(grid);
            (canonical.spacing_zyx_mm(), canonical.shape_zyx.map(|n| n as f64))
        })
        .collect();
    if grids.is_empty() {
        let unreadable = read.into_iter().filter_map(Result::err).map(|e| e.to_string());
        let problems =
            listing.problems.iter().filter(|p| p.severity == Severity::Error).map(ToString::to_string);
        let all: Vec<String> = problems.chain(unreadable).collect();
        let more = all.len().saturating_sub(PROBLEMS_SHOWN);
        let mut why = all.iter().take(PROBLEMS_SHOWN).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            why.push_str(&format!("; and {more} more"));
        }
        if why.is_empty() {
            why = format!("{}: no case has all its files", folder.display());
        }
        return Err(Message::error("E022", "no case can be read, so spacing and patch are unknown")
            .detail(why)
            .fix("Correct the files, or write a descriptor that states them: 'data-manifests show msd04-hippocampus' is one to begin with")
            .into());
    }
    Ok(grids)
}

/// By the first channel's name: what texts and views go by.
fn modality(channels: &[String]) -> Modality {
    match channels.first().map(|name| name.trim().to_lowercase()).as_deref() {
        Some("ct") => Modality::Ct,
        Some("em" | "electron microscopy") => Modality::Em,
        _ => Modality::Mri,
    }
}

/// The rule of a channel by its name, as nnU-Net chooses a normalisation.
fn rule(channel: &str) -> Intensity {
    match channel.trim().to_lowercase().as_str() {
        "ct" => Intensity::CtWindow { low: CT_WINDOW[0], high: CT_WINDOW[1] },
        "em" | "electron microscopy" | "rgb_to_0_1" => Intensity::EmScale {},
        "rescale_to_0_1" => Intensity::MinMax {},
        "nonorm" => Intensity::None {},
        _ => Intensity::MriZscore { nonzero: false },
    }
}

/// Beginnings of words by which channels of MRI are known, in lower case, and whole ones.
const MRI_BEGINNINGS: [&str; 6] = ["mr", "t1", "t2", "flair", "dwi", "dti"];
const MRI_WORDS: [&str; 11] =
    ["adc", "pd", "swi", "tof", "bold", "cine", "dce", "gre", "lge", "bssfp", "magnitude"];

impl Descriptor {
    /// Says so where a raw folder describes itself and its channels' names do not tell MRI, which it is then taken for.
    #[must_use]
    pub fn doubtful_modality(&self) -> Option<Message> {
        let known = |name: &String| {
            let name = name.to_lowercase();
            name.split(|c: char| !c.is_alphanumeric()).any(|word| {
                MRI_WORDS.contains(&word)
                    || MRI_BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
            })
        };
        let is_guess = self.modality == Modality::Mri
            && matches!(self.raw, Raw::Msd { .. } | Raw::Nnunet { .. })
            && self.grid.source.contains(COMPLETE)
            && !self.channels.iter().any(known);
        is_guess.then(|| {
            Message::warning("W110", "the modality is taken for MRI")
                .detail(format!("dataset.json calls the channels {}", self.channels.join(", ")))
                .cause("Intensities are normalised and reports are written for it")
                .fix(
                    "If they are something else, save what 'data-manifests show' prints for the folder, correct 'modality', 'intensity' and \
                     'imaging' in it, and give that as --dataset",
                )
        })
    }
}

fn imaging(modality: Modality, channels: &[String]) -> String {
    match modality {
        Modality::Ct if channels.iter().all(|name| name.to_lowercase().starts_with("ct")) => {
            "computed tomography".to_owned()
        }
        Modality::Ct => listed("computed tomography", channels),
        Modality::Em => "electron microscopy".to_owned(),
        Modality::Mri => match channels {
            [one] if one.to_lowercase().starts_with("mr") => "magnetic resonance imaging".to_owned(),
            _ => listed("magnetic resonance imaging", channels),
        },
    }
}

/// With the channels' names, but for those that say how intensities are treated and nothing of the image.
fn listed(imaging: &str, channels: &[String]) -> String {
    const TREATMENTS: [&str; 4] = ["nonorm", "rescale_to_0_1", "rgb_to_0_1", "zscore"];
    let named: Vec<&str> = channels
        .iter()
        .map(String::as_str)
        .filter(|name| !TREATMENTS.contains(&name.trim().to_lowercase().as_str()))
        .collect();
    if named.is_empty() { imaging.to_owned() } else { format!("{imaging} ({})", named.join(", ")) }
}

/// `Dataset027_ACDC` → `dataset027-acdc`.
fn slug(name: &str) -> String {
    let plain: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "dataset".to_owned() } else { parts.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_names() {
        assert_eq!(slug("Dataset027_ACDC"), "dataset027-acdc");
        assert_eq!(slug("My  Data (ä)"), "my-data");
        assert_eq!(slug("ä"), "dataset");
    }
}
