//! A byte stream out of plain, gzip or zlib input, with every checksum verified.

use flate2::bufread::{GzDecoder, ZlibDecoder};
use std::io::{self, BufRead, BufReader, Read};

/// Deflate never expands more than this.
const LARGEST_EXPANSION: u64 = 1032;

/// Bytes as they come, from a file or from memory.
pub(crate) type Input = BufReader<Box<dyn Read + Send>>;

/// Encoded input.
pub(crate) enum Payload {
    Plain(Input),
    Gzip(Box<Members>),
    Zlib(Box<ZlibDecoder<Input>>),
}

/// Concatenated gzip members; trailing zeros (tape padding) are skipped.
pub(crate) struct Members {
    current: Option<GzDecoder<Input>>,
}

impl Payload {
    /// Plain or gzip input, told apart by its first bytes and not by its name.
    pub(crate) fn guessed(mut input: Input) -> io::Result<Self> {
        let gzip = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        Ok(if gzip { Self::gzip(input) } else { Self::Plain(input) })
    }

    /// Gzip, of one or several members.
    pub(crate) fn gzip(input: Input) -> Self {
        Self::Gzip(Box::new(Members { current: Some(GzDecoder::new(input)) }))
    }

    /// A stream of zlib.
    pub(crate) fn zlib(input: Input) -> Self {
        Self::Zlib(Box::new(ZlibDecoder::new(input)))
    }

    /// Most bytes that input of `bytes` can decode to.
    pub(crate) fn most(&self, bytes: u64) -> u64 {
        match self {
            Self::Plain(_) => bytes,
            Self::Gzip(_) | Self::Zlib(_) => bytes.saturating_mul(LARGEST_EXPANSION),
        }
    }
}

impl Read for Payload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(members) => members.read(buffer),
            Self::Zlib(decoder) => decoder.read(buffer),
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
