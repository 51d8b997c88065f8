//! JSON files with the line and column of what is wrong in them.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A JSON file.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
    /// What it holds.
    pub(crate) value: Value,
}

impl Document {
    /// Reads a file; a byte order mark in front is no error.
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON: then with line and column.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(path)?;
        Self::parse(path, text.trim_start_matches('\u{feff}'))
            .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
    }

    /// Parses a text that stands in the file `path`.
    ///
    /// # Errors
    /// No JSON, with line and column.
    pub(crate) fn parse(path: &Path, text: &str) -> serde_json::Result<Self> {
        let value = serde_json::from_str(text)?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), value })
    }

    /// Where a member or an element begins, in bytes.
    pub(crate) fn offset(&self, pointer: &[&str]) -> Option<usize> {
        Scanner { bytes: self.text.as_bytes(), at: 0 }.find(pointer)
    }

    /// File, line and column of a member (its name) or an element, for messages; only the file where it is not there.
    pub(crate) fn place(&self, pointer: &[&str]) -> String {
        let file = self.path.display();
        match self.offset(pointer) {
            Some(offset) => {
                let before = &self.text[..offset];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{file}:{line}:{column}")
            }
            None => file.to_string(),
        }
    }
}

/// Walks over a text that is known to be JSON.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Offset of the member or element that `pointer` leads to.
    fn find(&mut self, pointer: &[&str]) -> Option<usize> {
        self.blank();
        let Some((first, rest)) = pointer.split_first() else { return Some(self.at) };
        let is_object = match self.bytes.get(self.at)? {
            b'{' => true,
            b'[' => false,
            _ => return None,
        };
        self.at += 1;
        for element in 0.. {
            self.blank();
            if matches!(self.bytes.get(self.at)?, b'}' | b']') {
                return None;
            }
            let start = self.at;
            let found = if is_object {
                let name: String = serde_json::from_slice(self.string()).ok()?;
                self.blank();
                self.at += 1; // the colon
                name == *first
            } else {
                *first == element.to_string()
            };
            if found {
                return if rest.is_empty() { Some(start) } else { self.find(rest) };
            }
            self.skip();
            self.blank();
            if self.bytes.get(self.at)? == &b',' {
                self.at += 1;
            }
        }
        None
    }

    fn blank(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> &'a [u8] {
        let start = self.at;
        self.at += 1;
        while self.bytes.get(self.at).is_some_and(|b| *b != b'"') {
            self.at += if self.bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.bytes.len());
        &self.bytes[start..self.at]
    }

    /// Steps over the value that begins here.
    fn skip(&mut self) {
        self.blank();
        let mut depth = 0_usize;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.string();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return;
                    }
                }
                b',' if depth == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_where_they_stand() {
        let text = "{\n  \"a\\\"b\": [1, {\"x\": \"}\"}],\n  \"labels\": {\"ä\": {\"q\": [[1], 2]}, \"bad\": -1},\n  \"z\": 3 }\n";
        let document = Document::parse(Path::new("d.json"), text).unwrap();
        let place = |pointer: &[&str]| document.place(pointer);
        assert_eq!(place(&["labels", "bad"]), "d.json:3:36");
        assert_eq!(place(&["a\"b", "1", "x"]), "d.json:2:16");
        assert_eq!(place(&["labels", "ä", "q", "1"]), "d.json:3:31");
        assert_eq!(place(&["z"]), "d.json:4:3");
        assert_eq!(place(&["none", "x"]), "d.json");
        assert_eq!(place(&["labels", "bad", "deeper"]), "d.json");
        assert_eq!(place(&[]), "d.json:1:1");
        assert!(
            Document::parse(Path::new("d.json"), "{\"a\": }").unwrap_err().to_string().contains("line 1")
        );
    }
}
