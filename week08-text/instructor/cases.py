"""The inputs of every check of week 08, and why each tolerance is what it is."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lsdl.checks import Case

FEW = "a formula over at most a few hundred float32 numbers: rounding stays under 1e-5 of the values"
ROPE = "angles up to 500 in float32 are off by up to 1e-4"
ROPE16 = (
    "a bfloat16 number has 8 bits; cosine and sine cast before the product, as transformers does, add two roundings"
)
EXACT = "a rule without rounding"
MOVED = "numbers are moved, not computed"
LARGE = "scores are whole eighths and exact; a log-sum-exp near 1e4 has steps of 0.001 in float32, and so have weights made of it"
HEADS, KV_HEADS, HEAD_DIM = 6, 2, 4


def integer(low: int, high: int, g: Generator) -> int:
    """A number from low to high - 1."""
    return int(torch.randint(low, high, (), generator=g))


def normal(g: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g)


def eighths(g: Generator, *shape: int) -> Tensor:
    """Multiples of 1/8 between -2 and 2: sums and products of a few are exact."""
    return torch.randint(-16, 17, shape, generator=g) / 8


# Task 1


def norm_gradient(g: Generator) -> tuple:
    return normal(g, 2, 3, 8), normal(g, 2, 3, 8) * torch.tensor([1.0, 0.3, 5.0])[:, None], 1 + 0.5 * normal(g, 8), 0.05


# Task 2


def rope_inputs(g: Generator) -> tuple:
    return normal(g, 2, 3, 5, 8), torch.arange(5), float(integer(50, 500, g))


def rope_cached(g: Generator) -> tuple:
    return normal(g, 2, 3, 2, 8), torch.arange(2) + integer(20, 60, g)


def rope_batch(g: Generator) -> tuple:
    """Three sequences, four heads: another position for each token of each sequence."""
    return normal(g, 3, 4, 5, 8), torch.arange(5) + torch.randperm(40, generator=g)[:3, None]


def rope_distances(g: Generator) -> tuple:
    first = torch.randperm(30, generator=g)[:5]
    return normal(g, 1, 2, 5, 8), normal(g, 1, 2, 5, 8), first, first + integer(100, 400, g)


def rope_bfloat16(g: Generator) -> tuple:
    """Odd positions over 256: bfloat16 has none of them."""
    return normal(g, 1, 2, 6, 8).clamp(-2, 2).bfloat16(), 2 * torch.randint(200, 1500, (6,), generator=g) + 1


def projections(g: Generator) -> tuple:
    """Weights and biases of W_q with four heads and of W_k with two, dim 6."""
    return normal(g, 24, 3), normal(g, 24), 4, normal(g, 12, 3), normal(g, 12), 2


# Task 3


def other_heads(g: Generator) -> tuple:
    return 3, 12, integer(5, 8, g), integer(9, 16, g), integer(17, 32, g)


def alibi_inputs(heads: int, queries: int, keys: int):
    def inputs(g: Generator) -> tuple:
        return normal(g, heads, queries, keys), 0.05 + torch.rand(heads, generator=g)

    return inputs


# Task 4


def swiglu_inputs(g: Generator) -> tuple:
    return normal(g, 2, 3, 4), normal(g, 12, 4), normal(g, 4, 6)


# Task 5


def attention_inputs(g: Generator, length: int, heads: int = HEADS, kv_heads: int = KV_HEADS) -> tuple:
    kv = (2, kv_heads, length, HEAD_DIM)
    return (
        normal(g, 2, heads, length, HEAD_DIM),
        normal(g, *kv),
        normal(g, *kv),
        torch.ones(2, length, dtype=torch.bool),
    )


def chunked(sizes: tuple[int, ...], heads: int = HEADS, kv_heads: int = KV_HEADS):
    return lambda g: (*attention_inputs(g, sum(sizes), heads, kv_heads), list(sizes))


def padded(sizes: tuple[int, ...] | None):
    """One sequence padded on the left, one in the middle and on the right; the padding holds large numbers."""

    def inputs(g: Generator) -> tuple:
        length = sum(sizes) if sizes else 7
        q, k, v, valid = attention_inputs(g, length)
        valid[0, : integer(2, 4, g)] = False
        valid[1, integer(2, 4, g)] = valid[1, -1] = False
        for x in (q, k, v):
            x += 3 * (~valid)[:, None, :, None]
        return (q, k, v, valid) if sizes is None else (q, k, v, valid, list(sizes))

    return inputs


# Task 6


def state_of(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The state after the scores (..., queries, keys) and values (..., keys, dim): acc, m, ell."""
    m = scores.amax(-1)
    weights = torch.exp(scores - m.masked_fill(m == float("-inf"), 0.0)[..., None])
    return weights @ v, m, weights.sum(-1)


def tile_inputs(g: Generator) -> tuple:
    """Two heads, four queries that have seen five keys, and a tile of six keys of which each query sees another part."""
    state = state_of(2 * normal(g, 2, 4, 5), normal(g, 2, 5, 3))
    visible = torch.rand(4, 6, generator=g) < 0.6
    visible[:, 0] = True
    return state, 2 * normal(g, 2, 4, 8), 2 * normal(g, 2, 6, 8), normal(g, 2, 6, 3), visible, 8**-0.5


def masked_tile(g: Generator) -> tuple:
    """Of four queries: no key before, none now; none before, some now; some before, none now; some before and now."""
    before = normal(g, 4, 5)
    before[:2] = float("-inf")
    visible = torch.tensor([[False] * 3, [True, False, True], [False] * 3, [True] * 3])
    return state_of(before, normal(g, 5, 3)), normal(g, 4, 4), normal(g, 3, 4), normal(g, 3, 3), visible, 0.5


def large_tile(g: Generator) -> tuple:
    """Scores near 1e4 and -1e4, before and in the tile: every pair of signs."""
    sign = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None]
    state = state_of(1e4 * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None] + eighths(g, 4, 5), normal(g, 5, 3))
    q = torch.cat((1e4 * sign, eighths(g, 4, 3)), 1)
    k = torch.cat((torch.ones(3, 1), torch.randint(-2, 3, (3, 3), generator=g)), 1)
    return state, q, k, normal(g, 3, 3), torch.ones(4, 3, dtype=torch.bool), 1.0


def parts(g: Generator) -> tuple:
    return normal(g, 2, 4, 3), 2 * normal(g, 2, 4), normal(g, 2, 4, 3), 2 * normal(g, 2, 4)


def extreme_parts(g: Generator) -> tuple:
    """Log-sum-exps near 1e4 and -1e4, and parts that saw no key: the first, the second, both."""
    nothing = float("-inf")
    lse_a = torch.tensor([1e4, -1e4, 1e4, nothing, 2.0, nothing]) + eighths(g, 6)
    lse_b = torch.tensor([1e4, -1e4, -1e4, 1.0, nothing, nothing]) + eighths(g, 6)
    out_a, out_b = (normal(g, 6, 3).masked_fill((x == nothing)[:, None], 0.0) for x in (lse_a, lse_b))
    return out_a, lse_a, out_b, lse_b


def flash_inputs(queries: int, keys: int, causal: bool, tile_q: int, tile_k: int):
    def inputs(g: Generator) -> tuple:
        kv = (2, 3, keys, 4)
        return 2 * normal(g, 2, 3, queries, 4), 2 * normal(g, *kv), normal(g, *kv), causal, tile_q, tile_k

    return inputs


# Task 7


def router_inputs(g: Generator) -> tuple:
    """Noise as large as the logits: it changes the choice."""
    return normal(g, 7, 5), normal(g, 7, 5), 2


def tied_logits(g: Generator) -> tuple:
    """Many experts with few different logits; three are chosen among equals."""
    return torch.randint(0, 2, (6, 24), generator=g).float(), torch.zeros(6, 24), 3


def capacity_inputs(factor: float):
    """Nine tokens want expert 0: six of them first, more than there is room for; the first token is one of the others."""

    def inputs(g: Generator) -> tuple:
        experts = torch.stack((torch.zeros(9, dtype=torch.int64), torch.randint(1, 4, (9,), generator=g)), 1)
        second = torch.cat((torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(8, generator=g)[:2]))
        experts[second] = experts[second].flip(1)
        return experts, 4, factor

    return inputs


# Task 9


def relative_inputs(queries: int, keys: int, rows: int):
    return lambda g: (normal(g, 2, queries, 4), normal(g, rows, 4), keys)


def value(inputs, reason: str = FEW, rtol: float = 1e-4, atol: float = 1e-5, dtype: str = "kind") -> Case:
    return Case(inputs, reason=reason, rtol=rtol, atol=atol, dtype=dtype)


def moved(inputs) -> Case:
    return Case(inputs, reason=MOVED, rtol=0.0, atol=0.0)


CASES = {
    "rms_norm/gradient": value(norm_gradient),
    "rms_norm/hidden_gradient": value(norm_gradient),
    "rope/value": value(rope_inputs),
    "rope/hidden": value(rope_inputs),
    "rope/cached": value(rope_cached, ROPE, atol=3e-4),
    "rope/batch": value(rope_batch, ROPE, atol=3e-4),
    "rope/distances": value(rope_distances, ROPE, atol=1e-3),
    "rope/hidden_batch": value(rope_batch, ROPE, atol=3e-4),
    "rope/bfloat16": value(rope_bfloat16, ROPE16, rtol=0.01, atol=0.02, dtype="exact"),
    "rope/hidden_bfloat16": value(rope_bfloat16, ROPE16, rtol=0.01, atol=0.02, dtype="exact"),
    "rope/half_split": moved(projections),
    "rope/hidden_conversion": moved(projections),
    "alibi/powers": value(lambda g: (1, 2, 8, 2 ** integer(4, 7, g)), atol=1e-7),
    "alibi/hidden_powers": value(lambda g: (4, 2 ** integer(3, 6, g)), atol=1e-7),
    "alibi/others": value(other_heads, atol=1e-7),
    "alibi/hidden_others": value(other_heads, atol=1e-7),
    "alibi/uncached": value(alibi_inputs(3, 6, 6)),
    "alibi/cached": value(alibi_inputs(3, 2, 9)),
    "alibi/hidden_cached": value(alibi_inputs(2, 4, 11)),
    "swiglu/value": value(swiglu_inputs),
    "swiglu/hidden": value(swiglu_inputs),
    "gqa/value": value(lambda g: attention_inputs(g, 6)),
    "gqa/unchanged": Case(reason="the arguments of the call before, bit for bit", rtol=0.0, atol=0.0),
    "gqa/hidden": value(lambda g: attention_inputs(g, 5, 8, 4)),
    "gqa/two_chunks": value(chunked((4, 3))),
    "gqa/one_by_one": value(chunked((3, 1, 1, 1))),
    "gqa/hidden_chunks": value(chunked((1, 3, 2, 1))),
    "gqa/padding": value(padded(None)),
    "gqa/padded_chunks": value(padded((4, 2, 1))),
    "gqa/hidden_padding": value(padded((1, 1, 3, 2))),
    "gqa/one_group": value(chunked((3, 2), 5, 1)),
    "gqa/all_groups": value(chunked((3, 2), 4, 4)),
    "gqa/hidden_one_group": value(chunked((2, 1, 2), 6, 1)),
    "gqa/hidden_all_groups": value(chunked((2, 1, 2), 3, 3)),
    "flash_tile/value": value(tile_inputs),
    "flash_tile/hidden": value(tile_inputs),
    "flash_tile/masked": value(masked_tile),
    "flash_tile/large": value(large_tile, LARGE, rtol=1e-6, atol=3e-3),
    "flash_tile/hidden_masked": value(masked_tile),
    "flash_tile/hidden_large": value(large_tile, LARGE, rtol=1e-6, atol=3e-3),
    "flash_merge/value": value(parts),
    "flash_merge/extreme": value(extreme_parts, LARGE, rtol=1e-6, atol=3e-3),
    "flash_merge/hidden": value(extreme_parts, LARGE, rtol=1e-6, atol=3e-3),
    "flash_attention/value": value(flash_inputs(7, 10, False, 3, 4)),
    "flash_attention/causal": value(flash_inputs(11, 11, True, 4, 3)),
    "flash_attention/hidden": value(flash_inputs(5, 13, False, 2, 5)),
    "flash_attention/hidden_causal": value(flash_inputs(9, 9, True, 2, 4)),
    "flash_attention/cached": value(flash_inputs(4, 11, True, 3, 4)),
    "flash_attention/masked_rows": value(flash_inputs(9, 5, True, 2, 3)),
    "flash_attention/hidden_rows": value(flash_inputs(8, 6, True, 3, 4)),
    "moe/route": value(router_inputs),
    "moe/ties": value(tied_logits),
    "moe/hidden_route": value(router_inputs),
    "moe/capacity": Case(capacity_inputs(1.0), reason=EXACT),
    "moe/hidden_capacity": Case(capacity_inputs(0.75), reason=EXACT),
    "relative/value": value(relative_inputs(5, 5, 5)),
    "relative/hidden": value(relative_inputs(7, 7, 7)),
    "relative/cached": value(relative_inputs(3, 8, 11)),
    "relative/clipped": value(relative_inputs(4, 9, 3)),
    "relative/hidden_clipped": value(relative_inputs(5, 7, 11)),
}
