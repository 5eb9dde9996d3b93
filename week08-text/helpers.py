"""Week 08: text and tokenizer, sizes of models, and what the tasks' functions are run and measured with; no solutions."""

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lsdl.torch_tools import pick_device  # noqa: F401 (the notebooks take it from here)

State = tuple[Tensor, Tensor, Tensor]


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


def gradient(function: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor | None:
    """Gradient of the scalar `function(x, *args)` with respect to x, in x's shape; None if it does not depend on x."""
    x = x.detach().clone().requires_grad_()
    y = function(x, *args)
    return torch.autograd.grad(y, x, allow_unused=True)[0] if y.requires_grad else None


def causal_probabilities(scores: Tensor, bias: Tensor) -> Tensor:
    """Softmax over the keys of scores (heads, queries, keys) plus a bias that broadcasts to them.

    The last query is the last key: query i sees key j iff j <= i + keys - queries.
    """
    queries, keys = scores.shape[-2:]
    visible = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return (scores + bias).masked_fill(~visible, float("-inf")).softmax(-1)


def feed(step: Callable, q: Tensor, k: Tensor, v: Tensor, valid: Tensor, sizes: Sequence[int]) -> dict[str, Tensor]:
    """Run `out, cache = step(q, k, v, valid, cache)` over successive chunks of the tokens.

    Args:
        q: (batch, heads, length, head_dim); k, v: (batch, kv_heads, length, head_dim); valid: (batch, length) bool.
        sizes: lengths of the chunks, which add up to `length`.

    Returns:
        All outputs, "out" (batch, heads, length, head_dim), and what the cache holds at the end: "keys", "values", "valid".

    Raises:
        ValueError: `step` failed, and its cache has another number of heads than k.
    """
    outputs, cache = [], None
    parts = zip(q.split(sizes, 2), k.split(sizes, 2), v.split(sizes, 2), valid.split(sizes, 1), strict=True)
    for part in parts:
        try:
            out, cache = step(*part, cache)
        except RuntimeError as error:
            if cache is not None and cache[0].shape[1] != k.shape[1]:
                heads = f"The cache has {cache[0].shape[1]} heads and the new keys {k.shape[1]}"
                raise ValueError(
                    f"{heads}: keep keys and values as they came, repeat them for the scores only."
                ) from error
            raise
        outputs.append(out)
    return {"out": torch.cat(outputs, 2)} | dict(zip(("keys", "values", "valid"), cache, strict=True))


def start(q: Tensor, v: Tensor) -> State:
    """The state of `flash_tile` before any key: acc (..., queries, value_dim) 0, m (..., queries) -inf, ell (..., queries) 0."""
    rows = q.shape[:-1]
    return q.new_zeros(*rows, v.shape[-1]), q.new_full(rows, float("-inf")), q.new_zeros(rows)


def finish(state: State) -> tuple[Tensor, Tensor]:
    """Output acc / ell (0 where no key was visible) and log-sum-exp m + log ell (-inf there) of a state of `flash_tile`."""
    acc, m, ell = state[:3]
    nothing = ell == 0
    out = (acc / ell.masked_fill(nothing, 1.0)[..., None]).masked_fill(nothing[..., None], 0.0)
    return out, (m + ell.log()).masked_fill(nothing, float("-inf"))


def plain_tile(state: tuple[Tensor, ...], q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float) -> tuple:
    """Stands in for `flash_tile`, same arguments; it keeps all scores and values so far, which tiles are there to avoid.

    Returns:
        A state for `finish` (the finished output, the log-sum-exp, 1 or 0), followed by what it keeps.
    """
    scores = (q @ k.mT * scale).masked_fill(~visible, float("-inf"))
    if len(state) > 3:
        scores, v = torch.cat((state[3], scores), -1), torch.cat((state[4], v), -2)
    lse = scores.logsumexp(-1)
    return scores.softmax(-1).nan_to_num() @ v, lse, lse.isfinite().to(lse), scores, v


class _Largest(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def largest_tensor(function: Callable[[], Any]) -> int:
    """Elements of the largest tensor that any PyTorch operation inside of `function()` returns."""
    with torch.no_grad(), _Largest() as watch:
        function()
    return watch.elements


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
