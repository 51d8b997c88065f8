//! MetaImage: `Key = Value` lines, of which the last, `ElementDataFile`, says where the voxels are.

use super::geometry::{LPS, Placement};
use super::text::Header;
use super::{Data, Encoding, Skip};
use crate::error::{Result, VolumeError};
use crate::scan::{Datatype, Format, Input, Stored, Stream, checked_dims, with_channels};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LAST: &str = "ElementDataFile";
/// What its headers begin with.
const FIRST: [&str; 3] = ["ObjectType", "NDims", "Comment"];

/// Whether a file that begins like this is a MetaImage.
pub(crate) fn is_meta_image(path: &Path, start: &[u8]) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if matches!(ending.as_deref(), Some("mha" | "mhd")) {
        return true;
    }
    let key = start.split(|byte| *byte == b'=').next().unwrap_or_default();
    FIRST.iter().any(|name| key.trim_ascii() == name.as_bytes())
}

/// The file of the voxels, where it is not this one.
pub(super) fn data_file(input: &mut Input, path: &Path) -> Result<Option<PathBuf>> {
    let mut header = Header::new(path, Format::MetaImage, input);
    let fields = Fields::read(&mut header)?;
    fields.separate().map(|name| super::beside(path, Format::MetaImage, name)).transpose()
}

struct Fields(BTreeMap<String, String>);

impl Fields {
    fn read(header: &mut Header<'_>) -> Result<Self> {
        let mut fields = BTreeMap::new();
        while let Some(line) = header.line()? {
            if line.trim().is_empty() {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return Err(header.odd("a line of the header", &line));
            };
            let key = key.trim().to_owned();
            let last = key == LAST;
            fields.insert(key, value.trim().to_owned());
            if last {
                return Ok(Self(fields));
            }
        }
        Err(header.cut())
    }

    /// The first of these keys that is there.
    fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)).map(String::as_str)
    }

    fn is_true(&self, keys: &[&str]) -> bool {
        self.get(keys).is_some_and(|value| matches!(value.as_bytes(), [b'T' | b't' | b'1', ..]))
    }

    /// The file that holds the voxels, unless it is this one.
    fn separate(&self) -> Option<&str> {
        self.get(&[LAST]).filter(|name| !name.eq_ignore_ascii_case("local"))
    }
}

pub(crate) fn stream(mut input: Input, bytes: u64, path: &Path) -> Result<Stream> {
    let mut header = Header::new(path, Format::MetaImage, &mut input);
    let fields = Fields::read(&mut header)?;
    refuse_unread(&header, &fields)?;
    let (stored, axes) = stored(&header, &fields)?;
    let placement = placement(&header, &fields, axes)?;
    let (grid, warning) = placement.grid(path, stored.shape_zyx(), "TransformMatrix")?;
    let position = header.position;
    let encoding = if fields.is_true(&["CompressedData"]) { Encoding::Zlib } else { Encoding::Raw };
    let data = Data {
        header: path,
        format: Format::MetaImage,
        encoding,
        skip: skip(&header, &fields, encoding)?,
        voxel_bytes: stored.voxel_bytes(),
    };
    let voxels = match fields.separate() {
        Some(name) => data.beside(name)?,
        None => data.attached(input, position, bytes)?,
    };
    Ok(Stream::new(path, stored, grid, warning.into_iter().collect(), voxels))
}

/// Bytes before the voxels: `HeaderSize` counts from the beginning of the file that holds them.
fn skip(header: &Header<'_>, fields: &Fields, encoding: Encoding) -> Result<Skip> {
    let Some(text) = fields.get(&["HeaderSize"]).filter(|text| *text != "0") else {
        return Ok(Skip::Stored(0));
    };
    if text == "-1" && encoding == Encoding::Raw {
        return Ok(Skip::FromEnd);
    }
    let read = if fields.separate().is_some() { 0 } else { header.position };
    let size: Option<u64> = text.parse().ok();
    size.and_then(|size| size.checked_sub(read))
        .map(Skip::Stored)
        .ok_or_else(|| header.odd("HeaderSize", text))
}

/// What a header can ask for and is not read.
fn refuse_unread(header: &Header<'_>, fields: &Fields) -> Result<()> {
    if let Some(kind) = fields.get(&["ObjectType"]).filter(|kind| *kind != "Image") {
        let fix = "Only images are scans: export the volume itself";
        return Err(header.wrong(format!("it holds no image, but 'ObjectType = {kind}'"), fix));
    }
    if fields.get(&["BinaryData"]).is_some() && !fields.is_true(&["BinaryData"]) {
        let fix = "Write the scan with binary voxels: SimpleITK does";
        return Err(header.wrong("its voxels are text ('BinaryData = False')", fix));
    }
    let scaled = [("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)];
    for (key, neutral) in scaled {
        if let Some(text) = fields.get(&[key])
            && text.parse() != Ok(neutral)
        {
            return Err(header.wrong(
                format!("'{key}' is {text}, which some programs apply and others do not"),
                "Write the values that are meant, without slope and offset",
            ));
        }
    }
    Ok(())
}

/// How voxels are stored, and the number of axes that are not channels alternating voxel by voxel.
fn stored(header: &Header<'_>, fields: &Fields) -> Result<(Stored, usize)> {
    let text = |key: &str| fields.get(&[key]).ok_or_else(|| header.missing(key));
    let axes: usize = {
        let text = text("NDims")?;
        text.parse().map_err(|_| header.odd("NDims", text))?
    };
    let sizes: Vec<i64> = header.numbers("DimSize", text("DimSize")?)?;
    if sizes.len() != axes {
        return Err(header.odd("DimSize", text("DimSize")?));
    }
    let key = "ElementNumberOfChannels";
    let channels = match fields.get(&[key]) {
        Some(text) => text.parse().map_err(|_| header.odd(key, text))?,
        None => 1,
    };
    let (sizes, interleaved) =
        if channels == 1 { (sizes, false) } else { (with_channels(sizes, channels), true) };
    let name = text("ElementType")?;
    let datatype = match name {
        "MET_UCHAR" => Datatype::U8,
        "MET_CHAR" => Datatype::I8,
        "MET_USHORT" => Datatype::U16,
        "MET_SHORT" => Datatype::I16,
        // of 4 bytes whatever the machine, in MetaIO's table
        "MET_UINT" | "MET_ULONG" => Datatype::U32,
        "MET_INT" | "MET_LONG" => Datatype::I32,
        "MET_ULONG_LONG" => Datatype::U64,
        "MET_LONG_LONG" => Datatype::I64,
        "MET_FLOAT" => Datatype::F32,
        "MET_DOUBLE" => Datatype::F64,
        other => {
            return Err(VolumeError::ScanHeader {
                path: header.path.into(),
                format: header.format,
                found: format!("its voxels are '{other}'"),
                fix: "Convert colour, complex or array voxels to one number per voxel first",
            });
        }
    };
    let stored = Stored {
        format: Format::MetaImage,
        dims: checked_dims(header.path, &sizes)?,
        interleaved,
        datatype,
        big_endian: fields.is_true(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"]),
        scaling: (1.0, 0.0),
    };
    Ok((stored, axes))
}

/// Of `axes` axes in the file the first three are space.
fn placement(header: &Header<'_>, fields: &Fields, axes: usize) -> Result<Placement> {
    let list = |keys: &[&str], length: usize| -> Result<Option<Vec<f64>>> {
        let Some(text) = fields.get(keys) else { return Ok(None) };
        let numbers: Vec<f64> = header.numbers(keys[0], text)?;
        if numbers.len() < length || !numbers.iter().all(|v| v.is_finite()) {
            return Err(header.odd(keys[0], text));
        }
        Ok(Some(numbers))
    };
    let sizes = list(&["ElementSpacing", "ElementSize"], axes)?;
    let Some(sizes) = sizes.filter(|sizes| sizes.iter().take(3).all(|size| *size > 0.0)) else {
        let found = match fields.get(&["ElementSpacing", "ElementSize"]) {
            Some(text) => format!("ElementSpacing is {text}"),
            None => "ElementSpacing is missing".to_owned(),
        };
        return Err(VolumeError::Spacing { path: header.path.into(), found });
    };
    let matrix = list(&["TransformMatrix", "Orientation", "Rotation"], axes * axes)?;
    let offset = list(&["Offset", "Position", "Origin"], axes)?;
    let space = axes.min(3);
    let mut placement = Placement { axes: [[0.0; 3]; 3], origin: [0.0; 3], to_ras: LPS };
    for axis in 0..3 {
        let size = sizes.get(axis).copied().unwrap_or(1.0);
        placement.axes[axis][axis] = size;
        if let (Some(matrix), true) = (&matrix, axis < space) {
            // the directions of the axes one after the other
            for (i, along) in placement.axes[axis].iter_mut().enumerate().take(space) {
                *along = matrix[axis * axes + i] * size;
            }
        }
        if let Some(offset) = &offset
            && axis < space
        {
            placement.origin[axis] = offset[axis];
        }
    }
    Ok(placement)
}
