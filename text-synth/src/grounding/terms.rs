//! The vocabulary: terms with their synonyms, parents, and the modalities and body regions in which they can occur.
//!
//! The built-in table is `vocabulary/terms.csv`; each row names its source. Files given beside it may have the same columns, be
//! an export of an ontology from BioPortal (RadLex, SNOMED CT: CSV with `Class ID`, `Preferred Label`, `Synonyms`, `Parents`),
//! or SNOMED CT's own description file (RF2: tab-separated, with `conceptId`, `term`, `active`).

use data_manifests::descriptor::Modality;
use serde::Deserialize;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const BUILT_IN: &str = include_str!("../../vocabulary/terms.csv");

/// What a term stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A part of a body or of a cell.
    Anatomy,
    /// A way of imaging.
    Modality,
    /// A plane of section.
    Plane,
    /// Something that the captioner measures: its facts bear it.
    Measured,
    /// A word for how things look in one modality.
    Appearance,
    /// A finding or diagnosis: nothing measures it.
    Finding,
    /// A term of another vocabulary whose kind is not told.
    Other,
}

/// A term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Its name.
    pub label: String,
    /// Other words for it.
    pub synonyms: Vec<String>,
    /// What it stands for.
    pub kind: Kind,
    /// Names of terms that contain it.
    pub parents: Vec<String>,
    /// Modalities in which it can be seen, such as `ct`; empty: all.
    pub modalities: BTreeSet<String>,
    /// Regions of the body in which it lies; empty: not told.
    pub regions: BTreeSet<String>,
    /// Beginnings of the names of facts that bear it; `*` stands for a channel.
    pub facts: Vec<String>,
}

/// A vocabulary.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    terms: BTreeMap<String, Term>,
}

#[derive(Deserialize)]
struct Row {
    label: String,
    synonyms: String,
    kind: Kind,
    parents: String,
    modalities: String,
    regions: String,
    facts: String,
    source: String,
}

/// A row of BioPortal's CSV exports; other columns are passed over.
#[derive(Deserialize)]
struct Exported {
    #[serde(rename = "Class ID")]
    id: String,
    #[serde(rename = "Preferred Label")]
    label: String,
    #[serde(rename = "Synonyms", default)]
    synonyms: String,
    #[serde(rename = "Obsolete", default)]
    obsolete: String,
    #[serde(rename = "Parents", default)]
    parents: String,
}

/// A row of SNOMED CT's description file.
#[derive(Deserialize)]
struct Description {
    active: String,
    #[serde(rename = "conceptId")]
    concept: String,
    term: String,
}

fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('|').map(str::trim).filter(|part| !part.is_empty()).map(str::to_lowercase)
}

impl Terms {
    /// The built-in vocabulary with those of `files`; a term of a later file replaces one of the same name.
    ///
    /// # Errors
    /// `E225` for a file that is none of the known forms.
    pub fn load(files: &[impl AsRef<Path>]) -> anyhow::Result<Self> {
        let mut terms = Self::default();
        terms.add_own(BUILT_IN.as_bytes()).map_err(|reason| wrong("the built-in vocabulary", &reason))?;
        for file in files {
            let path = file.as_ref();
            let bytes = fs_err::read(path)?;
            terms.add(&bytes).map_err(|reason| wrong(&path.display().to_string(), &reason))?;
        }
        terms.inherit();
        Ok(terms)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let header = String::from_utf8_lossy(line).into_owned();
        if header.contains("Preferred Label") {
            self.add_exported(bytes)
        } else if header.contains("conceptId") && header.contains('\t') {
            self.add_descriptions(bytes)
        } else if header.starts_with("label,") {
            self.add_own(bytes)
        } else {
            Err(format!("its first line is '{}'", header.chars().take(80).collect::<String>()))
        }
    }

    fn add_own(&mut self, bytes: &[u8]) -> Result<(), String> {
        for row in csv::Reader::from_reader(bytes).deserialize() {
            let row: Row = row.map_err(|e| e.to_string())?;
            if row.source.trim().is_empty() {
                return Err(format!("term '{}' names no source", row.label));
            }
            self.insert(Term {
                label: row.label.to_lowercase(),
                synonyms: split(&row.synonyms).collect(),
                kind: row.kind,
                parents: split(&row.parents).collect(),
                modalities: split(&row.modalities).collect(),
                regions: split(&row.regions).collect(),
                facts: split(&row.facts).collect(),
            });
        }
        Ok(())
    }

    fn add_exported(&mut self, bytes: &[u8]) -> Result<(), String> {
        let rows: Vec<Exported> = csv::Reader::from_reader(bytes)
            .deserialize()
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        let labels: BTreeMap<&str, &str> = rows.iter().map(|r| (r.id.as_str(), r.label.as_str())).collect();
        for row in rows.iter().filter(|r| !r.obsolete.eq_ignore_ascii_case("true")) {
            let parents = row
                .parents
                .split('|')
                .filter_map(|id| labels.get(id.trim()))
                .map(|label| label.to_lowercase());
            self.insert_foreign(&row.label, split(&row.synonyms).collect(), parents.collect());
        }
        Ok(())
    }

    fn add_descriptions(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').quoting(false).from_reader(bytes);
        let mut concepts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in reader.deserialize() {
            let row: Description = row.map_err(|e| e.to_string())?;
            if row.active == "1" {
                // 'Liver structure (body structure)': the tag tells the kind and is not part of the name
                concepts.entry(row.concept).or_default().push(row.term);
            }
        }
        for terms in concepts.into_values() {
            let tag =
                terms.iter().find_map(|term| term.rsplit_once(" (")?.1.strip_suffix(')')).map(str::to_owned);
            let plain =
                |term: &String| term.rsplit_once(" (").map_or(term.as_str(), |(name, _)| name).to_lowercase();
            let mut names: Vec<String> = terms.iter().map(plain).collect();
            names.dedup();
            if let Some((label, synonyms)) = names.split_first() {
                self.insert_foreign(label, synonyms.to_vec(), tag.into_iter().collect());
            }
        }
        Ok(())
    }

    /// A term of an ontology; one that is known already gains its words only.
    fn insert_foreign(&mut self, label: &str, synonyms: Vec<String>, parents: Vec<String>) {
        let label = label.to_lowercase();
        if let Some(known) = self.terms.get_mut(&label) {
            known.synonyms.extend(synonyms);
            return;
        }
        self.insert(Term {
            label,
            synonyms,
            kind: Kind::Other,
            parents,
            modalities: BTreeSet::new(),
            regions: BTreeSet::new(),
            facts: Vec::new(),
        });
    }

    fn insert(&mut self, term: Term) {
        self.terms.insert(term.label.clone(), term);
    }

    /// What is not told of a term is taken from its ancestors.
    fn inherit(&mut self) {
        let mut gained = Vec::new();
        for term in self.terms.values() {
            let ancestors = self.ancestors(&term.label);
            let of = |f: fn(&Term) -> &BTreeSet<String>| -> BTreeSet<String> {
                ancestors.iter().filter_map(|a| self.terms.get(a)).flat_map(f).cloned().collect()
            };
            let regions = if term.regions.is_empty() { of(|t| &t.regions) } else { term.regions.clone() };
            let modalities =
                if term.modalities.is_empty() { of(|t| &t.modalities) } else { term.modalities.clone() };
            let kind = match term.kind {
                Kind::Other => kind_of(&ancestors, |a| self.terms.get(a).map(|t| t.kind)),
                known => known,
            };
            gained.push((term.label.clone(), regions, modalities, kind));
        }
        for (label, regions, modalities, kind) in gained {
            if let Some(term) = self.terms.get_mut(&label) {
                (term.regions, term.modalities, term.kind) = (regions, modalities, kind);
            }
        }
    }

    /// Names of all terms above one; those that have no row of their own, too.
    #[must_use]
    pub fn ancestors(&self, label: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&String> =
            self.terms.get(label).map(|t| t.parents.iter().collect()).unwrap_or_default();
        while let Some(parent) = next.pop() {
            if found.insert(parent.clone())
                && let Some(term) = self.terms.get(parent)
            {
                next.extend(&term.parents);
            }
        }
        found
    }

    /// A term by its name.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<&Term> {
        self.terms.get(label)
    }

    /// All terms, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Term> {
        self.terms.values()
    }
}

/// Kinds by the names that ontologies give to their upper levels.
fn kind_of(ancestors: &BTreeSet<String>, known: impl Fn(&String) -> Option<Kind>) -> Kind {
    let is = |names: &[&str]| ancestors.iter().any(|a| names.iter().any(|n| a.contains(n)));
    if is(&["anatomical entity", "anatomical structure", "body structure"]) {
        Kind::Anatomy
    } else if is(&["clinical finding", "imaging observation", "disorder", "pathophysiologic", "finding"]) {
        Kind::Finding
    } else {
        let inherited = ancestors.iter().filter_map(known).find(|k| *k != Kind::Other);
        inherited.unwrap_or(Kind::Other)
    }
}

fn wrong(origin: &str, reason: &str) -> Message {
    Message::error("E225", "the vocabulary cannot be used")
        .detail(format!("{origin}: {reason}"))
        .fix("Give a CSV with the columns of text-synth/vocabulary/terms.csv, BioPortal's CSV export of an ontology, or SNOMED CT's description file")
}

/// The word of a modality in vocabularies and facts.
#[must_use]
pub fn modality_word(modality: Modality) -> &'static str {
    match modality {
        Modality::Ct => "ct",
        Modality::Mri => "mri",
        Modality::Em => "em",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_terms_know_their_parents() {
        let terms = Terms::load(&[] as &[&str]).unwrap();
        assert!(terms.iter().count() > 150);
        for term in terms.iter() {
            for parent in &term.parents {
                assert!(terms.get(parent).is_some(), "{}: {parent}", term.label);
            }
        }
        assert!(terms.ancestors("anterior hippocampus").contains("brain"));
    }

    #[test]
    fn exports_of_ontologies_extend_it() {
        let directory = tempfile::tempdir().unwrap();
        let radlex = directory.path().join("radlex.csv");
        fs_err::write(
            &radlex,
            "Class ID,Preferred Label,Synonyms,Definitions,Obsolete,Parents\n\
             R1,liver,,,false,R9\nR2,segment of liver,hepatic segment|Couinaud segment,,false,R1\n\
             R3,old thing,,,true,R9\nR9,anatomical entity,,,false,\n",
        )
        .unwrap();
        let snomed = directory.path().join("descriptions.txt");
        fs_err::write(
            &snomed,
            "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n\
             1\t2020\t1\tm\t77\ten\tt\tHepatic cyst (disorder)\ti\n2\t2020\t1\tm\t77\ten\tt\tHepatic cyst\ti\n\
             3\t2020\t0\tm\t78\ten\tt\tRetired (disorder)\ti\n",
        )
        .unwrap();
        let terms = Terms::load(&[radlex, snomed]).unwrap();
        let segment = terms.get("segment of liver").unwrap();
        assert_eq!((segment.kind, segment.regions.contains("abdomen")), (Kind::Anatomy, true));
        assert_eq!(terms.get("hepatic cyst").unwrap().kind, Kind::Finding);
        assert!(terms.get("old thing").is_none() && terms.get("retired").is_none());
    }

    #[test]
    fn other_files_are_refused_with_their_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        fs_err::write(&path, "name;value\n").unwrap();
        let error = Terms::load(&[&path]).unwrap_err().to_string();
        assert!(error.starts_with("E225") && error.contains("name;value"), "{error}");
    }
}
