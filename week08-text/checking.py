"""What the homework's functions are run and measured with; no solutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

State = tuple[Tensor, Tensor, Tensor]


def in_both_conventions(rotate: Callable[..., Tensor], x: Tensor, positions: Tensor, base: float) -> dict[str, Tensor]:
    """What `rotate(x, positions, base, interleaved)` gives in either convention of RoPE, each in x's shape."""
    return {
        name: rotate(x, positions, base, interleaved=name == "interleaved") for name in ("half-split", "interleaved")
    }


def scores_at(rotate: Callable[..., Tensor], q: Tensor, k: Tensor, *positions: Tensor) -> list[Tensor]:
    """The scores (batch, heads, length, length) of q and k, both rotated, once for each of the given positions."""
    return [rotate(q, at) @ rotate(k, at).mT for at in positions]


def convert_projections(
    convert: Callable[[Tensor, int], Tensor],
    weight_q: Tensor,
    bias_q: Tensor,
    heads: int,
    weight_k: Tensor,
    bias_k: Tensor,
    kv_heads: int,
) -> list[Tensor]:
    """`convert(rows, heads)` of weight and bias of W_q, then of those of W_k."""
    return [
        convert(rows, n) for n, both in ((heads, (weight_q, bias_q)), (kv_heads, (weight_k, bias_k))) for rows in both
    ]


def causal_probabilities(scores: Tensor, bias: Tensor) -> Tensor:
    """Softmax over the keys of scores (heads, queries, keys) plus a bias that broadcasts to them.

    The last query is the last key: query i sees key j iff j <= i + keys - queries.
    """
    queries, keys = scores.shape[-2:]
    visible = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return (scores + bias).masked_fill(~visible, float("-inf")).softmax(-1)


def probabilities_with(bias: Callable[[Tensor, int, int], Tensor], scores: Tensor, slopes: Tensor) -> Tensor:
    """Causal attention probabilities of scores (heads, queries, keys) with the bias of these slopes (heads,)."""
    return causal_probabilities(scores, bias(slopes, *scores.shape[1:]))


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
