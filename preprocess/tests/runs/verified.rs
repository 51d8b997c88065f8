//! `data-manifests verify` on what a run wrote.

use crate::support::Task;
use data_manifests::verify::verify;

#[test]
fn one_flipped_byte_is_found_wherever_it_is() {
    let task = Task::noise(2, [20, 24, 22]);
    assert_eq!(task.process(&[]).0, 0);
    let out = task.out();
    assert_eq!(verify(&out).unwrap(), [""; 0]);
    let files = data_manifests::digest::files_below(&out).unwrap();
    for name in ["cases.csv", "dataset.toml", "manifest.json", "report.json", "cases/c00/image/c.0.0.0.0"] {
        assert!(files.iter().any(|file| file == name), "{name} is not there");
    }
    for file in files.iter().filter(|file| *file != ".lock") {
        let path = out.join(file);
        let good = fs_err::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 23 + 1).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs_err::write(&path, &bad).unwrap();
            // a case is one line of the manifest; a manifest that cannot be trusted is an error of its own
            let listed = match file.split('/').collect::<Vec<_>>()[..] {
                ["cases", id, ..] => format!("cases/{id}/"),
                _ => file.clone(),
            };
            let found = verify(&out);
            let named = match &found {
                Ok(wrong) => wrong.len() == 1 && wrong[0].contains(&listed),
                Err(error) => file == "manifest.json" && error.to_string().contains("manifest.json"),
            };
            assert!(named, "byte {at} of {file}: {found:?}");
        }
        fs_err::remove_file(&path).unwrap();
        if file != "report.json" {
            assert!(!verify(&out).is_ok_and(|wrong| wrong.is_empty()), "{file} is gone");
        }
        fs_err::write(&path, &good).unwrap();
    }
    fs_err::write(out.join("cases/c01/extra"), "x").unwrap();
    fs_err::write(out.join(".lock"), "x").unwrap();
    let wrong = verify(&out).unwrap();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong.iter().any(|w| w.starts_with("cases/c01/: found ")), "{wrong:?}");
}
