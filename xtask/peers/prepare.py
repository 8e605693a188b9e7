"""Writes the model folders that both sides read: `prepare.py GGUF FOLDER` makes FOLDER/smollm2 and FOLDER/tiny."""

import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaConfig, LlamaForCausalLM


def main():
    gguf, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    read = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    dense = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32, quantization_config=dense)
    model.save_pretrained(folder / "smollm2")
    AutoTokenizer.from_pretrained(**read).save_pretrained(folder / "smollm2")

    torch.manual_seed(0)
    tiny = LlamaConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=512,
        vocab_size=64,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    LlamaForCausalLM(tiny).save_pretrained(folder / "tiny")


main()
