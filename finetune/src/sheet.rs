//! The picture of a validation: of the first cases the section with most foreground, one below the other.

use pictures::section::{self, PREDICTION, REFERENCE, Section, View};
use pictures::{Canvas, LINE};

/// Cases on the picture, at most.
const ROWS: usize = 4;
/// Pixels along the longer side of a section.
const SIDE: usize = 320;
/// Pixels between the two pictures of a case.
const GAP: usize = 8;
const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [40; 3];

/// A case: how it is called, and how it lies.
pub(crate) struct Shown<'a> {
    pub(crate) id: &'a str,
    pub(crate) shape_zyx: [usize; 3],
    /// Size of a pixel along y and x.
    pub(crate) spacing_yx: [f64; 2],
    /// Whether it is shown as if seen from the feet, front up.
    pub(crate) from_feet: bool,
}

/// Rows of two pictures with a line of text above.
#[derive(Default)]
pub(crate) struct Sheet {
    rows: Vec<(String, [Canvas; 2])>,
}

impl Sheet {
    /// Whether another case is shown.
    pub(crate) fn has_room(&self) -> bool {
        self.rows.len() < ROWS
    }

    /// Left the outlines of reference and prediction, right where they differ.
    ///
    /// # Shapes
    /// All z, y, x of the case's shape.
    pub(crate) fn add_classes(&mut self, case: &Shown<'_>, image: &[f32], [truth, guess]: [&[u32]; 2]) {
        let z = section::fullest(truth, guess, case.shape_zyx);
        let [truth, guess] = [truth, guess].map(|labels| Section::of(labels, case.shape_zyx, z));
        let view = View::of(&[truth, guess], case.spacing_yx, SIDE, case.from_feet);
        let image = Section::of(image, case.shape_zyx, z);
        let mut outlines = view.image(&image, section::percentiles(image.values()));
        let mut errors = outlines.clone();
        view.outline(&mut outlines, &truth, REFERENCE, 0);
        view.outline(&mut outlines, &guess, PREDICTION, 0);
        view.errors(&mut errors, &truth, &guess);
        self.add(case, z, [outlines, errors]);
    }

    /// Left the outlines of the true objects, right the boundaries that were found, 0 to 1.
    ///
    /// # Shapes
    /// All z, y, x of the case's shape.
    pub(crate) fn add_objects(&mut self, case: &Shown<'_>, image: &[f32], truth: &[u32], boundary: &[f32]) {
        let z = case.shape_zyx[0] / 2;
        let truth = Section::of(truth, case.shape_zyx, z);
        let view = View::of(&[truth], case.spacing_yx, SIDE, case.from_feet);
        let image = Section::of(image, case.shape_zyx, z);
        let mut outlines = view.image(&image, section::percentiles(image.values()));
        view.outline(&mut outlines, &truth, REFERENCE, 0);
        let found = view.image(&Section::of(boundary, case.shape_zyx, z), [0.0, 1.0]);
        self.add(case, z, [outlines, found]);
    }

    fn add(&mut self, case: &Shown<'_>, z: usize, pictures: [Canvas; 2]) {
        let text = format!("{} section {} of {}", case.id, z + 1, case.shape_zyx[0]);
        self.rows.push((text, pictures));
    }

    /// The picture; none without a case.
    pub(crate) fn finish(self) -> Option<Canvas> {
        if self.rows.is_empty() {
            return None;
        }
        let height = |[left, right]: &[Canvas; 2]| left.height().max(right.height());
        let rows = self.rows.iter().map(|(_, pictures)| height(pictures) + LINE + GAP).sum();
        let mut sheet = Canvas::new(rows, 2 * SIDE + GAP, PAPER);
        let mut row = 0;
        for (text, pictures) in &self.rows {
            sheet.write(row, 0, text, INK);
            row += LINE;
            for (place, picture) in pictures.iter().enumerate() {
                sheet.paste(row, place * (SIDE + GAP), picture);
            }
            row += height(pictures) + GAP;
        }
        Some(sheet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(shape_zyx: [usize; 3]) -> Shown<'static> {
        Shown { id: "case_1", shape_zyx, spacing_yx: [1.0, 1.0], from_feet: false }
    }

    #[test]
    fn the_first_cases_are_shown_with_their_errors() {
        let shape = [2, 4, 4];
        let (mut truth, mut guess) = ([0_u32; 32], [0_u32; 32]);
        truth[16 + 5] = 1;
        guess[16 + 10] = 1;
        let mut sheet = Sheet::default();
        while sheet.has_room() {
            sheet.add_classes(&case(shape), &[0.5; 32], [&truth, &guess]);
        }
        let picture = sheet.finish().unwrap();
        assert_eq!(picture.height(), ROWS * (SIDE + LINE + GAP));
        // the missed and the invented voxel on the right half of the last row
        let missed = section::fullest(&truth, &guess, shape);
        assert_eq!(missed, 1);
        let colours = |wanted: [u8; 3]| {
            (0..picture.height()).any(|r| (0..2 * SIDE + GAP).any(|c| picture.at(r, c) == Some(wanted)))
        };
        assert!(colours(REFERENCE) && colours(PREDICTION));
    }

    #[test]
    fn objects_are_shown_beside_the_boundaries_found() {
        let mut sheet = Sheet::default();
        assert!(Sheet::default().finish().is_none());
        let boundary: Vec<f32> = (0..16).map(|i| if i % 4 == 2 { 1.0 } else { 0.0 }).collect();
        sheet.add_objects(&case([1, 4, 4]), &[0.5; 16], &[2; 16], &boundary);
        let picture = sheet.finish().unwrap();
        let middle = LINE + SIDE / 2;
        assert_eq!(picture.at(middle, SIDE + GAP), Some([0; 3]));
        assert!(picture.at(middle, SIDE + GAP + SIDE * 5 / 8).unwrap()[0] > 250);
    }
}
