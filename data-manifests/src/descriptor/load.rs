//! Finding descriptors: built in, in a file, or derived from a folder.

use super::Descriptor;
use crate::raw::paths;
use stage::Message;
use std::path::Path;

/// The descriptors that come with the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("msd01-braintumour", include_str!("../../datasets/msd01-braintumour.toml")),
    ("msd02-heart", include_str!("../../datasets/msd02-heart.toml")),
    ("msd03-liver", include_str!("../../datasets/msd03-liver.toml")),
    ("msd04-hippocampus", include_str!("../../datasets/msd04-hippocampus.toml")),
    ("msd05-prostate", include_str!("../../datasets/msd05-prostate.toml")),
    ("msd06-lung", include_str!("../../datasets/msd06-lung.toml")),
    ("msd07-pancreas", include_str!("../../datasets/msd07-pancreas.toml")),
    ("msd08-hepaticvessel", include_str!("../../datasets/msd08-hepaticvessel.toml")),
    ("msd09-spleen", include_str!("../../datasets/msd09-spleen.toml")),
    ("msd10-colon", include_str!("../../datasets/msd10-colon.toml")),
    ("cremi-a", include_str!("../../datasets/cremi-a.toml")),
    ("cremi-b", include_str!("../../datasets/cremi-b.toml")),
    ("cremi-c", include_str!("../../datasets/cremi-c.toml")),
];

/// Says that there is no such data set: of a path what is there instead, of a name which ones are like it.
fn unknown(name_or_file: &str) -> Message {
    let message = Message::error("E020", format!("no dataset '{name_or_file}'"));
    let path = Path::new(name_or_file);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_data_set =
        |path: &Path| path.join("dataset.json").is_file() || path.extension().is_some_and(|e| e == "toml");
    let beside = paths::nearest_in(parent.unwrap_or(Path::new(".")), &name, is_data_set);
    if let Some(parent) = parent {
        let detail = match (parent.is_dir(), beside.first()) {
            (false, _) => format!("The folder {} does not exist", parent.display()),
            (true, None) => format!("{} holds no such file or folder", parent.display()),
            (true, Some(_)) => format!("Nearest in {}: {}", parent.display(), beside.join(", ")),
        };
        return message
            .detail(detail)
            .fix("Correct the path, or use a built-in name, which 'data-manifests list' prints");
    }
    let built_in = || BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    let text = name_or_file.to_lowercase();
    let is_near = |name: &String| name.split('-').any(|part| part.len() > 2 && text.contains(part));
    let mut near: Vec<String> = built_in().filter(is_near).collect();
    if near.is_empty() {
        near = paths::nearest(name_or_file, built_in().collect());
    }
    let message = message.detail("It is neither a built-in name nor a file");
    if near.is_empty() && !beside.is_empty() {
        return message.fix(format!("Correct the name, nearest here: {}", beside.join(", ")));
    }
    let near = if near.is_empty() { built_in().collect() } else { near };
    message.fix(format!("Use one of {}, or the path of a descriptor in TOML", near.join(", ")))
}

impl Descriptor {
    /// The descriptors that come with the program, in the order of the benchmark.
    ///
    /// # Errors
    /// A built-in file that is not valid; a test rules it out.
    pub fn built_in() -> anyhow::Result<Vec<Self>> {
        BUILT_IN.iter().map(|(name, text)| Self::parse(text, name)).collect()
    }

    /// A built-in descriptor by name, one from a TOML file by path, or one derived from a raw folder with `dataset.json`
    /// (see [`Descriptor::from_folder`]).
    ///
    /// # Errors
    /// `E020` for an unknown name, with the nearest ones; `E021` for a file that is not a descriptor.
    pub fn find(name_or_file: &str) -> anyhow::Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_file);
        if path.is_file() {
            return Self::parse(&fs_err::read_to_string(path)?, name_or_file);
        }
        if path.join("dataset.json").is_file() {
            return Self::from_folder(path);
        }
        if path.is_dir() {
            return Err(Message::error("E020", format!("'{name_or_file}' is not a data set by itself"))
                .detail("It is a folder without a dataset.json, which would describe it")
                .fix(
                    "Give --dataset a built-in name or a descriptor in TOML, and the folder to --raw; \
                     'data-manifests show DIR --images MODALITY' describes a folder of images without labels",
                )
                .into());
        }
        // nnU-Net knows data sets by the names of their folders
        let nnunet = std::env::var_os("nnUNet_raw").map(|root| Path::new(&root).join(name_or_file));
        if let Some(folder) = nnunet.filter(|folder| folder.join("dataset.json").is_file()) {
            return Err(Message::error("E020", format!("no dataset '{name_or_file}'"))
                .detail("nnUNet_raw has a folder of this name")
                .fix(format!("Give {}", folder.display()))
                .into());
        }
        Err(unknown(name_or_file).into())
    }

    /// The TOML text of a built-in descriptor, with its comments.
    #[must_use]
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| *text)
    }

    /// Parses and checks a descriptor; `origin` names it in messages.
    ///
    /// # Errors
    /// `E021` says what is wrong with it.
    pub fn parse(text: &str, origin: &str) -> anyhow::Result<Self> {
        let wrong = |detail: String| {
            Message::error("E021", "the dataset descriptor is not valid")
                .detail(format!("{origin}: {detail}"))
                .fix("Compare it with the output of 'data-manifests show msd04-hippocampus'")
        };
        let descriptor: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        descriptor.check().map_err(|e| wrong(format!("{e:#}")))?;
        Ok(descriptor)
    }
}
