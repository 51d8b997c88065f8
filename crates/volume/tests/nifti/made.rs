//! Files made byte by byte.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// A header under construction, with the voxels as bytes.
pub(crate) struct Made {
    pub(crate) version: u8,
    pub(crate) big: bool,
    pub(crate) dims: Vec<i64>,
    pub(crate) code: i16,
    pub(crate) pixdim: [f64; 8],
    pub(crate) scl: (f64, f64),
    pub(crate) qform: Option<([f64; 3], [f64; 3])>,
    pub(crate) sform: Option<[[f64; 4]; 3]>,
    pub(crate) units: u8,
    pub(crate) payload: Vec<u8>,
}

impl Made {
    pub(crate) fn new(dims: &[i64], code: i16, payload: Vec<u8>) -> Self {
        Self {
            version: 1,
            big: false,
            dims: dims.to_vec(),
            code,
            pixdim: [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0],
            scl: (0.0, 0.0),
            qform: None,
            sform: Some([[2.0, 0.0, 0.0, -5.0], [0.0, 3.0, 0.0, 6.0], [0.0, 0.0, 4.0, 7.0]]),
            units: 2,
            payload,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let two = self.version == 2;
        let mut out = vec![0_u8; if two { 544 } else { 352 }];
        let mut put = |at: usize, mut bytes: Vec<u8>| {
            if self.big {
                bytes.reverse();
            }
            out[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        let real = |v: f64| if two { v.to_le_bytes().to_vec() } else { (v as f32).to_le_bytes().to_vec() };
        let short = |v: i64| (v as i16).to_le_bytes().to_vec();
        let int = |v: i64| (v as i32).to_le_bytes().to_vec();
        let dim = |v: i64| if two { v.to_le_bytes().to_vec() } else { short(v) };
        // Offsets: size, dim, datatype, pixdim, vox_offset, scl, codes, quaternion, srow, units.
        let at = if two {
            (540, [16, 12, 104, 168, 176, 344, 352, 400, 500])
        } else {
            (348, [40, 70, 76, 108, 112, 252, 256, 280, 123])
        };
        let [dims, datatype, pixdim, vox_offset, scl, codes, quaternion, srow, units] = at.1;
        let (wide, narrow) = if two { (8, 8) } else { (4, 2) };
        put(0, int(at.0));
        put(dims, dim(self.dims.len() as i64));
        for i in 0..7 {
            put(dims + narrow * (i + 1), dim(self.dims.get(i).copied().unwrap_or(1)));
        }
        put(datatype, short(self.code.into()));
        for (i, v) in self.pixdim.iter().enumerate() {
            put(pixdim + wide * i, real(*v));
        }
        put(vox_offset, if two { 544_i64.to_le_bytes().to_vec() } else { real(352.0) });
        put(scl, real(self.scl.0));
        put(scl + wide, real(self.scl.1));
        let code = |set: bool| if two { int(set.into()) } else { short(set.into()) };
        put(codes, code(self.qform.is_some()));
        put(codes + if two { 4 } else { 2 }, code(self.sform.is_some()));
        if let Some((bcd, offset)) = self.qform {
            for (i, v) in bcd.iter().chain(&offset).enumerate() {
                put(quaternion + wide * i, real(*v));
            }
        }
        for (i, v) in self.sform.iter().flatten().flatten().enumerate() {
            put(srow + wide * i, real(*v));
        }
        put(units, if two { int(self.units.into()) } else { vec![self.units] });
        let magic: &[u8] = if two { b"n+2\0\r\n\x1a\n" } else { b"n+1\0" };
        let place = if two { 4 } else { 344 };
        out[place..place + magic.len()].copy_from_slice(magic);
        out.extend_from_slice(&self.payload);
        out
    }
}

/// A directory for them.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs_err::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn small() -> Made {
    Made::new(&[2, 3, 2], 2, (0..12).collect())
}
