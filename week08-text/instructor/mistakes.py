"""Well-known wrong answers of week 08 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from checking import finish, start
from torch import Tensor

from lsdl.checks import Alternative, Mistake

NOTHING = float("-inf")

# Task 1


def norm_gradient(
    through_root: bool = True,
    weight_in_correction: bool = True,
    mean: bool = True,
    sum_rows: bool = True,
    raw_x: bool = False,
    squared_root: bool = True,
    sign: int = 1,
    eps_used: float | None = None,
    weighted: bool = True,
) -> Callable:
    @torch.inference_mode()
    def rms_norm_backward(grad_y, x, weight, eps=1e-6):
        r = torch.rsqrt(x.square().mean(-1, keepdim=True) + (eps if eps_used is None else eps_used))
        normed = x * r
        grad_weight = grad_y * (x if raw_x else normed)
        g = grad_y * weight if weighted else grad_y
        along = (g if weight_in_correction else grad_y) * normed
        along = along.mean(-1, keepdim=True) if mean else along.sum(-1, keepdim=True)
        along = sign * along
        grad_x = r * (g - normed * along) if squared_root else g * r - normed * along
        return (grad_x if through_root else g * r), grad_weight.sum((0, 1)) if sum_rows else grad_weight

    return rms_norm_backward


def norm_gradient_by_jacobian(grad_y, x, weight, eps=1e-6):
    rows, grads = x.reshape(-1, x.shape[-1]), grad_y.reshape(-1, x.shape[-1])
    r = (rows.square().mean(1) + eps) ** -0.5
    eye = torch.eye(x.shape[-1])
    jacobian = r[:, None, None] * eye - r[:, None, None] ** 3 * torch.einsum("ni,nj->nij", rows, rows) / x.shape[-1]
    grad_x = torch.einsum("ni,nij->nj", grads * weight, jacobian)
    return grad_x.view_as(x), torch.einsum("ni,ni,n->i", grads, rows, r)


def norm_gradient_in_x(grad_y, x, weight, eps=1e-6):
    """In x and the cube of r, as a derivation without x-hat gives it."""
    r = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    g = grad_y * weight
    return r * g - r**3 * x * (g * x).sum(-1, keepdim=True) / x.shape[-1], (grad_y * x * r).flatten(0, -2).sum(0)


# Task 2


def rope_variant(
    exchanged: bool = False,
    sign: int = 1,
    exponent: int = 2,
    repeated: bool = False,
    from_zero: bool = False,
    first_sequence: bool = False,
    by_head: bool = False,
    from_one: bool = False,
    position_type: str | None = None,
    keep_float32: bool = False,
    half_precision_angles: bool = False,
    half_precision_theta: bool = False,
    fixed_base: bool = False,
    joined: bool = False,
) -> Callable:
    def apply_rope(x, positions, base=10000.0, interleaved=False):
        half = x.shape[-1] // 2
        theta = (10000.0 if fixed_base else base) ** (-torch.arange(half, dtype=torch.float32) * exponent / (2 * half))
        positions = torch.arange(x.shape[2]) if from_zero else positions
        positions = positions[0] if first_sequence and positions.ndim == 2 else positions
        positions = positions.to(x.dtype if position_type == "x" else torch.float32) + from_one
        theta = theta.to(x.dtype).float() if half_precision_theta else theta
        angles = positions[..., None].float() * theta
        if half_precision_angles:
            angles = angles.to(x.dtype).float()
        if positions.ndim == 2:
            angles = angles[:, None]
        cos, sin, wide = angles.cos(), sign * angles.sin(), x.float()
        if repeated:  # the frequencies of one convention with the pairs of the other
            order = [torch.cat((t, t), -1) if interleaved else t.repeat_interleave(2, -1) for t in (cos, sin)]
            if interleaved:
                turned = torch.stack((-wide[..., 1::2], wide[..., 0::2]), -1).flatten(-2)
            else:
                turned = torch.cat((-wide[..., half:], wide[..., :half]), -1)
            return (wide * order[0] + turned * order[1]).to(x.dtype)
        pairs = interleaved != exchanged
        a, b = (wide[..., 0::2], wide[..., 1::2]) if pairs else wide.chunk(2, -1)
        turned = a * cos - b * sin, a * sin + b * cos
        y = torch.stack(turned, -1).flatten(-2) if pairs and not joined else torch.cat(turned, -1)
        return y if keep_float32 else y.to(x.dtype)

    return apply_rope


def rope_complex(x, positions, base=10000.0, interleaved=False):
    half = x.shape[-1] // 2
    theta = base ** (-torch.arange(half).float() / half)
    angles = positions[..., None].float() * theta
    turn = torch.polar(torch.ones_like(angles), angles)
    turn = turn[:, None] if positions.ndim == 2 else turn
    pairs = x.float().unflatten(-1, (half, 2) if interleaved else (2, half))
    pairs = pairs if interleaved else pairs.mT
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    return (turned if interleaved else turned.mT).flatten(-2).to(x.dtype)


def rope_cast_cosine(x, positions, base=10000.0, interleaved=False):
    """As transformers: cosine and sine are cast to the type of x before the product."""
    angles = positions[..., None].float() / base ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1])
    angles = angles[:, None] if positions.ndim == 2 else angles
    if interleaved:
        cos, sin = (t.repeat_interleave(2, -1).to(x.dtype) for t in (angles.cos(), angles.sin()))
        rotated = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
    else:
        cos, sin = (torch.cat((t, t), -1).to(x.dtype) for t in (angles.cos(), angles.sin()))
        a, b = x.chunk(2, -1)
        rotated = torch.cat((-b, a), -1)
    return x * cos + rotated * sin


def order_of_rows(rows: Tensor, heads: int) -> Tensor:
    dim = rows.shape[0] // heads
    within = torch.cat((torch.arange(0, dim, 2), torch.arange(1, dim, 2)))
    return (torch.arange(heads)[:, None] * dim + within).flatten()


def half_split_by_index(rows, heads):
    return rows[order_of_rows(rows, heads)]


def interleaved_by_index(rows, heads):
    return rows[order_of_rows(rows, heads).argsort()]


def half_split_over_heads(rows, heads):
    return half_split_by_index(rows, 1)


def half_split_reversed(rows, heads):
    return rows.unflatten(0, (heads, -1, 2)).flip(2).transpose(1, 2).flatten(0, 2)


# Task 3


def powers(n: int) -> list[float]:
    return [2 ** (-8 * h / n) for h in range(1, n + 1)]


def slopes_plain(heads):
    return torch.tensor(powers(heads))


def slopes_from(rule: Callable[[int], list[float]]) -> Callable:
    """The authors' rule for other numbers of heads with another formula for powers of two."""

    def alibi_slopes(heads):
        below = 1 << (heads.bit_length() - 1)
        return torch.tensor(rule(below) + rule(2 * below)[0::2][: heads - below])

    return alibi_slopes


def slopes_of_others(extra: Callable[[int, int], list[float]], order: Callable[[list], list] = list) -> Callable:
    """The authors' formula for powers of two, with other slopes for the rest of the heads."""

    def alibi_slopes(heads):
        below = 1 << (heads.bit_length() - 1)
        return torch.tensor(order(powers(below) + extra(heads, below)))

    return alibi_slopes


def rest(heads: int, below: int) -> list[float]:
    return powers(2 * below)[0::2][: heads - below]


def slopes_recursive(heads):
    exponent = math.log2(heads)
    if exponent.is_integer():
        first = 2 ** (-(2 ** -(exponent - 3)))
        return torch.tensor([first ** (h + 1) for h in range(heads)])
    near = 2 ** math.floor(exponent)
    return torch.cat((slopes_recursive(near), slopes_recursive(2 * near)[0::2][: heads - near]))


def bias_top_left(slopes, queries, keys):
    return -slopes[:, None, None] * (torch.arange(queries)[:, None] - torch.arange(keys)).abs()


def bias_clamped(slopes, queries, keys):
    return -slopes[:, None, None] * (torch.arange(queries)[:, None] - torch.arange(keys)).clamp(min=0)


def bias_for_distance(slopes, queries, keys):
    return slopes[:, None, None] * (torch.arange(keys - queries, keys)[:, None] - torch.arange(keys))


def bias_without_slopes(slopes, queries, keys):
    return -(torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)).expand(len(slopes), -1, -1).float()


def bias_by_key(slopes, queries, keys):
    """A row's constant does not matter: m s instead of -m (p - s)."""
    return slopes[:, None, None] * torch.arange(keys)


# Task 4


def glu(
    activation: Callable = F.silu,
    exchanged: bool = False,
    product: bool = True,
    alternate: bool = False,
    outside: bool = False,
) -> Callable:
    def swiglu(x, gate_up, down):
        both = F.linear(x, gate_up)
        gate, up = (both[..., 0::2], both[..., 1::2]) if alternate else both.chunk(2, -1)
        if exchanged:
            gate, up = up, gate
        if outside:
            return F.linear(activation(gate * up), down)
        return F.linear(activation(gate) * up if product else activation(gate) + up, down)

    return swiglu


def swiglu_of_two(x, gate_up, down):
    hidden = down.shape[1]
    gate = x @ gate_up[:hidden].T
    return (gate / (1 + torch.exp(-gate)) * (x @ gate_up[hidden:].T)) @ down.T


def swiglu_by_einsum(x, gate_up, down):
    gate, up = torch.einsum("...d,ghd->g...h", x, gate_up.unflatten(0, (2, -1)))
    return torch.einsum("...h,dh->...d", gate * torch.sigmoid(gate) * up, down)


# Task 5


def gqa_variant(
    tiled: bool = False,
    scale: Callable[[Tensor], float] = lambda q: q.shape[-1] ** -0.5,
    causal: bool = True,
    top_left: bool = False,
    new_first: bool = False,
    only_new_cached: bool = False,
    expanded_cache: bool = False,
    ignore_padding: bool = False,
    ignore_cached_padding: bool = False,
    infinite: bool = False,
    keep_padding_rows: bool = False,
    nan_to_zero: bool = False,
    additive: float | None = None,
    in_place: bool = False,
) -> Callable:
    def gqa(q, k, v, valid, cache=None):
        new_valid, new_kv = valid, (k, v)
        if in_place:
            return gqa_variant()(q.mul_(q.shape[-1] ** -0.5) * q.shape[-1] ** 0.5, k, v, valid, cache)
        group = q.shape[1] // (k.shape[1] if k.shape[1] < q.shape[1] or not expanded_cache else q.shape[1])
        if expanded_cache:
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        if cache is not None:
            order = (lambda old, new: (new, old)) if new_first else (lambda old, new: (old, new))
            k, v = torch.cat(order(cache[0], k), 2), torch.cat(order(cache[1], v), 2)
            old = torch.ones_like(cache[2]) if ignore_cached_padding else cache[2]
            valid = torch.cat(order(old, valid), 1)
        kept = (*new_kv, new_valid) if only_new_cached else (k, v, valid)
        keys, values = k, v
        if not expanded_cache:
            keys, values = (t.repeat(1, group, 1, 1) if tiled else t.repeat_interleave(group, 1) for t in (k, v))
        new, total = q.shape[2], keys.shape[2]
        visible = torch.ones(new, total, dtype=torch.bool)
        if causal:
            visible = visible.tril(0 if top_left else total - new)
        visible = visible.expand(len(q), 1, -1, -1)
        if not ignore_padding:
            visible = visible & valid[:, None, None]
        scores = q @ keys.mT * scale(q)
        if additive is not None:
            scores = scores + additive * ~visible
        else:
            scores = scores.masked_fill(~visible, NOTHING if infinite else torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        out = (weights.nan_to_num() if nan_to_zero else weights) @ values
        if not keep_padding_rows:
            out = out * new_valid[:, None, :, None]
        return out, kept

    return gqa


def gqa_by_sdpa(q, k, v, valid, cache=None):
    new_valid = valid
    if cache is not None:
        k, v, valid = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2), torch.cat((cache[2], valid), 1)
    new, total = q.shape[2], k.shape[2]
    visible = torch.ones(new, total, dtype=torch.bool).tril(total - new) & valid[:, None, None]
    visible = visible | ~new_valid[:, None, :, None]  # rows of padding see everything and are set to 0 below
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)
    return torch.where(new_valid[:, None, :, None], out, 0.0), (k, v, valid)


# Task 6


def tile_variant(
    rescale_acc: bool = True,
    rescale_l: bool = True,
    running: bool = True,
    subtract: bool = True,
    guard: bool = True,
    scaled: bool = True,
    fill: float = NOTHING,
    zero_fill: bool = False,
    masked: bool = True,
    divided: bool = False,
    inverse: bool = False,
) -> Callable:
    def flash_tile(state, q, k, v, visible, scale):
        acc, m, ell = state
        scores = q @ k.mT * (scale if scaled else 1.0)
        if masked:
            scores = scores * visible if zero_fill else scores.masked_fill(~visible, fill)
        highest = scores.amax(-1)
        if running:
            highest = torch.maximum(m, highest)
        if not subtract:
            highest = torch.zeros_like(m)
        unit = highest.masked_fill(highest == NOTHING, 0.0) if guard else highest
        old, new = torch.exp(m - unit), torch.exp(scores - unit[..., None])
        if inverse:
            old = torch.where(m == NOTHING, 0.0, torch.exp(unit - m))
        acc = acc * (old[..., None] if rescale_acc else 1.0) + new @ v
        ell = ell * (old if rescale_l else 1.0) + new.sum(-1)
        return (acc / ell[..., None] if divided else acc), highest, ell

    return flash_tile


def tile_by_loop(state, q, k, v, visible, scale):
    """One key after another, as the seminar does for a single row."""
    acc, m, ell = state
    for j in range(k.shape[-2]):
        score = ((q * k[..., j : j + 1, :]).sum(-1) * scale).masked_fill(~visible[:, j], NOTHING)
        highest = torch.maximum(m, score)
        old = torch.where(m == NOTHING, 0.0, torch.exp(m - highest))
        new = torch.where(score == NOTHING, 0.0, torch.exp(score - highest))
        acc, ell, m = acc * old[..., None] + new[..., None] * v[..., j : j + 1, :], ell * old + new, highest
    return acc, m, ell


def tile_normalised(state, q, k, v, visible, scale):
    """The state holds the finished pair: acc is the output, m the log-sum-exp, ell is 1 (0 before any key)."""
    out, lse = finish(state)
    scores = (q @ k.mT * scale).masked_fill(~visible, NOTHING)
    part = torch.logsumexp(scores, -1)
    total = torch.logaddexp(lse, part)
    unit = torch.where(total == NOTHING, 0.0, total)
    out = out * torch.exp(lse - unit)[..., None] + torch.exp(scores - unit[..., None]) @ v
    return out, total, (total > NOTHING).to(q.dtype)


def merge_average(out_a, lse_a, out_b, lse_b):
    return (out_a + out_b) / 2, torch.logaddexp(lse_a, lse_b)


def merge_swapped(out_a, lse_a, out_b, lse_b):
    out, lse = merge_by_softmax(out_b, lse_a, out_a, lse_b)
    return out, lse


def merge_added(out_a, lse_a, out_b, lse_b):
    return merge_by_softmax(out_a, lse_a, out_b, lse_b)[0], lse_a + lse_b


def merge_lse_as_weight(out_a, lse_a, out_b, lse_b):
    total = lse_a + lse_b
    return out_a * (lse_a / total)[..., None] + out_b * (lse_b / total)[..., None], torch.logaddexp(lse_a, lse_b)


def merge_unscaled(out_a, lse_a, out_b, lse_b):
    a, b = lse_a.exp(), lse_b.exp()
    return (out_a * a[..., None] + out_b * b[..., None]) / (a + b)[..., None], (a + b).log()


def merge_unguarded(out_a, lse_a, out_b, lse_b):
    lse = torch.logaddexp(lse_a, lse_b)
    return out_a * (lse_a - lse).exp()[..., None] + out_b * (lse_b - lse).exp()[..., None], lse


def merge_by_softmax(out_a, lse_a, out_b, lse_b):
    both = torch.stack((lse_a, lse_b), -1)
    share = both.masked_fill((both == NOTHING).all(-1, keepdim=True), 0.0).softmax(-1)
    return out_a * share[..., :1] + out_b * share[..., 1:], torch.logsumexp(both, -1)


def scores_of(q: Tensor, k: Tensor, causal: bool, top_left: bool = False, strict: bool = False) -> Tensor:
    queries, keys = q.shape[-2], k.shape[-2]
    scores = q @ k.mT * q.shape[-1] ** -0.5
    visible = torch.ones(queries, keys, dtype=torch.bool)
    return (
        scores.masked_fill(~visible.tril((0 if top_left else keys - queries) - strict), NOTHING) if causal else scores
    )


def finished(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - lse.masked_fill(lse == NOTHING, 0.0)[..., None])
    return weights @ v, lse


def attention_top_left(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    return finished(scores_of(q, k, causal, top_left=True), v)


def attention_strict(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    return finished(scores_of(q, k, causal, strict=True), v)


def attention_unscaled(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    return finished(scores_of(q * q.shape[-1] ** 0.5, k, causal), v)


def attention_without_mask(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    return finished(scores_of(q, k, False), v)


def attention_drops_last_tiles(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    keys = k.shape[2] // tile_k * tile_k
    return finished(scores_of(q, k, causal)[..., :keys], v[:, :, :keys])


def attention_maximum(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    scores = scores_of(q, k, causal)
    return finished(scores, v)[0], scores.amax(-1)


def attention_whole(fill: float) -> Callable:
    def flash_attention(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
        scores = scores_of(q, k, causal)
        scores = scores.masked_fill(scores == NOTHING, fill)
        return scores.softmax(-1) @ v, torch.logsumexp(scores, -1)

    return flash_attention


def attention_by_place(from_tile: bool = False, from_first_query: bool = False) -> Callable:
    """Places in a tile are taken for places in the whole row of keys, or of queries."""

    def flash_attention(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
        query, key = torch.arange(q.shape[2]), torch.arange(k.shape[2])
        last = (query % tile_q if from_first_query else query) + k.shape[2] - q.shape[2]
        visible = (key % tile_k if from_tile else key) <= last[:, None]
        scores = scores_of(q, k, False)
        return finished(scores.masked_fill(~visible, NOTHING) if causal else scores, v)

    return flash_attention


def attention_all_at_once(q, k, v, causal=False, tile_q=64, tile_k=64, tile=None):
    """All queries at once, key tiles merged: tile_q may be ignored, the values are the same."""
    queries, keys = q.shape[2], k.shape[2]
    state = start(q, v)
    for j in range(0, keys, tile_k):
        part = slice(j, min(j + tile_k, keys))
        visible = torch.ones(queries, keys, dtype=torch.bool)
        visible = (visible.tril(keys - queries) if causal else visible)[:, part]
        state = tile_by_loop(state, q, k[:, :, part], v[:, :, part], visible, q.shape[-1] ** -0.5)
    return finish(state)


# Task 7


def route_variant(
    noise_in_gates: bool = True,
    noise: bool = True,
    renormalised: bool = True,
    higher_index: bool = False,
    ascending: bool = False,
) -> Callable:
    def route(logits, noise_, k):
        noisy = logits + noise_ if noise else logits
        if higher_index:
            experts = logits.shape[1] - 1 - noisy.flip(1).argsort(dim=-1, descending=True, stable=True)[:, :k]
        else:
            experts = noisy.argsort(dim=-1, descending=True, stable=True)[:, :k]
        if ascending:
            experts = experts.sort(-1).values
        gates = (noisy if noise_in_gates else logits).softmax(-1).gather(1, experts)
        return (gates / gates.sum(-1, keepdim=True) if renormalised else gates), experts

    return route


def route_by_topk(logits, noise, k):
    noisy = logits + noise
    experts = noisy.topk(k, -1).indices
    return noisy.gather(1, experts).softmax(-1), experts


def route_by_loop(logits, noise, k):
    noisy, chosen = (logits + noise).clone(), []
    for _ in range(k):
        best = noisy.max(-1, keepdim=True).values
        index = torch.where(noisy == best, torch.arange(noisy.shape[1]), noisy.shape[1]).min(-1).values
        chosen.append(index)
        noisy = noisy.scatter(1, index[:, None], NOTHING)
    experts = torch.stack(chosen, 1)
    gates = (logits + noise).softmax(-1).gather(1, experts)
    return gates / gates.sum(1, keepdim=True), experts


def route_by_probabilities(logits, noise, k):
    gates, experts = (logits + noise).softmax(-1).sort(dim=-1, descending=True, stable=True)
    return gates[:, :k] / gates[:, :k].sum(-1, keepdim=True), experts[:, :k]


def keep_variant(
    capacity: Callable[[float], int] = math.ceil,
    per_token: bool = False,
    without_k: bool = False,
    last: bool = False,
    last_tokens: bool = False,
    one_less: bool = False,
) -> Callable:
    def kept_assignments(experts, num_experts, factor):
        tokens, k = experts.shape
        room = capacity(factor * (1 if without_k else k) * tokens / num_experts) - one_less
        queue = [(t, j) for t in range(tokens) for j in range(k)]
        if not per_token:
            queue = sorted(queue[::-1] if last_tokens else queue, key=lambda place: place[1])
        used, kept = [0] * num_experts, torch.zeros(tokens, k, dtype=torch.bool)
        for t, j in reversed(queue) if last else queue:
            e = int(experts[t, j])
            kept[t, j] = used[e] < room
            used[e] += 1
        return kept

    return kept_assignments


def keep_by_expert(experts, num_experts, factor):
    """Expert by expert: the first places of its queue."""
    queue = experts.T.flatten()
    kept = torch.zeros_like(queue, dtype=torch.bool)
    for e in range(num_experts):
        kept[(queue == e).nonzero()[: math.ceil(factor * experts.numel() / num_experts)]] = True
    return kept.view(experts.T.shape).T


# Task 9


def relative_direct(
    reverse: bool = False,
    top_left: bool = False,
    keep_future: bool = False,
    zero_far: bool = False,
    first_rows: bool = False,
    top_left_mask: bool = False,
) -> Callable:
    """The vectors of all pairs are gathered, as Shaw et al. write it."""

    def relative_scores(q, embeddings, keys):
        queries, rows = q.shape[-2], len(embeddings)
        p = torch.arange(queries)[:, None] + (0 if top_left else keys - queries)
        distance = p - torch.arange(keys)
        row = distance if reverse else (keys if first_rows else rows) - 1 - distance
        if not zero_far:
            row = row.clamp(0, rows - 1)
        inside = (row >= 0) & (row < rows)
        scores = torch.einsum("...qd,qkd->...qk", q, embeddings[row.clamp(0, rows - 1)]) * inside
        if top_left_mask:
            return scores.tril()
        return scores if keep_future else scores.masked_fill(distance < 0, 0.0)

    return relative_scores


def relative_unmasked(q, embeddings, keys):
    """The skew alone: what stands after the query is left over from the next row."""
    queries, rows = q.shape[-2], len(embeddings)
    by_distance = q @ embeddings[-keys:].T
    far = by_distance[..., :1].expand(*by_distance.shape[:-1], max(0, keys - rows))
    by_distance = torch.cat((far, by_distance), -1)
    return F.pad(by_distance, (1, 0)).flatten(-2)[..., queries:].unflatten(-1, (queries, keys))


def relative_clipped_last(q, embeddings, keys):
    """Distances beyond the table use the vector of distance 0."""
    rows = len(embeddings)
    table = embeddings[-1:].expand(max(0, keys - rows), -1)
    return relative_direct()(q, torch.cat((table, embeddings)), keys)


def relative_unskewed(q, embeddings, keys):
    by_distance = q @ embeddings[-keys:].T
    far = by_distance[..., :1].expand(*by_distance.shape[:-1], max(0, keys - len(embeddings)))
    return torch.cat((far, by_distance), -1).tril(keys - q.shape[-2])


def relative_gathered(q, embeddings, keys):
    """Every query times every distance, then a gather by index: accepted, as memory is bounded as well."""
    queries, rows = q.shape[-2], len(embeddings)
    distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
    row = (rows - 1 - distance).clamp(0, rows - 1).expand(*q.shape[:-1], keys)
    return (q @ embeddings.T).gather(-1, row).masked_fill(distance < 0, 0.0)


ROPE = ("rope_value", "rope_positions", "rope_bfloat16")
GQA = ("gqa_uncached", "gqa_chunks", "gqa_padding", "gqa_mqa_and_mha")
FLASH = ("flash_attention_value", "flash_attention_bottom_right")
TILE = ("flash_tile_value", "flash_tile_extreme")
SLOPES = ("alibi_slopes_powers", "alibi_slopes_others")
RELATIVE = ("relative_scores_value", "relative_scores_cached")

MISTAKES = [
    Mistake(
        "The second term of grad_x has the wrong sign: r falls when x_j^2 grows, so it is subtracted.",
        {"rms_norm_backward": norm_gradient(sign=-1)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "epsilon is missing in r, or it is the default and not the argument `eps`.",
        {"rms_norm_backward": norm_gradient(eps_used=1e-6)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "The weight is missing in grad_x: the gradient of x-hat is grad_y * weight.",
        {"rms_norm_backward": norm_gradient(weighted=False, weight_in_correction=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "r is taken for a constant: it depends on every x_j of the row, which gives a second term along x-hat.",
        {"rms_norm_backward": norm_gradient(through_root=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "The weight is missing in the term along x-hat: that term, too, starts from the gradient of x-hat, grad_y * weight.",
        {"rms_norm_backward": norm_gradient(weight_in_correction=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "The term along x-hat is summed over the row: the mean square brings a 1/dim, so take the mean.",
        {"rms_norm_backward": norm_gradient(mean=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "The term along x-hat lacks the factor r: it belongs to both terms.",
        {"rms_norm_backward": norm_gradient(squared_root=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "grad_weight is not summed over the rows: one weight serves all of them.",
        {"rms_norm_backward": norm_gradient(sum_rows=False)},
        ("rms_norm_gradient",),
    ),
    Mistake(
        "grad_weight multiplies x: the weight multiplies x-hat.",
        {"rms_norm_backward": norm_gradient(raw_x=True)},
        ("rms_norm_gradient",),
    ),
    Mistake("`base` is not used.", {"apply_rope": rope_variant(fixed_base=True)}, ("rope_value",)),
    Mistake(
        "Interleaved pairs come back as halves: stack a and b in the last dimension and flatten, so that each pair returns to its places.",
        {"apply_rope": rope_variant(joined=True)},
        ("rope_value", "rope_positions", "rope_bfloat16"),
    ),
    Mistake(
        "The two conventions are exchanged: interleaved pairs are neighbours (2i, 2i + 1).",
        {"apply_rope": rope_variant(exchanged=True)},
        ROPE,
    ),
    Mistake(
        "The pairs turn backwards: the first number gets a cos - b sin. (Scores of two tokens would still be right.)",
        {"apply_rope": rope_variant(sign=-1)},
        ("rope_value", "rope_positions", "rope_bfloat16"),
    ),
    Mistake(
        "The angles fall too slowly: the exponent is -2i/dim, or -i/(dim/2), for pair i.",
        {"apply_rope": rope_variant(exponent=1)},
        ROPE,
    ),
    Mistake(
        "The angles fall too quickly: the exponent is -2i/dim, with i the number of the pair, not of the first element of the pair.",
        {"apply_rope": rope_variant(exponent=4)},
        ROPE,
    ),
    Mistake(
        "Cosines are laid out for one convention, pairs for the other: both numbers of a pair need the same angle.",
        {"apply_rope": rope_variant(repeated=True)},
        ROPE,
    ),
    Mistake(
        "Positions count from 1: position 0 is not turned at all.",
        {"apply_rope": rope_variant(from_one=True)},
        ("rope_value", "rope_positions", "rope_bfloat16"),
    ),
    Mistake(
        "The positions are not used: behind a cache the first new token does not stand at 0.",
        {"apply_rope": rope_variant(from_zero=True)},
        ("rope_positions", "rope_bfloat16"),
    ),
    Mistake(
        "All sequences get the positions of the first: positions may be (batch, length).",
        {"apply_rope": rope_variant(first_sequence=True)},
        ("rope_positions",),
    ),
    Mistake(
        "Positions are cast to bfloat16, which has no odd number above 256: keep positions and angles in float32.",
        {"apply_rope": rope_variant(position_type="x")},
        ("rope_bfloat16",),
    ),
    Mistake(
        "The angles are cast to bfloat16 before cosine and sine: an angle of 500 is then wrong by up to a whole radian.",
        {"apply_rope": rope_variant(half_precision_angles=True)},
        ("rope_bfloat16",),
    ),
    Mistake(
        "Theta is cast to bfloat16, which is off by up to 0.4 %: at position 500 that is a radian. Keep it in float32.",
        {"apply_rope": rope_variant(half_precision_theta=True)},
        ("rope_bfloat16",),
    ),
    Mistake(
        "Positions and theta are in the type of x: bfloat16 has no odd number over 256, and theta is off by up to 0.4 %. Compute angles in float32.",
        {
            "apply_rope": rope_variant(position_type="x", half_precision_theta=True, half_precision_angles=True),
        },
        ("rope_bfloat16",),
    ),
    Mistake(
        "The result stays in float32: return the type of x.",
        {"apply_rope": rope_variant(keep_float32=True)},
        ("rope_bfloat16",),
    ),
    Mistake(
        "The rows move in the opposite direction: to_half_split gathers the first numbers of all pairs in the first half of a head's rows.",
        {"to_half_split": interleaved_by_index},
        ("rope_conversion",),
    ),
    Mistake(
        "The rows move across heads: each head keeps its own rows, use `heads`.",
        {"to_half_split": half_split_over_heads},
        ("rope_conversion",),
    ),
    Mistake(
        "First and second numbers of the pairs are exchanged, which turns the pairs the other way round.",
        {"to_half_split": half_split_reversed},
        ("rope_conversion",),
    ),
    Mistake(
        "The formula for powers of two is used for every number of heads: the authors' rule takes the slopes of the power below and fills up.",
        {"alibi_slopes": slopes_plain},
        ("alibi_slopes_others",),
    ),
    Mistake(
        "The slopes begin with 1: h counts from 1, so the first of n is 2^(-8/n).",
        {"alibi_slopes": slopes_from(lambda n: [2 ** (-8 * h / n) for h in range(n)])},
        SLOPES,
    ),
    Mistake(
        "The slopes are 2^-h whatever the number of heads: the exponents are spread over 8 for all of them.",
        {"alibi_slopes": slopes_from(lambda n: [2.0**-h for h in range(1, n + 1)])},
        SLOPES,
    ),
    Mistake(
        "The slopes fall linearly: they form a geometric sequence.",
        {"alibi_slopes": slopes_from(lambda n: [1 - (h - 1) / n for h in range(1, n + 1)])},
        SLOPES,
    ),
    Mistake(
        "The other slopes are the first ones of twice as many heads: take every second one of them (the first, third, ...), which lie between those that are there.",
        {"alibi_slopes": slopes_of_others(lambda heads, below: powers(2 * below)[: heads - below])},
        ("alibi_slopes_others",),
    ),
    Mistake(
        "The other slopes are the second, fourth, ... of twice as many heads, which are there already: take the first, third, ...",
        {"alibi_slopes": slopes_of_others(lambda heads, below: powers(2 * below)[1::2][: heads - below])},
        ("alibi_slopes_others",),
    ),
    Mistake(
        "The slopes are sorted: the authors append the other ones at the end, and a checkpoint's heads rely on the order.",
        {"alibi_slopes": slopes_of_others(rest, lambda slopes: sorted(slopes, reverse=True))},
        ("alibi_slopes_others",),
    ),
    Mistake(
        "The queries are taken for the first positions: with a cache they are the last, from keys - queries on.",
        {"alibi_bias": bias_top_left},
        ("alibi_bias_cached",),
    ),
    Mistake(
        "The queries are taken for the first positions, so that most distances become 0: with a cache they are the last ones, p = i + keys - queries.",
        {"alibi_bias": bias_clamped},
        ("alibi_bias_cached",),
    ),
    Mistake(
        "Distant keys are favoured: the bias of a distance is negative.",
        {"alibi_bias": bias_for_distance},
        ("alibi_bias_cached",),
    ),
    Mistake(
        "All heads have the slope 1: multiply the distance with each head's slope.",
        {"alibi_bias": bias_without_slopes},
        ("alibi_bias_cached",),
    ),
    Mistake(
        "The silu stands on the up half: the first rows of the fused weight are the gate's.",
        {"swiglu": glu(exchanged=True)},
        ("swiglu_value",),
    ),
    Mistake(
        "The gate goes through a sigmoid, which is GLU: silu(z) is z times sigmoid(z).",
        {"swiglu": glu(torch.sigmoid)},
        ("swiglu_value",),
    ),
    Mistake("The gate goes through GELU, which is GEGLU: take silu.", {"swiglu": glu(F.gelu)}, ("swiglu_value",)),
    Mistake(
        "silu is taken of the product: only the gate goes through it.", {"swiglu": glu(outside=True)}, ("swiglu_value",)
    ),
    Mistake("Gate and up are added: multiply them.", {"swiglu": glu(product=False)}, ("swiglu_value",)),
    Mistake(
        "Gate and up rows are read alternately: in one shard all gate rows come before all up rows.",
        {"swiglu": glu(alternate=True)},
        ("swiglu_value",),
    ),
    Mistake(
        "Query head h reads the KV head h mod G: neighbours share one, h // (H / G). repeat_interleave, not repeat.",
        {"gqa": gqa_variant(tiled=True)},
        ("gqa_uncached", "gqa_chunks", "gqa_padding"),
    ),
    Mistake(
        "The scores are not divided by the root of dim.",
        {"gqa": gqa_variant(scale=lambda q: 1.0)},
        GQA,
    ),
    Mistake(
        "The scores are divided by dim: take its root.",
        {"gqa": gqa_variant(scale=lambda q: 1 / q.shape[-1])},
        GQA,
    ),
    Mistake(
        "dim is taken over all heads: the root is of the width of one head.",
        {"gqa": gqa_variant(scale=lambda q: (q.shape[1] * q.shape[3]) ** -0.5)},
        GQA,
    ),
    Mistake("Tokens see later ones of the same call: the mask is missing.", {"gqa": gqa_variant(causal=False)}, GQA),
    Mistake(
        "The causal mask starts at the first key: new token i stands at i + total - new, so it sees the whole cache.",
        {"gqa": gqa_variant(top_left=True)},
        ("gqa_chunks", "gqa_padding", "gqa_mqa_and_mha"),
    ),
    Mistake(
        "The new tokens stand before the cached ones: append them at the end.",
        {"gqa": gqa_variant(new_first=True)},
        ("gqa_chunks", "gqa_padding", "gqa_mqa_and_mha"),
    ),
    Mistake(
        "The cache holds the last chunk only: return old and new tokens.",
        {"gqa": gqa_variant(only_new_cached=True)},
        ("gqa_chunks", "gqa_padding", "gqa_mqa_and_mha"),
    ),
    Mistake(
        "The cache holds a copy for every query head: it must keep the G heads of k and v, that is what grouping saves.",
        {"gqa": gqa_variant(expanded_cache=True)},
        ("gqa_chunks", "gqa_padding", "gqa_mqa_and_mha"),
    ),
    Mistake(
        "Padding is attended to: use `valid` of the keys.", {"gqa": gqa_variant(ignore_padding=True)}, ("gqa_padding",)
    ),
    Mistake(
        "Cached padding is attended to: the cache's `valid` is needed as well as that of the new tokens.",
        {"gqa": gqa_variant(ignore_cached_padding=True)},
        ("gqa_padding",),
    ),
    Mistake(
        "NaN: a padding token on the left sees no key at all, and its row of -inf has no softmax.",
        {"gqa": gqa_variant(infinite=True)},
        ("gqa_padding",),
    ),
    Mistake("Outputs of padding tokens are not 0.", {"gqa": gqa_variant(keep_padding_rows=True)}, ("gqa_padding",)),
    Mistake(
        "Where the new token itself is padding, the output is 0.",
        {"gqa": gqa_variant(keep_padding_rows=True, infinite=True, nan_to_zero=True)},
        ("gqa_padding",),
    ),
    Mistake(
        "Masked scores are only lowered by 10: with scores of that size masked keys are still seen. Set them to the lowest number.",
        {"gqa": gqa_variant(additive=-10.0)},
        GQA,
    ),
    Mistake(
        "q is changed in place, and the caller still needs it: make a new tensor.",
        {"gqa": gqa_variant(in_place=True)},
        ("gqa_uncached",),
    ),
    Mistake(
        "acc keeps its old unit: when the maximum rises from m to m', multiply it by exp(m - m').",
        {"flash_tile": tile_variant(rescale_acc=False)},
        TILE,
    ),
    Mistake(
        "ell keeps its old unit: when the maximum rises from m to m', multiply it by exp(m - m').",
        {"flash_tile": tile_variant(rescale_l=False)},
        TILE,
    ),
    Mistake(
        "acc and ell keep their old unit: when the maximum rises from m to m', multiply both by exp(m - m').",
        {"flash_tile": tile_variant(rescale_acc=False, rescale_l=False)},
        TILE,
    ),
    Mistake(
        "The old sums are multiplied by exp(m' - m): the new unit is larger, so they become smaller, by exp(m - m').",
        {"flash_tile": tile_variant(inverse=True)},
        TILE,
    ),
    Mistake(
        "The scores are not multiplied by `scale`.",
        {"flash_tile": tile_variant(scaled=False)},
        TILE,
    ),
    Mistake(
        "Invisible scores are set to 0, which is a score like any other: set them to -inf.",
        {"flash_tile": tile_variant(zero_fill=True)},
        TILE,
    ),
    Mistake("`visible` is not used.", {"flash_tile": tile_variant(masked=False)}, TILE),
    Mistake(
        "acc is divided by ell in every tile: divide once, at the end (`finish` does it).",
        {"flash_tile": tile_variant(divided=True)},
        TILE,
    ),
    Mistake(
        "m is the maximum of this tile only: a smaller one than before makes exp(m_old - m) overflow. Take the larger of the two.",
        {"flash_tile": tile_variant(running=False)},
        ("flash_tile_extreme",),
    ),
    Mistake(
        "The exponentials are taken of the scores themselves: exp(1e4) is inf. Subtract the running maximum.",
        {"flash_tile": tile_variant(subtract=False)},
        ("flash_tile_extreme",),
    ),
    Mistake(
        "(-inf) - (-inf) is NaN: a query that has seen no key yet and sees none in this tile needs a finite number to subtract.",
        {"flash_tile": tile_variant(guard=False)},
        ("flash_tile_extreme",),
    ),
    Mistake(
        "Masked scores are a large negative number: where no key is visible they are the maximum themselves, and exp(0) = 1 counts them. Use -inf.",
        {"flash_tile": tile_variant(fill=-1e9)},
        ("flash_tile_extreme",),
    ),
    Mistake(
        "The outputs are averaged: each part counts by its share of the weight, exp(lse_part - lse_total).",
        {"flash_merge": merge_average},
        ("flash_merge_value",),
    ),
    Mistake("The shares of the two parts are exchanged.", {"flash_merge": merge_swapped}, ("flash_merge_value",)),
    Mistake(
        "The log-sum-exps are added: they are logarithms of sums, so take logaddexp.",
        {"flash_merge": merge_added},
        ("flash_merge_value",),
    ),
    Mistake(
        "The log-sum-exps themselves are the weights: take their exponentials.",
        {"flash_merge": merge_lse_as_weight},
        ("flash_merge_value",),
    ),
    Mistake(
        "exp(1e4) is inf: subtract the total log-sum-exp before the exponential.",
        {"flash_merge": merge_unscaled},
        ("flash_merge_value",),
    ),
    Mistake(
        "(-inf) - (-inf) is NaN where neither part saw a key: subtract a finite number there.",
        {"flash_merge": merge_unguarded},
        ("flash_merge_value",),
    ),
    Mistake(
        "The causal mask is aligned at the top left: query i sees j <= i + keys - queries.",
        {"flash_attention": attention_top_left},
        ("flash_attention_bottom_right",),
    ),
    Mistake("The scores are not divided by the root of dim.", {"flash_attention": attention_unscaled}, FLASH),
    Mistake(
        "A query does not see its own key: j = i + keys - queries is visible, too.",
        {"flash_attention": attention_strict},
        FLASH,
    ),
    Mistake("`causal` is ignored.", {"flash_attention": attention_without_mask}, FLASH),
    Mistake(
        "The mask of each tile begins at key 0: this tile's first key is number j.",
        {"flash_attention": attention_by_place(from_tile=True)},
        FLASH,
    ),
    Mistake(
        "Each tile of queries is taken for the first one: its first query is number rows.start.",
        {"flash_attention": attention_by_place(from_first_query=True)},
        FLASH,
    ),
    Mistake(
        "The last, shorter tile of keys is left out: let the range run to the end and cut the last tile short.",
        {"flash_attention": attention_drops_last_tiles},
        FLASH,
    ),
    Mistake(
        "The second result is the maximum m: the log-sum-exp is m + ln ell.",
        {"flash_attention": attention_maximum},
        FLASH,
    ),
    Mistake(
        "Rows without any key are NaN: their output is 0 and their log-sum-exp -inf.",
        {"flash_attention": attention_whole(NOTHING)},
        ("flash_attention_bottom_right",),
    ),
    Mistake(
        "Rows without any key average all values, because masked scores are a large negative number: their output is 0 and their log-sum-exp -inf.",
        {"flash_attention": attention_whole(-1e9)},
        ("flash_attention_bottom_right",),
    ),
    Mistake(
        "The gates are not renormalised: divide them by their sum over the k chosen.",
        {"route": route_variant(renormalised=False)},
        ("moe_route",),
    ),
    Mistake("The noise is not used.", {"route": route_variant(noise=False, noise_in_gates=False)}, ("moe_route",)),
    Mistake(
        "The noise decides the choice, but the gates are those of the clean logits: the router works with the sum everywhere.",
        {"route": route_variant(noise_in_gates=False)},
        ("moe_route",),
    ),
    Mistake(
        "Of equal logits the higher index is taken: sort stably, in descending order.",
        {"route": route_variant(higher_index=True)},
        ("moe_route",),
    ),
    Mistake(
        "torch.topk promises no order among equal numbers: sort stably, then the lower index comes first.",
        {"route": route_by_topk},
        ("moe_route",),
    ),
    Mistake(
        "The experts are in the order of their indices: the best one comes first.",
        {"route": route_variant(ascending=True)},
        ("moe_route",),
    ),
    Mistake(
        "The queue goes token by token: first come the first choices of all tokens, then the second ones.",
        {"kept_assignments": keep_variant(per_token=True)},
        ("moe_capacity",),
    ),
    Mistake(
        "The capacity is rounded down: round up.",
        {"kept_assignments": keep_variant(math.floor)},
        ("moe_capacity",),
    ),
    Mistake(
        "The capacity lacks the factor k: there are k T assignments.",
        {"kept_assignments": keep_variant(without_k=True)},
        ("moe_capacity",),
    ),
    Mistake(
        "The last in the queue are kept and the first dropped.",
        {"kept_assignments": keep_variant(last=True)},
        ("moe_capacity",),
    ),
    Mistake(
        "Within the first (second) choices the last tokens are kept: they queue in token order.",
        {"kept_assignments": keep_variant(last_tokens=True)},
        ("moe_capacity",),
    ),
    Mistake(
        "One assignment too few is kept: the place in the queue, counted from 1, may be C itself.",
        {"kept_assignments": keep_variant(one_less=True)},
        ("moe_capacity",),
    ),
    Mistake(
        "The rows are counted from the wrong end: the last row is the distance 0.",
        {"relative_scores": relative_direct(reverse=True)},
        RELATIVE,
    ),
    Mistake(
        "Keys after the query have numbers left over from other rows: set them to 0.",
        {"relative_scores": relative_direct(keep_future=True)},
        RELATIVE,
    ),
    Mistake(
        "Keys after the query have numbers left over from the next row: set them to 0.",
        {"relative_scores": relative_unmasked},
        RELATIVE,
    ),
    Mistake(
        "The rows are not moved to their places: column c of q @ embeddings.T is a distance, not a key.",
        {"relative_scores": relative_unskewed},
        RELATIVE,
    ),
    Mistake(
        "The queries are taken for the first positions: they are the last, from keys - queries on.",
        {"relative_scores": relative_direct(top_left=True)},
        ("relative_scores_cached",),
    ),
    Mistake(
        "Distances beyond the table give 0: they use its first row.",
        {"relative_scores": relative_direct(zero_far=True)},
        ("relative_scores_cached",),
    ),
    Mistake(
        "Distances beyond the table use its last row, which is the distance 0: they use its first row.",
        {"relative_scores": relative_clipped_last},
        ("relative_scores_cached",),
    ),
    Mistake(
        "Keys are set to 0 as if the queries were the first positions: the diagonal ends at the last key, tril(keys - queries).",
        {"relative_scores": relative_direct(top_left_mask=True)},
        ("relative_scores_cached",),
    ),
    Mistake(
        "With more rows than keys the table is read from its beginning: the last row is the distance 0, so take the last `keys` rows.",
        {"relative_scores": relative_direct(first_rows=True)},
        ("relative_scores_cached",),
    ),
]

ALTERNATIVES = [
    Alternative({"rms_norm_backward": norm_gradient_by_jacobian}),
    Alternative({"rms_norm_backward": norm_gradient_in_x}),
    Alternative({"apply_rope": rope_complex, "to_half_split": half_split_by_index}),
    Alternative({"apply_rope": rope_cast_cosine}),
    Alternative({"alibi_slopes": slopes_recursive, "alibi_bias": bias_by_key}),
    Alternative({"swiglu": swiglu_of_two}),
    Alternative({"swiglu": swiglu_by_einsum}),
    Alternative({"gqa": gqa_by_sdpa}),
    Alternative({"gqa": gqa_variant()}),
    Alternative(
        {"flash_tile": tile_by_loop, "flash_merge": merge_by_softmax, "flash_attention": attention_all_at_once}
    ),
    Alternative({"flash_tile": tile_normalised}),
    Alternative({"route": route_by_loop, "kept_assignments": keep_variant()}),
    Alternative({"route": route_by_probabilities, "kept_assignments": keep_by_expert}),
    Alternative({"relative_scores": relative_gathered}),
    Alternative({"relative_scores": relative_direct()}),
]
