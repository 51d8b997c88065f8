"""Sliding-window prediction side by side: against PyTorch with the same network, and against the reference's plain U-Net.

Equal are window, batch, precision and the cores granted, and with `same` the network. Ours reads an image, resamples, blends, takes the
largest score on the image's own grid and writes it; the peers stop at the blended scores of a tensor in memory. Our seconds are those of
one volume more in a run of several, so that starting up does not count on either side.

BENCH_PRECISIONS="fp32 bf16", BENCH_RUNS=3, BENCH_PEERS="same reference".
"""
import harness
from harness import BIN, Side
from harness_finetune import BATCH, PATCH, ROOM, measure

PEER_VOLUMES = 4


def ours(_shards, model, volumes, precision):
    files = sorted(volumes.glob("*.nii.gz"))
    words = [BIN / "finetune", "predict", "--model", model, "--precision", precision, "--window-batch", BATCH, "--quiet"]

    def start(observe):
        def predict(count):
            with harness.scratch(ROOM) as out:
                return harness.run([*words, "--out", out / "run", "--input", *files[:count]], observe=observe)

        one, all_of_them = predict(1), predict(len(files))
        all_of_them.inner_seconds = (all_of_them.seconds - one.seconds) / (len(files) - 1)
        return all_of_them

    return Side("finetune predict", start, harness.shown(words)), list


if __name__ == "__main__":
    measure("predict", "predict", "volumes", f"a volume of twice {PATCH} along each axis", 0.8, PEER_VOLUMES, ours)
