//! The record once more as TensorBoard's event file, so that a running training can be watched with the usual tool.
//!
//! An event file is a row of framed messages: length (u64), masked CRC-32C of the length, bytes, masked CRC-32C of the
//! bytes, all little-endian. Each message is the protocol buffer `Event` with wall time (field 1), step (2) and a summary
//! (5) of named values, or the file version (3) in the first.

use crate::Result;
use crate::record::Values;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Folder in the run's directory. TensorBoard takes every file with `tfevents` in its name.
pub const FOLDER: &str = "tensorboard";
/// The one file in it.
pub const FILE_NAME: &str = "events.out.tfevents.0.run";

const VERSION: &[u8] = b"brain.Event:2";
/// Bytes of a frame beside its message.
const FRAME: usize = 8 + 4 + 4;

/// The open event file.
#[derive(Debug)]
pub(super) struct Events {
    file: fs_err::File,
}

impl Events {
    /// Starts the file anew below `directory`.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let mut version = Vec::new();
        double(1, now(), &mut version);
        bytes(3, VERSION, &mut version);
        Self::begin(directory, &framed(&version))
    }

    /// Continues the file: what is newer than `step`, and what a kill left incomplete, is removed.
    pub(super) fn resume(directory: &Path, step: u64, validation_due: bool) -> Result<Self> {
        let path = directory.join(FOLDER).join(FILE_NAME);
        if !path.exists() {
            return Self::create(directory);
        }
        let whole = fs_err::read(&path)?;
        let mut kept = Vec::with_capacity(whole.len());
        let mut rest = whole.as_slice();
        while let Some((frame, after)) = next(rest) {
            let event = &frame[12..frame.len() - 4];
            let at = step_of(event);
            // of the name of every value, `validation/score` or `timing-validation/seconds`
            let is_validation = event.windows(11).any(|text| text == b"validation/");
            if at <= step && !(validation_due && at == step && is_validation) {
                kept.extend_from_slice(frame);
            }
            rest = after;
        }
        Self::begin(directory, &kept)
    }

    fn begin(directory: &Path, start: &[u8]) -> Result<Self> {
        let folder = directory.join(FOLDER);
        fs_err::create_dir_all(&folder)?;
        let path = folder.join(FILE_NAME);
        stage::atomic::write(&path, start)?;
        Ok(Self { file: fs_err::OpenOptions::new().append(true).open(path)? })
    }

    /// Adds the finite values of a line as `kind/name`, in one call.
    pub(super) fn append(&mut self, step: u64, kind: &str, values: &Values) -> Result<()> {
        let mut summary = Vec::new();
        for (name, number) in values.iter().filter(|(_, number)| number.is_finite()) {
            let mut value = Vec::new();
            bytes(1, format!("{kind}/{name}").as_bytes(), &mut value);
            // simple_value is a 32-bit float
            value.push(2 << 3 | 5);
            value.extend((*number as f32).to_le_bytes());
            bytes(1, &value, &mut summary);
        }
        let mut event = Vec::new();
        double(1, now(), &mut event);
        event.push(2 << 3);
        varint(step, &mut event);
        bytes(5, &summary, &mut event);
        Ok(self.file.write_all(&framed(&event))?)
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        Ok(self.file.sync_all()?)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn double(field: u8, value: f64, out: &mut Vec<u8>) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn masked(content: &[u8]) -> [u8; 4] {
    crc32c::crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), message, &masked(message)].concat()
}

/// The first whole frame and what follows it; none at the end, and where the rest is no frame.
fn next(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u64::from_le_bytes(rest.first_chunk::<8>().copied()?)).ok()?;
    let (frame, after) = rest.split_at_checked(length.checked_add(FRAME)?)?;
    let (head, message) = frame.split_at(12);
    let (message, sum) = message.split_at(length);
    (head[8..] == masked(&head[..8]) && sum == masked(message)).then_some((frame, after))
}

/// The step of an event of ours, which follows its wall time; 0 for the version.
fn step_of(message: &[u8]) -> u64 {
    let Some((&0x10, digits)) = message.get(9..).and_then(<[u8]>::split_first) else { return 0 };
    let mut step = 0;
    for (place, byte) in digits.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(directory: &Path) -> Vec<u64> {
        let whole = fs_err::read(directory.join(FOLDER).join(FILE_NAME)).unwrap();
        let (mut rest, mut steps) = (whole.as_slice(), Vec::new());
        while let Some((frame, after)) = next(rest) {
            steps.push(step_of(&frame[12..frame.len() - 4]));
            rest = after;
        }
        assert!(rest.is_empty());
        steps
    }

    #[test]
    fn a_torn_file_is_continued_from_the_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let values = Values::from([("loss".to_owned(), 0.5), ("nothing".to_owned(), f64::NAN)]);
        let mut events = Events::create(directory.path()).unwrap();
        for step in [1, 200, 70_000] {
            events.append(step, "step", &values).unwrap();
        }
        let path = directory.path().join(FOLDER).join(FILE_NAME);
        let whole = fs_err::read(&path).unwrap();
        assert_eq!(steps(directory.path()), [0, 1, 200, 70_000]);
        for end in [whole.len() - 1, whole.len() - 30] {
            fs_err::write(&path, &whole[..end]).unwrap();
            let mut events = Events::resume(directory.path(), 200, false).unwrap();
            events.append(300, "step", &values).unwrap();
            events.sync().unwrap();
            assert_eq!(steps(directory.path()), [0, 1, 200, 300]);
        }
        Events::resume(directory.path(), 1, false).unwrap();
        assert_eq!(steps(directory.path()), [0, 1]);
        fs_err::remove_file(&path).unwrap();
        Events::resume(directory.path(), 1, false).unwrap();
        assert_eq!(steps(directory.path()), [0]);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(content in prop::collection::vec(any::<u8>(), 0..60), step in any::<u64>()) {
            assert!(next(&content).is_none_or(|(frame, after)| frame.len() + after.len() == content.len()));
            let mut event = Vec::new();
            double(1, 0.0, &mut event);
            event.push(2 << 3);
            varint(step, &mut event);
            prop_assert_eq!(step_of(&event), step);
            let _any_number = step_of(&content);
        }
    }
}
