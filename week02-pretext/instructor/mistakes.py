"""Well-known wrong answers of week 02 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.checks import Alternative, Mistake
from lsdl.features import feature_dim, fit

# Task 1


def rotations(*, together=True, transpose=False, refuse=True, labels=(0, 1, 2, 3), grouped=False):
    """Mistakes that leave the turns what they are, or only transpose."""

    def rotation_batch(images):
        if refuse and images.shape[-1] != images.shape[-2]:
            raise ValueError("not square")
        turned = [images.mT if transpose and k % 2 else torch.rot90(images, k, (-2, -1)) for k in range(4)]
        target = torch.tensor(labels)
        if together:
            repeat = target.repeat_interleave if grouped else target.repeat
            return torch.stack(turned, 1).flatten(0, 1), repeat(len(images))
        return torch.cat(turned), target.repeat_interleave(len(images))

    return rotation_batch


def clockwise_rotations(images):
    if images.shape[-1] != images.shape[-2]:
        raise ValueError("not square")
    turned = [torch.rot90(images, -k, (-2, -1)) for k in range(4)]
    return torch.stack(turned, 1).flatten(0, 1), torch.arange(4).repeat(len(images))


def rotations_by_flips(images):
    if images.shape[2] != images.shape[3]:
        raise ValueError("not square")
    copies = []
    for x in images:
        copies += [x, x.mT.flip(-2), x.flip(-1, -2), x.mT.flip(-1)]
    return torch.stack(copies), torch.arange(4 * len(images)) % 4


# Task 2


def permutations_by(*, nearest=True, total=True, last=False, again=False, refuse=True, first=0):
    """Rules left out; `again`: a chosen one may be chosen once more; `first`: which one begins, in lexicographic order."""

    def permutation_set(tiles, count):
        if not 1 <= count <= math.factorial(tiles):
            if refuse:
                raise ValueError("too many")
            count = math.factorial(tiles)
        every = torch.tensor(list(itertools.permutations(range(tiles))), dtype=torch.uint8)
        least, summed, chosen = torch.full((len(every),), tiles + 1), torch.zeros(len(every)).long(), [first]
        for _ in range(count - 1):
            distance = (every != every[chosen[-1]]).sum(1)
            least, summed = torch.minimum(least, distance), summed + distance
            candidates = torch.ones(len(every), dtype=torch.bool)
            if not again:
                candidates[chosen] = False
            for rule in [least] * nearest + [summed] * total:
                candidates &= rule == rule[candidates].max()
            chosen.append(int(candidates.nonzero()[-1 if last else 0]))
        return every[chosen].long()

    return permutation_set


def permutations_one_by_one(tiles, count):
    """As a paper's pseudocode says it, with the distances of all pairs that are needed."""
    if count > math.factorial(tiles) or count < 1:
        raise ValueError(f"{count} is not from 1 to {math.factorial(tiles)}")
    pool = torch.tensor(list(itertools.permutations(range(tiles))))
    chosen, pool, distances = [pool[0]], pool[1:], []
    while len(chosen) < count:
        distances.append((pool != chosen[-1]).sum(1))
        table = torch.stack(distances)
        key = table.min(0).values.double() + table.sum(0) / (len(table) * tiles + 1)
        best = (key == key.max()).nonzero()[0, 0]
        chosen.append(pool[best])
        kept = torch.arange(len(pool)) != best
        pool, distances = pool[kept], [d[kept] for d in distances]
    return torch.stack(chosen)


def tiles_by(
    *, one_offset=False, swapped=False, correction=0, together=False, floor="clamp", columns_first=False, raw=False, third=False
):  # fmt: skip
    def cut_tiles(images, offsets, cell, tile):
        cell = images.shape[2] // 3 if third else cell
        result = []
        for x, own in zip(images, offsets, strict=True):
            for k in range(9):
                row, column = own[0 if one_offset else k].tolist()
                i, j = divmod(k, 3)
                if swapped:
                    row, column = column, row
                if columns_first:
                    i, j = j, i
                top, left = i * cell + row, j * cell + column
                result.append(x[:, top : top + tile, left : left + tile])
        tiles = torch.stack(result).unflatten(0, (len(images), 9))
        if raw:
            return tiles
        axes = (-3, -2, -1) if together else (-2, -1)
        mean, std = tiles.mean(axes, keepdim=True), tiles.std(axes, correction=correction, keepdim=True)
        if floor is None:
            return torch.where(std > 0, (tiles - mean) / std, torch.nan)
        return (tiles - mean) / (std.clamp(min=0.02) if floor == "clamp" else std + 0.02)

    return cut_tiles


def tiles_by_unfold(images, offsets, cell, tile):
    """All windows of the picture, of which nine are taken."""
    windows = images.unfold(2, tile, 1).unfold(3, tile, 1)  # (B, C, rows, columns, tile, tile)
    corner = offsets + cell * torch.cartesian_prod(torch.arange(3), torch.arange(3))
    tiles = torch.stack([w[:, c[:, 0], c[:, 1]].transpose(0, 1) for w, c in zip(windows, corner, strict=True)])
    centred = tiles - tiles.mean((3, 4), keepdim=True)
    return centred / centred.square().mean((3, 4), keepdim=True).sqrt().clamp(min=0.02)


def shuffled(*, inverse=False, one=False, by_place=False, labels_only=False):
    def shuffle_tiles(tiles, permutations, labels):
        own = permutations[labels]
        if one:
            own = permutations[labels[:1]].expand(len(tiles), -1)
        if by_place:
            own = permutations[torch.arange(len(tiles))]
        own = own.argsort(1) if inverse else own
        return torch.stack([x[order] for x, order in zip(tiles, own, strict=True)])

    return shuffle_tiles


def shuffled_by_gather(tiles, permutations, labels):
    index = permutations[labels].view(len(tiles), -1, *[1] * (tiles.ndim - 2)).expand_as(tiles)
    return tiles.gather(1, index)


# Task 3


def lab_by(*, gamma="sRGB", white=(0.95047, 1.0, 1.08883), knee=0.008856, scale=1.0, transposed=False, slope=7.787):
    def rgb_to_lab(images):
        v = (images * scale).permute(0, 2, 3, 1)
        if gamma == "sRGB":
            v = torch.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
        elif gamma:
            v = v**gamma
        matrix = torch.tensor(
            [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
        )
        t = v @ (matrix if transposed else matrix.T) / torch.tensor(white)
        f = torch.where(t > knee, t.clamp(min=0) ** (1 / 3), slope * t + 16 / 116)
        x, y, z = f.unbind(-1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)

    return rgb_to_lab


def targets_by(*, stable=True, all_bins=False, over_all=False, power=2, root=False, half=2.0, one_hot=False):
    def soft_targets(ab, centres, k=5, sigma=5.0):
        d = torch.stack([(ab - c).square().sum(1) for c in centres], 1)  # squared
        exponent = -(d.sqrt() if root else d) / (half * sigma**power)
        kept = torch.zeros_like(d, dtype=torch.bool).scatter(
            1, d.argsort(1)[:, : len(centres) if all_bins else k], True
        )
        if one_hot:
            return F.one_hot(d.argmin(1), len(centres)).float()
        if stable:
            shares = (exponent if over_all else exponent.masked_fill(~kept, -torch.inf)).softmax(1)
            return shares * kept
        weights = exponent.exp() * kept
        return weights / weights.sum(1, keepdim=True)

    return soft_targets


def targets_by_double(ab, centres, k=5, sigma=5.0):
    """In double precision a colour 400 away is still 0: the nearest distance is taken off first."""
    d = torch.cdist(ab.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    near, index = d.sort(1)
    near, index = near[:, :k], index[:, :k]
    weights = torch.exp((near[:, :1] ** 2 - near**2) / (2 * sigma**2))
    result = torch.zeros(len(ab), len(centres))
    result.scatter_(1, index, (weights / weights.sum(1, keepdim=True)).float())
    return result


def rebalanced(
    *, reverse=False, scaled=True, of="targets", over_weights=False, count_empty=False, keep_empty=False, last=False
):
    def rebalanced_loss(logits, targets, p, lam=0.5):
        bins = len(p) if count_empty else int((p > 0).sum())
        a, b = (lam, 1 - lam) if reverse else (1 - lam, lam)
        w = 1 / (a * p + b / bins)
        w = w if keep_empty else w * (p > 0)
        if scaled:
            w = w / (p * w).sum()
        losses = -(targets * logits.log_softmax(1)).sum(1)
        if of == "bins":
            return -(w * targets * logits.log_softmax(1)).sum(1).mean()
        if of == "all":
            own = targets @ w
        elif last:
            own = w[targets.shape[1] - 1 - targets.flip(1).argmax(1)]
        else:
            own = w[(targets if of == "targets" else logits).argmax(1)]
        return (own * losses).sum() / (own.sum() if over_weights else len(own))

    return rebalanced_loss


def rebalanced_by_rows(logits, targets, p, lam=0.5):
    """Bin by bin, with the largest target as a mask."""
    probability = (1 - lam) * p + lam * (p > 0) / (p > 0).sum()
    w = torch.where(p > 0, probability.clamp(min=1e-12).reciprocal(), torch.zeros_like(p))
    w /= torch.dot(p, w)
    largest = F.one_hot(targets.argmax(1), len(p)).to(w)
    return (F.cross_entropy(logits, targets, reduction="none") * (largest @ w)).mean()


def annealed(how: Callable[[Tensor, float], Tensor], *, mode=True, half=False):
    """how: (logits, T) -> what the centres are multiplied with."""

    def annealed_mean(logits, centres, temperature=0.38):
        if temperature == 0 and mode:
            return centres[logits.argmax(1)]
        return how(logits if half else logits.float(), temperature).float() @ centres

    return annealed_mean


def annealed_by_powers(logits, centres, temperature=0.38):
    """As the paper's equation 5 says it: powers of probabilities, which sum to 1 again."""
    if not temperature:
        return torch.stack([centres[row.argmax()] for row in logits])
    z = logits.double().log_softmax(1) / temperature
    power = (z - z.amax(1, keepdim=True)).exp()
    return ((power / power.sum(1, keepdim=True)) @ centres.double()).float()


# Task 4


def inpainted(
    *, kind="square", added=False, rim=False, outside=False, over="elements", inside=False, channels=True, guard=True, hole_too=False
):  # fmt: skip
    """The loss with other bands, weights or counts."""

    def inpainting_loss(prediction, images, hole, overlap=1, weight=10.0):
        def grow(mask):
            x = mask.float()
            if kind == "square":
                return F.max_pool2d(x, 2 * overlap + 1, 1, overlap) > 0
            for _ in range(overlap):  # a step to one of four neighbours
                x = torch.maximum(F.max_pool2d(x, (3, 1), 1, (1, 0)), F.max_pool2d(x, (1, 3), 1, (0, 1)))
            return x > 0

        band = grow(hole) & ~hole
        if rim:  # within the hole
            band = hole & grow(~hole)
        w = hole * (1.0 - rim * band.float()) * (weight if hole_too else 1.0) + (weight + added) * band
        if outside:
            w = w + 1.0 * (~hole & ~band)
        d = prediction - images
        total = (w * d).square().sum() if inside else (w * d.square()).sum()
        factor = images.shape[1] if channels else 1
        count = {
            "elements": (w > 0).sum() * factor,
            "weights": w.sum() * factor,
            "all": torch.tensor(images.numel()),
            "hole": hole.sum() * factor,
        }[over]
        return total / (count.clamp(min=1) if guard else count)

    return inpainting_loss


def inpainted_by_rows(prediction, images, hole, overlap=1, weight=10.0):
    """The hole is moved to all places within the overlap; parts of the loss are added."""
    padded = F.pad(hole, (overlap,) * 4)
    height, width = hole.shape[-2:]
    near = torch.zeros_like(hole)
    for i in range(2 * overlap + 1):
        for j in range(2 * overlap + 1):
            near |= padded[..., i : i + height, j : j + width]
    squares = (prediction - images) ** 2
    if not hole.any():
        return 0 * squares.sum()
    band = (near & ~hole).expand_as(squares)
    parts = squares[hole.expand_as(squares)], squares[band]
    return (parts[0].sum() + weight * parts[1].sum()) / (parts[0].numel() + parts[1].numel())


# Task 5

STEPS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
WITH_CENTRE = [*STEPS[:4], (0, 0), *STEPS[4:]]


def pairs_by(
    *, steps=STEPS, sign=1, one_jitter=False, pitch_gap=True, swapped=False, after_jitter=False, exchanged=False
):
    def context_pairs(images, corners, places, jitters, tile, gap):
        first, second = [], []
        height, width = images.shape[-2:]

        def cut(x, corner):
            top, left = (min(max(int(c), 0), side - tile) for c, side in zip(corner, (height, width), strict=True))
            return x[:, top : top + tile, left : left + tile]

        for x, corner, place, jitter in zip(images, corners, places, jitters, strict=True):
            step = torch.tensor(steps[int(place)]) * sign * (tile + gap * pitch_gap)
            step = step.flip(0) if swapped else step
            second_jitter = jitter[0] if one_jitter else jitter[1]
            start = corner + jitter[0] * after_jitter + step
            first.append(cut(x, corner + jitter[0]))
            second.append(cut(x, start + second_jitter))
        first, second = torch.stack(first), torch.stack(second)
        return (second, first) if exchanged else (first, second)

    return context_pairs


def pairs_by_unfold(images, corners, places, jitters, tile, gap):
    """All windows of the pictures; the step from the number of the place among nine."""
    windows = images.unfold(2, tile, 1).unfold(3, tile, 1)
    nine = places + (places > 3)
    step = torch.stack([nine // 3 - 1, nine % 3 - 1], 1) * (tile + gap)
    most, row = torch.tensor(windows.shape[2:4]) - 1, torch.arange(len(images))
    result = []
    for start in (corners + jitters[:, 0], corners + step + jitters[:, 1]):
        start = start.clamp(min=0).minimum(most)
        result.append(windows[row, :, start[:, 0], start[:, 1]])
    return tuple(result)


# Task 6


def model_by(*, keep_prefix=False, buffers=True, keep_head=False, frozen=False):
    def competition_model(pretrained, classes, make_trunk):
        model = make_trunk()
        names = {k if keep_prefix else k.removeprefix("trunk."): v for k, v in pretrained.items() if k[:6] == "trunk."}
        if not buffers:
            own = dict(model.named_parameters())
            names = {k: v for k, v in names.items() if k in own}
        model.load_state_dict(names, strict=False)
        if frozen:
            model.requires_grad_(False)
        model.fc = nn.Linear(feature_dim(model), classes)
        if keep_head:
            model.fc = nn.Linear(*pretrained["head.weight"].T.shape)
            model.fc.load_state_dict({"weight": pretrained["head.weight"], "bias": pretrained["head.bias"]})
        return model

    return competition_model


def model_by_copying(pretrained, classes, make_trunk):
    model = make_trunk()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.copy_(pretrained["trunk." + name])
    model.fc = nn.Linear(pretrained["trunk.layer4.1.bn2.weight"].numel(), classes)
    return model


def finetuned(*, mode=True, after=False, shifted=False, only_head=False, accumulate=False, tensors=False):
    """mode: True or False during the training; after: the mode at the end."""

    def finetune(model, train, make_optimizer, *, epochs, batch_size, seed):
        optimizer = make_optimizer(list(model.parameters())[-2:] if only_head else model.parameters())
        model.train(mode)

        def step(images, labels, optimizer):
            if not accumulate:
                optimizer.zero_grad()
            labels = labels.roll(1) if shifted else labels
            loss = nn.CrossEntropyLoss()(model(images), labels)
            loss.backward()
            optimizer.step()
            return loss.detach() if tensors else float(loss.detach())

        losses = fit(step, optimizer, train, epochs=epochs, batch_size=batch_size, seed=seed)
        model.train(after)
        return losses

    return finetune


# Bonus


def draws_by(*, last=1, from_border=False, jitter_low=1, refuse=True, one_jitter=False, generated=True):
    def context_draws(count, size, tile, gap, jitter, generator):
        pitch = tile + gap
        if refuse and size < 3 * tile + 2 * gap:
            raise ValueError("too small")
        low, high = (0, size - tile) if from_border else (pitch, size - tile - pitch)
        draw = {"generator": generator} if generated else {}
        corners = torch.randint(low, max(high + last, low + 1), (count, 2), **draw)
        where = torch.randint(0, 8, (count,), **draw)
        shape = (count, 1, 2) if one_jitter else (count, 2, 2)
        moves = torch.randint(-jitter * jitter_low, jitter + 1, shape, **draw)
        return corners, where, moves.expand(count, 2, 2)

    return context_draws


def draws_by_floats(count, size, tile, gap, jitter, generator):
    """Uniform numbers in [0, 1), spread and rounded down."""
    room = size - 3 * tile - 2 * gap
    if room < 0:
        raise ValueError("no room")
    u = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    corners = (u[:, :2] * (room + 1)).long() + tile + gap
    return corners, (u[:, 2] * 8).long(), ((u[:, 3:] * (2 * jitter + 1)).long() - jitter).view(count, 2, 2)


def mistake(hint: str, name: str, wrong: Callable, *fails: str) -> Mistake:
    return Mistake(hint, {name: wrong}, fails)


ROTATION, PERMUTATIONS, CUT, SHUFFLE = (
    f"{x}_value" for x in ("rotation_batch", "permutation_set", "cut_tiles", "shuffle_tiles")
)
LAB, SOFT, REBALANCED, ANNEALED = (
    f"{x}_value" for x in ("rgb_to_lab", "soft_targets", "rebalanced_loss", "annealed_mean")
)
WEIGHTS, INPAINTING, PAIRS = "overlap_weights_value", "inpainting_loss_value", "context_pairs_value"
MODEL, FINETUNE, DRAWS = "competition_model_value", "finetune_value", "context_draws_bound"

MISTAKES = [
    mistake("The pictures are turned clockwise: class k is turned counter-clockwise by 90 k degrees.", "rotation_batch", clockwise_rotations, ROTATION),
    mistake("The batch goes turn by turn: the four copies of a picture lie together.", "rotation_batch", rotations(together=False), ROTATION),
    mistake("Classes 1 and 3 are only transposed, which is a mirror image: transpose and flip, or use torch.rot90.", "rotation_batch", rotations(transpose=True), ROTATION),
    mistake("The labels of 90 and 270 degrees are exchanged: the pictures are right.", "rotation_batch", rotations(labels=(0, 3, 2, 1)), ROTATION),
    mistake("The labels are grouped by turn: they go 0, 1, 2, 3 for each picture, as the pictures do.", "rotation_batch", rotations(grouped=True), ROTATION),
    mistake("Pictures that are not square have to raise a ValueError.", "rotation_batch", rotations(refuse=False), ROTATION),
    mistake("Only the sum of distances counts here: first comes the largest smallest distance, the sum decides between equals.", "permutation_set", permutations_by(nearest=False), PERMUTATIONS),
    mistake("Only the smallest distance counts here: between equals the largest sum of distances decides.", "permutation_set", permutations_by(total=False), PERMUTATIONS),
    mistake("A permutation is chosen twice: each may be chosen once.", "permutation_set", permutations_by(nearest=False, again=True), PERMUTATIONS),
    mistake("Of equal candidates the last is taken: take the first in lexicographic order.", "permutation_set", permutations_by(last=True), PERMUTATIONS),
    mistake("The set begins with another permutation: the identity comes first.", "permutation_set", permutations_by(first=-1), PERMUTATIONS),
    mistake("More permutations than there are have to raise a ValueError.", "permutation_set", permutations_by(refuse=False), PERMUTATIONS),
    mistake("All nine tiles use the first tile's offset, so the grid moves as a whole: each tile has its own.", "cut_tiles", tiles_by(one_offset=True), CUT),
    mistake("Row and column of the offsets are exchanged: the row comes first.", "cut_tiles", tiles_by(swapped=True), CUT),
    mistake("The cells are numbered column by column: number them row by row.", "cut_tiles", tiles_by(columns_first=True), CUT),
    mistake("The variance is divided by one less than the number of pixels: use correction=0.", "cut_tiles", tiles_by(correction=1), CUT),
    mistake("One mean and one standard deviation serve all channels of a tile: each channel has its own.", "cut_tiles", tiles_by(together=True), CUT),
    mistake("A flat tile gives NaN, and a nearly flat one is blown up: the standard deviation is at least 0.02.", "cut_tiles", tiles_by(floor=None), CUT),
    mistake("0.02 is added to the standard deviation: it is only the least that the divisor may be.", "cut_tiles", tiles_by(floor="added"), CUT),
    mistake("The tiles are not standardised.", "cut_tiles", tiles_by(raw=True), CUT),
    mistake("The cells are a third of the picture: their side is `cell`, and the picture may be larger.", "cut_tiles", tiles_by(third=True), CUT),
    mistake("This is the inverse: slot s shows tile number permutation[s], not the reverse.", "shuffle_tiles", shuffled(inverse=True), SHUFFLE),
    mistake("All pictures are shuffled by the first one's permutation: each has its own label.", "shuffle_tiles", shuffled(one=True), SHUFFLE),
    mistake("The picture's place in the batch chooses the permutation: its label does.", "shuffle_tiles", shuffled(by_place=True), SHUFFLE),
    mistake("The channels are not made linear first (step 1).", "rgb_to_lab", lab_by(gamma=None), LAB),
    mistake("A power of 2.2 stands for step 1: use its two branches.", "rgb_to_lab", lab_by(gamma=2.2), LAB),
    mistake("X, Y and Z are divided by the white D50: use the given D65.", "rgb_to_lab", lab_by(white=(0.9642, 1.0, 0.8251)), LAB),
    mistake("X, Y and Z are not divided by those of white.", "rgb_to_lab", lab_by(white=(1.0, 1.0, 1.0)), LAB),
    mistake("f is the cube root everywhere: dark colours, t of 0.008856 or less, have the other branch.", "rgb_to_lab", lab_by(knee=-1.0), LAB),
    mistake("The pictures are multiplied by 255: the formulas are for numbers in [0, 1].", "rgb_to_lab", lab_by(scale=255.0), LAB),
    mistake("The matrix is transposed: its rows give X, Y and Z.", "rgb_to_lab", lab_by(transposed=True), LAB),
    mistake("Far from all centres every weight is 0 and the shares are NaN: take the softmax of the exponents, or the nearest distance off first.", "soft_targets", targets_by(stable=False), SOFT),
    mistake("The shares are divided by the weights of all bins: divide by the sum over the k nearest.", "soft_targets", targets_by(over_all=True), SOFT),
    mistake("sigma is not squared.", "soft_targets", targets_by(power=1), SOFT),
    mistake("All bins have shares: only the k nearest have.", "soft_targets", targets_by(all_bins=True), SOFT),
    mistake("The distance is not squared.", "soft_targets", targets_by(root=True), SOFT),
    mistake("The factor 2 under d^2 is missing: the weight is exp(-d^2 / (2 sigma^2)).", "soft_targets", targets_by(half=1.0), SOFT),
    mistake("lambda and 1 - lambda are exchanged: 1 - lambda belongs to p.", "rebalanced_loss", rebalanced(reverse=True), REBALANCED),
    mistake("The weights are not scaled: the sum of p w is 1.", "rebalanced_loss", rebalanced(scaled=False), REBALANCED),
    mistake("A pixel has the weight of its largest logit: take that of its largest target.", "rebalanced_loss", rebalanced(of="logits"), REBALANCED),
    mistake("A pixel's weight is a mean over its targets: take that of its largest target alone.", "rebalanced_loss", rebalanced(of="all"), REBALANCED),
    mistake("Each bin of the target is weighted, as F.cross_entropy(weight=w) does: the weight of the largest target multiplies the whole loss of a pixel.", "rebalanced_loss", rebalanced(of="bins"), REBALANCED),
    mistake("The sum is divided by the sum of the weights: divide by the number of pixels.", "rebalanced_loss", rebalanced(over_weights=True), REBALANCED),
    mistake("Q' counts the empty bins, too: it counts those with p > 0.", "rebalanced_loss", rebalanced(count_empty=True), REBALANCED),
    mistake("Empty bins have a large weight: theirs is 0.", "rebalanced_loss", rebalanced(keep_empty=True), REBALANCED),
    mistake("Of equal largest targets the higher bin is taken: take the lower.", "rebalanced_loss", rebalanced(last=True), REBALANCED),
    mistake("The logits are multiplied by the temperature: divide.", "annealed_mean", annealed(lambda x, t: (x * t).softmax(1)), ANNEALED),
    mistake("The probabilities are divided by the temperature: divide the logits, before the softmax.", "annealed_mean", annealed(lambda x, t: x.softmax(1) / t), ANNEALED),
    mistake("The powers of the probabilities do not add up to 1: divide them by their sum.", "annealed_mean", annealed(lambda x, t: x.softmax(1) ** (1 / t)), ANNEALED),
    mistake("The centres are weighted by logits: by their softmax.", "annealed_mean", annealed(lambda x, t: x / t), ANNEALED),
    mistake("T = 0 divides by 0: there the answer is the centre of the largest logit.", "annealed_mean", annealed(lambda x, t: (x / t).softmax(1), mode=False), ANNEALED),
    mistake("Half precision is too coarse: call .float() before the division.", "annealed_mean", annealed(lambda x, t: (x / t).softmax(1), half=True), ANNEALED),
    mistake("The band lies inside the hole: it is made of visible pixels around it.", "inpainting_loss", inpainted(rim=True), WEIGHTS, INPAINTING),
    mistake("All visible pixels count: only those of the band do.", "inpainting_loss", inpainted(outside=True), WEIGHTS, INPAINTING),
    mistake("The band's corners are missing: rows and columns may both differ by up to `overlap`.", "inpainting_loss", inpainted(kind="cross"), WEIGHTS, INPAINTING),
    mistake("The weight is added to 1: in the band it is `weight` itself.", "inpainting_loss", inpainted(added=True), WEIGHTS, INPAINTING),
    mistake("The hole has the weight of the band: its own weight is 1.", "inpainting_loss", inpainted(hole_too=True), WEIGHTS, INPAINTING),
    mistake("The sum is divided by the sum of the weights: divide by the number of elements in hole and band.", "inpainting_loss", inpainted(over="weights"), INPAINTING),
    mistake("The sum is divided by the number of all elements: only those in hole and band count.", "inpainting_loss", inpainted(over="all"), INPAINTING),
    mistake("The sum is divided by the size of the hole alone: the band counts, too.", "inpainting_loss", inpainted(over="hole"), INPAINTING),
    mistake("The weight stands inside the square: multiply the squared error by it.", "inpainting_loss", inpainted(inside=True), WEIGHTS, INPAINTING),
    mistake("Pixels are counted once, not once per channel.", "inpainting_loss", inpainted(channels=False), INPAINTING),
    mistake("Without a hole the loss is 0 / 0: divide by at least 1.", "inpainting_loss", inpainted(guard=False), INPAINTING),
    mistake("The places are seen from the second tile: place 0 is above and left of the first.", "context_pairs", pairs_by(sign=-1), PAIRS),
    mistake("The centre is counted as a place: place 4 is right of the first tile.", "context_pairs", pairs_by(steps=WITH_CENTRE), PAIRS),
    mistake("Both tiles have the first one's jitter: each has its own.", "context_pairs", pairs_by(one_jitter=True), PAIRS),
    mistake("The gap is missing: the second tile lies tile + gap pixels away.", "context_pairs", pairs_by(pitch_gap=False), PAIRS),
    mistake("Rows and columns of the places are exchanged: they are counted row by row.", "context_pairs", pairs_by(swapped=True), PAIRS),
    mistake("The second tile has the first one's jitter on top of its own: it starts from the corner before the jitter.", "context_pairs", pairs_by(after_jitter=True), PAIRS),
    mistake("The two tiles are returned in the wrong order.", "context_pairs", pairs_by(exchanged=True), PAIRS),
    mistake("Nothing is loaded: the names still begin with 'trunk.', and strict=False hides it.", "competition_model", model_by(keep_prefix=True), MODEL),
    mistake("BatchNorm's running statistics are not loaded: a state dict holds buffers, too.", "competition_model", model_by(buffers=False), MODEL),
    mistake("The pretext task's head is kept: the new one has as many outputs as there are classes.", "competition_model", model_by(keep_head=True), MODEL),
    mistake("The trunk is frozen: all parameters are fine-tuned later.", "competition_model", model_by(frozen=True), MODEL),
    mistake("The model runs in eval mode: call model.train() before fit, it comes in eval mode here.", "finetune", finetuned(mode=False), FINETUNE),
    mistake("The model is left in train mode: call model.eval() at the end.", "finetune", finetuned(after=True), FINETUNE),
    mistake("The labels are shifted against the pictures.", "finetune", finetuned(shifted=True), FINETUNE),
    mistake("Only the head is trained: give the optimiser all parameters.", "finetune", finetuned(only_head=True), FINETUNE),
    mistake("Gradients of earlier batches are still there: call optimizer.zero_grad() before backward().", "finetune", finetuned(accumulate=True), FINETUNE),
    mistake("The losses are tensors: return loss.item().", "finetune", finetuned(tensors=True), FINETUNE),
    mistake("The upper end is missing: torch.randint(low, high) never draws high itself.", "context_draws", draws_by(last=0), DRAWS),
    mistake("First tiles lie at the border, where neighbours are missing: all eight have to fit in.", "context_draws", draws_by(from_border=True), DRAWS),
    mistake("The jitter is never negative: draw from -jitter to jitter.", "context_draws", draws_by(jitter_low=0), DRAWS),
    mistake("Both tiles have the same jitter: draw one for each.", "context_draws", draws_by(one_jitter=True), DRAWS),
    mistake("A picture that is too small has to raise a ValueError.", "context_draws", draws_by(refuse=False), DRAWS),
    mistake("A seed does not repeat its draws: give `generator` to every call of torch.randint.", "context_draws", draws_by(generated=False), DRAWS),
]  # fmt: skip

ALTERNATIVES = [
    Alternative({"rotation_batch": rotations_by_flips}),
    Alternative({"rotation_batch": rotations()}),
    Alternative({"permutation_set": permutations_by(), "cut_tiles": tiles_by(), "shuffle_tiles": shuffled()}),
    Alternative({"permutation_set": permutations_one_by_one, "cut_tiles": tiles_by_unfold}),
    Alternative({"shuffle_tiles": shuffled_by_gather}),
    Alternative({"rgb_to_lab": lab_by(), "soft_targets": targets_by(), "rebalanced_loss": rebalanced()}),
    Alternative({"rgb_to_lab": lab_by(knee=(6 / 29) ** 3, slope=(29 / 6) ** 2 / 3)}),
    Alternative({"soft_targets": targets_by_double, "rebalanced_loss": rebalanced_by_rows}),
    Alternative({"annealed_mean": annealed_by_powers}),
    Alternative({"annealed_mean": annealed(lambda x, t: F.softmax(x / t, dim=1))}),
    Alternative({"inpainting_loss": inpainted()}),
    Alternative({"inpainting_loss": inpainted_by_rows}),
    Alternative({"context_pairs": pairs_by()}),
    Alternative({"context_pairs": pairs_by_unfold}),
    Alternative({"competition_model": model_by(), "finetune": finetuned()}),
    Alternative({"competition_model": model_by_copying}),
    Alternative({"context_draws": draws_by()}),
    Alternative({"context_draws": draws_by_floats}),
]
