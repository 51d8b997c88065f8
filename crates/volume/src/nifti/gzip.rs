//! A byte stream out of a plain or gzip file, with every member's checksum verified.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Deflate never expands more than this.
pub(super) const LARGEST_EXPANSION: u64 = 1032;

/// Plain or gzip input, told apart by its first bytes and not by its name.
pub(super) enum Source {
    Plain(BufReader<fs_err::File>),
    Gzip(Box<Members>),
}

/// Concatenated gzip members; trailing zeros (tape padding) are skipped.
pub(super) struct Members {
    current: Option<GzDecoder<BufReader<fs_err::File>>>,
}

impl Source {
    /// Opens a file; returns it with its size on disk.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = fs_err::File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let source = if gzip {
            Self::Gzip(Box::new(Members { current: Some(GzDecoder::new(reader)) }))
        } else {
            Self::Plain(reader)
        };
        Ok((source, bytes))
    }

    /// Most bytes that a file of `bytes` can decode to.
    pub(super) fn most(&self, bytes: u64) -> u64 {
        match self {
            Self::Plain(_) => bytes,
            Self::Gzip(_) => bytes.saturating_mul(LARGEST_EXPANSION),
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(members) => members.read(buffer),
        }
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = self.current.as_mut() else { return Ok(0) };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            // The member has ended and its checksum held. Another one, padding, or the end?
            let Some(mut reader) = self.current.take().map(GzDecoder::into_inner) else { return Ok(0) };
            let next = loop {
                let available = reader.fill_buf()?;
                let zeros = available.iter().take_while(|byte| **byte == 0).count();
                if available.is_empty() || zeros < available.len() {
                    break available.get(zeros).copied().map(|byte| (byte, zeros));
                }
                reader.consume(zeros);
            };
            match next {
                None => return Ok(0),
                Some((0x1f, 0)) => self.current = Some(GzDecoder::new(reader)),
                Some(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "bytes after the end of the gzip stream that are no gzip member",
                    ));
                }
            }
        }
    }
}
