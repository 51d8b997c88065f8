//! What is odd about files that can be used all the same: sform against qform, axes that are no right angles, an unknown orientation.

use stage::{Context, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use volume::Warning;

/// So many files with one warning are named; of others the number is.
const NAMED: usize = 10;

/// A warning about a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remark {
    /// The case that it was read for.
    pub(crate) case: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// What its reader found.
    pub(crate) warning: Warning,
}

/// Tells remarks: each file's once, the first ten of a kind in full and how many more there were at the end.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    files: BTreeMap<&'static str, BTreeSet<PathBuf>>,
}

impl Remarks {
    /// Tells a remark, unless it was told or there were many like it.
    pub(crate) fn tell(&mut self, remark: Remark, context: &Context) {
        let Remark { case, path, warning } = remark;
        // what it says is of training; a label map of one section is scored as any other
        if matches!(warning, Warning::SingleSlice { .. }) {
            return;
        }
        let files = self.files.entry(warning.code()).or_default();
        let detail = path.display().to_string();
        if files.insert(path) && files.len() <= NAMED {
            let message = Message::warning(warning.code(), warning.to_string());
            context.tell(message.case(case).detail(detail));
        }
    }

    /// Says how many more files there were of each kind.
    pub(crate) fn finish(self, context: &Context) {
        for (code, files) in self.files {
            let more = files.len().saturating_sub(NAMED);
            if more > 0 {
                let (noun, verb) = if more == 1 { ("file", "has") } else { ("files", "have") };
                context.tell(Message::warning(code, format!("{more} more {noun} {verb} this warning")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_a_kind_are_named_and_the_others_counted() {
        let context = Context::new("evaluate", true);
        let mut remarks = Remarks::default();
        let remark = |i: usize, warning: Warning| Remark {
            case: format!("c{i}"),
            path: format!("{i}.nii").into(),
            warning,
        };
        for i in 0..12 {
            let corner_mm = 1.0 + i as f64;
            remarks.tell(remark(i, Warning::FormsDisagree { corner_mm }), &context);
            // the same file again, for another case
            remarks.tell(remark(i, Warning::FormsDisagree { corner_mm }), &context);
        }
        remarks.tell(remark(0, Warning::NoOrientation), &context);
        remarks.tell(remark(0, Warning::SingleSlice { shape_zyx: [1, 9, 9] }), &context);
        remarks.finish(&context);
        let told: Vec<String> = context.messages().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 12, "{told:?}");
        assert!(
            told[0].starts_with("W120 case c0: sform and qform differ by 1.000 mm")
                && told[0].ends_with("0.nii.")
        );
        assert!(told[10].starts_with("W123 case c0: neither sform nor qform is set"), "{}", told[10]);
        assert_eq!(told[11], "W120 2 more files have this warning.");
    }
}
