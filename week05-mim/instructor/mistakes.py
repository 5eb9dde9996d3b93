"""Well-known wrong answers of week 05 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.checks import Alternative, Mistake

# Task 1


def cut(*, order="pixel", columns_first=False, reshaped=False, refuse=True):
    """order: how the numbers of a patch are read."""

    def patchify(images, p):
        batch, channels, height, width = images.shape
        if refuse and (height % p or width % p):
            raise ValueError("no multiple")
        rows, columns = height // p, width // p
        if reshaped:
            return images[:, :, : rows * p, : columns * p].reshape(batch, rows * columns, p * p * channels)
        patches = images.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
        patches = patches.transpose(2, 3) if columns_first else patches
        orders = {"pixel": (0, 2, 3, 4, 5, 1), "channel": (0, 2, 3, 1, 4, 5), "turned": (0, 2, 3, 5, 4, 1)}
        return patches.permute(orders[order]).flatten(3).flatten(1, 2)

    return patchify


def cut_by_unfold(images, p):
    """torch's unfold, whose patches are (channel, row, column)."""
    if any(side % p for side in images.shape[2:]):
        raise ValueError("no multiple")
    columns = F.unfold(images, p, stride=p)  # (B, C p p, L)
    return columns.unflatten(1, (images.shape[1], p * p)).permute(0, 3, 2, 1).flatten(2)


def joined(*, order="pixel", transposed=False, reshaped=False, refuse=True):
    def unpatchify(patches, p, rows, columns):
        if refuse and patches.shape[1] != rows * columns:
            raise ValueError("another number")
        batch, channels = len(patches), patches.shape[2] // p**2
        if reshaped:
            return patches[:, : rows * columns].reshape(batch, channels, rows * p, columns * p)
        x = patches[:, : rows * columns]
        x = x.unflatten(1, (columns, rows)).transpose(1, 2) if transposed else x.unflatten(1, (rows, columns))
        if order == "channel":
            return torch.einsum("nijcpq->ncipjq", x.unflatten(3, (channels, p, p))).flatten(4).flatten(2, 3)
        letters = "nijpqc->ncipjq" if order == "pixel" else "nijqpc->ncipjq"
        return torch.einsum(letters, x.unflatten(3, (p, p, channels))).reshape(batch, channels, rows * p, columns * p)

    return unpatchify


def joined_by_fold(patches, p, rows, columns):
    if patches.shape[1] != rows * columns:
        raise ValueError("another number")
    x = patches.unflatten(2, (p * p, -1)).permute(0, 3, 2, 1).flatten(1, 2)  # (B, C p p, L)
    return F.fold(x, (rows * p, columns * p), p, stride=p)


def normalised(*, correction=1, eps_of="variance", over="patch"):
    def normalise_patches(patches, eps=1e-6):
        x, axes = patches, {"patch": (-1,), "channel": (-2,), "batch": (0,), "picture": (1, 2)}[over]
        x = x.unflatten(-1, (-1, 3)) if over == "channel" else x
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=correction, keepdim=True)
        scale = {"variance": (variance + eps).sqrt(), "std": variance.sqrt() + eps, "none": variance.sqrt()}[eps_of]
        return ((x - mean) / scale).reshape(patches.shape)

    return normalise_patches


def normalised_by_sums(patches, eps=1e-6):
    x = patches.double()
    count = x.shape[2]
    x = x - x.sum(2, keepdim=True) / count
    return (x * torch.rsqrt((x * x).sum(2, keepdim=True) / (count - 1) + eps)).float()


# Task 2


def hidden_at_random(*, largest=False, inverted=False, returned="restore", shared=False, last=False, rounded="down", sorted_back=False):  # fmt: skip
    """largest: these stay; shared: the first picture's order for all; last: ties go to the higher index; sorted_back: the kept tokens in the picture's order."""

    def random_masking(x, noise, ratio):
        count = x.shape[1]
        kept = {"down": int, "up": math.ceil, "hidden": lambda k: count - int(count - k)}[rounded](count * (1 - ratio))
        noise = noise[:1].expand_as(noise) if shared else noise
        order = noise.argsort(dim=1, descending=largest, stable=True)
        if last:
            order = count - 1 - noise.flip(1).argsort(dim=1, stable=True)
        restore = torch.empty_like(order).scatter_(1, order, torch.arange(count).expand_as(order))
        places = order[:, :kept].sort(1).values if sorted_back else order[:, :kept]
        mask = torch.ones(noise.shape).scatter_(1, order[:, :kept], 0.0)
        tokens = torch.gather(x, 1, places[..., None].expand(-1, -1, x.shape[2]))
        return tokens, 1 - mask if inverted else mask, restore if returned == "restore" else order

    return random_masking


def hidden_by_boolean_masks(x, noise, ratio):
    """Picture by picture."""
    count, kept, masks, restores = int(x.shape[1] * (1 - ratio)), [], [], []
    for tokens, own in zip(x, noise, strict=True):
        order = torch.tensor(sorted(range(len(own)), key=own.tolist().__getitem__))  # Python's sort is stable
        mask = torch.ones(len(own), dtype=torch.bool)
        mask[order[:count]] = False
        kept.append(tokens[order[:count]])
        masks.append(mask.float())
        restores.append(order.argsort())
    return torch.stack(kept), torch.stack(masks), torch.stack(restores)


def restored(*, unshuffle=True, by="restore", with_class=False, positions_first=False, class_position=True, last=False):
    """with_class: it is shuffled with the others; last: it comes last."""

    def restore_tokens(y, restore, mask_token, positions):
        (batch, count), dim = restore.shape, y.shape[2]
        masks = mask_token.expand(batch, count + 1 - y.shape[1], dim)
        both = torch.cat([y, masks], 1)
        if positions_first:
            both = both + positions
        first, rest = both[:, :1], both[:, 1:]
        index = restore if by == "restore" else restore.argsort(1)
        if with_class:
            rest, first = both[:, :count], both[:, count:]
        if unshuffle:
            rest = rest.gather(1, index[..., None].expand(-1, -1, dim))
        both = torch.cat([rest, first] if last else [first, rest], 1)
        if positions_first:
            return both
        return both + positions if class_position else torch.cat([both[:, :1], both[:, 1:] + positions[1:]], 1)

    return restore_tokens


def restored_by_places(y, restore, mask_token, positions):
    """Mask tokens everywhere, then each kept token into its own place."""
    out = mask_token.repeat(len(y), restore.shape[1], 1)
    for n, (tokens, places) in enumerate(zip(y[:, 1:], restore, strict=True)):
        kept = places < len(tokens)
        out[n, kept] = tokens[places[kept]]
    return torch.cat([y[:, :1], out], 1) + positions[None]


# Task 3


def mean_over_all_patches(predicted, target, mask):
    return (predicted - target.detach()).square().mean()


def mae(*, over="hidden", per_picture=False, reduce="mean", guard=True, detached=True, absolute=False, count="hidden"):
    """over: which patches count, "hidden" or "visible" ones; count: what the sum is divided by."""

    def mae_loss(predicted, target, mask):
        difference = predicted - (target.detach() if detached else target)
        error = difference.abs() if absolute else difference * difference
        error = error.mean(-1) if reduce == "mean" else error.sum(-1)
        weight = mask if over == "hidden" else 1 - mask
        floor = 1 if guard else 0
        if per_picture:
            return ((error * weight).sum(1) / weight.sum(1).clamp(min=floor)).mean()
        number = weight.sum() if count == "hidden" else torch.tensor(float(mask.numel()))
        return (error * weight).sum() / number.clamp(min=floor)

    return mae_loss


def mae_by_boolean_mask(predicted, target, mask):
    hidden = mask > 0
    if not hidden.any():
        return 0 * predicted.sum()
    return F.mse_loss(predicted[hidden], target[hidden].detach())


def mae_by_einsum(predicted, target, mask):
    difference = predicted - target.data
    total = torch.einsum("nld,nld,nl->", difference, difference, mask)
    return total / (predicted.shape[2] * max(mask.sum().item(), 1))


# Task 4


def dino(*, same=False, students="all", centred="teacher", exchanged=False, divisor="pairs", form="float", raw=False, sign=1):  # fmt: skip
    """students: which views count; centred: whose outputs lose the centre; form: "half" stays in the outputs' precision, "log" takes the softmax's logarithm."""

    def dino_loss(student, teacher, centre, tau_s=0.1, tau_t=0.04):
        tau_s, tau_t = (tau_t, tau_s) if exchanged else (tau_s, tau_t)
        student = list(student)[:2] if students == "two" else list(student)
        cast = (lambda x: x) if form == "half" else Tensor.float
        student, teacher = [cast(s) for s in student], [cast(t) for t in teacher]
        centre = centre.to(teacher[0].dtype)
        if centred in ("student", "both"):
            student = [s - centre for s in student]
        if centred in ("teacher", "both"):
            teacher = [t - sign * centre for t in teacher]
        total, terms = 0.0, 0
        for i, t in enumerate(teacher):
            p = (t if raw else t / tau_t).softmax(-1)
            for j, s in enumerate(student):
                if i == j and not same:
                    continue
                log_q = (s / tau_s).softmax(-1).log() if form == "log" else (s / tau_s).log_softmax(-1)
                total, terms = total - (p * log_q).sum(-1).mean(), terms + 1
        return total / (len(teacher) * len(student) if divisor == "all" else terms)

    return dino_loss


def dino_by_einsum(student, teacher, centre, tau_s=0.1, tau_t=0.04):
    """All pairs at once, the diagonal set to 0."""
    p = F.softmax((torch.stack(list(teacher)).double() - centre) / tau_t, -1)
    q = F.log_softmax(torch.stack(list(student)).double() / tau_s, -1)
    pairs = -torch.einsum("tbk,sbk->ts", p, q)
    pairs.fill_diagonal_(0)
    return (pairs.sum() / (p.shape[1] * (pairs.numel() - len(p)))).float()


def moved_centre(*, of="raw", exchanged=False, views=2):
    def update_centre(centre, teacher, momentum=0.9):
        x = torch.stack(list(teacher)[:views]).float()
        x = {"raw": x, "probabilities": x.softmax(-1), "centred": x - centre}[of]
        share = 1 - momentum if exchanged else momentum
        return share * centre + (1 - share) * x.mean((0, 1))

    return update_centre


def centre_by_lerp(centre, teacher, momentum=0.9):
    return torch.lerp(sum(t.float().mean(0) for t in teacher) / len(teacher), centre, momentum)


def step_of(*, centre_first=False, average="after", exchanged=False, detached=True, freeze="none", zero=True, seen=2, buffers=False, batch_centre="teacher"):  # fmt: skip
    """average: when the teacher moves; freeze: what happens to the last layer's gradients: "none", "zero", nothing or "always"; seen: views of the teacher; batch_centre: whose outputs move it."""

    def dino_step(student, teacher, optimizer, views, centre, m, loss_of, centre_of, frozen=False):
        def move():
            share = 1 - m if exchanged else m
            kept = [(a.data, b.data) for a, b in zip(teacher.parameters(), student.parameters(), strict=True)]
            if buffers:
                kept += list(zip(teacher.buffers(), student.buffers(), strict=True))
            for a, b in kept:
                a.mul_(share).add_((1 - share) * b)

        targets = [teacher(view) for view in views[:seen]]
        targets = [t.detach() for t in targets] if detached else targets
        found = [student(view) for view in views]
        old = centre
        moved = centre_of(centre, [t.detach() for t in (targets if batch_centre == "teacher" else found[:2])])
        loss = loss_of(found, targets, moved if centre_first else old)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        if freeze == "always" or (frozen and freeze in ("none", "zero")):
            for p in student.last.parameters():
                p.grad = torch.zeros_like(p) if freeze == "zero" else None
        if average == "before":
            move()
        optimizer.step()
        if average == "after":
            move()
        return loss.detach(), moved

    return dino_step


def step_by_names(student, teacher, optimizer, views, centre, m, loss_of, centre_of, frozen=False):
    """The last layer's parameters do not require gradients for a while, the average is taken by names."""
    for p in student.last.parameters():
        p.requires_grad_(not frozen)
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        targets = list(map(teacher, views[:2]))
    loss = loss_of(list(map(student, views)), targets, centre)
    loss.backward()
    optimizer.step()
    for p in student.last.parameters():
        p.requires_grad_(True)
    fast = dict(student.named_parameters())
    with torch.no_grad():
        for name, p in teacher.named_parameters():
            p.copy_(m * p + (1 - m) * fast[name])
    return loss.detach(), centre_of(centre, targets)


# Task 5


def blocks(*, logs=True, exchanged=False, fits=False, clipped=False, new=True, tries=10, fill=False, overshoot=False, left_once=False, sides="bounds", corner_first=False, area_of="left"):  # fmt: skip
    """fits: a block as large as the grid is drawn; clipped: it may stick out; new: only new patches count; fill: what is missing is hidden at random;
    sides: "int" cuts them off; area_of: "count" draws up to it."""

    def block_mask(rows, columns, count, least, rng):
        mask, failed = torch.zeros(rows, columns, dtype=torch.bool), False
        hidden = 0
        while hidden < count and not failed:
            left = count if left_once else count - hidden
            failed = True
            for _ in range(tries):
                area = rng.uniform(least, count if area_of == "count" else left)
                aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3))) if logs else rng.uniform(0.3, 1 / 0.3)
                h, w = math.sqrt(area * aspect), math.sqrt(area / aspect)
                h, w = (w, h) if exchanged else (h, w)
                h, w = (int(h), int(w)) if sides == "int" else (round(h), round(w))
                if clipped:
                    top, edge = rng.randint(0, rows - 1), rng.randint(0, columns - 1)
                elif corner_first:
                    if not (h < rows and w < columns):
                        continue
                    edge, top = rng.randint(0, columns - w), rng.randint(0, rows - h)
                elif (h <= rows and w <= columns) if fits else (h < rows and w < columns):
                    top, edge = rng.randint(0, rows - h), rng.randint(0, columns - w)
                else:
                    continue
                block = mask[top : top + h, edge : edge + w]
                fresh = int((~block).sum()) if new else h * w
                if fresh > 0 and (overshoot or fresh <= left):
                    block.fill_(True)
                    failed = False
                    hidden = int(mask.sum()) if new else hidden + fresh
                    break
        if fill and hidden < count:
            free = [k for k in range(rows * columns) if not mask.view(-1)[k]]
            mask.view(-1)[rng.sample(free, min(len(free), count - hidden))] = True
        return mask

    return block_mask


def blocks_by_sets(rows, columns, count, least, rng):
    """Hidden patches as a set of places."""
    hidden: set[tuple[int, int]] = set()

    def one(left):
        for _ in range(10):
            area, aspect = rng.uniform(least, left), math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if h >= rows or w >= columns:
                continue
            top, edge = rng.randint(0, rows - h), rng.randint(0, columns - w)
            block = {(i, j) for i in range(top, top + h) for j in range(edge, edge + w)} - hidden
            if 1 <= len(block) <= left:
                return block
        return set()

    while len(hidden) < count and (block := one(count - len(hidden))):
        hidden |= block
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    for i, j in hidden:
        mask[i, j] = True
    return mask


# Task 6


def hog(*, gradient="central", exchanged=False, signed=False, votes="length", wrap=True, norm="cell", mean=True, channels="each", eps=1e-10, order="channel", soft=False):  # fmt: skip
    """gradient: of np.gradient ("numpy"), with a border that is "rolled" or "replicated", or "sobel"; wrap: bin 9 is bin 0; channels: the "strongest" per pixel stands for all."""

    def hog_targets(images, patch=8, cell=4):
        x = images
        gx, gy = torch.zeros_like(x), torch.zeros_like(x)
        if gradient == "numpy":
            gy, gx = torch.gradient(x, dim=(2, 3))
        elif gradient == "rolled":
            gx, gy = x.roll(-1, 3) - x.roll(1, 3), x.roll(-1, 2) - x.roll(1, 2)
        elif gradient == "replicated":
            wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
            gx, gy = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
        elif gradient == "sobel":
            wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
            gx, gy = wide[..., 2:] - wide[..., :-2], wide[..., 2:, :] - wide[..., :-2, :]
            gx = gx[..., :-2, :] + 2 * gx[..., 1:-1, :] + gx[..., 2:, :]
            gy = gy[..., :-2] + 2 * gy[..., 1:-1] + gy[..., 2:]
        else:
            gx[..., 1:-1] = x[..., 2:] - x[..., :-2]
            gy[..., 1:-1, :] = x[..., 2:, :] - x[..., :-2, :]
        length = (gx * gx + gy * gy).sqrt()
        if channels == "strongest":
            place = length.argmax(1, keepdim=True).expand_as(gx)
            gx, gy, length = (t.gather(1, place) for t in (gx, gy, length))
        angle = torch.atan2(gx, gy) if exchanged else torch.atan2(gy, gx)
        if signed:
            bins = (torch.rad2deg(angle) % 360 / 40).floor()
        else:
            angle = torch.where(angle < 0, angle + math.pi, angle)
            bins = (torch.rad2deg(angle) / 20).floor()
        bins = bins.long() % 9 if wrap else bins.long().clamp(max=8)
        length = (length > 0).float() if votes == "count" else length
        planes = torch.stack([length * (bins == b) for b in range(9)], 2)  # (B, C, 9, H, W)
        planes = planes.unflatten(4, (-1, cell)).unflatten(3, (-1, cell)).sum((4, 6))
        v = planes / cell**2 if mean else planes
        side = patch // cell
        v = v.unflatten(4, (-1, side)).unflatten(3, (-1, side))  # (B, C, 9, rows, side, columns, side)
        axes = {"cell": (2,), "patch": (1, 2, 4, 6), "channels": (1, 2), "patch channel": (2, 4, 6)}[norm]
        v = v / (v.square().sum(axes, keepdim=True) + eps).sqrt()
        orders = {"channel": (0, 3, 5, 1, 2, 4, 6), "cell": (0, 3, 5, 4, 6, 1, 2), "bin": (0, 3, 5, 2, 1, 4, 6)}
        return v.permute(orders[order]).flatten(3).flatten(1, 2)

    return hog_targets


def hog_by_counts(images, patch=8, cell=4):
    """bincount over the numbers of (picture, channel, cell, bin), the angle by a comparison with the borders of the bins."""
    batch, channels, height, width = images.shape
    x = images.double()
    gx, gy = F.pad(x[..., 2:] - x[..., :-2], (1, 1)), F.pad(x[..., 2:, :] - x[..., :-2, :], (0, 0, 1, 1))
    down = (gy < 0) | ((gy == 0) & (gx < 0))
    gx, gy = torch.where(down, -gx, gx), torch.where(down, -gy, gy)  # angles from 0 to under 180 degrees
    bins = sum((gy * math.cos(math.radians(t)) >= gx * math.sin(math.radians(t))).long() for t in range(20, 180, 20))
    rows, columns = height // cell, width // cell
    place = (torch.arange(height) // cell)[:, None] * columns + torch.arange(width) // cell
    number = (torch.arange(batch * channels).view(batch, channels, 1, 1) * rows * columns + place) * 9 + bins
    v = torch.bincount(number.flatten(), torch.hypot(gx, gy).flatten(), batch * channels * rows * columns * 9)
    v = v.view(-1, 9) / cell**2
    v = v / (v.square().sum(1, keepdim=True) + 1e-10).sqrt()
    v = v.view(batch, channels, rows, columns, 9)
    side, out = patch // cell, []
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            out.append(v[:, :, i : i + side, j : j + side].permute(0, 1, 4, 2, 3).flatten(1))
    return torch.stack(out, 1).float()


# Task 7


def contrasted(*, inside=False, own="left out", anchors="with positives", below="others", scaled=False, guard=True, cast=True, normalised=True, kind="mean", minus=True):  # fmt: skip
    """own: itself stays "below", or is a "positive"; below: "negatives" only; kind: the "sum" over positives."""

    def supcon(z, labels, temperature):
        z = z.float() if cast else z
        z = z / z.norm(dim=1, keepdim=True) if normalised else z
        n = len(z)
        itself = torch.eye(n, dtype=torch.bool)
        logits = (z @ z.T / temperature).float()
        positive = labels[:, None] == labels[None]
        positive = positive if own == "positive" else positive & ~itself
        shown = torch.ones(n, n, dtype=torch.bool) if own in ("below", "positive") else ~itself
        if below == "negatives":
            shown = labels[:, None] != labels[None]
            terms = torch.logaddexp(logits, logits.masked_fill(~shown, -1e30).logsumexp(1, keepdim=True))
            log_p = logits - (
                logits.masked_fill(~shown, -1e30).logsumexp(1, keepdim=True) if kind == "plain" else terms
            )
        else:
            log_p = logits - logits.masked_fill(~shown, -1e30).logsumexp(1, keepdim=True)
        count = positive.sum(1)
        if inside:
            per = -(log_p.masked_fill(~positive, -1e30).logsumexp(1) - count.clamp(min=1).log())
            per = torch.where(count > 0, per, 0.0)
        elif kind == "sum":
            per = -(log_p * positive).sum(1)
        else:
            per = -(log_p * positive).sum(1) / (count.clamp(min=1) if guard else count)
        if anchors == "all":
            return per.mean()
        loss = per[count > 0].mean() if not guard else (per * (count > 0)).sum() / (count > 0).sum().clamp(min=1)
        return loss * temperature / 0.07 if scaled else loss

    return supcon


def supcon_by_anchors(z, labels, temperature):
    """Anchor by anchor."""
    z, losses = F.normalize(z.double(), dim=1), []
    for i in range(len(z)):
        others = torch.arange(len(z)) != i
        s = z[others] @ z[i] / temperature
        same = labels[others] == labels[i]
        if same.any():
            losses.append(s.logsumexp(0) - s[same].mean())
    return torch.stack(losses).mean().float() if losses else 0 * z.sum().float()


# Bonus


def matched(*, cosine=True, axis=2, last=False, nearest=False):
    def dense_match(query_cells, key_cells):
        q, k = query_cells, key_cells
        if cosine:
            q, k = (x / x.norm(dim=-1, keepdim=True) for x in (q, k))
        similarity = torch.einsum("bld,bmd->blm", q, k)
        if nearest:
            similarity = -torch.cdist(query_cells, key_cells)
        if last:
            return similarity.shape[2] - 1 - similarity.flip(2).argmax(2)
        return similarity.argmax(axis)

    return dense_match


def matched_by_loops(query_cells, key_cells):
    found = torch.zeros(query_cells.shape[:2], dtype=torch.int64)
    for b, (query, key) in enumerate(zip(query_cells, key_cells, strict=True)):
        for i, cell in enumerate(query):
            cosines = F.cosine_similarity(cell[None], key, dim=1).tolist()
            found[b, i] = cosines.index(max(cosines))
    return found


def dense(*, partner="match", detached=True, entries="mean", negatives="queue", scaled=True, unit=True):
    """partner: the cell of the same "place" or one matched "again" by projection; entries: of the queue: every "cell" or the mean of "unit" ones."""

    def dense_loss(query, key, match, queue, temperature=0.2):
        key = key.detach() if detached else key
        q, k = (F.normalize(x, dim=-1) for x in (query, key)) if unit else (query, key)
        if partner == "again":
            match = matched()(query, key)
        elif partner == "place":
            match = torch.arange(query.shape[1]).expand_as(match)
        positive = k.gather(1, match[..., None].expand(-1, -1, k.shape[2]))
        rows = torch.einsum("bld,kd->blk", q, queue)
        if negatives == "cells":
            rows = torch.cat([rows, q @ k.mT], 2)
        logits = torch.cat([torch.einsum("bld,bld->bl", q, positive)[..., None], rows], 2)
        logits = (logits / temperature if scaled else logits).flatten(0, 1)
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
        mean = {"mean": lambda: F.normalize(key.mean(1), dim=-1), "cell": lambda: k.flatten(0, 1), "unit": lambda: F.normalize(k.mean(1), dim=-1), "raw": lambda: key.mean(1)}  # fmt: skip
        return loss, mean[entries]().detach()

    return dense_loss


def dense_by_logsumexp(query, key, match, queue, temperature=0.2):
    with torch.no_grad():
        units = key / key.norm(dim=2, keepdim=True)
        partners = torch.stack([cells[places] for cells, places in zip(units, match, strict=True)])
        entries = key.sum(1) / key.sum(1).norm(dim=1, keepdim=True)
    query = query / query.norm(dim=2, keepdim=True)
    right = (query * partners).sum(2) / temperature
    others = (query @ queue.T / temperature).logsumexp(2)
    return F.softplus(others - right).mean(), entries


def mistake(hint: str, name: str, wrong: Callable, *fails: str) -> Mistake:
    return Mistake(hint, {name: wrong}, fails)


PATCHIFY, UNPATCHIFY, NORMALISE = "patchify_value", "unpatchify_value", "normalise_patches_value"
MASKING, RESTORE = "random_masking_value", "restore_tokens_value"
MAE = ("mae_loss_value", "mae_loss_gradient")
DINO, CENTRE, STEP = "dino_loss_value", "update_centre_value", "dino_step_state"
MASK, ENDS = "block_mask_value", "block_mask_ends"
CELL, HOG = "hog_cell_value", "hog_targets_value"
SUPCON, EDGES = "supcon_value", "supcon_edges"
MATCH, DENSE = "dense_match_value", "dense_loss_value"

MISTAKES = [
    mistake("The numbers of a patch are ordered (channel, row, column): the channel comes last.", "patchify", cut(order="channel"), PATCHIFY),
    mistake("Each patch is transposed: its row comes before its column.", "patchify", cut(order="turned"), PATCHIFY),
    mistake("The patches go column by column: they go row by row.", "patchify", cut(columns_first=True), PATCHIFY),
    mistake("A reshape alone does not cut patches: it keeps the order in memory. Split the sides, then permute.", "patchify", cut(reshaped=True), PATCHIFY),
    mistake("Sides that are no multiple of p have to raise a ValueError.", "patchify", cut(refuse=False), PATCHIFY),
    mistake("The numbers of a patch are read as (channel, row, column): the channel comes last.", "unpatchify", joined(order="channel"), UNPATCHIFY),
    mistake("The grid is read column by column: patches go row by row.", "unpatchify", joined(transposed=True), UNPATCHIFY),
    mistake("A reshape alone does not join patches: bring each patch's rows beside the grid's rows first, by permute.", "unpatchify", joined(reshaped=True), UNPATCHIFY),
    mistake("Another number of patches than rows times columns has to raise a ValueError.", "unpatchify", joined(refuse=False), UNPATCHIFY),
    mistake("The variance is divided by D: here it is the unbiased one, divided by D - 1.", "normalise_patches", normalised(correction=0), NORMALISE),
    mistake("eps is added to the standard deviation: add it to the variance, before the root.", "normalise_patches", normalised(eps_of="std"), NORMALISE),
    mistake("Each channel is normalised by itself: mean and variance are over all numbers of a patch.", "normalise_patches", normalised(over="channel"), NORMALISE),
    mistake("Mean and variance are over the batch: each patch has its own.", "normalise_patches", normalised(over="batch"), NORMALISE),
    mistake("Mean and variance are over the whole picture: each patch has its own.", "normalise_patches", normalised(over="picture"), NORMALISE),
    mistake("eps is missing: a flat patch gives 0 / 0.", "normalise_patches", normalised(eps_of="none"), NORMALISE),
    mistake("The tokens with the largest noise stay: keep those with the smallest.", "random_masking", hidden_at_random(largest=True), MASKING),
    mistake("The mask is inverted: 1 means hidden.", "random_masking", hidden_at_random(inverted=True), MASKING),
    mistake("This is the sorted order: `restore` is its inverse, the place of each token, order.argsort(1).", "random_masking", hidden_at_random(returned="order"), MASKING),
    mistake("All pictures got the order of the first: each is sorted by its own noise.", "random_masking", hidden_at_random(shared=True), MASKING),
    mistake("Of equal noise the later token comes first: sort with stable=True, the lower index comes first.", "random_masking", hidden_at_random(last=True), MASKING),
    mistake("The number of kept tokens is rounded up: it is int(L (1 - ratio)).", "random_masking", hidden_at_random(rounded="up"), MASKING),
    mistake("The kept tokens stand in the order of the picture: they come in the order of their noise, as `restore` counts them.", "random_masking", hidden_at_random(sorted_back=True), MASKING),
    mistake("The tokens are not brought back to their places: sort them by `restore`.", "restore_tokens", restored(unshuffle=False), RESTORE),
    mistake("The tokens are sorted by the order of the noise: token i of the picture is number restore[i] of the kept and mask tokens.", "restore_tokens", restored(by="order"), RESTORE),
    mistake("The class token is shuffled with the others: take it away first.", "restore_tokens", restored(with_class=True), RESTORE),
    mistake("Positions are added before the tokens are in their places: add them last.", "restore_tokens", restored(positions_first=True), RESTORE),
    mistake("The class token gets no position: row 0 is its own.", "restore_tokens", restored(class_position=False), RESTORE),
    mistake("The class token comes last: it stands in front.", "restore_tokens", restored(last=True), RESTORE),
    mistake("The mean is over all patches: only hidden ones count.", "mae_loss", mean_over_all_patches, *MAE),
    mistake("The visible patches count: mask is 1 where a patch is hidden.", "mae_loss", mae(over="visible"), *MAE),
    mistake("This is a mean per picture, then over pictures: divide once, by the number of hidden patches in the batch.", "mae_loss", mae(per_picture=True), *MAE),
    mistake("The squared differences of a patch are summed: take their mean.", "mae_loss", mae(reduce="sum"), *MAE),
    mistake("Where nothing is hidden the loss is nan: divide by at least 1.", "mae_loss", mae(guard=False), *MAE),
    mistake("The sum is divided by the number of all patches: divide by the number of hidden ones.", "mae_loss", mae(count="all"), *MAE),
    mistake("A gradient reaches the target: detach it.", "mae_loss", mae(detached=False), MAE[1]),
    mistake("The teacher also judges the same view: leave the pairs i = j out.", "dino_loss", dino(same=True), DINO),
    mistake("Only the two global views of the student count: the local ones belong to the sum.", "dino_loss", dino(students="two"), DINO),
    mistake("The centre is taken from the student: it belongs to the teacher.", "dino_loss", dino(centred="student"), DINO),
    mistake("The centre is taken from the student, too: it belongs to the teacher alone.", "dino_loss", dino(centred="both"), DINO),
    mistake("The centre is added: take it from the teacher's outputs.", "dino_loss", dino(sign=-1), DINO),
    mistake("The temperatures are exchanged: the teacher's is the smaller one.", "dino_loss", dino(exchanged=True), DINO),
    mistake("The sum is divided by 2 (2 + L): there are 2 (L + 1) pairs.", "dino_loss", dino(divisor="all"), DINO),
    mistake("Half precision overflows in the division by a temperature: call .float() first.", "dino_loss", dino(form="half"), DINO),
    mistake("The logarithm of a softmax is minus infinity where the softmax is 0: use log_softmax.", "dino_loss", dino(form="log"), DINO),
    mistake("The centre is the mean of probabilities: take the raw outputs.", "update_centre", moved_centre(of="probabilities"), CENTRE),
    mistake("The centre is taken from the outputs before their mean: take the raw outputs.", "update_centre", moved_centre(of="centred"), CENTRE),
    mistake("The shares are exchanged: the old centre keeps the momentum's share.", "update_centre", moved_centre(exchanged=True), CENTRE),
    mistake("Only one view moves the centre: the mean is over both.", "update_centre", moved_centre(views=1), CENTRE),
    mistake("The loss sees the new centre: the centre moves last.", "dino_step", step_of(centre_first=True), STEP),
    mistake("The teacher moves before the optimiser's step: it averages the student's new parameters.", "dino_step", step_of(average="before"), STEP),
    mistake("The shares are exchanged: the teacher keeps m of its own.", "dino_step", step_of(exchanged=True), STEP),
    mistake("The teacher gets gradients: call it under torch.no_grad().", "dino_step", step_of(detached=False), STEP),
    mistake("The last layer moves while it is frozen: set its gradients to None before the step.", "dino_step", step_of(freeze=""), STEP),
    mistake("The last layer's gradients are 0, and the weight decay moves it: set them to None.", "dino_step", step_of(freeze="zero"), STEP),
    mistake("The last layer never learns: it is frozen only if `frozen` is true.", "dino_step", step_of(freeze="always"), STEP),
    mistake("Gradients of earlier steps are added: call optimizer.zero_grad().", "dino_step", step_of(zero=False), STEP),
    mistake("The teacher sees local views, too: give it views[:2] alone.", "dino_step", step_of(seen=9), STEP),
    mistake("The teacher's buffers are averaged: only parameters are.", "dino_step", step_of(buffers=True), STEP),
    mistake("The teacher does not move: average its parameters after the step.", "dino_step", step_of(average="never"), STEP),
    mistake("The student's outputs move the centre: it follows the teacher's.", "dino_step", step_of(batch_centre="student"), STEP),
    mistake("The aspect is uniform itself: its logarithm is, so that high and wide blocks are as likely.", "block_mask", blocks(logs=False), MASK, ENDS),
    mistake("h and w are exchanged: h is the root of area times aspect.", "block_mask", blocks(exchanged=True), MASK, ENDS),
    mistake("A block as high or as wide as the grid is drawn: it has to be strictly smaller.", "block_mask", blocks(fits=True), MASK, ENDS),
    mistake("Blocks stick out and are clipped: draw a corner for which the whole block is inside.", "block_mask", blocks(clipped=True), MASK, ENDS),
    mistake("The area of a block is counted as hidden: only its new patches are.", "block_mask", blocks(new=False), MASK, ENDS),
    mistake("A try that fails ends the mask: each block has ten tries.", "block_mask", blocks(tries=1), MASK, ENDS),
    mistake("The tries go on after the tenth: ten failures end the mask, and on some grids nothing ever fits.", "block_mask", blocks(tries=2000), MASK, ENDS),
    mistake("Patches are hidden one by one at the end: a mask may hide fewer than count.", "block_mask", blocks(fill=True), MASK, ENDS),
    mistake("More patches than count are hidden: a block counts only if it hides at most `left` new ones.", "block_mask", blocks(overshoot=True), MASK, ENDS),
    mistake("The area is drawn up to count: its upper bound is what is left.", "block_mask", blocks(area_of="count"), MASK, ENDS),
    mistake("The sides are cut off: round them.", "block_mask", blocks(sides="int"), MASK, ENDS),
    mistake("The corner's column is drawn before its row: the row comes first, else the numbers differ.", "block_mask", blocks(corner_first=True), MASK, ENDS),
    mistake("These are np.gradient's differences, one-sided and not 0 at the border.", "hog_targets", hog(gradient="numpy"), CELL, HOG),
    mistake("The picture is rolled, so the left border sees the right one: there the difference is 0.", "hog_targets", hog(gradient="rolled"), CELL, HOG),
    mistake("The border is repeated outwards: where a neighbour is missing the difference is 0.", "hog_targets", hog(gradient="replicated"), CELL, HOG),
    mistake("gx and gy are exchanged in the angle: it is atan2(gy, gx).", "hog_targets", hog(exchanged=True), CELL, HOG),
    mistake("These are Sobel's gradients: here a plain difference of two neighbours is asked for.", "hog_targets", hog(gradient="sobel"), CELL, HOG),
    mistake("The angle is signed, with bins of 40 degrees: take it modulo 180 degrees, in bins of 20.", "hog_targets", hog(signed=True), CELL, HOG),
    mistake("Each pixel counts once: it counts with its length.", "hog_targets", hog(votes="count"), CELL, HOG),
    mistake("180 degrees are put into bin 8: they are 0 degrees, bin 0.", "hog_targets", hog(wrap=False), CELL, HOG),
    mistake("The norm is over a whole patch: each cell and channel has its own.", "hog_targets", hog(norm="patch"), HOG),
    mistake("The norm is over all channels of a cell: each channel has its own.", "hog_targets", hog(norm="channels"), HOG),
    mistake("The norm is over all cells of a patch: each cell has its own.", "hog_targets", hog(norm="patch channel"), HOG),
    mistake("The lengths of a cell are summed: divide by the number of its pixels, for 1e-10 is added to the mean's square.", "hog_targets", hog(mean=False), HOG),
    mistake("At each pixel the strongest channel stands for all: each channel has its own histograms.", "hog_targets", hog(channels="strongest"), HOG),
    mistake("A flat cell gives nan: add 1e-10 under the root.", "hog_targets", hog(eps=0.0), HOG),
    mistake("The numbers of a patch are ordered (cell, channel, bin): the cells come last.", "hog_targets", hog(order="cell"), HOG),
    mistake("The numbers of a patch are ordered (bin, channel, cell): the channel comes first.", "hog_targets", hog(order="bin"), HOG),
    mistake("The mean over positives stands inside the logarithm, which is L_in: take the mean of logarithms.", "supcon", contrasted(inside=True), SUPCON, EDGES),
    mistake("The anchor itself stands below: k runs over all others.", "supcon", contrasted(own="below"), SUPCON, EDGES),
    mistake("The anchor is a positive of itself: leave it out.", "supcon", contrasted(own="positive"), SUPCON, EDGES),
    mistake("The mean is over all anchors: those without positives do not count.", "supcon", contrasted(anchors="all"), SUPCON, EDGES),
    mistake("Below stand the negatives and one positive: k runs over all others.", "supcon", contrasted(below="negatives"), SUPCON, EDGES),
    mistake("The loss is multiplied by temperature / 0.07, as in the authors' code: here it is not.", "supcon", contrasted(scaled=True), SUPCON, EDGES),
    mistake("The positives of an anchor are summed: take their mean.", "supcon", contrasted(kind="sum"), SUPCON, EDGES),
    mistake("The vectors are not of unit length: normalise them first.", "supcon", contrasted(normalised=False), SUPCON, EDGES),
    mistake("Anchors without positives give nan: divide by at least 1, and leave them out of the mean.", "supcon", contrasted(guard=False), EDGES),
    mistake("Half precision overflows in the vectors' lengths: call .float() first.", "supcon", contrasted(cast=False), EDGES),
    mistake("This is the largest dot product: divide both cells by their lengths.", "dense_match", matched(cosine=False), MATCH),
    mistake("For each key cell its query cell was found: take the argmax over the key cells.", "dense_match", matched(axis=1), MATCH),
    mistake("Of equal cosines the last won: the lower number wins.", "dense_match", matched(last=True), MATCH),
    mistake("The nearest cell was found: the cosine does not depend on lengths.", "dense_match", matched(nearest=True), MATCH),
    mistake("The cells are matched again by their projections: use `match`, which comes from the backbone.", "dense_loss", dense(partner="again"), DENSE),
    mistake("The positive is the key cell at the same place: take the one that `match` names.", "dense_loss", dense(partner="place"), DENSE),
    mistake("A gradient reaches the key cells: detach them.", "dense_loss", dense(detached=False), DENSE),
    mistake("The queue gets single cells: one mean per picture goes in.", "dense_loss", dense(entries="cell"), DENSE),
    mistake("The entries are means of unit vectors: take the mean of the raw cells, then unit length.", "dense_loss", dense(entries="unit"), DENSE),
    mistake("The entries are not of unit length.", "dense_loss", dense(entries="raw"), DENSE),
    mistake("The picture's own key cells are negatives: only the queue is.", "dense_loss", dense(negatives="cells"), DENSE),
    mistake("The cells are not of unit length: the logits are cosines over the temperature.", "dense_loss", dense(unit=False), DENSE),
]  # fmt: skip

ALTERNATIVES = [
    Alternative({"patchify": cut(), "unpatchify": joined(), "normalise_patches": normalised()}),
    Alternative({"patchify": cut_by_unfold, "unpatchify": joined_by_fold, "normalise_patches": normalised_by_sums}),
    Alternative({"random_masking": hidden_at_random(), "restore_tokens": restored()}),
    Alternative({"random_masking": hidden_by_boolean_masks, "restore_tokens": restored_by_places}),
    Alternative({"mae_loss": mae_by_boolean_mask}),
    Alternative({"mae_loss": mae_by_einsum}),
    Alternative({"dino_loss": dino(), "update_centre": moved_centre(), "dino_step": step_of()}),
    Alternative({"dino_loss": dino_by_einsum, "update_centre": centre_by_lerp, "dino_step": step_by_names}),
    Alternative({"block_mask": blocks()}),
    Alternative({"block_mask": blocks_by_sets}),
    Alternative({"hog_targets": hog()}),
    Alternative({"hog_targets": hog_by_counts}),
    Alternative({"supcon": contrasted()}),
    Alternative({"supcon": supcon_by_anchors}),
    Alternative({"dense_match": matched(), "dense_loss": dense()}),
    Alternative({"dense_match": matched_by_loops, "dense_loss": dense_by_logsumexp}),
]
