//! From grey images to the network's input.

use super::WHAT;
use crate::error::Error;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Means and standard deviations of the colours that BLIP was trained with (those of CLIP).
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// A grey image of 8 bits, rows one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreyImage {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height · width` values.
    pub values: Vec<u8>,
}

/// `preprocessor_config.json`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Settings {
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

/// The preparation of images.
#[derive(Debug)]
pub(super) struct Pixels {
    size: i64,
    mean: Tensor,
    deviation: Tensor,
}

impl Pixels {
    /// Reads the preparation where the model has one; returns its file, too.
    pub(super) fn open(directory: &Path, size: i64) -> Result<(Self, Option<PathBuf>), Error> {
        let path = directory.join("preprocessor_config.json");
        let (mean, deviation, file) = if path.is_file() {
            let refuse = |reason: String| Error::Pretrained { what: WHAT, path: path.clone(), reason };
            let settings: Settings = serde_json::from_str(&fs_err::read_to_string(&path)?)
                .map_err(|error| refuse(format!("not as expected: {error}")))?;
            let deviation = settings.image_std.unwrap_or(DEVIATION);
            if !deviation.iter().all(|value| *value > 0.0) {
                return Err(refuse(format!("image_std is {deviation:?}, expected positive numbers")));
            }
            (settings.image_mean.unwrap_or(MEAN), deviation, Some(path))
        } else {
            (MEAN, DEVIATION, None)
        };
        let column = |values: [f64; 3]| {
            Ok::<_, Error>(Tensor::f_from_slice(&values)?.f_to_kind(Kind::Float)?.f_reshape([1, 3, 1, 1])?)
        };
        Ok((Self { size, mean: column(mean)?, deviation: column(deviation)? }, file))
    }

    /// See [`super::Captioner::prepare`].
    pub(super) fn prepare(&self, images: &[GreyImage]) -> Result<Tensor, Error> {
        let prepared = images
            .iter()
            .map(|image| {
                let (height, width) = (image.height as i64, image.width as i64);
                if image.values.len() != image.height * image.width || image.values.is_empty() {
                    return Err(Error::Input {
                        network: "BLIP",
                        found: vec![image.values.len() as i64],
                        expected: format!("{height} × {width} grey values"),
                    });
                }
                let grey = Tensor::f_from_slice(&image.values)?.f_to_kind(Kind::Float)?;
                let grey = grey.f_reshape([1, 1, height, width])?;
                // rows first, 8 bits after each pass: as the images were resized that the model was trained with
                let grey = eight_bits(&grey.f_internal_upsample_bicubic2d_aa(
                    [height, self.size],
                    false,
                    None,
                    None,
                )?)?;
                let size = [self.size, self.size];
                let grey = eight_bits(&grey.f_internal_upsample_bicubic2d_aa(size, false, None, None)?)?;
                let colours = grey.f_div_scalar(255.0)?.f_expand([1, 3, -1, -1], false)?;
                Ok(colours.f_sub(&self.mean)?.f_div(&self.deviation)?)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if prepared.is_empty() {
            return Ok(Tensor::f_zeros([0, 3, self.size, self.size], (Kind::Float, Device::Cpu))?);
        }
        Ok(Tensor::f_cat(&prepared, 0)?)
    }
}

fn eight_bits(values: &Tensor) -> Result<Tensor, Error> {
    Ok(values.f_round()?.f_clamp(0.0, 255.0)?)
}
