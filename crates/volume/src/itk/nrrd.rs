//! NRRD: a magic line, `field: value` lines, an empty line, and the voxels there or in a `data file`.

mod axes;

use super::text::Header;
use super::{Data, Encoding, Skip};
use crate::error::{Result, VolumeError};
use crate::scan::{Datatype, Format, Input, Stored, Stream, checked_dims};
use crate::warning::Warning;
use axes::Axes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"NRRD00";

/// Whether a file that begins like this is an NRRD.
pub(crate) fn is_nrrd(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The file of the voxels, where it is not this one.
pub(super) fn data_file(input: &mut Input, path: &Path) -> Result<Option<PathBuf>> {
    let mut header = Header::new(path, Format::Nrrd, input);
    let fields = Fields::read(&mut header)?;
    fields.get("datafile").map(|name| super::beside(path, Format::Nrrd, name)).transpose()
}

/// Fields by their names in lower case and without blanks: `space directions` and `datafile` have both spellings.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn read(header: &mut Header<'_>) -> Result<Self> {
        let mut fields = BTreeMap::new();
        header.line()?;
        loop {
            let Some(line) = header.line()? else {
                // a header of its own need not end with an empty line
                return if fields.contains_key("datafile") { Ok(Self(fields)) } else { Err(header.cut()) };
            };
            if line.trim().is_empty() {
                return Ok(Self(fields));
            }
            let named = line.split_once(':').filter(|_| !line.starts_with('#'));
            match named {
                // `key:=value` is for people
                Some((_, value)) if value.starts_with('=') => {}
                Some((name, value)) => {
                    let name: String = name.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
                    let is_list = name == "datafile" && value.trim().to_uppercase().starts_with("LIST");
                    fields.insert(name, value.trim().to_owned());
                    if is_list {
                        // file names follow up to the end of the header
                        return Ok(Self(fields));
                    }
                }
                None if line.starts_with('#') => {}
                None => return Err(header.odd("a line of the header", &line)),
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, header: &Header<'_>, name: &'static str) -> Result<&str> {
        self.get(name).ok_or_else(|| header.missing(name))
    }
}

pub(crate) fn stream(mut input: Input, bytes: u64, path: &Path) -> Result<Stream> {
    let mut header = Header::new(path, Format::Nrrd, &mut input);
    let fields = Fields::read(&mut header)?;
    let encoding = encoding(&header, &fields)?;
    let axes = Axes::read(&header, &fields)?;
    let stored = stored(&header, &fields, &axes)?;
    let mut warnings: Vec<Warning> = axes.warnings;
    let (grid, repaired) = axes.placement.grid(path, stored.shape_zyx(), "space directions")?;
    warnings.extend(repaired);
    let position = header.position;
    let data = Data {
        header: path,
        format: Format::Nrrd,
        encoding,
        skip: match fields.get("byteskip") {
            Some("-1") if encoding == Encoding::Raw => Skip::FromEnd,
            Some(text) => Skip::Decoded(text.parse().map_err(|_| header.odd("byte skip", text))?),
            None => Skip::Decoded(0),
        },
        voxel_bytes: stored.voxel_bytes(),
    };
    let voxels = match fields.get("datafile") {
        Some(name) => data.beside(name)?,
        None => data.attached(input, position, bytes)?,
    };
    Ok(Stream::new(path, stored, grid, warnings, voxels))
}

fn encoding(header: &Header<'_>, fields: &Fields) -> Result<Encoding> {
    if let Some(lines) = fields.get("lineskip").filter(|lines| *lines != "0") {
        let fix = "Write the scan with its voxels behind the header: SimpleITK does";
        return Err(header.wrong(format!("'line skip' is {lines}"), fix));
    }
    match fields.need(header, "encoding")?.to_lowercase().as_str() {
        "raw" => Ok(Encoding::Raw),
        "gzip" | "gz" => Ok(Encoding::Gzip),
        other => Err(header.wrong(
            format!("its encoding is '{other}'"),
            "Write the scan with encoding raw or gzip: SimpleITK and 3D Slicer do",
        )),
    }
}

fn stored(header: &Header<'_>, fields: &Fields, axes: &Axes) -> Result<Stored> {
    let name = fields.need(header, "type")?;
    let datatype = match name.to_lowercase().as_str() {
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => Datatype::U8,
        "signed char" | "int8" | "int8_t" => Datatype::I8,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Datatype::U16,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Datatype::I16,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => Datatype::U32,
        "int" | "signed int" | "int32" | "int32_t" => Datatype::I32,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
            Datatype::U64
        }
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => Datatype::I64,
        "float" => Datatype::F32,
        "double" => Datatype::F64,
        _ => {
            return Err(header.wrong(
                format!("its voxels are '{name}'"),
                "Convert the voxels to integers or floating point numbers first",
            ));
        }
    };
    let big_endian = match fields.get("endian").map(str::to_lowercase).as_deref() {
        Some("little") => false,
        Some("big") => true,
        None if datatype.bytes() == 1 => false,
        Some(other) => return Err(header.odd("endian", other)),
        None => return Err(header.missing("endian")),
    };
    let (dims, interleaved) = (checked_dims(header.path, &axes.sizes)?, axes.interleaved);
    Ok(Stored { format: Format::Nrrd, dims, interleaved, datatype, big_endian, scaling: (1.0, 0.0) })
}

/// A voxel size that cannot be one.
fn no_spacing(header: &Header<'_>, found: String) -> VolumeError {
    VolumeError::Spacing { path: header.path.into(), found }
}
