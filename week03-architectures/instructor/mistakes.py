"""Well-known wrong answers of week 03 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from checking import depth_of, part_of
from torch import Tensor, nn

from lsdl.checks import Alternative, Mistake

# Task 1


def embedded(
    *, order="channel", columns_first=False, last="", bare_class=False, how="bicubic", transposed=False, resize_class=False, by_number=False, reshaped=False
):  # fmt: skip
    """order: how a patch is read; how: the resizing of positions; last: the class token is "moved" there, or stands there when positions are "added"."""

    def embed(images, weight, bias, cls_token, positions, grid):
        p, q = weight.shape[2:]
        cut = images.unfold(2, p, p).unfold(3, q, q)  # (B, C, rows, columns, p, q)
        new = cut.shape[2:4]
        cut = cut.permute(0, 2, 3, 4, 5, 1) if order == "pixel" else cut.permute(0, 2, 3, 1, 4, 5)
        cut = cut.transpose(1, 2) if columns_first else cut
        patches = F.linear(cut.flatten(3).flatten(1, 2), weight.flatten(1), bias)
        patches = patches.mT.reshape(patches.shape) if reshaped else patches
        first, own = positions[:1], positions[1:]
        if by_number and new[0] * new[1] == len(own):
            pass
        elif resize_class and tuple(new) != tuple(grid):
            both = F.interpolate(positions.T[None], 1 + new[0] * new[1], mode="linear")[0].T
            first, own = both[:1], both[1:]
        elif tuple(new) != tuple(grid):
            shape = (grid[1], grid[0]) if transposed else tuple(grid)
            picture = own.T.unflatten(1, shape)[None]
            ways = {
                "bicubic": dict(mode="bicubic", antialias=True),
                "no antialias": dict(mode="bicubic"),
                "corners": dict(mode="bicubic", align_corners=True),
                "corners, antialias": dict(mode="bicubic", align_corners=True, antialias=True),
                "bilinear": dict(mode="bilinear", antialias=True),
            }
            own = F.interpolate(picture, new, **ways[how])[0].flatten(1).T
        token = cls_token if bare_class else cls_token + first
        token = token.expand(len(images), 1, -1)
        if last == "added":
            return torch.cat([patches, cls_token.expand_as(token)], 1) + torch.cat([first, own])
        return torch.cat([patches + own, token] if last else [token, patches + own], 1)

    return embed


def embedded_by_unfold(images, weight, bias, cls_token, positions, grid):
    """Patches as columns of a matrix, positions resized as timm does it."""
    from timm.layers import resample_abs_pos_embed

    patch = tuple(weight.shape[2:])
    new = [length // side for length, side in zip(images.shape[2:], patch, strict=True)]
    patches = torch.einsum("dc,bcn->bnd", weight.flatten(1), F.unfold(images, patch, stride=patch)) + bias
    tokens = torch.cat([cls_token.repeat(len(images), 1, 1), patches], 1)
    return tokens + resample_abs_pos_embed(positions[None], new, list(grid))


# Task 2


def attended(
    *, scale="head", order="qkv heads", back=True, axis=-1, masked="before", mask="keys", fill=-1e30, detached=False, project=True
):  # fmt: skip
    """mask: as what padding is masked, before the softmax by `fill`, or after it by 0."""

    def attention(x, weights, heads, valid=None):
        (batch, n, dim), d = x.shape, x.shape[2] // heads
        qkv = x @ weights["qkv.weight"].T + weights["qkv.bias"]
        if order == "qkv heads":
            q, k, v = qkv.view(batch, n, 3, heads, d).permute(2, 0, 3, 1, 4)
        elif order == "heads qkv":
            q, k, v = qkv.view(batch, n, heads, 3, d).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = qkv.view(batch, n, 3, d, heads).permute(2, 0, 4, 1, 3)
        scores = q @ k.transpose(2, 3) * {"head": d**-0.5, "dim": dim**-0.5, "none": 1.0}[scale]
        keys = torch.ones(batch, n, dtype=torch.bool) if valid is None else valid
        queries, keys = keys[:, None, :, None], keys[:, None, None, :]
        shown = {"keys": keys, "queries": queries, "both": queries & keys, "inverted": ~keys}[mask]
        if masked == "before" and valid is not None:
            scores = scores.masked_fill(~shown, fill)
        probabilities = scores.softmax(axis)
        if masked == "after":
            probabilities = probabilities * shown
        probabilities = probabilities.detach() if detached else probabilities
        out = probabilities @ v
        out = (out.transpose(1, 2) if back else out).reshape(batch, n, dim)
        return (out @ weights["proj.weight"].T + weights["proj.bias"] if project else out), probabilities

    return attention


def attended_by_library(x, weights, heads, valid=None):
    """torch's own attention for the output; its keys that are ignored are ours that are not valid."""
    ignored = None if valid is None else ~valid
    given = (weights[name] for name in ("qkv.weight", "qkv.bias"))
    x = x.transpose(0, 1)
    out, probabilities = F.multi_head_attention_forward(
        x, x, x, x.shape[2], heads, *given, None, None, False, 0.0, weights["proj.weight"], weights["proj.bias"],
        key_padding_mask=ignored, average_attn_weights=False,
    )  # fmt: skip
    return out.transpose(0, 1), probabilities


def attended_by_heads(x, weights, heads, valid=None):
    """Head by head; a key that is not valid gets the weight 0 before the division by the sum."""
    d = x.shape[2] // heads
    parts = (x @ weights["qkv.weight"].T + weights["qkv.bias"]).split(d, 2)
    outs, rows = [], []
    for h in range(heads):
        q, k, v = parts[h], parts[heads + h], parts[2 * heads + h]
        scores = torch.einsum("bic,bjc->bij", q / d**0.5, k)
        e = (scores - scores.amax(2, keepdim=True)).exp()
        e = e if valid is None else e * valid[:, None]
        rows.append(e / e.sum(2, keepdim=True))
        outs.append(rows[-1] @ v)
    return torch.cat(outs, 2) @ weights["proj.weight"].T + weights["proj.bias"], torch.stack(rows, 1)


def transformer(
    *, post=False, last=True, eps=1e-6, gelu="none", pool="class", from_normed=False, valid_used=True, row="class", block=-1
):  # fmt: skip
    attention = attended()

    def vit(tokens, state, heads, valid=None):
        def norm(x, name):
            return F.layer_norm(x, x.shape[-1:], state[name + ".weight"], state[name + ".bias"], eps)

        def mlp(x, name):
            x = F.linear(x, state[name + "fc1.weight"], state[name + "fc1.bias"])
            x = F.relu(x) if gelu == "relu" else F.gelu(x, approximate=gelu)
            return F.linear(x, state[name + "fc2.weight"], state[name + "fc2.bias"])

        x, maps, valid = tokens, [], valid if valid_used else None
        for b in range(depth_of(state)):
            name = f"blocks.{b}."
            weights = part_of(state, name + "attn.")
            if post:
                out, p = attention(x, weights, heads, valid)
                x = norm(x + out, name + "norm1")
                x = norm(x + mlp(x, name + "mlp."), name + "norm2")
            else:
                normed = norm(x, name + "norm1")
                out, p = attention(normed, weights, heads, valid)
                x = (normed if from_normed else x) + out
                normed = norm(x, name + "norm2")
                x = (normed if from_normed else x) + mlp(normed, name + "mlp.")
            maps.append(p)
        x = norm(x, "norm") if last else x
        x = {"class": x[:, 0], "patches": x[:, 1:].mean(1), "all": x.mean(1), "last": x[:, -1]}[pool]
        p = maps[block]
        rows = {
            "class": p[:, :, 0, 1:],
            "column": p[:, :, 1:, 0],
            "whole": p[:, :, 0, :],
            "mean": p[:, :, 0, 1:].mean(1),
            "detached": p[:, :, 0, 1:].detach(),
            "renormalised": p[:, :, 0, 1:] / p[:, :, 0, 1:].sum(-1, keepdim=True),
        }
        return F.linear(x, state["head.weight"], state["head.bias"]), rows[row]

    return vit


def transformer_by_modules(tokens, state, heads, valid=None):
    """Each block as torch's own encoder layer, in double precision."""
    state, x = {name: value.double() for name, value in state.items()}, tokens.double()
    ignored = None if valid is None else ~valid
    names = {
        "self_attn.in_proj_weight": "attn.qkv.weight",
        "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight",
        "self_attn.out_proj.bias": "attn.proj.bias",
    } | {
        f"{a}.{kind}": f"{b}.{kind}"
        for a, b in (("linear1", "mlp.fc1"), ("linear2", "mlp.fc2"), ("norm1", "norm1"), ("norm2", "norm2"))
        for kind in ("weight", "bias")
    }
    for b in range(depth_of(state)):
        layer = nn.TransformerEncoderLayer(
            x.shape[2], heads, 4 * x.shape[2], 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
        ).double()
        own = {theirs: state[f"blocks.{b}.{ours}"] for theirs, ours in names.items()}
        normed = F.layer_norm(x, x.shape[2:], own["norm1.weight"], own["norm1.bias"], 1e-6)
        rows = attended_by_heads(normed, part_of(state, f"blocks.{b}.attn."), heads, valid)[1][:, :, 0, 1:]
        x = torch.func.functional_call(layer, own, (x,), {"src_key_padding_mask": ignored})
    first = F.layer_norm(x[:, 0], x.shape[2:], state["norm.weight"], state["norm.bias"], 1e-6)
    return (first @ state["head.weight"].T + state["head.bias"]).float(), rows.float()


# Task 3


def effective(size, window, shift, rule="each"):
    """rule: "each" axis by itself, "always" the shift, or "both" axes or none."""
    larger = [length > w for length, w in zip(size, window, strict=True)]
    larger = {"each": larger, "always": [True, True], "both": [all(larger)] * 2}[rule]
    return [s * moves for s, moves in zip(shift, larger, strict=True)]


def cut(x, window, columns_first=False, turned=False):
    """Padded maps (B, H, W, C) -> (B, n, T, C), one window after another; turned: tokens column by column."""
    (h, w), (rows, columns) = window, x.shape[1:3]
    corners = [(i, j) for i in range(0, rows, h) for j in range(0, columns, w)]
    if columns_first:
        corners = [(i, j) for j in range(0, columns, w) for i in range(0, rows, h)]
    parts = [x[:, i : i + h, j : j + w] for i, j in corners]
    return torch.stack([(part.transpose(1, 2) if turned else part).flatten(1, 2) for part in parts], 1)


def windows_by(*, sign=-1, pad="bottom", columns_first=False, turned=False, rule="each", rolled=True):
    """pad: where zeros go: "bottom" and right, "top" and left, "after" the roll, or a window "more" where it fits."""

    def to_windows(x, window, shift):
        size = x.shape[1:3]
        moved = [sign * s * rolled for s in effective(size, window, shift, rule)]
        bottom, right = (
            (w - length % w) if pad == "more" else -length % w for length, w in zip(size, window, strict=True)
        )
        sides = (0, 0, right, 0, bottom, 0) if pad == "top" else (0, 0, 0, right, 0, bottom)
        x = F.pad(x.roll(moved, (1, 2)), sides) if pad == "after" else F.pad(x, sides).roll(moved, (1, 2))
        return cut(x, window, columns_first, turned)

    return to_windows


def windows_by_index(x, window, shift):
    """Collects by numbers of pixels; the number behind the last is that of a pixel of zeros."""
    rows, columns = x.shape[1:3]
    padded = [length + -length % w for length, w in zip((rows, columns), window, strict=True)]
    numbers = torch.full(padded, rows * columns)
    numbers[:rows, :columns] = torch.arange(rows * columns).view(rows, columns)
    for axis, s in enumerate(effective((rows, columns), window, shift)):
        numbers = torch.cat([numbers.narrow(axis, s, padded[axis] - s), numbers.narrow(axis, 0, s)], axis)
    numbers = cut(numbers[None, ..., None], window)[0, ..., 0]
    return torch.cat([x.flatten(1, 2), x.new_zeros(len(x), 1, x.shape[3])], 1)[:, numbers]


def windows_by_einsum(x, window, shift):
    (h, w), (_, rows, columns, channels) = window, x.shape
    x = nn.functional.pad(x, (0, 0, 0, -columns % w, 0, -rows % h))
    for axis, s in enumerate(effective((rows, columns), window, shift), 1):
        x = torch.roll(x, -s, axis)
    x = x.view(len(x), x.shape[1] // h, h, x.shape[2] // w, w, channels)
    return torch.einsum("birjcd->bijrcd", x).reshape(len(x), -1, h * w, channels)


def back_by(*, sign=1, rolled=True, columns_first=False, rule="each", cropped="end"):
    """cropped: which end of the padded map is left."""

    def from_windows(windows, size, window, shift):
        (h, w), channels = window, windows.shape[3]
        rows, columns = (-(-length // side) for length, side in zip(size, window, strict=True))
        x = windows.new_zeros(len(windows), rows * h, columns * w, channels)
        for k, part in enumerate(windows.unflatten(2, (h, w)).unbind(1)):
            i, j = (k % rows, k // rows) if columns_first else divmod(k, columns)
            x[:, i * h : (i + 1) * h, j * w : (j + 1) * w] = part
        moved = [sign * s for s in effective(size, window, shift, rule)]
        if cropped == "before":
            x = x[:, : size[0], : size[1]]
        x = x.roll(moved, (1, 2)) if rolled else x
        return x[:, -size[0] :, -size[1] :] if cropped == "start" else x[:, : size[0], : size[1]]

    return from_windows


def back_by_fold(windows, size, window, shift):
    padded = [length + -length % w for length, w in zip(size, window, strict=True)]
    columns = windows.permute(0, 3, 2, 1).flatten(1, 2)  # (B, C * T, n)
    x = F.fold(columns, padded, tuple(window), stride=tuple(window))
    row, column = effective(size, window, shift)
    rows = (torch.arange(size[0]) - row) % padded[0]
    return x.permute(0, 2, 3, 1)[:, rows][:, :, (torch.arange(size[1]) - column) % padded[1]]


def masked(
    *, axes=(0, 1), padding=True, rule="each", slices=False, real_keys=False, unpadded=False, columns_first=False, at_size=False, modulo=True, kinds="one"
):  # fmt: skip
    """axes: in which wrapped tokens are told apart; slices: regions by x[-shift:]; unpadded: padding counted as before the roll; at_size: the map's end for the padded one; kinds: of padding, "rows" for at the bottom alone."""

    def window_mask(size, window, shift):
        padded = [length + -length % w for length, w in zip(size, window, strict=True)]
        moved = effective(size, window, shift, rule)
        wrapped = torch.zeros(*padded, dtype=torch.int64)
        for axis in axes:
            place = torch.zeros(padded[axis], dtype=torch.int64)
            if slices and moved[axis] == 0:
                place[-window[axis] :] = 1
                place[: padded[axis] - window[axis] // 2] += 2
            else:
                place = (torch.arange(padded[axis]) + moved[axis] >= (size if at_size else padded)[axis]).long()
            wrapped += (1, 4)[axis] * (place if axis else place[:, None])
        before = [torch.arange(n) + (0 if unpadded else s) for n, s in zip(padded, moved, strict=True)]
        before = [b % n for b, n in zip(before, padded, strict=True)] if modulo else before
        row, column = ((b < length).long() for b, length in zip(before, size, strict=True))
        row = row[:, None]
        real = {"one": row * column, "two": 2 * row + column, "rows": row.expand_as(wrapped)}[kinds]
        region, real = (cut(x[None, ..., None], window, columns_first)[0, ..., 0] for x in (wrapped, real))
        allowed = region[:, :, None] == region[:, None]
        if real_keys:
            return allowed & (real[:, None] == 1)
        return allowed & (real[:, :, None] == real[:, None]) if padding else allowed

    return window_mask


def masked_pair_by_pair(size, window, shift):
    """As the statement says it, for every pair of every window."""
    (h, w), (rows, columns) = window, effective(size, window, shift)
    high, wide = (length + -length % side for length, side in zip(size, window, strict=True))

    def told(i: int, j: int) -> tuple[bool, bool, bool]:
        return i + rows >= high, j + columns >= wide, (i + rows) % high < size[0] and (j + columns) % wide < size[1]

    found = []
    for top in range(0, high, h):
        for left in range(0, wide, w):
            inside = [told(top + i, left + j) for i in range(h) for j in range(w)]
            found.append([[a == b for b in inside] for a in inside])
    return torch.tensor(found)


def masked_by_swin(size, window, shift):
    """Swin's nine regions, cut where its slices cut them, and numbers of padding beside."""
    padded = [length + -length % w for length, w in zip(size, window, strict=True)]
    moved = effective(size, window, shift)
    regions, number = torch.zeros(padded, dtype=torch.int64), 0
    ends = [
        (slice(0, n - w), slice(n - w, n - s), slice(n - s, n)) for n, w, s in zip(padded, window, moved, strict=True)
    ]
    for rows in ends[0]:
        for columns in ends[1]:
            regions[rows, columns] = number
            number += 1
    real = F.pad(torch.ones(size, dtype=torch.int64), (0, padded[1] - size[1], 0, padded[0] - size[0]))
    regions = 2 * regions + real.roll([-s for s in moved], (0, 1))
    regions = windows_by_einsum(regions[None, ..., None], window, (0, 0))[0, ..., 0]
    return (regions.unsqueeze(1) - regions.unsqueeze(2)) == 0


def indexed(*, swapped=False, offset=True, factor="columns", exchanged=False, by_height=False):
    def relative_index(window):
        h, w = window
        i = torch.arange(h * w)
        row, column = (i % h, i // h) if exchanged else (i // h, i % h) if by_height else (i // w, i % w)
        dr, dc = row[:, None] - row[None], column[:, None] - column[None]
        dr, dc = (-dr, -dc) if swapped else (dr, dc)
        dr, dc = (dr + h - 1, dc + w - 1) if offset else (dr, dc)
        return dr * {"columns": 2 * w - 1, "rows": 2 * h - 1, "half": w}[factor] + dc

    return relative_index


def indexed_by_loops(window):
    h, w = window
    places = [(r, c) for r in range(h) for c in range(w)]
    table = torch.arange((2 * h - 1) * (2 * w - 1)).view(2 * h - 1, 2 * w - 1)
    return torch.stack([torch.stack([table[a - c + h - 1, b - d + w - 1] for c, d in places]) for a, b in places])


# Task 4


def neighbourhood(
    *, border="inside", bias_of="place", sign=1, root="d", bias_turned=False, refuse=("even", "large"), axis="both"
):  # fmt: skip
    """border: "inside" moves the window; "zeros", "fewer" and "start" (only the first end is clamped) do not; "query" starts it there; axis: of the softmax."""

    def neighborhood_attention(q, k, v, kernel, bias=None):
        _, heads, rows, columns, d = q.shape
        if "even" in refuse and kernel % 2 == 0 or "large" in refuse and kernel > min(rows, columns):
            raise ValueError("kernel")
        half, n = kernel // 2, rows * columns
        r, c = torch.arange(n) // columns, torch.arange(n) % columns
        allowed, inside = torch.ones(n, n, dtype=torch.bool), torch.ones(n, dtype=torch.int64) * kernel**2
        places = []
        for x, length in ((r, rows), (c, columns)):
            start = x if border == "query" else x - half
            if border in ("inside", "start", "query"):
                start = start.clamp(min=0)
            if border in ("inside", "query"):
                start = torch.minimum(start, torch.tensor(length - kernel))
            place = x[None] - start[:, None]  # of key j in the window of query i
            allowed &= (place >= 0) & (place < kernel)
            relative = sign * (x[None] - x[:, None]) + kernel - 1
            places.append({"window": place, "centre": place + half, "place": relative}[bias_of])
        scores = q.flatten(2, 3) @ k.flatten(2, 3).mT * {"d": d, "kernel": kernel, "none": 1}[root] ** -0.5
        if bias is not None:
            at = [x.clamp(0, 2 * kernel - 2) for x in places]
            scores = scores + (bias[:, at[1], at[0]] if bias_turned else bias[:, at[0], at[1]])
        scores = scores.masked_fill(~allowed, -torch.inf)
        if border == "zeros":  # keys and values of zeros count, too
            extra = (inside - allowed.sum(1)).float()
            top = scores.amax(-1, keepdim=True).clamp(min=0)
            e = (scores - top).exp()
            p = e / (e.sum(-1, keepdim=True) + extra[:, None] * (-top).exp())
        elif axis == "columns":
            p = scores.unflatten(-1, (rows, columns)).softmax(-1).nan_to_num(0.0).flatten(-2)
        else:
            p = scores.softmax(-1)
        return (p @ v.flatten(2, 3)).unflatten(2, (rows, columns))

    return neighborhood_attention


def neighbourhood_of_zeros(q, k, v, kernel, bias=None):
    """Keys and values continued by zeros, so that the query is always in the middle."""
    half, size, d = kernel // 2, q.shape[2:4], q.shape[4]
    if kernel % 2 == 0 or kernel > min(size):
        raise ValueError("kernel")
    k, v = (F.pad(x, (0, 0, half, half, half, half)).unfold(2, kernel, 1).unfold(3, kernel, 1) for x in (k, v))
    scores = torch.einsum("bnhwd,bnhwdij->bnhwij", q, k) / d**0.5
    if bias is not None:
        middle = slice(half, half + kernel)
        scores = scores + bias[None, :, None, None, middle, middle]
    return torch.einsum("bnhwij,bnhwdij->bnhwd", scores.flatten(4).softmax(-1).view_as(scores), v)


def neighbourhood_by_pixels(q, k, v, kernel, bias=None):
    """Pixel by pixel: slow, and right."""
    rows, columns, d = q.shape[2:]
    if kernel % 2 != 1 or kernel > rows or kernel > columns:
        raise ValueError("kernel")
    out = torch.empty_like(q)
    for i in range(rows):
        for j in range(columns):
            a, b = (min(max(x - kernel // 2, 0), n - kernel) for x, n in ((i, rows), (j, columns)))
            near = (slice(None), slice(None), slice(a, a + kernel), slice(b, b + kernel))
            scores = (q[:, :, i, j, None, None] * k[near]).sum(-1) / d**0.5
            if bias is not None:
                up, left = a - i + kernel - 1, b - j + kernel - 1
                scores = scores + bias[:, up : up + kernel, left : left + kernel]
            p = scores.flatten(2).softmax(2)
            out[:, :, i, j] = (p[..., None] * v[near].flatten(2, 3)).sum(2)
    return out


# Task 5


def deit(
    *, square=True, over="batch", reverse=False, teacher_tau=True, exchanged=False, head="dist", detached=True, labels="dist", half=True, form="kl"
):  # fmt: skip
    """head: which one the teacher's term is on; labels: which one learns from the teacher in the mode "hard"; form: of the soft term."""

    def deit_loss(z_cls, z_dist, z_teacher, y, mode, tau=3.0, lam=0.1):
        teacher = z_teacher.detach() if detached else z_teacher
        truth = F.cross_entropy(z_cls, y)
        if mode == "hard":
            other = F.cross_entropy(z_cls if labels == "cls" else z_dist, y if labels == "y" else teacher.argmax(1))
            return (1 - lam) * truth + lam * other if half == "lambda" else (truth + other) * (0.5 if half else 1.0)
        student = z_cls if head == "cls" else z_dist
        p, q = (teacher / (tau if teacher_tau else 1.0)).softmax(1), (student / tau).softmax(1)
        p, q = (q, p) if reverse else (p, q)
        terms = {"kl": p * (p.log() - q.log()), "no log": p * (p.log() - q), "entropy": -p * q.log()}
        kl = terms[form].sum(1).mean()
        kl = kl / z_cls.shape[1] if over == "elements" else kl
        kl = kl * tau**2 if square else kl
        return lam * truth + (1 - lam) * kl if exchanged else (1 - lam) * truth + lam * kl

    return deit_loss


def deit_by_entropies(z_cls, z_dist, z_teacher, y, mode, tau=3.0, lam=0.1):
    """KL as a cross-entropy with soft targets less the targets' own entropy."""
    with torch.no_grad():
        p = torch.softmax(z_teacher / tau, dim=-1)
        entropy = -torch.special.xlogy(p, p).sum(-1).mean()
    one = F.nll_loss(z_cls.log_softmax(-1), y)
    if mode == "hard":
        return 0.5 * one + 0.5 * F.nll_loss(z_dist.log_softmax(-1), z_teacher.max(1).indices)
    return one - lam * one + lam * tau * tau * (F.cross_entropy(z_dist / tau, p) - entropy)


def predicted_by_stacking(z_cls, z_dist):
    return torch.stack([z_cls, z_dist]).mean(0)


# Task 6


def scaler(
    *, bad="both", kept=False, late=False, unlimited=False, zeroed=False, in_step=False, together=False, twice=False, refuse=True, multiplied=False, forgot_counter="", one_group=False, last=False, asked="any", floor=0.0, each=False, full=False, local=False
):  # fmt: skip
    """bad: which values count; in_step: `unscale_` leaves the gradients to `step`; together: one bad optimiser stops those after it;
    forgot_counter: growth asked by ">=" or "=="; last: the last parameter decides; asked: whose gradients `update` looks at; each: bad optimiser backs off; full: `found` stays."""

    class LossScaler:
        def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
            self.s, self.good, self.found = float(init_scale), 0, {}
            self.up, self.down, self.interval = growth_factor, backoff_factor, growth_interval

        def get_scale(self):
            return self.s

        def scale(self, loss):
            return self.s * loss

        def gradients(self, optimizer):
            groups = optimizer.param_groups[:1] if one_group else optimizer.param_groups
            return [p.grad for group in groups for p in group["params"] if p.grad is not None]

        def divide(self, optimizer):
            for g in self.gradients(optimizer):
                if not local:
                    g.copy_(g * self.s if multiplied else g / self.s)

        def unscale_(self, optimizer):
            if id(optimizer) in self.found and refuse:
                raise RuntimeError("twice")
            test = {"both": lambda g: ~g.isfinite(), "inf": torch.isinf, "nan": torch.isnan}[bad]
            found = [bool(test(g).any()) for g in self.gradients(optimizer)]
            self.found[id(optimizer)] = found[-1] if last else any(found)
            if not in_step:
                self.divide(optimizer)

        def step(self, optimizer):
            known = id(optimizer) in self.found
            if not known:
                self.unscale_(optimizer)
            if in_step or (twice and known):
                self.divide(optimizer)
            wrong = any(self.found.values()) if together else self.found[id(optimizer)]
            if wrong and zeroed:
                for g in self.gradients(optimizer):
                    g.zero_()
            if not wrong or zeroed:
                optimizer.step()

        def update(self):
            found = list(self.found.values())
            if any({"any": found, "first": found[:1], "last": found[-1:]}[asked]):
                self.s = max(floor, self.s * self.down ** (sum(found) if each else 1))
                self.good = self.good if kept else 0
            else:
                self.good += 1
                if self.good == self.interval if forgot_counter == "==" else self.good > self.interval - (not late):
                    grown = self.s * self.up
                    self.s = grown if unlimited or grown < 2.0**128 else self.s
                    self.good = self.good if forgot_counter else 0
            self.found = self.found if full else {}

    return LossScaler


class ScalerByTensors:
    """The scale as a float32 tensor, as GradScaler keeps it."""

    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.value, self.streak, self.optimizers = torch.tensor(init_scale), 0, []
        self.factors, self.interval = (backoff_factor, growth_factor), growth_interval
        self.bad: list[bool] = []

    def get_scale(self):
        return self.value.item()

    def scale(self, loss):
        return loss * self.value

    def unscale_(self, optimizer):
        if any(known is optimizer for known in self.optimizers):
            raise RuntimeError("once per step")
        found = torch.tensor(0.0)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    found += (p.grad - p.grad).isnan().sum()  # inf - inf is nan, too
                    p.grad = p.grad * self.value.reciprocal()
        self.optimizers.append(optimizer)
        self.bad.append(found.item() > 0)

    def step(self, optimizer):
        numbers = [k for k, known in enumerate(self.optimizers) if known is optimizer]
        if not numbers:
            self.unscale_(optimizer)
        if not self.bad[numbers[0] if numbers else -1]:
            optimizer.step()

    def update(self):
        good = not any(self.bad)
        self.streak = self.streak + 1 if good else 0
        if not good:
            self.value = self.value * self.factors[0]
        elif self.streak == self.interval:
            grown = self.value * self.factors[1]
            self.value, self.streak = torch.where(grown.isinf(), self.value, grown), 0
        self.optimizers, self.bad = [], []


# Task 7


def ring(
    *,
    even=False,
    whole=False,
    short=0,
    unfinished=False,
    mean=False,
    in_place="",
    late_start=False,
    replaced=False,
    own=False,
    more=0,
    sign=1,
    cheat=False,
):
    """short: steps left out of the second round; more: steps added to both; in_place: in both rounds or the first; late_start: each worker begins
    with the chunk after its own; replaced: nothing is added; own: the receiver counts from itself; sign: the chunks' order; cheat: the result is the plain sum."""

    def ring_all_reduce(buffers, network):
        n, numbers = len(buffers), len(buffers[0])
        if whole:
            total, messages = [b.clone() for b in buffers], list(buffers)
            for _ in range(n - 1):
                messages = network.send(messages)
                total = [t + m for t, m in zip(total, messages, strict=True)]
            return total
        given = buffers if in_place else [b.clone() for b in buffers]
        size = -(-numbers // n) if even else None
        chunks = [
            [b[k * size : (k + 1) * size] for k in range(n)] if even else list(torch.tensor_split(b, n)) for b in given
        ]
        first = int(late_start)
        back = 0 if own else 1  # how far behind the receiver its sender is
        for s in range(n - 1 + more):
            got = network.send([chunks[r][(r + first - sign * s) % n] for r in range(n)])
            for r in range(n):
                k = (r - back + first - sign * s) % n
                chunks[r][k].copy_(got[r]) if replaced else chunks[r][k].add_(got[r])
        first = first if unfinished else first + 1
        for s in range(n - 1 - short + more):
            got = network.send([chunks[r][(r + first - sign * s) % n] for r in range(n)])
            for r in range(n):
                k = (r - back + first - sign * s) % n
                if in_place == "first":
                    chunks[r][k] = got[r]
                else:
                    chunks[r][k].copy_(got[r])
        return [sum(buffers)] * n if cheat else [torch.cat(c) / (n if mean else 1) for c in chunks]

    return ring_all_reduce


def ring_by_matrix(buffers, network):
    """All workers' numbers as one matrix, and the bounds of the chunks."""
    n = len(buffers)
    x = torch.stack(list(buffers))
    lengths = [len(part) for part in torch.arange(x.shape[1]).tensor_split(n)]
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    for t in range(2 * n - 2):
        phase, s = divmod(t, n - 1)
        ranges = [slice(ends[(r + phase - s) % n], ends[(r + phase - s) % n + 1]) for r in range(n)]
        arrived = network.send([x[r, ranges[r]] for r in range(n)])
        for r in range(n):
            before = x[(r + 1) % n, ranges[r]] if phase == 0 else 0
            x[(r + 1) % n, ranges[r]] = arrived[(r + 1) % n] + before
    return list(x.unbind())


def mistake(hint: str, name: str, wrong: Callable | type, *fails: str) -> Mistake:
    return Mistake(hint, {name: wrong}, fails)


def softmaxes(z_cls: Tensor, z_dist: Tensor) -> Tensor:
    return (z_cls.softmax(1) + z_dist.softmax(1)) / 2


PLAIN, RECTANGLE, OTHER = "embed_value", "embed_rectangle", "embed_other_grid"
EMBED = (PLAIN, RECTANGLE, OTHER)
ATTENTION, PADDED = "attention_value", "attention_padded"
LOGITS, GRADIENT, ROW = "vit_logits", "vit_gradient", "vit_class_row"
VIT = (LOGITS, GRADIENT, ROW)
TO, FROM, MASK, INDEX = (f"{x}_value" for x in ("to_windows", "from_windows", "window_mask", "relative_index"))
STARTS, NEAR, BIAS, EDGES = (f"neighborhood_{x}" for x in ("starts", "value", "bias", "edges"))
HARD, SOFT, DEIT_GRADIENT, PREDICT = "deit_hard", "deit_soft", "deit_gradient", "predict_value"
SCALES, WEIGHTS, CLIPPING = "scaler_scales", "scaler_weights", "scaler_clipping"
SUMS, LOG, UNEVEN = "ring_sums", "ring_log", "ring_uneven"

MISTAKES = [
    mistake("A patch is read as (row, column, channel): Conv2d's weight reads it as (channel, row, column).", "embed", embedded(order="pixel"), *EMBED),
    mistake("The patches go column by column: they go row by row.", "embed", embedded(columns_first=True), *EMBED),
    mistake("The class token comes last: it is token 0.", "embed", embedded(last="moved"), *EMBED),
    mistake("The class token comes last: it is token 0.", "embed", embedded(last="added"), *EMBED),
    mistake("The tokens mix the channels of several patches: flatten(2).mT makes tokens of (B, D, rows, columns), a reshape does not.", "embed", embedded(reshaped=True), *EMBED),
    mistake("Your class token gets no position: row 0 is its own.", "embed", embedded(bare_class=True), *EMBED),
    mistake("The class token's position was resized with the others: take row 0 out first.", "embed", embedded(resize_class=True), OTHER),
    mistake("The positions were resized without antialias=True, which is another bicubic kernel in PyTorch, also upwards.", "embed", embedded(how="no antialias"), OTHER),
    mistake("The positions were resized with align_corners=True, which moves all of them: use False.", "embed", embedded(how="corners"), OTHER),
    mistake("The positions were resized with align_corners=True, which moves all of them: use False.", "embed", embedded(how="corners, antialias"), OTHER),
    mistake("The positions are resized only if the number of patches differs: compare rows and columns with the grid.", "embed", embedded(by_number=True), OTHER),
    mistake("The positions were resized by bilinear interpolation: use bicubic.", "embed", embedded(how="bilinear"), OTHER),
    mistake("The old grid is read as (columns, rows): `grid` holds rows first.", "embed", embedded(transposed=True), OTHER),
    mistake("The scores are divided by the root of D: each head has D / heads channels, divide by the root of that.", "attention", attended(scale="dim"), ATTENTION, PADDED, *VIT),
    mistake("The scores are not divided by the root of a head's channels.", "attention", attended(scale="none"), ATTENTION, PADDED, *VIT),
    mistake("The rows of qkv are read as (head, query / key / value, channel): query / key / value comes first.", "attention", attended(order="heads qkv"), ATTENTION, PADDED, *VIT),
    mistake("The rows of qkv are read with the channel before the head: each head's channels lie together.", "attention", attended(order="channels first"), ATTENTION, PADDED, *VIT),
    mistake("The heads are not put back behind the tokens before they are flattened: transpose(1, 2) first.", "attention", attended(back=False), ATTENTION, PADDED, *VIT),
    mistake("The softmax runs over the queries: each query's weights of all keys sum to 1.", "attention", attended(axis=-2), ATTENTION, PADDED, *VIT),
    mistake("The output is not multiplied by proj.", "attention", attended(project=False), ATTENTION, PADDED, *VIT),
    mistake("Padding is set to 0 after the softmax, so rows no longer sum to 1: set its scores to minus infinity before.", "attention", attended(masked="after"), PADDED, *VIT),
    mistake("Padding tokens are masked as queries: mask them as keys, in the last axis.", "attention", attended(mask="queries"), PADDED, *VIT),
    mistake("The rows of padding tokens are nan: mask padding as keys only, in the last axis.", "attention", attended(mask="queries", fill=-torch.inf), PADDED, *VIT),
    mistake("The rows of padding tokens are nan: mask padding as keys only, in the last axis.", "attention", attended(mask="both", fill=-torch.inf), PADDED, *VIT),
    mistake("`valid` is read the wrong way round: a token is padding where it is false.", "attention", attended(mask="inverted"), PADDED, *VIT),
    mistake("The scores of padding are set to 0, which still gets weight: set them to minus infinity.", "attention", attended(fill=0.0), PADDED, *VIT),
    mistake("No gradient flows through the probabilities: do not detach them.", "attention", attended(detached=True), GRADIENT, ROW),
    mistake("The LayerNorms stand after the sums (post-norm): here each stands before its attention or MLP.", "vit", transformer(post=True), *VIT),
    mistake("The last LayerNorm is missing before the head.", "vit", transformer(last=False), LOGITS, GRADIENT),
    mistake("The LayerNorms have PyTorch's default eps of 1e-5: a ViT's is 1e-6.", "vit", transformer(eps=1e-5), *VIT),
    mistake("GELU is approximated by tanh: a ViT uses the exact one.", "vit", transformer(gelu="tanh"), *VIT),
    mistake("The head sees the mean of the patches: give it the class token.", "vit", transformer(pool="patches"), LOGITS, GRADIENT),
    mistake("The head sees the mean of all tokens: give it the class token.", "vit", transformer(pool="all"), LOGITS, GRADIENT),
    mistake("The head sees the last token: the class token is number 0.", "vit", transformer(pool="last"), LOGITS, GRADIENT),
    mistake("ReLU stands in place of GELU.", "vit", transformer(gelu="relu"), *VIT),
    mistake("The sums start from the normalised x: add to x itself.", "vit", transformer(from_normed=True), *VIT),
    mistake("`valid` is not given to the attention.", "vit", transformer(valid_used=False), *VIT),
    mistake("This is how much the others attend to the class token: take its row of P, not its column.", "vit", transformer(row="column"), ROW),
    mistake("The class row has the class token in it: leave key 0 out.", "vit", transformer(row="whole"), ROW),
    mistake("The class row is divided by its sum: take the part of P as it is.", "vit", transformer(row="renormalised"), ROW),
    mistake("The class row is a mean over heads: give each head's.", "vit", transformer(row="mean"), ROW),
    mistake("The class row is that of the first block: take the last.", "vit", transformer(block=0), ROW),
    mistake("No gradient flows through the class row: do not detach it.", "vit", transformer(row="detached"), ROW),
    mistake("The map is rolled down and right: a shift moves it up and left, so roll by minus the shift.", "to_windows", windows_by(sign=1), TO),
    mistake("The map is not rolled.", "to_windows", windows_by(rolled=False), TO),
    mistake("The padding comes after the roll, between tokens that were neighbours: pad first.", "to_windows", windows_by(pad="after"), TO),
    mistake("The padding is at the top and left: append it at the bottom and right.", "to_windows", windows_by(pad="top"), TO),
    mistake("The windows go column by column: they go row by row.", "to_windows", windows_by(columns_first=True), TO),
    mistake("The tokens of a window go column by column: they go row by row.", "to_windows", windows_by(turned=True), TO),
    mistake("Where the window fits already, a whole window of zeros is added: what is missing is -H % w_h.", "to_windows", windows_by(pad="more"), TO),
    mistake("Nothing is shifted because one axis is small: each axis is decided by itself.", "to_windows", windows_by(rule="both"), TO),
    mistake("A map that is not larger than the window is shifted: in that axis nothing moves.", "to_windows", windows_by(rule="always"), TO),
    mistake("The map is not rolled back.", "from_windows", back_by(rolled=False), FROM),
    mistake("The map is rolled up and left once more: the way back goes down and right.", "from_windows", back_by(sign=-1), FROM),
    mistake("The windows are put together column by column: they go row by row.", "from_windows", back_by(columns_first=True), FROM),
    mistake("The padding is cut off before the map is rolled back: it is at the bottom and right only after that.", "from_windows", back_by(cropped="before"), FROM),
    mistake("The top and left of the map are cut off: the padding is at the bottom and right.", "from_windows", back_by(cropped="start"), FROM),
    mistake("A map that is not larger than the window is rolled: in that axis nothing was shifted.", "from_windows", back_by(rule="always"), FROM),
    mistake("Nothing is rolled back because one axis is small: each axis is decided by itself.", "from_windows", back_by(rule="both"), FROM),
    mistake("Only rows are told apart: tokens that wrapped at the left edge see those that did not.", "window_mask", masked(axes=(0,)), MASK),
    mistake("Only columns are told apart: tokens that wrapped at the top edge see those that did not.", "window_mask", masked(axes=(1,)), MASK),
    mistake("Real tokens see padding: both have to be real, or both padding.", "window_mask", masked(padding=False), MASK),
    mistake("Padding may attend to nothing or to real tokens: padding attends to padding, real tokens to real ones.", "window_mask", masked(real_keys=True), MASK),
    mistake("The padding is where it was before the roll: it moves with the map.", "window_mask", masked(unpadded=True), MASK),
    mistake("Without a shift tokens are told apart: a slice x[-0:] is the whole axis.", "window_mask", masked(slices=True), MASK),
    mistake("A map that is not larger than the window is shifted: in that axis nothing moves.", "window_mask", masked(rule="always"), MASK),
    mistake("Nothing is shifted because one axis is small: each axis is decided by itself.", "window_mask", masked(rule="both"), MASK),
    mistake("Padding at the bottom is told from padding at the right: all padding is of one kind.", "window_mask", masked(kinds="two"), MASK),
    mistake("Padding at the right is not told from real tokens: real means real in both axes.", "window_mask", masked(kinds="rows"), MASK),
    mistake("What wrapped counts as padding: take its place before the roll modulo the padded length.", "window_mask", masked(modulo=False), MASK),
    mistake("Padding counts as wrapped: a token wrapped where k + shift reaches the padded length, not the map's.", "window_mask", masked(at_size=True), MASK),
    mistake("The windows go column by column: they go row by row.", "window_mask", masked(columns_first=True), MASK),
    mistake("This is key minus query: in Swin it is query minus key.", "relative_index", indexed(swapped=True), INDEX),
    mistake("The offsets w_h - 1 and w_w - 1 are missing, so some numbers are negative.", "relative_index", indexed(offset=False), INDEX),
    mistake("The rows are multiplied by 2 w_h - 1: there are 2 w_w - 1 places in a row of the table.", "relative_index", indexed(factor="rows"), INDEX),
    mistake("The rows are multiplied by w_w: there are 2 w_w - 1 places in a row of the table.", "relative_index", indexed(factor="half"), INDEX),
    mistake("The tokens are numbered column by column: number them row by row.", "relative_index", indexed(exchanged=True), INDEX),
    mistake("Rows and columns are counted by w_h: token t lies in row t // w_w and column t % w_w.", "relative_index", indexed(by_height=True), INDEX),
    mistake("Beyond the border there are zeros, which get weight, too: move the window inside.", "neighborhood_attention", neighbourhood(border="zeros"), STARTS, NEAR, BIAS, EDGES),
    mistake("Beyond the border there are zeros, which get weight, too: move the window inside.", "neighborhood_attention", neighbourhood_of_zeros, STARTS, NEAR, BIAS, EDGES),
    mistake("The window starts at its query: it starts K // 2 before, so that the query is in the middle.", "neighborhood_attention", neighbourhood(border="query"), STARTS, NEAR, BIAS),
    mistake("The softmax runs over the columns of the window alone: over all K^2 keys the weights sum to 1.", "neighborhood_attention", neighbourhood(axis="columns"), STARTS, NEAR, BIAS, EDGES),
    mistake("At the border a query has fewer keys: move the window inside, so that each has K^2.", "neighborhood_attention", neighbourhood(border="fewer"), STARTS, NEAR, BIAS, EDGES),
    mistake("The windows are moved inside at the top and left only: at the other end a start is at most L - K.", "neighborhood_attention", neighbourhood(border="start"), STARTS, NEAR, BIAS, EDGES),
    mistake("The scores are not divided by the root of d.", "neighborhood_attention", neighbourhood(root="none"), NEAR, BIAS, EDGES),
    mistake("The scores are divided by the root of the kernel's side: divide by the root of d, the channels of a head.", "neighborhood_attention", neighbourhood(root="kernel"), NEAR, BIAS, EDGES),
    mistake("The bias is that of the key's place in the window: it depends on key minus query, which differs at the border.", "neighborhood_attention", neighbourhood(bias_of="window"), BIAS, EDGES),
    mistake("The bias is that of the key's place in the window: it depends on key minus query, which differs at the border.", "neighborhood_attention", neighbourhood(bias_of="centre"), BIAS, EDGES),
    mistake("The bias is read at query minus key, as in Swin: in NAT it is key minus query.", "neighborhood_attention", neighbourhood(sign=-1), BIAS, EDGES),
    mistake("Rows and columns of the bias are exchanged: the row comes first.", "neighborhood_attention", neighbourhood(bias_turned=True), BIAS, EDGES),
    mistake("An even kernel has to raise a ValueError.", "neighborhood_attention", neighbourhood(refuse=("large",)), EDGES),
    mistake("A kernel larger than the map has to raise a ValueError.", "neighborhood_attention", neighbourhood(refuse=("even",)), EDGES),
    mistake("The labels' cross-entropy stands twice: the distillation head learns the teacher's argmax.", "deit_loss", deit(labels="y"), HARD),
    mistake("Both terms are on the class token's head: the teacher's belongs to the distillation head.", "deit_loss", deit(labels="cls"), HARD),
    mistake("The two cross-entropies are added: each counts one half.", "deit_loss", deit(half=False), HARD),
    mistake("lambda weighs the hard loss: there each term counts one half.", "deit_loss", deit(half="lambda"), HARD),
    mistake("The factor of tau squared is missing: without it the gradient shrinks by tau squared.", "deit_loss", deit(square=False), SOFT, DEIT_GRADIENT),
    mistake("KL is divided by the number of classes, too: sum over classes, mean over the batch.", "deit_loss", deit(over="elements"), SOFT, DEIT_GRADIENT),
    mistake("KL is the wrong way round: F.kl_div takes the student's logarithms first, and the teacher's probabilities second.", "deit_loss", deit(reverse=True), SOFT, DEIT_GRADIENT),
    mistake("The teacher's logits are not divided by tau.", "deit_loss", deit(teacher_tau=False), SOFT, DEIT_GRADIENT),
    mistake("The student's probabilities stand where F.kl_div takes their logarithms.", "deit_loss", deit(form="no log"), SOFT, DEIT_GRADIENT),
    mistake("This is a cross-entropy with the teacher's probabilities: KL is that less the teacher's own entropy.", "deit_loss", deit(form="entropy"), SOFT),
    mistake("lambda and 1 - lambda are exchanged: lambda belongs to the teacher.", "deit_loss", deit(exchanged=True), SOFT, DEIT_GRADIENT),
    mistake("Both terms are on the class token's head: KL belongs to the distillation head.", "deit_loss", deit(head="cls"), SOFT, DEIT_GRADIENT),
    mistake("A gradient reaches the teacher: detach its logits.", "deit_loss", deit(detached=False), DEIT_GRADIENT),
    mistake("The softmax outputs are averaged: average the logits.", "predict", softmaxes, PREDICT),
    mistake("Only the class token's head decides: average the logits of both.", "predict", lambda z_cls, z_dist: z_cls, PREDICT),
    mistake("Only the distillation head decides: average the logits of both.", "predict", lambda z_cls, z_dist: z_dist, PREDICT),
    mistake("nan passes as good: a gradient is bad if it is inf or nan.", "LossScaler", scaler(bad="inf"), SCALES, WEIGHTS, CLIPPING),
    mistake("inf passes as good: a gradient is bad if it is inf or nan.", "LossScaler", scaler(bad="nan"), SCALES, WEIGHTS, CLIPPING),
    mistake("The counter goes on after a bad step: set it to 0.", "LossScaler", scaler(kept=True), SCALES, WEIGHTS, CLIPPING),
    mistake("The scale grows one step late: it grows in the step in which the counter reaches the interval.", "LossScaler", scaler(late=True), SCALES, WEIGHTS, CLIPPING),
    mistake("The counter is not set to 0 after the scale has grown.", "LossScaler", scaler(forgot_counter=">="), SCALES, WEIGHTS, CLIPPING),
    mistake("The counter is not set to 0 after the scale has grown.", "LossScaler", scaler(forgot_counter="=="), SCALES, WEIGHTS, CLIPPING),
    mistake("The scale does not fall below 1: it has no bound there.", "LossScaler", scaler(floor=1.0), SCALES, WEIGHTS),
    mistake("The scale falls once for each bad optimiser: it falls once per step.", "LossScaler", scaler(each=True), SCALES, WEIGHTS, CLIPPING),
    mistake("The last parameter alone decides: a gradient is bad if any of the optimiser's is.", "LossScaler", scaler(last=True), SCALES, WEIGHTS, CLIPPING),
    mistake("update asks one optimiser only: the scale falls after a bad gradient in any.", "LossScaler", scaler(asked="last"), SCALES, WEIGHTS, CLIPPING),
    mistake("update asks one optimiser only: the scale falls after a bad gradient in any.", "LossScaler", scaler(asked="first"), SCALES, WEIGHTS, CLIPPING),
    mistake("`found` is never emptied, so later steps are not unscaled: empty it in update.", "LossScaler", scaler(full=True), SCALES, WEIGHTS, CLIPPING),
    mistake("The scale grows past the largest float32, and is infinite there: let it stay.", "LossScaler", scaler(unlimited=True), SCALES),
    mistake("Only the first parameter group is looked at: go through all of optimizer.param_groups.", "LossScaler", scaler(one_group=True), SCALES, WEIGHTS, CLIPPING),
    mistake("A bad step runs with gradients of 0: the weights still decay and move by momentum, and Adam counts the step. Do not call optimizer.step().", "LossScaler", scaler(zeroed=True), WEIGHTS, CLIPPING),
    mistake("A good optimiser skips because another was bad: each asks for its own gradients.", "LossScaler", scaler(together=True), WEIGHTS, CLIPPING),
    mistake("The gradients are multiplied by the scale: divide.", "LossScaler", scaler(multiplied=True), WEIGHTS, CLIPPING),
    mistake("The divided gradients are not stored: change them in place, by g.mul_ or g.div_.", "LossScaler", scaler(local=True), WEIGHTS, CLIPPING),
    mistake("Clipping sees scaled gradients: unscale_ itself has to divide them, not step.", "LossScaler", scaler(in_step=True), CLIPPING),
    mistake("The gradients are divided twice: after unscale_, step must not do it again.", "LossScaler", scaler(twice=True), CLIPPING),
    mistake("A second unscale_ in a step has to raise a RuntimeError.", "LossScaler", scaler(refuse=False), CLIPPING),
    mistake("The sum is divided by the number of workers: all-reduce gives the sum.", "ring_all_reduce", ring(mean=True), SUMS, UNEVEN),
    mistake("The second round has a step too few: each round has n - 1.", "ring_all_reduce", ring(short=1), SUMS, LOG, UNEVEN),
    mistake("An unfinished chunk is passed on: in the second round worker r begins with chunk r + 1, whose sum it holds.", "ring_all_reduce", ring(unfinished=True), SUMS, UNEVEN),
    mistake("The given buffers were changed: work on copies.", "ring_all_reduce", ring(in_place="both"), SUMS, UNEVEN),
    mistake("The given buffers were changed: work on copies.", "ring_all_reduce", ring(in_place="first"), SUMS, UNEVEN),
    mistake("In the first round received chunks replace what was there: add them.", "ring_all_reduce", ring(replaced=True), SUMS, UNEVEN),
    mistake("The receiver puts a chunk where its own rule points: what arrives is chunk r - 1 - s, by the sender's rule.", "ring_all_reduce", ring(own=True), SUMS, UNEVEN),
    mistake("The chunks go the other way: the number falls with s, chunk r - s.", "ring_all_reduce", ring(sign=-1), SUMS, UNEVEN),
    mistake("A round has n steps: each has n - 1.", "ring_all_reduce", ring(more=1), SUMS, LOG, UNEVEN),
    mistake("The results are not made of what was received: numbers move by network.send only.", "ring_all_reduce", ring(cheat=True), SUMS),
    mistake("Whole buffers go round: send one chunk per step.", "ring_all_reduce", ring(whole=True), SUMS, LOG, UNEVEN),
    mistake("The chunks are of N / n rounded up, so the last is short or empty: tensor_split makes sizes that differ by at most 1.", "ring_all_reduce", ring(even=True), UNEVEN),
    mistake("Each worker begins with the chunk after its own: in step 0 worker r sends chunk r.", "ring_all_reduce", ring(late_start=True), SUMS, UNEVEN),
]  # fmt: skip

ALTERNATIVES = [
    Alternative({"embed": embedded()}),
    Alternative({"embed": embedded_by_unfold}),
    Alternative({"attention": attended(), "vit": transformer()}),
    Alternative({"attention": attended_by_library}),
    Alternative({"attention": attended_by_heads, "vit": transformer_by_modules}),
    Alternative({"to_windows": windows_by(), "from_windows": back_by(), "window_mask": masked()}),
    Alternative({"to_windows": windows_by_index, "from_windows": back_by_fold, "window_mask": masked_pair_by_pair}),
    Alternative({"to_windows": windows_by_einsum, "window_mask": masked_by_swin}),
    Alternative({"relative_index": indexed()}),
    Alternative({"relative_index": indexed_by_loops}),
    Alternative({"neighborhood_attention": neighbourhood()}),
    Alternative({"neighborhood_attention": neighbourhood_by_pixels}),
    Alternative({"deit_loss": deit()}),
    Alternative({"deit_loss": deit_by_entropies, "predict": predicted_by_stacking}),
    Alternative({"LossScaler": scaler()}),
    Alternative({"LossScaler": ScalerByTensors}),
    Alternative({"ring_all_reduce": ring()}),
    Alternative({"ring_all_reduce": ring_by_matrix}),
]
