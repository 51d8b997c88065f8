//! The rule by which a header's geometry is chosen, and what is said about it.

use crate::made::{Files, Made, small};
use volume::nifti::read_header;
use volume::{Grid, Warning};

fn read(files: &Files, made: &Made) -> (Grid, Vec<Warning>) {
    let (_, grid, warnings) = read_header(files.put("g.nii", &made.bytes())).unwrap();
    (grid, warnings)
}

fn words(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(|warning| format!("{} {warning}", warning.code())).collect()
}

#[test]
fn a_conflict_names_the_winner() {
    let files = Files::new();
    let made = Made { qform: Some(([0.0; 3], [-5.0, 6.0, 9.5])), ..small() };
    let (grid, warnings) = read(&files, &made);
    assert_eq!(grid.world([0.0; 3]), [-5.0, 6.0, 7.0]);
    assert_eq!(
        words(&warnings),
        [
            "W120 sform and qform differ by 2.500 mm at a corner. Using sform; if qform is right, set sform_code to 0"
        ]
    );
    // Less than a micrometre is no conflict.
    let made = Made { qform: Some(([0.0; 3], [-5.0, 6.0, 7.0005])), ..small() };
    assert_eq!(read(&files, &made).1, []);
    // But it is where voxels are nanometres wide: the third of these in micrometres.
    let nm = 1e-3;
    let sform = [[4.0 * nm, 0.0, 0.0, 0.0], [0.0, 4.0 * nm, 0.0, 0.0], [0.0, 0.0, 40.0 * nm, 0.0]];
    let pixdim = [1.0, 4.0 * nm, 4.0 * nm, 40.0 * nm, 1.0, 1.0, 1.0, 1.0];
    let of = |x: f64| Made {
        pixdim,
        sform: Some(sform),
        qform: Some(([0.0; 3], [x * nm, 0.0, 0.0])),
        units: 3,
        ..small()
    };
    let said = words(&read(&files, &of(200.0)).1);
    assert!(said.iter().any(|text| text.starts_with("W120 sform and qform differ by 200.0 nm")), "{said:?}");
    let said = words(&read(&files, &of(0.3)).1);
    assert!(!said.iter().any(|text| text.starts_with("W120")), "{said:?}");
}

#[test]
fn a_qform_that_is_no_rotation_does_not_spoil_a_good_sform() {
    let files = Files::new();
    let made = Made { qform: Some(([f64::NAN, 0.0, 0.0], [0.0; 3])), ..small() };
    let (grid, warnings) = read(&files, &made);
    assert_eq!(grid.world([0.0; 3]), [-5.0, 6.0, 7.0]);
    assert_eq!(words(&warnings), ["W127 qform is unusable (an entry is not a finite number). Using sform"]);
    let alone = Made { sform: None, ..made };
    let error = read_header(files.put("g.nii", &alone.bytes())).unwrap_err();
    assert_eq!(error.code(), "E122");
    assert!(error.to_string().contains("g.nii"), "{error}");
}

#[test]
fn shear_is_told_in_degrees_and_in_millimetres_at_a_corner() {
    let files = Files::new();
    // Columns x and y are 90.6 degrees apart.
    let (sin, cos) = 0.6_f64.to_radians().sin_cos();
    let sheared = [[2.0, -3.0 * sin, 0.0, 0.0], [0.0, 3.0 * cos, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]];
    let made = Made { sform: Some(sheared), ..small() };
    let (grid, warnings) = read(&files, &made);
    let [Warning::NotOrthonormal { form, shear_deg, corner_mm }] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert_eq!(form, "sform");
    assert!((shear_deg - 0.6).abs() < 1e-4, "{shear_deg}");
    // Both axes turn by half of it: y ends 2 · 3 mm away, x 1 · 2 mm.
    let half = 0.3_f64.to_radians().sin() * 2.0;
    assert!(*corner_mm > 6.0 * half * 0.5 && *corner_mm < 8.0 * half * 0.6, "{corner_mm}");
    assert_eq!(
        words(&warnings),
        [format!(
            "W121 sform is not orthonormal (shear 0.60 deg). Using sform, direction snapped by polar decomposition; \
             largest corner shift {corner_mm:.3} mm"
        )]
    );
    // Sizes survive the repair, and right angles come out of it.
    let spacing = grid.spacing_zyx_mm();
    assert!(spacing.iter().zip([4.0, 3.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{spacing:?}");
    let dot: f64 = (0..3).map(|row| grid.affine[row][0] * grid.affine[row][1]).sum();
    assert!(dot.abs() < 1e-9, "{dot}");
    // Rounding of stored floats is no shear.
    let (sin, cos) = 0.7_f64.sin_cos();
    let rounded = [[2.0 * cos, -3.0 * sin, 0.0, 1.0], [2.0 * sin, 3.0 * cos, 0.0, 2.0], [0.0, 0.0, 4.0, 3.0]];
    assert_eq!(read(&files, &Made { sform: Some(rounded), ..small() }).1, []);
}

#[test]
fn spacing_is_that_of_the_affine_and_not_pixdim() {
    let files = Files::new();
    let made = Made { pixdim: [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], ..small() };
    let (grid, warnings) = read(&files, &made);
    assert_eq!(grid.spacing_zyx_mm(), [4.0, 3.0, 2.0]);
    assert_eq!(
        words(&warnings),
        ["W125 pixdim says [1.0, 1.0, 1.0] mm, the affine [4.0, 3.0, 2.0] mm (z,y,x). Using the affine"]
    );
}

#[test]
fn without_any_form_pixdim_is_used_with_a_warning() {
    let files = Files::new();
    let (grid, warnings) = read(&files, &Made { sform: None, ..small() });
    assert_eq!(grid, Grid::from_spacing([2, 3, 2], [4.0, 3.0, 2.0], [0.0; 3]).unwrap());
    assert_eq!(warnings, [Warning::NoOrientation]);
    assert!(words(&warnings)[0].contains("orientation unknown, taken as RAS+"), "{warnings:?}");
    // Negative codes are no codes.
    let mut bytes = small().bytes();
    bytes[254..256].copy_from_slice(&(-1_i16).to_le_bytes());
    let (_, _, warnings) = read_header(files.put("g.nii", &bytes)).unwrap();
    assert_eq!(warnings, [Warning::NoOrientation]);
}

#[test]
fn both_halves_of_a_pair_are_recognised() {
    let files = Files::new();
    let mut nifti = small().bytes();
    nifti[344..348].copy_from_slice(b"ni1\0");
    // Analyze 7.5 has the size of the header, but no magic word.
    let mut analyze = nifti.clone();
    analyze[344..348].copy_from_slice(&[0; 4]);
    let mut second = Made { version: 2, ..small() }.bytes();
    second[4..8].copy_from_slice(b"ni2\0");
    for (name, bytes) in [
        ("x.hdr", &nifti),
        ("x.nii", &nifti),
        ("y.hdr", &analyze),
        ("z.hdr", &second),
        ("x.img", &vec![7; 5000]),
        ("x.IMG", &vec![]),
    ] {
        let error = read_header(files.put(name, bytes)).unwrap_err();
        assert_eq!(error.code(), "E103", "{name}");
        assert!(error.to_string().contains("belongs to a .hdr/.img pair"), "{name}: {error}");
        assert!(error.hint().unwrap().contains("Join the pair"));
    }
}
