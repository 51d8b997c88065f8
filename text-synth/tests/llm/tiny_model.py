"""Writes a chat model of random weights that a real server can load. usage: tiny_model.py DIRECTORY

Its tokens are bytes: no vocabulary is learned, any prompt can be encoded, and what it says is noise.
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

END, PAD = "<|end|>", "<|pad|>"
TEMPLATE = (
    "{%- for message in messages -%}[{{ message['role'] }}] {{ message['content'] }}" + END + "{%- endfor -%}"
    "{%- if add_generation_prompt -%}[assistant] {%- endif -%}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    inner = Tokenizer(bytes_only)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([END, PAD])
    outer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=PAD)
    outer.chat_template = TEMPLATE
    return outer


def main(directory: str) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    config = Qwen2Config(
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
    model = Qwen2ForCausalLM(config)
    # without settings of its own the server would look for some on the network
    model.generation_config.max_new_tokens = 64
    model.save_pretrained(directory)
    words.save_pretrained(directory)


if __name__ == "__main__":
    main(sys.argv[1])
