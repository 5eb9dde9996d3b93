"""Week 08: text and tokenizer, sizes of models, a clock and plots; no solutions."""

from __future__ import annotations

import gzip
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lsdl.torch_tools import pick_device  # noqa: F401 (the notebooks take it from here)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Llama-type model; the names are those of the homework, Hugging Face's are in `load_sizes`."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int


MODELS = {
    "SmolLM2-135M": Sizes(576, 1536, 30, 9, 3, 64, 49_152, 8_192),
    "Llama-3.2-1B": Sizes(2048, 8192, 16, 32, 8, 64, 128_256, 131_072),
}


def load_sizes(default: str) -> Sizes:
    """Sizes of the model that the environment variable TEXT_MODEL names, else of `default`.

    Args:
        default: a key of `MODELS`. TEXT_MODEL may also be a folder with a config.json in Hugging Face's format.

    Raises:
        FileNotFoundError: it is neither.
    """
    name = os.environ.get("TEXT_MODEL", default)
    if name in MODELS:
        return MODELS[name]
    path = Path(name) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"TEXT_MODEL: {name!r} is neither one of {', '.join(MODELS)} nor a folder with a config.json."
        )
    config = json.loads(path.read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    return Sizes(
        dim=config["hidden_size"],
        hidden=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
    )


@torch.no_grad()
def seconds(function: Callable[[], Any], repeat: int = 3) -> float:
    """Wall time of `function()` in seconds: best of `repeat` calls after one that warms up."""
    times = []
    for _ in range(repeat + 1):
        _wait()
        begin = time.perf_counter()
        function()
        _wait()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _wait() -> None:
    """A GPU computes in the background: wait for it before reading the clock."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Data

ASSETS = Path(__file__).resolve().parent / "assets"


def load_text(part: str) -> str:
    """Jane Austen's "Pride and Prejudice" and "Emma", one line a paragraph; whole chapters are "train", "val" or "test".

    Raises:
        FileNotFoundError: there is no such part.
    """
    file = resources.files("lsdl.data") / "text" / f"{part}.txt.gz"
    return gzip.decompress(file.read_bytes()).decode("utf-8")


def load_tokenizer() -> Tokenizer:
    """Byte-level BPE with 1,024 entries, learnt on the train part; `<|bos|>` is one of them and does not occur in the text."""
    return Tokenizer.from_file(str(ASSETS / "llama" / "tokenizer.json"))


def load_tokens(part: str) -> Tensor:
    """The tokens of `load_text(part)`, (n,) int64 on the CPU; a second for the train part."""
    return torch.tensor(load_tokenizer().encode(load_text(part)).ids)


# Counting


def flops(call: Callable[[], Any]) -> dict[str, int]:
    """FLOPs of the matrix products inside of `call()`: {"mm": linear layers, "bmm": attention}."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    found = {str(op).split(".")[-1]: count for op, count in counter.get_flop_counts()["Global"].items()}
    return {"mm": found.get("mm", 0) + found.get("addmm", 0), "bmm": found.get("bmm", 0)}


def growth(column: Sequence[float], at: Sequence[float]) -> float:
    """Exponent a of column ~ at^a, from the ends."""
    return math.log(column[-1] / column[0]) / math.log(at[-1] / at[0])
