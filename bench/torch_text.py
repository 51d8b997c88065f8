"""What `text-synth` computes with a network, in Transformers: vectors of reports, or captions of pictures. And the networks, of random weights.

usage: torch_text.py embed ENCODER REPORTS.jsonl OUT.safetensors THREADS
       torch_text.py caption BLIP PICTURES TOKENS BATCH OUT.json THREADS
       torch_text.py make {bert|blip} VOCABULARY DIR
embed: as sentence-transformers does it: each distinct text once, the longest first, 32 at a time, cut at 128 tokens, mean of the tokens.
caption: greedy search of so many tokens for each PNG of a folder. Both read the model, compute and write, and print the seconds of that.
make: BERT of BioBERT's size, BLIP of blip-image-captioning-base's; seed 0.
"""
import json
import pathlib
import sys
import time

import torch
import transformers
from safetensors.torch import save_file

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def embed(encoder, reports, out):
    texts = [json.loads(line)["text"] for line in open(reports)]
    distinct = sorted(dict.fromkeys(texts), key=len, reverse=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModel.from_pretrained(encoder, dtype=torch.float32).eval()
    vectors = {}
    for start in range(0, len(distinct), 32):
        some = distinct[start:start + 32]
        tokens = tokenizer(some, padding=True, truncation=True, max_length=128, return_tensors="pt")
        states = model(**tokens).last_hidden_state
        weight = tokens["attention_mask"].unsqueeze(-1).float()
        vectors.update(zip(some, (states * weight).sum(1) / weight.sum(1)))
    save_file({"embeddings": torch.stack([vectors[text] for text in texts])}, out)


def caption(blip, pictures, tokens, batch, out):
    from PIL import Image

    processor = transformers.BlipProcessor.from_pretrained(blip)
    model = transformers.BlipForConditionalGeneration.from_pretrained(blip, dtype=torch.float32).eval()
    files = sorted(pathlib.Path(pictures).glob("*.png"))
    said = {}
    for start in range(0, len(files), int(batch)):
        some = files[start:start + int(batch)]
        images = [Image.open(file).convert("RGB") for file in some]
        pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        ids = model.generate(pixel_values=pixels, max_length=int(tokens), num_beams=1, do_sample=False)
        texts = processor.batch_decode(ids, skip_special_tokens=True)
        said.update((file.stem, text.strip()) for file, text in zip(some, texts))
    pathlib.Path(out).write_text(json.dumps(said))


def make(which, vocabulary, directory):
    torch.manual_seed(0)
    words = pathlib.Path(vocabulary).read_text().splitlines()
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if which == "bert":
        model = transformers.BertModel(transformers.BertConfig(vocab_size=len(words)), add_pooling_layer=False)
        tokenizer = transformers.BertTokenizer(str(vocabulary))
    else:
        words += ["[DEC]", "[ENC]"]
        (directory / "vocab.txt").write_text("\n".join(words) + "\n")
        text = {"vocab_size": len(words), "bos_token_id": len(words) - 2, "eos_token_id": words.index("[SEP]"),
                "sep_token_id": words.index("[SEP]"), "pad_token_id": words.index("[PAD]"), "is_decoder": True}
        model = transformers.BlipForConditionalGeneration(transformers.BlipConfig(text_config=text))
        tokenizer = transformers.BertTokenizer(str(directory / "vocab.txt"), additional_special_tokens=["[DEC]", "[ENC]"])
        size = model.config.vision_config.image_size
        transformers.BlipImageProcessor(size={"height": size, "width": size}).save_pretrained(directory)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def main():
    what, *words = sys.argv[1:]
    if what == "make":
        make(*words)
        return
    *words, threads = words
    torch.set_num_threads(int(threads))
    started = time.perf_counter()
    with torch.inference_mode():
        {"embed": embed, "caption": caption}[what](*words)
    print(f"seconds {time.perf_counter() - started:.4f}")


if __name__ == "__main__":
    main()
