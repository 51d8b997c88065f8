//! Cases in a CSV table: columns `id`, `image` (or `image_0`, `image_1`, …, one file per channel), `label`, `subject` and
//! `split`, in any order; paths below the folder.

use super::{Listing, RawCase, Source, add, paths};
use crate::CaseSplit;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Lines shown in one message.
const SHOWN: usize = 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Id,
    Image(usize),
    Label,
    Subject,
    Split,
}

impl Column {
    fn named(name: &str) -> Option<Self> {
        match name.trim().to_lowercase().as_str() {
            "id" => Some(Self::Id),
            "image" => Some(Self::Image(0)),
            "label" => Some(Self::Label),
            "subject" => Some(Self::Subject),
            "split" => Some(Self::Split),
            other => other.strip_prefix("image_")?.parse().ok().map(Self::Image),
        }
    }
}

/// Lists the cases of the table `file` below `root`.
///
/// # Errors
/// `E191` where there is no table, `E198` with line and column of everything that is wrong in it.
pub(super) fn list(root: &Path, file: &str) -> anyhow::Result<Listing> {
    let path = root.join(file);
    if !path.is_file() {
        return Err(Message::error("E191", "the case table does not exist")
            .detail(path.display().to_string())
            .fix("Give the folder that holds it, or correct 'file' below [raw] in the descriptor")
            .into());
    }
    let text = String::from_utf8(fs_err::read(&path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Message::error("E198", "the case table is no UTF-8 text")
            .detail(format!("{}: byte {at} begins no character", path.display()))
            .cause("Spreadsheets save it as UTF-16 or Latin-1 unless they are told")
            .fix("Save it as 'CSV UTF-8', or: iconv -f UTF-16 -t UTF-8 (for Latin-1: -f LATIN1)")
    })?;
    let (cases, flaws) = parse(text.trim_start_matches('\u{feff}'));
    if !flaws.is_empty() {
        let more = match flaws.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let lines: String = flaws.iter().take(SHOWN).map(|flaw| format!("\n  {file}:{flaw}")).collect();
        let errors = if flaws.len() == 1 { "an error" } else { "errors" };
        return Err(Message::error("E198", format!("the case table has {errors}"))
            .detail(format!("{}{lines}{more}", path.display()))
            .fix("Correct the lines (line:column)")
            .into());
    }
    let mut listing = Listing::default();
    for case in cases {
        let images = case.images.iter().map(|path| Source::named(path, root)).collect();
        let Some(image) = Source::channels(images) else { continue };
        let label = case.label.map(|path| Source::named(&path, root));
        let subject = case.subject.unwrap_or_else(|| case.id.clone());
        add(&mut listing, root, RawCase { id: case.id, subject, image, label, split: case.split });
    }
    Ok(listing)
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: String,
    subject: Option<String>,
    images: Vec<String>,
    label: Option<String>,
    split: CaseSplit,
}

/// The cases, and everything that is wrong as `line:column: words`.
fn parse(text: &str) -> (Vec<Row>, Vec<String>) {
    let mut flaws = Vec::new();
    let delimiter = delimiter(text.lines().next().unwrap_or_default());
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(Ok(header)) => header,
        Some(Err(error)) => return (Vec::new(), vec![format!("1:1: {error}")]),
        None => {
            return (
                Vec::new(),
                vec!["1:1: the table is empty; expected the columns id,image,label".to_owned()],
            );
        }
    };
    let columns = columns(&header, &mut flaws);
    let mut rows = Vec::new();
    let mut ids: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                flaws.push(format!("{line}:1: {error}"));
                continue;
            }
        };
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            flaws.push(format!("{line}:1: {} columns, the first line has {}", record.len(), header.len()));
            continue;
        }
        if let Some(row) = row(&record, &columns, line, &mut flaws) {
            match ids.insert(row.id.clone(), line) {
                Some(first) => {
                    let column = columns.get(&Column::Id).map_or(1, |c| c + 1);
                    flaws.push(format!("{line}:{column}: id '{}' stands in line {first} already", row.id));
                }
                None => rows.push(row),
            }
        }
    }
    if rows.is_empty() && flaws.is_empty() {
        flaws.push("2:1: the table has no cases".to_owned());
    }
    (rows, flaws)
}

/// Comma, unless only a semicolon or a tab makes known columns of the first line: spreadsheets write those.
fn delimiter(header: &str) -> u8 {
    let known = |delimiter: u8| {
        header
            .split(char::from(delimiter))
            .filter(|name| Column::named(name.trim_matches('"')).is_some())
            .count()
    };
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|d| known(*d)).unwrap_or(b',')
}

fn columns(header: &csv::StringRecord, flaws: &mut Vec<String>) -> BTreeMap<Column, usize> {
    let mut columns = BTreeMap::new();
    for (i, name) in header.iter().enumerate() {
        match Column::named(name) {
            None => flaws.push(format!(
                "1:{}: unknown column '{name}'; expected id, image (or image_0, image_1, …), label, subject or split",
                i + 1
            )),
            Some(column) => {
                if columns.insert(column, i).is_some() {
                    flaws.push(format!("1:{}: column '{name}' stands there twice", i + 1));
                }
            }
        }
    }
    let images: BTreeSet<usize> =
        columns.keys().filter_map(|c| if let Column::Image(n) = c { Some(*n) } else { None }).collect();
    if !columns.contains_key(&Column::Id) {
        flaws.push("1:1: column 'id' is missing".to_owned());
    }
    if images.is_empty() {
        flaws.push("1:1: column 'image' is missing".to_owned());
    } else if let Some(gap) = (0..images.len()).find(|n| !images.contains(n)) {
        flaws.push(format!("1:1: column 'image_{gap}' is missing, a later one is there"));
    }
    columns
}

fn row(
    record: &csv::StringRecord,
    columns: &BTreeMap<Column, usize>,
    line: u64,
    flaws: &mut Vec<String>,
) -> Option<Row> {
    let before = flaws.len();
    let cell = |column: Column| {
        let at = *columns.get(&column)?;
        record.get(at).filter(|text| !text.is_empty()).map(|text| (at + 1, text))
    };
    let path = |(at, text): (usize, &str), flaws: &mut Vec<String>| match paths::below(text) {
        Ok(path) => Some(path),
        Err(why) => {
            flaws.push(format!("{line}:{at}: '{text}' {why}"));
            None
        }
    };
    let mut images = Vec::new();
    for (column, at) in columns {
        if let Column::Image(channel) = column {
            match cell(*column) {
                Some(cell) => images.extend(path(cell, flaws)),
                None => flaws.push(format!("{line}:{}: the image of channel {channel} is missing", at + 1)),
            }
        }
    }
    let label = cell(Column::Label).and_then(|cell| path(cell, flaws));
    let id = match (cell(Column::Id), columns.get(&Column::Id)) {
        (Some((_, id)), _) => id.to_owned(),
        (None, Some(at)) => {
            flaws.push(format!("{line}:{}: the id is missing", at + 1));
            String::new()
        }
        (None, None) => String::new(),
    };
    let split = match cell(Column::Split) {
        None => CaseSplit::Train,
        Some((at, text)) => match text.to_lowercase().as_str() {
            "train" | "training" => CaseSplit::Train,
            "test" => CaseSplit::Test,
            _ => {
                flaws.push(format!("{line}:{at}: split '{text}'; expected train or test"));
                CaseSplit::Train
            }
        },
    };
    let subject = cell(Column::Subject).map(|(_, text)| text.to_owned());
    (flaws.len() == before && columns.contains_key(&Column::Id)).then_some(Row {
        id,
        subject,
        images,
        label,
        split,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Vec<Row> {
        let (rows, flaws) = parse(text);
        assert!(flaws.is_empty(), "{flaws:?}");
        rows
    }

    #[test]
    fn columns_may_come_in_any_order_and_be_parted_by_other_signs() {
        let rows = good(
            "Label,split,id,image_0001,image_0000\nl/a.nii,test,a,i/a1.nii,\"i/a,0.nii\"\n\n,,b,b1.nii,./b0.nii\n",
        );
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].images, ["i/a,0.nii", "i/a1.nii"]);
        assert_eq!((rows[0].label.as_deref(), rows[0].split), (Some("l/a.nii"), CaseSplit::Test));
        assert_eq!((rows[1].label.as_deref(), rows[1].split), (None, CaseSplit::Train));
        assert_eq!(rows[1].images, ["b0.nii", "b1.nii"]);
        let plain = good("id,image,subject\na,x.nii,s\n");
        assert_eq!(plain, good("id;image;subject\r\na;x.nii;s\r\n"));
        assert_eq!(plain, good("id\timage\tsubject\na\tx.nii\ts\n"));
        assert_eq!(plain[0].subject.as_deref(), Some("s"));
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_its_place() {
        let (_, flaws) = parse("id,image_0,image_2,colour\na,x.nii,,red\n,../y.nii,z.nii,\nb,x.nii\n");
        insta::assert_snapshot!(flaws.join("\n"), @r#"
        1:4: unknown column 'colour'; expected id, image (or image_0, image_1, …), label, subject or split
        1:1: column 'image_1' is missing, a later one is there
        2:3: the image of channel 2 is missing
        3:2: '../y.nii' leads out of the folder; expected a path below it
        3:1: the id is missing
        4:1: 2 columns, the first line has 4
        "#);
        let (_, flaws) = parse("id,image,split\na,x.nii,val\nb,y.nii,train\nb,z.nii,train\n");
        insta::assert_snapshot!(flaws.join("\n"), @r#"
        2:3: split 'val'; expected train or test
        4:1: id 'b' stands in line 3 already
        "#);
        assert_eq!(parse("").1.len(), 1);
        assert_eq!(parse("id,image\n").1, ["2:1: the table has no cases"]);
        assert_eq!(parse("name,file\na,b\n").1.len(), 4);
    }
}
