//! What ImageJ, OME and tifffile write into a TIFF's description: voxel size and axes.
//!
//! ImageJ: lines `key=value`; `spacing` is z, the resolution tags give pixels per `unit` (ij.io.TiffDecoder,
//! ij.io.FileOpener). OME: attributes of the element `Pixels` (ome-xsd 2016-06), units in micrometres by default.
//! tifffile without either: a JSON object with the array's `shape`, no voxel size.

/// Edge of a pixel in the unit that the description names: the inverse of the resolution tags.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Resolution {
    pub(super) pixel_y: Option<f64>,
    pub(super) pixel_x: Option<f64>,
}

/// Which program wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    ImageJ,
    Ome,
}

/// Voxel size by the tags.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tags {
    /// Complete voxel size in mm and who says so.
    pub(crate) spacing: Option<(Writer, [f64; 3])>,
    /// What is there and what lacks, if it is not complete.
    pub(crate) missing: String,
}

/// Reads a description. `pages` is the number of pages that have to be z, `None` for one slice of many.
///
/// # Errors
/// In words, what axes other than z, y, x there are.
pub(super) fn read(text: &str, resolution: Resolution, pages: Option<usize>) -> Result<Tags, String> {
    if text.starts_with("ImageJ=") {
        imagej(text, resolution, pages)
    } else if let Some(pixels) = ome_pixels(text)? {
        ome(&pixels, pages)
    } else {
        shaped(text, pages)?;
        let missing = match (resolution.pixel_y, resolution.pixel_x) {
            (Some(_), Some(_)) => "its resolution tags give y and x at most, z is missing",
            _ => "no tags that give z, y and x",
        };
        Ok(Tags { spacing: None, missing: missing.into() })
    }
}

/// Refuses what tifffile's `{"shape": [..]}` shows to be more than z, y, x. Arrays that were written page by page have
/// the shape of one page there, so fewer slices than pages are nothing to object to.
fn shaped(text: &str, pages: Option<usize>) -> Result<(), String> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(()) };
    let Some(list) = value.get("shape").and_then(serde_json::Value::as_array) else { return Ok(()) };
    let shape: Vec<u64> = list.iter().filter_map(serde_json::Value::as_u64).collect();
    let plane = if shape.len() > 2 && shape.last() == Some(&1) { 3 } else { 2 };
    let leading: Vec<u64> =
        shape[..shape.len().saturating_sub(plane)].iter().copied().filter(|n| *n > 1).collect();
    let slices = leading.iter().fold(1_u64, |product, n| product.saturating_mul(*n));
    if leading.len() > 1 {
        return Err(format!("tifffile's description says shape {shape:?}"));
    }
    match pages {
        Some(pages) if slices > pages as u64 => {
            Err(format!("tifffile's description says shape {shape:?}, but the file has {pages} pages"))
        }
        _ => Ok(()),
    }
}

fn imagej(text: &str, resolution: Resolution, pages: Option<usize>) -> Result<Tags, String> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.split_once('=').filter(|(k, _)| k.trim() == key))
            .map(|(_, v)| v.trim())
    };
    let count = |key: &str| -> Result<usize, String> {
        value(key).map_or(Ok(1), |v| v.parse().map_err(|_| format!("ImageJ's description says {key}={v}")))
    };
    let (channels, frames, images) = (count("channels")?, count("frames")?, count("images")?);
    if channels > 1 || frames > 1 {
        return Err(format!(
            "ImageJ's description says channels={channels}, slices={}, frames={frames}",
            count("slices")?
        ));
    }
    if let Some(pages) = pages.filter(|pages| value("images").is_some() && *pages != images) {
        return Err(format!(
            "ImageJ's description says images={images}, but the file has {pages} pages (ImageJ writes files above 4 GB \
             with one page; save such a stack as OME-TIFF or BigTIFF)"
        ));
    }
    let unit = value("unit");
    let size = |axis: &str, own_unit: &str, edge: Option<f64>| -> Result<f64, String> {
        let name = value(own_unit).or(unit).ok_or("unit is missing".to_owned())?;
        // what programs write that know no voxel size: 72 dots per inch are those of a screen
        if matches!(name, "inch" | "in") {
            return Err("unit inch is a print resolution".to_owned());
        }
        let mm = unit_mm(name).ok_or_else(|| format!("unit {name} is no length known here"))?;
        let edge = edge.ok_or_else(|| format!("{axis} is missing"))?;
        positive(edge.abs() * mm).ok_or_else(|| format!("{axis} is {edge}"))
    };
    // ImageJ itself writes negative spacings for stacks turned over; the size is what counts.
    let depth = value("spacing").and_then(|v| v.parse().ok());
    Ok(complete(
        Writer::ImageJ,
        [
            size("z (spacing=)", "zunit", depth),
            size("y (YResolution)", "yunit", resolution.pixel_y),
            size("x (XResolution)", "unit", resolution.pixel_x),
        ],
    ))
}

fn ome(pixels: &[(String, String)], pages: Option<usize>) -> Result<Tags, String> {
    let value = |key: &str| pixels.iter().find(|(k, _)| k == key).map(|(_, v)| v.trim());
    let count = |key: &str| -> Result<usize, String> {
        value(key).map_or(Ok(1), |v| v.parse().map_err(|_| format!("the OME description says {key}={v}")))
    };
    let (z, c, t) = (count("SizeZ")?, count("SizeC")?, count("SizeT")?);
    if c > 1 || t > 1 {
        let order = value("DimensionOrder").unwrap_or("unknown");
        return Err(format!("the OME description says SizeZ={z}, SizeC={c}, SizeT={t} (order {order})"));
    }
    if let Some(pages) = pages.filter(|pages| *pages != z) {
        return Err(format!("the OME description says SizeZ={z}, but the file has {pages} pages"));
    }
    let size = |axis: &str| -> Result<f64, String> {
        let key = format!("PhysicalSize{axis}");
        let text = value(&key).ok_or_else(|| format!("{key} is missing"))?;
        let unit = value(&format!("{key}Unit")).unwrap_or("µm");
        let mm = unit_mm(unit).ok_or_else(|| format!("{key}Unit {unit} is no length known here"))?;
        text.parse::<f64>()
            .ok()
            .and_then(|edge| positive(edge * mm))
            .ok_or_else(|| format!("{key} is {text}"))
    };
    Ok(complete(Writer::Ome, [size("Z"), size("Y"), size("X")]))
}

fn complete(writer: Writer, axes_zyx: [Result<f64, String>; 3]) -> Tags {
    let name = match writer {
        Writer::ImageJ => "ImageJ's description",
        Writer::Ome => "the OME description",
    };
    if let [Ok(z), Ok(y), Ok(x)] = axes_zyx {
        return Tags { spacing: Some((writer, [z, y, x])), missing: String::new() };
    }
    let mut reasons: Vec<String> = axes_zyx.into_iter().filter_map(Result::err).collect();
    reasons.dedup();
    Tags { spacing: None, missing: format!("in {name} {}", reasons.join(", ")) }
}

fn positive(value: f64) -> Option<f64> {
    (value > 0.0 && value.is_finite()).then_some(value)
}

/// Millimetres of a unit as ImageJ and OME write it; `None` for pixels and what is no length.
fn unit_mm(name: &str) -> Option<f64> {
    let name = name.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace('\u{3bc}', "µ");
    Some(match name.trim() {
        "pm" => 1e-9,
        "Å" | "\u{212b}" | "A" | "angstrom" | "Angstrom" => 1e-7,
        "nm" | "nanometer" | "nanometre" | "nanometers" | "nanometres" => 1e-6,
        "µm" | "um" | "micron" | "microns" | "micrometer" | "micrometre" | "micrometers" | "micrometres" => {
            1e-3
        }
        "mm" | "millimeter" | "millimetre" | "millimeters" | "millimetres" => 1.0,
        "cm" | "centimeter" | "centimetre" => 10.0,
        "m" | "meter" | "metre" => 1000.0,
        "in" | "inch" => 25.4,
        _ => return None,
    })
}

/// Attributes of the only `Pixels` element of an OME-XML text; `None` if this is no OME-XML.
fn ome_pixels(text: &str) -> Result<Option<Vec<(String, String)>>, String> {
    if !text.contains("OME") {
        return Ok(None);
    }
    let mut found = None;
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
        let name = &rest[..end];
        if name.rsplit(':').next() == Some("Pixels") && end > 0 {
            if found.is_some() {
                return Err("the OME description holds several images".into());
            }
            found = Some(attributes(&rest[end..]));
        }
    }
    Ok(found)
}

/// `name="value"` pairs up to the end of a tag.
fn attributes(mut text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    loop {
        text = text.trim_start();
        let Some((name, after)) = text.split_once('=').filter(|(name, _)| !name.contains(['<', '>', '/']))
        else {
            return pairs;
        };
        let after = after.trim_start();
        let Some(quote) = after.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return pairs };
        let Some((value, next)) = after[1..].split_once(quote) else { return pairs };
        pairs.push((name.trim().to_owned(), unescaped(value)));
        text = next;
    }
}

/// Character references such as `&#181;` and `&#xB5;`; named ones do not occur in numbers and units.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("&#") {
        out.push_str(before);
        let character = after.split_once(';').and_then(|(digits, next)| {
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            Some((char::from_u32(code.ok()?)?, next))
        });
        match character {
            Some((character, next)) => {
                out.push(character);
                rest = next;
            }
            None => {
                out.push_str("&#");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Resolution = Resolution { pixel_y: Some(0.004), pixel_x: Some(0.008) };

    fn near(found: [f64; 3], expected: [f64; 3]) {
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-12),
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn imagej_gives_z_by_spacing_and_the_rest_by_resolution() {
        for unit in ["micron", "\\u00B5m", "µm", "um"] {
            let text = format!("ImageJ=1.54\nimages=3\nslices=3\nunit={unit}\nspacing=0.05\n");
            let (writer, spacing) = read(&text, FINE, Some(3)).unwrap().spacing.unwrap();
            assert_eq!(writer, Writer::ImageJ);
            near(spacing, [5e-5, 4e-6, 8e-6]);
        }
        let mixed = "ImageJ=1.54\nimages=3\nunit=nm\nyunit=um\nzunit=mm\nspacing=-2\n";
        near(read(mixed, FINE, Some(3)).unwrap().spacing.unwrap().1, [2.0, 4e-6, 8e-9]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let missing = |text: &str, resolution| read(text, resolution, None).unwrap().missing;
        assert!(missing("ImageJ=1\nunit=nm\n", FINE).contains("z (spacing=) is missing"));
        assert!(missing("ImageJ=1\nspacing=2\n", FINE).contains("unit is missing"));
        assert!(missing("ImageJ=1\nunit=pixel\nspacing=2\n", FINE).contains("unit pixel"));
        let print = Resolution { pixel_y: Some(1.0 / 72.0), pixel_x: Some(1.0 / 72.0) };
        for unit in ["inch", "in"] {
            let found = read(&format!("ImageJ=1\nunit={unit}\nspacing=1\n"), print, None).unwrap();
            assert_eq!(found.spacing, None);
            assert!(found.missing.contains("unit inch is a print resolution"), "{}", found.missing);
        }
        assert!(
            missing("ImageJ=1\nunit=nm\nspacing=0\n", Resolution::default()).contains("z (spacing=) is 0")
        );
        assert!(missing("", FINE).contains("z is missing"));
        let flat =
            "<OME><Image><Pixels SizeZ=\"1\" PhysicalSizeX=\"1\" PhysicalSizeY=\"nan\"/></Image></OME>";
        let said = missing(flat, FINE);
        assert!(said.contains("PhysicalSizeZ is missing") && said.contains("PhysicalSizeY is nan"), "{said}");
    }

    #[test]
    fn other_axes_are_refused() {
        let fails = |text: &str, pages| read(text, FINE, Some(pages)).unwrap_err();
        assert!(fails("ImageJ=1\nimages=6\nchannels=2\nslices=3\n", 6).contains("channels=2"));
        assert!(fails("ImageJ=1\nimages=6\nframes=6\n", 6).contains("frames=6"));
        assert!(fails("ImageJ=1\nimages=300\n", 1).contains("1 pages"));
        let ome =
            |c, t| format!("<OME><Pixels DimensionOrder='XYCZT' SizeZ='3' SizeC='{c}' SizeT='{t}'/></OME>");
        assert!(fails(&ome(2, 1), 6).contains("SizeC=2"));
        assert!(fails(&ome(1, 2), 6).contains("order XYCZT"));
        assert!(fails(&ome(1, 1), 4).contains("4 pages"));
        assert!(fails("{\"shape\": [2, 3, 8, 8]}", 6).contains("shape [2, 3, 8, 8]"));
        assert!(fails("{\"shape\": [3, 8, 8], \"truncated\": true}", 1).contains("1 pages"));
        for shape in ["[3, 8, 8]", "[1, 3, 8, 8]", "[3, 8, 8, 1]", "[8, 8]", "[]", "7"] {
            assert!(read(&format!("{{\"shape\": {shape}}}"), FINE, Some(3)).unwrap().spacing.is_none());
        }
        assert!(fails("<OME><Pixels SizeZ='1'/><Pixels SizeZ='1'/></OME>", 1).contains("several"));
    }

    #[test]
    fn ome_units_and_escapes() {
        let text = "<?xml version=\"1.0\"?><!-- <Pixels SizeC='9'/> --><OME:OME><OME:Image><OME:Pixels\n SizeZ = \"2\" \
            PhysicalSizeZ=\"50\" PhysicalSizeZUnit=\"nm\" PhysicalSizeY='4' PhysicalSizeYUnit='&#181;m' \
            PhysicalSizeX='8' PhysicalSizeXUnit='&#xC5;'><OME:Channel/></OME:Pixels></OME:Image></OME:OME>";
        let (writer, spacing) = read(text, Resolution::default(), Some(2)).unwrap().spacing.unwrap();
        assert_eq!(writer, Writer::Ome);
        near(spacing, [5e-5, 4e-3, 8e-7]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(<|OME|Pixels|&#|;|x|=|\"|'| |ImageJ=|\n|unit|µ|>|!--|-->|[0-9]){0,30}") {
            let _ = read(&text, FINE, Some(1));
        }
    }
}
