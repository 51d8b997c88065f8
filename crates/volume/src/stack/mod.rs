//! TIFF and PNG stacks: one multi-page TIFF, or a directory of slices, with the voxel size stated by somebody.
//!
//! Neither format knows how thick a slice is, so the voxel size comes from the caller, a sidecar JSON
//! (`{"spacing_zyx_um": [0.08, 0.0076, 0.0076]}`, also `_nm` and `_mm`), or the tags of ImageJ and OME, in this order;
//! it is never guessed. Opening reads headers only; pixels are decoded slab by slab.

mod listing;
mod order;
pub(crate) mod pixels;
mod png_slices;
pub(crate) mod spacing;
pub(crate) mod tags;
mod tiff_directory;
mod tiff_pages;

pub use spacing::SpacingSource;

use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::warning::Warning;
use listing::FileKind;
use pixels::{COLOUR_FIX, Kind, SliceForm};
use rayon::prelude::*;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tags::Tags;
use tiff::decoder::DecodingResult;
use tiff_pages::TiffPages;

/// Where the slices are.
#[derive(Debug)]
enum Slices {
    /// Pages of one file; the decoder remembers where they begin, so it is shared.
    Pages(Box<Mutex<TiffPages>>),
    /// One file each, in order of z.
    Files(FileKind, Vec<PathBuf>),
}

/// An open stack.
#[derive(Debug)]
pub struct Stack {
    path: PathBuf,
    shape_zyx: [usize; 3],
    form: SliceForm,
    slices: Slices,
    spacing: Option<(SpacingSource, [f64; 3])>,
    missing: String,
    warnings: Vec<Warning>,
}

impl Stack {
    /// Opens a multi-page TIFF or a directory of single-page TIFF or PNG slices (in natural order of their names) and
    /// reads all headers; no pixels. `spacing_zyx_mm` wins over every other source of the voxel size.
    ///
    /// A stack without voxel size opens, because a label may take its image's; [`Stack::grid`] fails then.
    ///
    /// # Errors
    /// Slices of different size or type, colours, channels or time points, truncated or foreign files, slices beyond
    /// 4 GiB, an unusable sidecar or spacing.
    pub fn open(path: &Path, spacing_zyx_mm: Option<[f64; 3]>) -> Result<Self> {
        crate::links::check(path)?;
        let is_directory = fs_err::metadata(path)?.is_dir();
        let sidecars = spacing::sidecars(path, is_directory)?;
        if !is_directory {
            if listing::file_kind(path) == Some(FileKind::Png) {
                return Err(VolumeError::StackContent {
                    path: path.into(),
                    found: "a single PNG file".into(),
                    expected: "a multi-page TIFF or a directory of slices",
                    fix: "Give the directory that holds the slices",
                });
            }
            return Self::from_pages(path, TiffPages::open(path)?, spacing_zyx_mm, sidecars);
        }
        let (kind, files, warnings) = listing::slices(path)?;
        let (form, tags) = same_form(path, kind, &files)?;
        let slices = Slices::Files(kind, files);
        Self::new(path, form, slices, spacing_zyx_mm, sidecars, tags, warnings)
    }

    /// A multi-page TIFF in memory. `name` stands for it in messages; no sidecar is looked for.
    ///
    /// # Errors
    /// As [`Stack::open`].
    pub fn from_tiff_bytes(name: &Path, bytes: Vec<u8>, spacing_zyx_mm: Option<[f64; 3]>) -> Result<Self> {
        let length = bytes.len() as u64;
        let pages = TiffPages::new(name, Box::new(Cursor::new(bytes)), length)?;
        Self::from_pages(name, pages, spacing_zyx_mm, Vec::new())
    }

    fn from_pages(
        path: &Path,
        pages: TiffPages,
        spacing_zyx_mm: Option<[f64; 3]>,
        sidecars: Vec<(PathBuf, [f64; 3])>,
    ) -> Result<Self> {
        let tags = page_tags(path, &pages, Some(pages.count))?;
        let form = pages.form;
        let slices = Slices::Pages(Box::new(Mutex::new(pages)));
        Self::new(path, form, slices, spacing_zyx_mm, sidecars, tags, Vec::new())
    }

    fn new(
        path: &Path,
        form: SliceForm,
        slices: Slices,
        argument: Option<[f64; 3]>,
        sidecars: Vec<(PathBuf, [f64; 3])>,
        tags: Tags,
        mut warnings: Vec<Warning>,
    ) -> Result<Self> {
        if let Some(found) = argument.filter(|spacing| !spacing::usable(*spacing)) {
            let found = format!("--spacing-zyx is {found:?} mm");
            return Err(VolumeError::Spacing { path: path.into(), found });
        }
        let depth = match &slices {
            Slices::Pages(pages) => pages.lock().unwrap_or_else(PoisonError::into_inner).count,
            Slices::Files(_, files) => files.len(),
        };
        let shape_zyx = [depth, form.height, form.width];
        if depth == 1 {
            warnings.push(Warning::SingleSlice { shape_zyx });
        }
        let (spacing, differing) = spacing::choose(argument, sidecars, &tags);
        warnings.extend(differing);
        Ok(Self { path: path.into(), shape_zyx, form, slices, spacing, missing: tags.missing, warnings })
    }

    /// Shape z, y, x.
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    /// The stack's grid in mm: first voxel at the origin, axes taken as RAS+.
    ///
    /// # Errors
    /// [`VolumeError::StackSpacing`] if nobody states the voxel size.
    pub fn grid(&self) -> Result<Grid> {
        let (_, spacing_zyx_mm) = self.spacing.as_ref().ok_or_else(|| VolumeError::StackSpacing {
            path: self.path.clone(),
            found: self.missing.clone(),
        })?;
        Grid::from_spacing(self.shape_zyx, *spacing_zyx_mm, [0.0; 3])
    }

    /// Who stated the voxel size; `None` if nobody did.
    pub fn spacing_source(&self) -> Option<&SpacingSource> {
        self.spacing.as_ref().map(|(source, _)| source)
    }

    /// What somebody should know about the stack.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Intensities (z, y, x) of the slices `z`, as stored, without scaling.
    ///
    /// # Errors
    /// Slices outside the stack, palette slices, damaged data.
    pub fn read_slab(&self, z: Range<usize>) -> Result<Vec<f32>> {
        if self.form.kind == Kind::Palette {
            return Err(VolumeError::StackContent {
                path: self.path.clone(),
                found: "the slices hold indices into a table of colours".into(),
                expected: pixels::GREY,
                fix: COLOUR_FIX,
            });
        }
        self.slab(z, |_, slice, out| {
            pixels::intensities(slice, 0, out);
            Ok(())
        })
    }

    /// Ids (z, y, x) of the slices `z`. Integers never pass through a float; palette slices give the indices.
    ///
    /// # Errors
    /// Slices outside the stack, negative or fractional values, floats too large to be exact, damaged data.
    pub fn read_label_slab(&self, z: Range<usize>) -> Result<Vec<u64>> {
        self.slab(z, |index, slice, out| pixels::ids(&self.path, &self.slice_name(index), slice, 0, out))
    }

    fn slice_name(&self, z: usize) -> String {
        match &self.slices {
            Slices::Pages(_) => format!("page {}", z + 1),
            Slices::Files(_, files) => short_name(&files[z]),
        }
    }

    /// Decodes slices one after the other (pages) or side by side (files) into one array.
    fn slab<T: Copy + Default + Send>(
        &self,
        z: Range<usize>,
        convert: impl Fn(usize, &DecodingResult, &mut [T]) -> Result<()> + Sync,
    ) -> Result<Vec<T>> {
        let [depth, height, width] = self.shape_zyx;
        if z.start >= z.end || z.end > depth {
            return Err(VolumeError::OutsideVolume {
                start_zyx: [z.start, 0, 0],
                end_zyx: [z.end, height, width],
                shape_zyx: self.shape_zyx,
            }
            .in_file(&self.path));
        }
        let plane = height * width;
        let memory = |bytes: u64| VolumeError::Memory { path: self.path.clone(), bytes };
        let bytes = (z.len() as u64).saturating_mul(plane as u64).saturating_mul(size_of::<T>() as u64);
        let elements = z.len().checked_mul(plane).ok_or_else(|| memory(bytes))?;
        let mut out: Vec<T> = Vec::new();
        out.try_reserve_exact(elements).map_err(|_| memory(bytes))?;
        out.resize(elements, T::default());
        match &self.slices {
            Slices::Pages(pages) => {
                let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
                for (index, part) in z.zip(out.chunks_exact_mut(plane)) {
                    convert(index, &pages.read(index)?, part)?;
                }
            }
            Slices::Files(kind, files) => {
                let first = z.start;
                let results: Vec<Result<()>> = out
                    .par_chunks_exact_mut(plane)
                    .enumerate()
                    .map(|(i, part)| {
                        let index = first + i;
                        convert(index, &self.read_file(*kind, &files[index], &files[0])?, part)
                    })
                    .collect();
                // The first failure in order of z, however many threads there are.
                results.into_iter().collect::<Result<()>>()?;
            }
        }
        Ok(out)
    }

    fn read_file(&self, kind: FileKind, file: &Path, first: &Path) -> Result<DecodingResult> {
        // Files may have changed since the stack was opened.
        let same = |found: SliceForm| {
            if found == self.form { Ok(()) } else { Err(differs(&self.path, file, found, self.form, first)) }
        };
        match kind {
            FileKind::Png => {
                same(png_slices::form(file)?)?;
                png_slices::read(file)
            }
            FileKind::Tiff => {
                let mut pages = TiffPages::open(file)?;
                same(pages.form)?;
                pages.read(0)
            }
        }
    }
}

/// Form shared by all files, and the tags of the first.
fn same_form(directory: &Path, kind: FileKind, files: &[PathBuf]) -> Result<(SliceForm, Tags)> {
    let mut first: Option<(SliceForm, Tags)> = None;
    for file in files {
        let (form, tags) = match kind {
            FileKind::Png => {
                let missing = "PNG slices give no thickness, z is missing".to_owned();
                (png_slices::form(file)?, Tags { spacing: None, missing })
            }
            FileKind::Tiff => {
                let pages = TiffPages::open(file)?;
                if pages.count != 1 {
                    return Err(VolumeError::StackContent {
                        path: file.clone(),
                        found: format!("{} pages in one of {} files", pages.count, files.len()),
                        expected: "one page per file in a directory of slices",
                        fix: "If the file is a whole stack, give its own path in place of the directory's",
                    });
                }
                (pages.form, page_tags(file, &pages, None)?)
            }
        };
        match &first {
            None => first = Some((form, tags)),
            Some((expected, _)) if *expected != form => {
                return Err(differs(directory, file, form, *expected, &files[0]));
            }
            Some(_) => {}
        }
    }
    first.ok_or_else(|| VolumeError::EmptyShape { shape_zyx: [0; 3] }.in_file(directory))
}

fn differs(stack: &Path, file: &Path, found: SliceForm, expected: SliceForm, first: &Path) -> VolumeError {
    VolumeError::StackSlice {
        path: stack.into(),
        slice: short_name(file),
        found: found.to_string(),
        expected: expected.to_string(),
        first: short_name(first),
    }
}

fn page_tags(path: &Path, pages: &TiffPages, count: Option<usize>) -> Result<Tags> {
    tags::read(&pages.description, pages.resolution, count)
        .map_err(|found| VolumeError::StackAxes { path: path.into(), found })
}

/// Last part of a path, for messages.
pub(crate) fn short_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Name of the sidecar that would give a stack its voxel size.
pub(crate) fn sidecar_name(stack: &Path) -> String {
    short_name(&spacing::beside(stack, listing::file_kind(stack).is_none()))
}
