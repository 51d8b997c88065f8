//! What headers of MetaImage and NRRD can say, and what is wrong with them.
#![expect(clippy::unwrap_used, reason = "test code")]

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;
use std::path::PathBuf;
use volume::scan::{self, Image};
use volume::{Result, Warning};

/// 2 × 3 × 2 voxels (z, y, x) of 16 bits.
const VALUES: [i16; 12] = [0, 1, -2, 3, 400, 5, 6, 7, 8, 9, 10, -1100];

fn bytes(big: bool) -> Vec<u8> {
    VALUES.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> PathBuf {
        let path = self.0.path().join(name);
        fs_err::write(&path, parts.concat()).unwrap();
        path
    }

    fn read(&self, name: &str, parts: &[&[u8]]) -> Result<Image> {
        scan::read_image(self.write(name, parts))
    }

    /// What is said, without the folder.
    fn refused(&self, name: &str, parts: &[&[u8]]) -> String {
        let error = self.read(name, parts).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        format!("{} {error}. {hint}", error.code()).replace(&format!("{}/", self.0.path().display()), "")
    }
}

const META: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
                    TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 0.5 0.75 2\nDimSize = 2 3 2\n\
                    ElementType = MET_SHORT\nElementDataFile = LOCAL\n";

const NRRD: &str = "NRRD0004\n# a remark: of nobody\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 3 2\n\
                    space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\nkinds: domain domain domain\nendian: little\nencoding: raw\n\
                    space origin: (10,20,30)\nSegment0_Name:=liver\n\n";

fn expect(image: &Image, affine: [[f64; 4]; 3]) {
    assert_eq!(image.data, VALUES.map(f32::from));
    assert_eq!(image.grid.shape_zyx, [2, 3, 2]);
    assert_eq!(image.grid.affine[..3], affine);
    assert_eq!(image.channels, 1);
}

const LPS: [[f64; 4]; 3] = [[-0.5, 0.0, 0.0, -10.0], [0.0, -0.75, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0]];

#[test]
fn meta_images_are_read() {
    let folder = Folder::new();
    expect(&folder.read("a.mha", &[META.as_bytes(), &bytes(false)]).unwrap(), LPS);
    // without an ending, with the other byte order, other names of keys and Windows' ends of lines
    let other = META.replace("MSB = False", "MSB = True").replace("Offset", "Position").replace("\n", "\r\n");
    expect(&folder.read("b", &[other.as_bytes(), &bytes(true)]).unwrap(), LPS);
    let packed = META.replace("CompressedData = False", "CompressedData = True");
    expect(&folder.read("c.mha", &[packed.as_bytes(), &zlib(&bytes(false))]).unwrap(), LPS);
    folder.write("voxels.raw", &[b"some head", &bytes(false)]);
    for size in ["-1", "9"] {
        let beside = META.replace(
            "ElementDataFile = LOCAL",
            &format!("HeaderSize = {size}\nElementDataFile = voxels.raw"),
        );
        let image = folder.read("d.mhd", &[beside.as_bytes()]).unwrap();
        expect(&image, LPS);
        let file = scan::data_file(&folder.0.path().join("d.mhd")).unwrap().unwrap();
        assert_eq!(file.file_name().unwrap(), "voxels.raw");
    }
    // in the same file it counts from the beginning, too
    for (size, padding) in [("512", 512), ("-1", 300)] {
        let text = META.replace("ElementDataFile", &format!("HeaderSize = {size}\nElementDataFile"));
        let padding = vec![7; if size == "-1" { padding } else { padding - text.len() }];
        expect(&folder.read("g.mha", &[text.as_bytes(), &padding, &bytes(false)]).unwrap(), LPS);
    }
    let text = packed.replace("ElementDataFile", "HeaderSize = 600\nElementDataFile");
    let padding = vec![7; 600 - text.len()];
    expect(&folder.read("g.mha", &[text.as_bytes(), &padding, &zlib(&bytes(false))]).unwrap(), LPS);
    let text = META.replace("ElementDataFile", "HeaderSize = 40\nElementDataFile");
    assert_eq!(folder.read("g.mha", &[text.as_bytes(), &bytes(false)]).unwrap_err().code(), "E149");
    // the directions of the axes stand one after the other
    let turned = META.replace("1 0 0 0 1 0 0 0 1", "0 0 1 1 0 0 0 1 0");
    let image = folder.read("e.mha", &[turned.as_bytes(), &bytes(false)]).unwrap();
    expect(&image, [[0.0, -0.75, 0.0, -10.0], [0.0, 0.0, -2.0, -20.0], [0.5, 0.0, 0.0, 30.0]]);
    // two dimensions are one slice
    let flat = META
        .replace("NDims = 3", "NDims = 2")
        .replace("1 0 0 0 1 0 0 0 1", "1 0 0 1")
        .replace("10 20 30", "10 20")
        .replace("0.75 2", "0.75")
        .replace("2 3 2", "4 3");
    let image = folder.read("f.mha", &[flat.as_bytes(), &bytes(false)]).unwrap();
    assert_eq!((image.grid.shape_zyx, image.grid.spacing_zyx_mm()), ([1, 3, 4], [1.0, 0.75, 0.5]));
}

#[test]
fn flaws_of_meta_images_are_named() {
    let folder = Folder::new();
    let voxels = bytes(false);
    let refused =
        |from: &str, to: &str| folder.refused("a.mha", &[META.replace(from, to).as_bytes(), &voxels]);
    let said = [
        folder.refused("a.mha", &[META.as_bytes(), &voxels[..20]]),
        folder.refused("a.mha", &[&META.as_bytes()[..100]]),
        folder.refused("a.mha", &[b"not one\n"]),
        folder.refused("a.mha", &[b""]),
        refused("CompressedData = False", "CompressedData = True"),
        refused("MET_SHORT", "MET_FLOAT_ARRAY"),
        refused("BinaryData = True", "BinaryData = False"),
        refused("ObjectType = Image", "ObjectType = Mesh"),
        refused("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3"),
        refused("NDims = 3", "NDims = 3\nElementNumberOfChannels = some"),
        refused("NDims = 3", "NDims = 3\nElementNumberOfChannels = 0"),
        refused("NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 2"),
        refused("NDims = 3", "NDims = 4"),
        refused("DimSize = 2 3 2", "DimSize = 2 x 2"),
        refused("DimSize = 2 3 2", "DimSize = 2 0 2"),
        refused("ElementSpacing = 0.5 0.75 2", "ElementSpacing = 0.5 0 2"),
        refused("ElementSpacing = 0.5 0.75 2\n", ""),
        refused("1 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1"),
        refused("LOCAL", "gone.raw"),
        refused("LOCAL", "../a.raw"),
        refused("LOCAL", "LIST"),
        refused("LOCAL", "slice%03d.raw 1 2 1"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    E101 the file is truncated. a.mha decodes to 20 of 24 voxel bytes. Usually an interrupted download or copy. Fetch the file again, then rerun the same command
    E149 a.mha cannot be read as MetaImage: it ends inside its header. Usually an interrupted copy: fetch the file again
    E149 a.mha cannot be read as MetaImage: 'a line of the header' is 'not one'. The header is damaged, or was written by a faulty program: export the scan again
    E149 a.mha cannot be read as MetaImage: it ends inside its header. Usually an interrupted copy: fetch the file again
    E102 image file is corrupt. a.mha: corrupt deflate stream after 0 of 24 voxel bytes. Usually a damaged copy or disk. Fetch the file again, then rerun the same command
    E149 a.mha cannot be read as MetaImage: its voxels are 'MET_FLOAT_ARRAY'. Convert colour, complex or array voxels to one number per voxel first
    E149 a.mha cannot be read as MetaImage: its voxels are text ('BinaryData = False'). Write the scan with binary voxels: SimpleITK does
    E149 a.mha cannot be read as MetaImage: it holds no image, but 'ObjectType = Mesh'. Only images are scans: export the volume itself
    E101 the file is truncated. a.mha decodes to 24 of 72 voxel bytes. Usually an interrupted download or copy. Fetch the file again, then rerun the same command
    E149 a.mha cannot be read as MetaImage: 'ElementNumberOfChannels' is 'some'. The header is damaged, or was written by a faulty program: export the scan again
    E105 a.mha has dimensions [2, 3, 2, 0]: every axis needs at least one voxel. The header is damaged, or was written by a faulty program. Fetch the file again, or export it again
    E149 a.mha cannot be read as MetaImage: 'ElementToIntensityFunctionSlope' is 2, which some programs apply and others do not. Write the values that are meant, without slope and offset
    E149 a.mha cannot be read as MetaImage: 'DimSize' is '2 3 2'. The header is damaged, or was written by a faulty program: export the scan again
    E149 a.mha cannot be read as MetaImage: 'DimSize' is '2 x 2'. The header is damaged, or was written by a faulty program: export the scan again
    E105 a.mha has dimensions [2, 0, 2]: every axis needs at least one voxel. The header is damaged, or was written by a faulty program. Fetch the file again, or export it again
    E140 a.mha has no usable voxel size: ElementSpacing is 0.5 0 2; expected three positive numbers. Set the voxel size with the tool that made the file; for NIfTI, with the true millimetres: python -c "import nibabel as n, numpy as np; i=n.load('x.nii.gz'); n.save(n.Nifti1Image(i.dataobj, np.diag([1,1,2,1]), i.header), 'mended.nii.gz')"
    E140 a.mha has no usable voxel size: ElementSpacing is missing; expected three positive numbers. Set the voxel size with the tool that made the file; for NIfTI, with the true millimetres: python -c "import nibabel as n, numpy as np; i=n.load('x.nii.gz'); n.save(n.Nifti1Image(i.dataobj, np.diag([1,1,2,1]), i.header), 'mended.nii.gz')"
    E122 a.mha: unusable affine [[-0.5, -0.75, 0.0, -10.0], [0.0, 0.0, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0], [0.0, 0.0, 0.0, 1.0]]: its axes nearly lie in one plane (unit volume 0.0e0). Repair what places the voxels (sform and qform, TransformMatrix or space directions) with the tool that made the file
    E149 a.mha cannot be read as MetaImage: its voxels are in 'gone.raw', which is not there. Fetch the file that lies beside the header, or write both as one file (.mha, .nrrd)
    E149 a.mha cannot be read as MetaImage: its voxels are in '../a.raw', which is not below its folder. Put the file of the voxels beside the header, and name it there
    E149 a.mha cannot be read as MetaImage: its voxels are in several files ('LIST'). Write the scan as one file: SimpleITK, ITK-SNAP and 3D Slicer do
    E149 a.mha cannot be read as MetaImage: its voxels are in several files ('slice%03d.raw 1 2 1'). Write the scan as one file: SimpleITK, ITK-SNAP and 3D Slicer do
    "#);
}

#[test]
fn nrrds_are_read() {
    let folder = Folder::new();
    let voxels = bytes(false);
    let read = |from: &str, to: &str, payload: &[u8]| {
        folder.read("a.nrrd", &[NRRD.replace(from, to).as_bytes(), payload]).unwrap()
    };
    expect(&read("", "", &voxels), LPS);
    expect(&read("encoding: raw", "encoding: gzip", &gzip(&voxels)), LPS);
    expect(&read("endian: little", "endian: big", &bytes(true)), LPS);
    expect(
        &read("encoding: raw", "encoding: raw\nbyte skip: 3", &[b"abc".as_slice(), &voxels].concat()),
        LPS,
    );
    expect(
        &read("encoding: raw", "encoding: raw\nbyteskip: -1", &[b"whatever".as_slice(), &voxels].concat()),
        LPS,
    );
    let ras = [[0.5, 0.0, 0.0, 10.0], [0.0, 0.75, 0.0, 20.0], [0.0, 0.0, 2.0, 30.0]];
    expect(&read("left-posterior-superior", "RAS", &voxels), ras);
    let las = [[-0.5, 0.0, 0.0, -10.0], ras[1], ras[2]];
    expect(&read("left-posterior-superior", "left-anterior-superior", &voxels), las);
    // an axis of one element that is no space, first or last
    for (sizes, directions, kinds) in
        [("1 2 3 2", "none (0.5,0,0)", "list domain"), ("2 3 2 1", "(0.5,0,0)", "domain")]
    {
        let text = NRRD
            .replace("dimension: 3", "dimension: 4")
            .replace("2 3 2\n", &format!("{sizes}\n"))
            .replace("(0.5,0,0)", directions)
            .replace("(0,0,2)", if sizes.ends_with('1') { "(0,0,2) none" } else { "(0,0,2)" })
            .replace(
                "kinds: domain domain domain",
                &format!("kinds: {kinds} domain domain{}", if sizes.ends_with('1') { " list" } else { "" }),
            );
        expect(&folder.read("b.nrrd", &[text.as_bytes(), &voxels]).unwrap(), LPS);
    }
    // channels after space
    let text = NRRD
        .replace("dimension: 3", "dimension: 4")
        .replace("sizes: 2 3 2", "sizes: 2 3 1 2")
        .replace("(0,0,2)", "(0,0,2) none")
        .replace("domain domain domain", "domain domain domain list");
    let image = folder.read("c.nrrd", &[text.as_bytes(), &voxels]).unwrap();
    assert_eq!((image.channels, image.grid.shape_zyx), (2, [1, 3, 2]));
    // a header of its own, without an empty line at its end
    folder.write("voxels.raw.gz", &[&gzip(&voxels)]);
    let text = NRRD.trim_end().replace("encoding: raw", "encoding: gz\ndata file: voxels.raw.gz");
    expect(&folder.read("d.nhdr", &[text.as_bytes()]).unwrap(), LPS);
    assert!(scan::data_file(&folder.0.path().join("d.nhdr")).unwrap().unwrap().ends_with("voxels.raw.gz"));
}

#[test]
fn what_an_nrrd_leaves_open_is_said() {
    let folder = Folder::new();
    let voxels = bytes(false);
    let text = NRRD
        .replace("space: left-posterior-superior\n", "")
        .replace("space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\n", "spacings: 0.5 0.75 2\n")
        .replace("space origin: (10,20,30)\n", "");
    let image = folder.read("a.nrrd", &[text.as_bytes(), &voxels]).unwrap();
    expect(&image, [[-0.5, 0.0, 0.0, 0.0], [0.0, -0.75, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]);
    assert_eq!(image.warnings, [Warning::SpaceUnknown { found: String::new() }]);
    // the axes' own beginnings, of samples at the middle of cells or at their corners
    let text = text.replace("kinds:", "axis mins: 1 2 3\ncenterings: cell cell node\nkinds:");
    let image = folder.read("a.nrrd", &[text.as_bytes(), &voxels]).unwrap();
    expect(&image, [[-0.5, 0.0, 0.0, -1.25], [0.0, -0.75, 0.0, -2.375], [0.0, 0.0, 2.0, 3.0]]);
    let text = NRRD.replace("left-posterior-superior", "scanner-xyz");
    let image = folder.read("b.nrrd", &[text.as_bytes(), &voxels]).unwrap();
    let text = image.warnings[0].to_string();
    insta::assert_snapshot!(text, @"the header's space 'scanner-xyz' says nothing of left and right: axes taken as left, posterior, superior, as ITK takes them. Left and right may be swapped");
    let text = NRRD.replace("encoding: raw", "encoding: raw\nspace units: \"um\" \"um\" \"um\"");
    let image = folder.read("c.nrrd", &[text.as_bytes(), &voxels]).unwrap();
    assert_eq!(image.grid.spacing_zyx_mm(), [2e-3, 0.75e-3, 0.5e-3]);
    assert_eq!(image.warnings.iter().map(Warning::code).collect::<Vec<_>>(), ["W124"]);
    // a series has a unit of time
    let text = NRRD
        .replace("dimension: 3", "dimension: 4")
        .replace("sizes: 2 3 2", "sizes: 2 3 1 2")
        .replace("left-posterior-superior", "right-anterior-superior-time")
        .replace("(0.5,0,0) (0,0.75,0) (0,0,2)", "(0.5,0,0,0) (0,0.75,0,0) (0,0,2,0) (0,0,0,1)")
        .replace("(10,20,30)", "(10,20,30,0)")
        .replace("domain domain domain", "domain domain domain time")
        .replace("encoding: raw", "encoding: raw\nspace units: \"mm\" \"Millimeter\" \"mm\" \"s\"");
    let error = folder.refused("d.nrrd", &[text.as_bytes(), &voxels]);
    assert!(error.contains("its units are"), "{error}");
    let image = folder.read("d.nrrd", &[text.replace("Millimeter", "MM").as_bytes(), &voxels]).unwrap();
    assert_eq!((image.channels, image.grid.world([0.0; 3])), (2, [10.0, 20.0, 30.0]));
}

#[test]
fn flaws_of_nrrds_are_named() {
    let folder = Folder::new();
    let voxels = bytes(false);
    let refused =
        |from: &str, to: &str| folder.refused("a.nrrd", &[NRRD.replace(from, to).as_bytes(), &voxels]);
    let said = [
        folder.refused("a.nrrd", &[NRRD.as_bytes(), &voxels[..20]]),
        folder.refused("a.nrrd", &[&NRRD.as_bytes()[..100]]),
        refused("encoding: raw", "encoding: gzip"),
        refused("encoding: raw", "encoding: bzip2"),
        refused("encoding: raw", "encoding: raw\nline skip: 2"),
        refused("encoding: raw\n", ""),
        refused("endian: little\n", ""),
        refused("type: short", "type: block"),
        refused("sizes: 2 3 2", "sizes: 2 3"),
        refused("dimension: 3", "dimension: many"),
        refused("(0,0.75,0)", "(0,0,0)"),
        refused("(0,0.75,0)", "(0,0.75"),
        refused("(0,0.75,0)", "(0.5,0,0)"),
        refused("space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\n", ""),
        refused("(0,0.75,0)", "none"),
        refused("(0.5,0,0) (0,0.75,0) (0,0,2)\nkinds: domain", "none (0.5,0,0) (0,0.75,0)\nkinds: complex"),
        refused("encoding: raw", "encoding: raw\nspace units: \"furlong\" \"mm\" \"mm\""),
        refused("encoding: raw", "encoding: raw\ndata file: LIST\na.raw\nb.raw"),
        refused("encoding: raw", "encoding: raw\ndata file: /etc/passwd"),
        refused("encoding: raw", "encoding: raw\ndata file: gone.raw"),
        refused("encoding: raw", "no field"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    E101 the file is truncated. a.nrrd decodes to 20 of 24 voxel bytes. Usually an interrupted download or copy. Fetch the file again, then rerun the same command
    E149 a.nrrd cannot be read as NRRD: it ends inside its header. Usually an interrupted copy: fetch the file again
    E102 image file is corrupt. a.nrrd: invalid gzip header after 0 of 24 voxel bytes. Usually a damaged copy or disk. Fetch the file again, then rerun the same command
    E149 a.nrrd cannot be read as NRRD: its encoding is 'bzip2'. Write the scan with encoding raw or gzip: SimpleITK and 3D Slicer do
    E149 a.nrrd cannot be read as NRRD: 'line skip' is 2. Write the scan with its voxels behind the header: SimpleITK does
    E149 a.nrrd cannot be read as NRRD: 'encoding' is missing. The header is damaged, or was written by a faulty program: export the scan again
    E149 a.nrrd cannot be read as NRRD: 'endian' is missing. The header is damaged, or was written by a faulty program: export the scan again
    E149 a.nrrd cannot be read as NRRD: its voxels are 'block'. Convert the voxels to integers or floating point numbers first
    E149 a.nrrd cannot be read as NRRD: 'sizes' is '2 3'. The header is damaged, or was written by a faulty program: export the scan again
    E149 a.nrrd cannot be read as NRRD: 'dimension' is 'many'. The header is damaged, or was written by a faulty program: export the scan again
    E140 a.nrrd has no usable voxel size: the voxel size along y is 0; expected three positive numbers. Set the voxel size with the tool that made the file; for NIfTI, with the true millimetres: python -c "import nibabel as n, numpy as np; i=n.load('x.nii.gz'); n.save(n.Nifti1Image(i.dataobj, np.diag([1,1,2,1]), i.header), 'mended.nii.gz')"
    E149 a.nrrd cannot be read as NRRD: 'space directions' is '(0.5,0,0) (0,0.75 (0,0,2)'. The header is damaged, or was written by a faulty program: export the scan again
    E122 a.nrrd: unusable affine [[-0.5, -0.5, 0.0, -10.0], [0.0, 0.0, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0], [0.0, 0.0, 0.0, 1.0]]: its axes nearly lie in one plane (unit volume 0.0e0). Repair what places the voxels (sform and qform, TransformMatrix or space directions) with the tool that made the file
    E140 a.nrrd has no usable voxel size: neither directions nor spacings along x; expected three positive numbers. Set the voxel size with the tool that made the file; for NIfTI, with the true millimetres: python -c "import nibabel as n, numpy as np; i=n.load('x.nii.gz'); n.save(n.Nifti1Image(i.dataobj, np.diag([1,1,2,1]), i.header), 'mended.nii.gz')"
    E149 a.nrrd cannot be read as NRRD: an axis of channels lies between those of space. Write the scan with channels as its first or last axis: SimpleITK does
    E149 a.nrrd cannot be read as NRRD: its voxels are complex. Export magnitude or phase
    E149 a.nrrd cannot be read as NRRD: its units are "furlong" "mm" "mm". Write the scan with all axes of space in mm: SimpleITK does
    E149 a.nrrd cannot be read as NRRD: its voxels are in several files ('LIST'). Write the scan as one file: SimpleITK, ITK-SNAP and 3D Slicer do
    E149 a.nrrd cannot be read as NRRD: its voxels are in '/etc/passwd', which is not below its folder. Put the file of the voxels beside the header, and name it there
    E149 a.nrrd cannot be read as NRRD: its voxels are in 'gone.raw', which is not there. Fetch the file that lies beside the header, or write both as one file (.mha, .nrrd)
    E149 a.nrrd cannot be read as NRRD: 'a line of the header' is 'no field'. The header is damaged, or was written by a faulty program: export the scan again
    "#);
}

/// Channels that alternate voxel by voxel come one after the other, of two axes of space, too; an end that is missing is noticed at once.
#[test]
fn channels_that_alternate_are_parted() {
    let folder = Folder::new();
    let voxels = bytes(false);
    let meta = META
        .replace("NDims = 3", "NDims = 2\nElementNumberOfChannels = 2")
        .replace("1 0 0 0 1 0 0 0 1", "1 0 0 1")
        .replace("10 20 30", "10 20")
        .replace("0.75 2", "0.75")
        .replace("2 3 2", "2 3");
    let nrrd =
        NRRD.replace("(0.5,0,0) (0,0.75,0) (0,0,2)", "none (0.5,0,0) (0,0.75,0)").replace("2 3 2", "2 2 3");
    for (name, text) in [("a.mha", meta), ("a.nrrd", nrrd)] {
        let image = folder.read(name, &[text.as_bytes(), &voxels]).unwrap();
        assert_eq!((image.channels, image.grid.shape_zyx), (2, [1, 3, 2]), "{name}");
        let whole = folder.read("flat.mha", &[META.as_bytes(), &voxels]).unwrap().data;
        let parted: Vec<f32> =
            [0, 1].iter().flat_map(|channel| whole.iter().skip(*channel).step_by(2).copied()).collect();
        assert_eq!(image.data, parted, "{name}");
        let cut = folder.read(name, &[text.as_bytes(), &voxels[..22]]).unwrap_err();
        assert_eq!(cut.code(), "E101", "{name}: {cut}");
    }
}

#[test]
fn headers_without_an_end_are_given_up() {
    let folder = Folder::new();
    let long = vec![b'x'; 5 << 20];
    let text = folder.refused("a.nrrd", &[b"NRRD0004\n", &long]);
    assert!(text.starts_with("E149 a.nrrd cannot be read as NRRD: its header has no end within"), "{text}");
}
