"""What the usual Python packages say of random pairs of masks.

usage: peers.py OUT SEED PAIRS
Writes OUT.json (shape and spacing in z, y, x, and values by our ids) and OUT.bin (per pair the voxels of the reference, then of
the prediction, then of their skeletons, one byte each, C order).
"""
import json
import sys
import warnings

import numpy as np

np.Inf = np.inf  # surface-distance 0.1 was written for NumPy 1
import surface_distance
import torch
from medpy.metric import binary as medpy
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage
from skimage.morphology import skeletonize

warnings.simplefilter("ignore")


def blob(rng, shape):
    """A smooth random mask; now and then noise, a box at the border or a single voxel."""
    kind = rng.integers(8)
    if kind == 0:
        return rng.random(shape) < 0.2
    mask = np.zeros(shape, bool)
    if kind == 1:
        mask[tuple(rng.integers(n) for n in shape)] = True
        return mask
    if kind == 2:
        mask[tuple(slice(0, int(rng.integers(1, n + 1))) for n in shape)] = True
        return mask
    field = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.8, 2.5))
    return field > np.quantile(field, rng.uniform(0.5, 0.95))


def keeps_components(mask, skeleton):
    components, n = ndimage.label(mask, np.ones((3, 3, 3)))
    return len(np.unique(components[skeleton])) == n


def lesions(reference, prediction):
    """By SciPy's components; F1 and matched Dice for any overlap and for an IoU above one half."""
    full = np.ones((3, 3, 3))
    truth, n = ndimage.label(reference, full)
    guess, m = ndimage.label(prediction, full)
    found = {}
    for name, wanted in (("overlap", lambda i, u: i > 0), ("iou50", lambda i, u: i / u > 0.5)):
        pairs = [(r, p) for r in range(1, n + 1) for p in np.unique(guess[truth == r]) if p
                 and wanted(np.sum((truth == r) & (guess == p)), np.sum((truth == r) | (guess == p)))]
        met, right = {r for r, _ in pairs}, {p for _, p in pairs}
        sensitivity, precision = len(met) / n, len(right) / m
        total = sensitivity + precision
        found[f"lesion-f1:{name}"] = 2 * sensitivity * precision / total if total else 0.0
        dice = []
        for r in sorted(met):
            own = truth == r
            other = np.isin(guess, [p for q, p in pairs if q == r])
            dice.append(2 * np.sum(own & other) / (own.sum() + other.sum()))
        found[f"lesion-dice:{name}"] = float(np.mean(dice)) if dice else None
    return found


def edge_distances(reference, prediction, spacing):
    """MedPy's, in both directions: double precision, where MONAI has single."""
    one_way = vars(medpy)["__surface_distances"]
    return one_way(prediction, reference, spacing), one_way(reference, prediction, spacing)


def measure(reference, prediction, spacing, tolerance):
    one = lambda mask: torch.from_numpy(mask[None, None])
    y, y_pred = one(reference), one(prediction)
    tp, fp, fn = ((reference & prediction).sum(), (~reference & prediction).sum(), (reference & ~prediction).sum())
    found = {
        "dice": medpy.dc(prediction, reference),
        "iou": medpy.jc(prediction, reference),
        "sensitivity": medpy.sensitivity(prediction, reference),
        "ppv": medpy.positive_predictive_value(prediction, reference),
        "volume-difference:ml": (float(fp) - float(fn)) * np.prod(spacing) / 1000,
        "volume-difference:relative": medpy.ravd(prediction, reference),
        "hd95:edge-max": compute_hausdorff_distance(y_pred, y, True, percentile=95, spacing=spacing).item(),
        "hd:edge": compute_hausdorff_distance(y_pred, y, True, spacing=spacing).item(),
        "hd95:edge-max medpy": max(np.percentile(d, 95) for d in edge_distances(reference, prediction, spacing)),
        "hd95:edge-pooled": medpy.hd95(prediction, reference, spacing),
        "assd:edge": medpy.assd(prediction, reference, spacing),
        "assd:edge monai": compute_average_surface_distance(y_pred, y, True, True, spacing=spacing).item(),
        f"nsd:edge@{tolerance}mm": compute_surface_dice(y_pred, y, [tolerance], True, spacing=spacing).item(),
    }
    s = surface_distance.compute_surface_distances(reference, prediction, spacing)
    areas = s["surfel_areas_gt"], s["surfel_areas_pred"]
    sums = (s["distances_gt_to_pred"] * areas[0]).sum() + (s["distances_pred_to_gt"] * areas[1]).sum()
    average = surface_distance.compute_average_surface_distance(s)
    found |= {
        "hd95:surfel": surface_distance.compute_robust_hausdorff(s, 95),
        "hd:surfel": surface_distance.compute_robust_hausdorff(s, 100),
        "asd:surfel:reference-to-prediction": average[0],
        "asd:surfel:prediction-to-reference": average[1],
        "assd:surfel": sums / (areas[0].sum() + areas[1].sum()),
        f"nsd:surfel@{tolerance}mm": surface_distance.compute_surface_dice_at_tolerance(s, tolerance),
    }
    bands = []
    for mask in (reference, prediction):
        edge = mask ^ ndimage.binary_erosion(mask)
        bands.append(mask & (ndimage.distance_transform_edt(~edge, spacing) <= tolerance))
    found[f"boundary-iou@{tolerance}mm"] = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    skeletons = skeletonize(reference) > 0, skeletonize(prediction) > 0
    # scikit-image can thin a small component away altogether; ours keeps its last voxel
    whole = all(keeps_components(*pair) for pair in zip((reference, prediction), skeletons))
    precision = (skeletons[1] & reference).sum() / skeletons[1].sum() if whole else 0
    sensitivity = (skeletons[0] & prediction).sum() / skeletons[0].sum() if whole else 0
    total = precision + sensitivity
    found["cldice"] = None if not whole else 2 * precision * sensitivity / total if total else 0.0
    found |= lesions(reference, prediction)
    return {key: None if value is None else float(value) for key, value in found.items()}, skeletons


def main(out, seed, pairs):
    rng = np.random.default_rng(seed)
    cases = []
    with open(out + ".bin", "wb") as file:
        while len(cases) < pairs:
            shape = tuple(int(n) for n in rng.integers(4, 22, 3))
            spacing = [round(float(s), 3) for s in rng.uniform(0.3, 5.0, 3)]
            reference = blob(rng, shape)
            if rng.random() < 0.6:
                prediction = np.roll(reference, tuple(rng.integers(-2, 3, 3)), (0, 1, 2)) ^ (rng.random(shape) < 0.01)
            else:
                prediction = blob(rng, shape)
            if not (reference.any() and prediction.any()):
                continue
            tolerance = round(float(rng.uniform(0.3, 6.0)), 3)
            values, skeletons = measure(reference, prediction, spacing, tolerance)
            cases.append({"shape": shape, "spacing": spacing, "tolerance": tolerance, "values": values})
            for mask in (reference, prediction, *skeletons):
                file.write(mask.astype(np.uint8).tobytes())
    with open(out + ".json", "w") as file:
        json.dump(cases, file)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
