"""What stands in for a large Llama when a test runs this week at SCALE="full"."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

TOKENIZER = Path(__file__).resolve().parents[1] / "assets" / "llama" / "tokenizer.json"


def stand_in(folder: Path) -> dict[str, str]:
    """Save a random Llama with grouped queries in Hugging Face's format; two steps for each training.

    Returns:
        The environment that makes the notebooks use them.
    """
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    shutil.copy(TOKENIZER, folder / "llama")
    return {"TEXT_MODEL": str(folder / "llama"), "TEXT_STEPS": "2"}
