"""Probabilities as the usual packages read them: python probabilities.py LABELS PROBABILITIES CHANNELS.json

Label map and probabilities are NIfTI (nibabel, SimpleITK), HDF5 in CREMI's layout (h5py) or OME-Zarr (zarr); the label map has to be
what the channels make by the rule that the JSON states, their sums are 1 or in steps of 1/255 nearly so.
"""

import json
import sys

try:
    import h5py
    import nibabel
    import numpy
    import SimpleITK
    import zarr
except ImportError as error:
    print(error)
    sys.exit(77)


def nifti(labels, probabilities):
    """Arrays z, y, x and channel, z, y, x, and the channels named in the file."""
    one, many = nibabel.load(labels), nibabel.load(probabilities)
    assert many.shape[:3] == one.shape, (many.shape, one.shape)
    assert (many.affine == one.affine).all(), (many.affine, one.affine)
    assert many.header.get_zooms()[:3] == one.header.get_zooms()
    named = json.loads(many.header.extensions[0].get_content())
    of_itk = SimpleITK.ReadImage(probabilities)
    array = SimpleITK.GetArrayFromImage(of_itk)
    values = numpy.asarray(many.dataobj).transpose(3, 2, 1, 0)
    assert array.shape == values.shape, (array.shape, values.shape)
    assert numpy.abs(array - values).max() < 1e-6
    placed = SimpleITK.ReadImage(labels)
    assert numpy.allclose(of_itk.GetOrigin()[:3], placed.GetOrigin(), atol=1e-4)
    assert numpy.allclose(of_itk.GetSpacing()[:3], placed.GetSpacing(), atol=1e-5)
    turned = numpy.array(of_itk.GetDirection()).reshape(4, 4)[:3, :3]
    assert numpy.allclose(turned, numpy.array(placed.GetDirection()).reshape(3, 3), atol=1e-5)
    return numpy.asarray(one.dataobj).transpose(2, 1, 0), values, named


def hdf5(labels, probabilities):
    with h5py.File(labels) as one, h5py.File(probabilities) as many:
        found = many["volumes/predictions/probabilities"]
        map_ = one["volumes/labels/classes"]
        assert (found.attrs["resolution"] == map_.attrs["resolution"]).all()
        assert (found.attrs["offset"] == map_.attrs["offset"]).all()
        return map_[:], found[:], json.loads(found.attrs["channels"])


def ome_zarr(labels, probabilities):
    many = zarr.open_group(probabilities, mode="r")
    axes = [axis["name"] for axis in many.attrs["ome"]["multiscales"][0]["axes"]]
    assert axes == ["c", "z", "y", "x"], axes
    map_ = zarr.open_group(labels, mode="r")["labels/classes/0"]
    return map_[:], many["0"][:], many.attrs["channels"]


def main():
    labels, probabilities, described = sys.argv[1:]
    with open(described, encoding="utf-8") as file:
        described = json.load(file)
    read = nifti if labels.endswith(".nii.gz") else hdf5 if labels.endswith(".h5") else ome_zarr
    map_, values, named = read(labels, probabilities)
    assert named == described["channels"], named
    assert [channel["channel"] for channel in named] == list(range(len(values)))
    if values.dtype == numpy.uint8:
        values = values / 255.0
    is_coarse = described["numbers"] == "uint8"
    # a slope of 32 bits makes 1 of 255 but for 6e-8
    assert values.min() >= 0 and values.max() < 1 + 1e-6
    if described["function"] == "softmax":
        made = numpy.array([channel["value"] for channel in named])[values.argmax(0)]
        assert numpy.abs(values.sum(0) - 1).max() <= (len(values) / 255 if is_coarse else 1e-5)
    else:
        made = numpy.zeros(map_.shape, int)
        for channel, value in zip(named, values):
            made[value > 0.5] = channel["value"]
    assert (made == map_).all(), f"{(made != map_).sum()} voxels differ"
    if is_coarse:
        assert numpy.abs(values * 255 - numpy.round(values * 255)).max() < 1e-3


main()
