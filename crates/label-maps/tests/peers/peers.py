"""Writes inputs, and what the usual Python packages make of them, into a folder.

peers.py scikit-image|waterz|bioimage-cpp FOLDER: arrays as raw little-endian files, cases.json with their shapes and parameters.
Exit code 77: the packages are absent.
"""

import json
import pathlib
import sys

ABSENT = 77


def main(which, folder):
    cases = []

    def put(**case):
        """Keeps a case; arrays go into files of their own."""
        number = len(cases)
        for name, value in case.items():
            if hasattr(value, "tofile"):
                path = f"{number}-{name}.raw"
                value.tofile(folder / path)
                case[name] = path
        cases.append(case)

    {"scikit-image": scikit_image, "waterz": waterz, "bioimage-cpp": bioimage}[which](put)
    (folder / "cases.json").write_text(json.dumps(cases))


def smooth(rng, shape, sigma):
    """Smooth noise over 0 to 1."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(rng.random(shape), sigma)
    return ((values - values.min()) / (values.max() - values.min())).astype("float32")


def scikit_image(put):
    import numpy as np
    from scipy import ndimage
    from skimage import morphology, segmentation

    rng = np.random.default_rng(1)
    for shape in [(1, 40, 50), (6, 17, 23), (12, 20, 9)]:
        heights = smooth(rng, shape, 1.5)
        # without ties, so that the rule for ties does not matter
        order = heights.ravel().argsort(kind="stable")
        heights.ravel()[order] = np.arange(heights.size, dtype="float32") / heights.size
        seeds = np.where(rng.random(shape) < 0.02, rng.integers(1, 2**40, shape), 0).astype("uint64")
        mask = rng.random(shape) < 0.9
        values = np.round(4 * smooth(rng, shape, 1.0)).astype("float64")
        sigma = [0.6, 1.0, 2.3]
        # labels for scikit-image are 64-bit signed in the markers it is given
        markers = np.where(mask, seeds, 0).astype("int64")
        case = dict(shape=shape, heights=heights, seeds=seeds, mask=mask, values=values, sigma=sigma)
        for connectivity, name in [(1, "faces"), (3, "corners")]:
            flooded = segmentation.watershed(heights, markers, connectivity=connectivity, mask=mask)
            case[f"watershed_{name}"] = flooded.astype("uint64")
            if shape[0] > 1:
                case[f"maxima_{name}"] = morphology.local_maxima(values, connectivity=connectivity)
            else:
                plane = morphology.local_maxima(values[0], connectivity=min(connectivity, 2))
                case[f"maxima_{name}"] = plane[None]
        for name, parameters in fragment_parameters().items():
            case[f"fragments_{name}"] = fragments(heights, mask, parameters)
        case["parameters"] = fragment_parameters()
        case["smooth"] = ndimage.gaussian_filter(heights.astype("float64"), sigma).astype("float32")
        put(**case)


def fragment_parameters():
    """As `FragmentParameters` are written down."""
    plain = dict(planar=True, boundary="mean", threshold=0.5, seed_sigma=0.0, height_sigma=0.0, height_share=1.0)
    plain |= dict(smallest=0, spacing_zyx=[1.0, 1.0, 1.0])
    blended = plain | dict(threshold=0.4, seed_sigma=1.3, height_sigma=0.8, height_share=0.7)
    return {
        "plain": plain,
        "volume": plain | dict(planar=False, spacing_zyx=[2.5, 1.0, 1.1]),
        "blended": blended,
        "few": blended | dict(smallest=12),
        "blended_volume": blended | dict(planar=False, smallest=20),
    }


def fragments(boundary, mask, parameters):
    """The same steps by SciPy and scikit-image, numbered section by section."""
    import numpy as np
    from scipy import ndimage
    from skimage import measure, morphology, segmentation

    if parameters["planar"]:
        found, before = np.zeros(boundary.shape, "uint64"), 0
        for z in range(len(boundary)):
            section = fragments(boundary[z : z + 1], mask[z : z + 1], parameters | dict(planar=False))
            found[z] = np.where(section[0] > 0, section[0] + np.uint64(before), 0)
            before = max(before, int(found[z].max()))
        return found
    spacing = np.array(parameters["spacing_zyx"])
    if len(boundary) == 1:
        boundary, mask, spacing = boundary[0], mask[0], spacing[1:]
    inside = (boundary < parameters["threshold"]) & mask
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)
    share = parameters["height_share"]
    height = boundary
    if parameters["height_sigma"]:
        height = ndimage.gaussian_filter(height, parameters["height_sigma"])
    if share < 1:
        height = share * height + (1 - share) * (1 - distance / distance.max())
    if parameters["seed_sigma"]:
        # what is level stays level in single precision
        distance = ndimage.gaussian_filter(distance, parameters["seed_sigma"]).astype("float32").astype("float64")
    else:
        # without the rounding of roots
        distance = np.round(distance**2, 6)
    tops = morphology.local_maxima(distance, connectivity=1) & inside
    seeds = measure.label(tops, connectivity=1)
    labels = segmentation.watershed(height, seeds, mask=mask)
    sizes = np.bincount(labels.ravel())
    small = sizes < parameters["smallest"]
    if small[1:].any() and not small[1:].all():
        labels[small[labels]] = 0
        labels = segmentation.watershed(height, labels, mask=mask)
    labels = labels.astype("uint64")
    return labels if labels.ndim == 3 else labels[None]


def waterz(put):
    import os

    import numpy as np
    import waterz

    # waterz prints what it does
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    thresholds = [0.3, 0.45, 0.5, 0.55, 0.7]

    def run(values, fragments, function):
        kept = waterz.agglomerate(values, thresholds, fragments=fragments.copy(), scoring_function=function)
        return np.stack([np.array(labels) for labels in kept]).astype("uint64")

    rng = np.random.default_rng(2)
    function = "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
    for shape in [(1, 30, 40), (5, 18, 22), (8, 16, 16)]:
        fragments = blobs(rng, shape, 0.06)
        values = rng.random((3, *shape)).astype("float32")
        labels = run(values, fragments, function)
        put(shape=shape, score="mean", thresholds=thresholds, affinities=values, fragments=fragments, labels=labels)
    # Scores of quantiles are often equal, and waterz takes equal ones in an order of its own: small volumes, and of these
    # the ones for which it gives the same partition however the fragments are numbered.
    for percent, start in [(25, "all"), (50, "all"), (50, "largest"), (85, "largest")]:
        last = "true" if start == "largest" else "false"
        function = (
            f"OneMinus<HistogramQuantileAffinity<RegionGraphType, {percent}, ScoreValue, 256, {last}>>"
        )
        kept = 0
        while kept < 25:
            shape = (2, 9, 10)
            fragments = blobs(rng, shape, 0.04)
            # lower ones where the largest counts, so that some borders stay
            power = 6 if start == "largest" else 1
            values = (rng.random((3, *shape)) ** power).astype("float32")
            labels = run(values, fragments, function)
            count = int(fragments.max())
            others = []
            for _ in range(5):
                names = np.concatenate([[0], 1 + rng.permutation(count)]).astype("uint64")
                others.append(run(values, names[fragments], function))
            if all(partition(a) == partition(b) for other in others for a, b in zip(labels, other)):
                kept += 1
                put(
                    shape=shape,
                    score=f"{percent} {start}",
                    thresholds=thresholds,
                    affinities=values,
                    fragments=fragments,
                    labels=labels,
                )


def partition(labels):
    """The same for two label maps whose sets are the same."""
    seen = {0: 0}
    return [seen.setdefault(label, len(seen)) for label in labels.ravel().tolist()]


def blobs(rng, shape, density=0.06):
    """Fragments: the nearest of some points, with some background."""
    import numpy as np
    from scipy import ndimage

    seeds = rng.random(shape) < density
    labels, _ = ndimage.label(seeds)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    labels = labels[tuple(nearest)]
    labels[rng.random(shape) < 0.05] = 0
    return labels.astype("uint64")


def bioimage(put):
    import bioimage_cpp as bic
    import numpy as np

    rng = np.random.default_rng(3)
    nearest = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    far = [[-2, 0, 0], [0, -3, 0], [0, 0, -3], [-1, -4, 4], [0, 5, 0]]
    for shape, strides in [((1, 30, 31), (1, 1, 1)), ((6, 14, 15), (1, 2, 2)), ((9, 12, 11), (2, 3, 3))]:
        values = rng.random((len(nearest + far), *shape)).astype("float32")
        mask = rng.random(shape) < 0.93
        weights = values.copy()
        weights[3:] = 1 - weights[3:]
        labels = bic.segmentation.mutex_watershed(
            weights, nearest + far, 3, strides=strides, mask=mask
        )
        put(kind="mutex", shape=shape, strides=strides, offsets=nearest + far, affinities=values, mask=mask, labels=labels)
    for shape in [(1, 30, 40), (6, 18, 22)]:
        labels = blobs(rng, shape) + np.uint64(1)
        values = rng.random((3, *shape)).astype("float32")
        rag = bic.graph.region_adjacency_graph(labels)
        features = bic.graph.features.affinity_features(rag, labels, values, nearest)
        put(
            kind="graph",
            shape=shape,
            fragments=labels,
            affinities=values,
            edges=np.asarray(rag.uv_ids(), dtype="uint64"),
            features=np.asarray(features, dtype="float64"),
        )
    for nodes, degree in [(30, 5), (200, 6), (1000, 12)]:
        edges = np.sort(rng.integers(0, nodes, (nodes * degree // 2, 2)), axis=1)
        edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0).astype("uint64")
        costs = rng.normal(0.0, 1.0, len(edges))
        graph = bic.graph.undirected_graph(nodes)
        graph.insert_edges(edges)
        energies = {}
        for name, solver in [
            ("greedy", bic.graph.multicut.GreedyAdditiveMulticut()),
            (
                "refined",
                bic.graph.multicut.ChainedMulticutSolvers(
                    [bic.graph.multicut.GreedyAdditiveMulticut(), bic.graph.multicut.KernighanLinMulticut()]
                ),
            ),
        ]:
            objective = bic.graph.multicut.MulticutObjective(graph, costs)
            found = np.asarray(solver.optimize(objective))
            cut = found[edges[:, 0].astype(int)] != found[edges[:, 1].astype(int)]
            energies[name] = float(costs[cut].sum())
            if name == "greedy":
                labels = found.astype("uint64")
        put(kind="multicut", nodes=nodes, edges=edges, costs=costs, labels=labels, energies=energies)


if __name__ == "__main__":
    try:
        main(sys.argv[1], pathlib.Path(sys.argv[2]))
    except ImportError as error:
        print(error)
        sys.exit(ABSENT)
