//! A label map to its file, on the image's own grid, and its probabilities to theirs.

use super::image::{Labelled, Predicted};
use super::jobs::Job;
use super::output::{CLASSES, Format};
use super::pipeline::Files;
use super::probabilities::Channels;
use crate::clean_up::CleanUp;
use crate::stacks::{Failure, create_labels};
use data_manifests::cases;
use label_maps::window::Window;
use patches::stack::Numbers;
use stage::Message;
use std::path::Path;
use volume::hdf5::StackInfo;
use volume::{Grid, nifti, same_geometry};

/// How label maps are written.
pub(super) struct Writer<'a> {
    pub(super) clean_up: Option<&'a CleanUp>,
    pub(super) format: Format,
    /// What probabilities are of, where they are wanted.
    pub(super) channels: Option<&'a Channels>,
}

impl Writer<'_> {
    /// Writes the label map of a case, then its probabilities.
    pub(super) fn write(&self, job: &Job, predicted: Predicted, files: &Files) -> anyhow::Result<()> {
        let Predicted::Labels(predicted) = predicted else { return Ok(()) };
        let Labelled { mut labels, grid, probabilities } = *predicted;
        let path = &files.map;
        check_grid(&labels, &grid, job.case.image.nifti())?;
        if let Some(choice) = self.clean_up {
            choice.apply(&mut labels, grid.shape_zyx).map_err(anyhow::Error::from)?;
        }
        match (self.format, job.case.image.nifti()) {
            (Format::Nifti, Some(reference)) => nifti::write_labels_like(path, &labels, reference)?,
            (Format::Nifti, None) => nifti::write_labels(path, &labels, &grid)?,
            (Format::Hdf5 | Format::Zarr, _) => {
                write_stack(path, &labels, &grid).map_err(|failure| failure.0)?;
            }
        }
        drop(labels);
        if let (Some(found), Some(to), Some(channels)) = (&probabilities, &files.probabilities, self.channels)
        {
            channels.write(to, found, path, &grid).map_err(|failure| failure.0)?;
        }
        Ok(())
    }
}

/// Refuses to write labels on a grid that is not their image's (E408): what the file says now is what they will lie on.
fn check_grid(labels: &[u16], grid: &Grid, reference: Option<&Path>) -> anyhow::Result<()> {
    let voxels: usize = grid.shape_zyx.iter().product();
    let now = reference.map(nifti::read_header).transpose()?.map(|(_, grid, _)| grid);
    let same =
        |now: &Grid| now.shape_zyx == grid.shape_zyx && same_geometry(now, grid) <= grid.same_within_mm();
    if labels.len() == voxels && now.as_ref().is_none_or(same) {
        return Ok(());
    }
    let found = now.as_ref().unwrap_or(grid);
    let text = format!(
        "{} labels were predicted for voxels of shape {}; the image's shape is {}",
        labels.len(),
        cases::triple(&grid.shape_zyx),
        cases::triple(&found.shape_zyx)
    );
    Err(Message::error("E408", text)
        .cause("The image was changed while it was predicted: shape or affine are others now")
        .fix("Rerun the same command")
        .into())
}

/// Where a stack lies, whose axes are along z, y, x.
pub(super) fn stack_info(name: &str, grid: &Grid) -> StackInfo {
    let [x, y, z] = [0, 1, 2].map(|axis: usize| grid.affine[axis][3] * 1e6);
    StackInfo {
        name: name.to_owned(),
        shape_zyx: grid.shape_zyx,
        resolution_zyx_nm: grid.spacing_zyx_nm(),
        offset_zyx_nm: [z, y, x],
    }
}

/// A label map of a stack, some sections at a time.
fn write_stack(path: &Path, labels: &[u16], grid: &Grid) -> Result<(), Failure> {
    /// As many as a chunk of OME-Zarr has.
    const SECTIONS: usize = 16;
    let [_, ny, nx] = grid.shape_zyx;
    let most = labels.iter().copied().max().unwrap_or_default();
    let numbers = Numbers::of_classes(usize::from(most) + 1);
    create_labels(path, CLASSES, &stack_info(CLASSES, grid), numbers, |file| {
        for (piece, sections) in labels.chunks(SECTIONS * ny * nx).enumerate() {
            let ids: Vec<u64> = sections.iter().map(|label| u64::from(*label)).collect();
            let shape_zyx = [ids.len() / (ny * nx), ny, nx];
            let window = Window { start_zyx: [piece * SECTIONS, 0, 0], shape_zyx };
            file.put(&window, &ids)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_go_to_the_grid_that_they_were_predicted_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.nii.gz");
        let grid = |shape, spacing: f64| Grid::from_spacing(shape, [spacing; 3], [0.0; 3]).unwrap();
        let own = grid([2, 3, 4], 1.0);
        nifti::write_labels(&file, &[0_u16; 24], &own).unwrap();
        check_grid(&[0; 24], &own, Some(&file)).unwrap();
        check_grid(&[0; 24], &own, None).unwrap();
        for (voxels, other) in [(24, grid([2, 4, 3], 1.0)), (24, grid([2, 3, 4], 2.0)), (23, own)] {
            let said = check_grid(&vec![0; voxels], &other, Some(&file)).unwrap_err().to_string();
            assert!(said.contains("E408"), "{said}");
        }
    }
}
