"""Objects from labels that say only what is membrane and what is not, without leaks between sections.

usage: link_sections.py IN.h5 OUT.h5 [--least 0.5]

Where membranes were drawn section by section, the connected components of what lies between them leak in 3D: a membrane that
moves by its own width from one section to the next joins its two sides, and nearly everything becomes one object. Here each
section's components (4 neighbours) are objects of their own, and two of neighbouring sections become one only where each covers
more of the other than any other component does, and at least LEAST of the smaller one. IN and OUT are HDF5 in CREMI's layout;
0 in volumes/labels/neuron_ids is membrane, and 2^64 - 1 what nobody annotated, which stays; all else is copied. Ids count from 1 in the
order of sections, rows and columns.
Needs h5py, numpy and scipy.
"""
import argparse
import os

import h5py
import numpy
from scipy import ndimage, sparse

IDS = "volumes/labels/neuron_ids"
NOT_ANNOTATED = numpy.uint64(2**64 - 1)


def link(foreground, least):
    """Ids of a volume of z, y, x."""
    sections = [ndimage.label(section) for section in foreground]
    ids, taken = [numpy.arange(1, sections[0][1] + 1)], sections[0][1]
    for (before, n), (here, m) in zip(sections, sections[1:]):
        shared = sparse.coo_matrix((numpy.ones(before.size), (before.ravel(), here.ravel())), (n + 1, m + 1)).toarray()[1:, 1:]
        smaller = numpy.minimum(numpy.bincount(before.ravel(), minlength=n + 1)[1:, None], numpy.bincount(here.ravel(), minlength=m + 1)[None, 1:])
        found = numpy.zeros(m, int)
        for i in range(n if m else 0):
            j = shared[i].argmax()
            if shared[i, j] >= least * smaller[i, j] and shared[:, j].argmax() == i:
                found[j] = ids[-1][i]
        new = found == 0
        found[new] = taken + 1 + numpy.arange(new.sum())
        taken += new.sum()
        ids.append(found)
    return numpy.stack([numpy.concatenate([[0], own])[labels] for (labels, _), own in zip(sections, ids)]).astype(numpy.uint64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--least", type=float, default=0.5)
    arguments = parser.parse_args()
    temporary = f"{arguments.output}.tmp"
    with h5py.File(arguments.input, "r") as source, h5py.File(temporary, "w") as out:
        for name in source:
            source.copy(name, out)
        out.attrs.update(source.attrs)
        old = source[IDS]
        before = old[:]
        unknown = before == NOT_ANNOTATED
        ids = link((before > 0) & ~unknown, arguments.least)
        sizes = numpy.bincount(ids.ravel())[1:]
        ids[unknown] = NOT_ANNOTATED
        del out[IDS]
        made = out.create_dataset(IDS, data=ids, compression="gzip", chunks=True)
        made.attrs.update(old.attrs)
    os.replace(temporary, arguments.output)
    largest = f", the largest {sizes.max() / sizes.sum():.1%} of them all" if len(sizes) else ""
    print(f"{len(sizes)} objects{largest}")


if __name__ == "__main__":
    main()
