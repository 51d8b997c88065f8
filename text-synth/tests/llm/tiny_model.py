"""Writes a chat model of random weights that a real server can load. usage: tiny_model.py DIRECTORY

Its tokens are words of the vocabulary that reports are checked by, so what it says reads like findings and is noise. They are those that
computed tomography does not see: however short a text is, the facts of a CT contradict it. It ends by chance, after some 60 words.

The server takes the tokenizer and the marks of turns of some kinds of models (qwen2) for known, whatever stands in the directory; of a llama it
takes what is there.
"""

import csv
import pathlib
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TERMS = pathlib.Path(__file__).resolve().parents[2] / "vocabulary" / "terms.csv"
END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
TEMPLATE = (
    "{%- for message in messages -%}[{{ message['role'] }}] {{ message['content'] }}" + END + "{%- endfor -%}"
    "{%- if add_generation_prompt -%}[assistant] {%- endif -%}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    with open(TERMS, newline="") as file:
        terms = [row for row in csv.DictReader(file) if row["modalities"] and "ct" not in row["modalities"].split("|")]
    names = {name for row in terms for name in [row["label"], *row["synonyms"].split("|")]}
    words = sorted(name for name in names if name.isalpha()) + ["."]
    # the mark stands for the blank before each word, as in other byte-level vocabularies
    vocabulary = {word: i for i, word in enumerate([*(f"\u0120{word}" for word in words), UNKNOWN])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([END, PAD, UNKNOWN])
    outer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=PAD, unk_token=UNKNOWN)
    outer.chat_template = TEMPLATE
    return outer


def main(directory: str) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    # without settings of its own the server would look for some on the network
    model.generation_config.max_new_tokens = 64
    # the most likely word again and again would be a loop
    model.generation_config.do_sample = True
    model.save_pretrained(directory)
    words.save_pretrained(directory)


if __name__ == "__main__":
    main(sys.argv[1])
