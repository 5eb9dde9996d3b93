"""Well-known wrong answers of week 04 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from lsdl.checks import Alternative, Mistake
from lsdl.features import Classifier, feature_dim

# Steps of task 5


def step_in(mode, *, accumulate=False, reduction="mean", graph=False, zero_after=False):
    """A training step in some mode: True, False, None (as it comes) or "frozen" (BatchNorm in eval mode)."""

    def step(model, images, labels, optimizer):
        if mode is not None:
            model.train(bool(mode))
        for module in model.modules():
            if mode == "frozen" and isinstance(module, nn.BatchNorm2d):
                module.eval()
        loss = F.cross_entropy(model(images), labels, reduction=reduction)
        if not accumulate:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if zero_after:
            optimizer.zero_grad()
        return loss if graph else loss.item()

    return step


def finetune_in(mode=None, **changes):
    """A step of fine-tuning; `mode` True or "frozen": whatever `freeze_norm` says."""

    def step(classifier, images, labels, optimizer, freeze_norm):
        asked = "frozen" if freeze_norm else True
        return step_in(mode or asked, **changes)(classifier, images, labels, optimizer)

    return step


def finetune_as_it_comes(classifier, images, labels, optimizer, freeze_norm):
    for module in classifier.modules():
        if freeze_norm and isinstance(module, nn.BatchNorm2d):
            module.eval()
    return step_in(None)(classifier, images, labels, optimizer)


def finetune_untrained_norm(classifier, images, labels, optimizer, freeze_norm):
    for module in classifier.modules():
        if freeze_norm and isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return finetune_in()(classifier, images, labels, optimizer, freeze_norm)


def finetune_reversed(classifier, images, labels, optimizer, freeze_norm):
    return finetune_in()(classifier, images, labels, optimizer, not freeze_norm)


def finetune_children_only(classifier, images, labels, optimizer, freeze_norm):
    classifier.train()
    for module in classifier.backbone.children():
        if freeze_norm and isinstance(module, nn.BatchNorm2d):
            module.eval()
    return step_in(None)(classifier, images, labels, optimizer)


# Task 1


def ntx(
    *,
    norm=True,
    axis=1,
    self_in=False,
    zero_diagonal=False,
    positive_out=False,
    one_side=False,
    across_only=False,
    first_anchors=False,
    multiply=False,
    no_temperature=False,
    summed=False,
    by_n=False,
    neighbour=False,
    in_half=0,
):
    """NT-Xent with one thing wrong; in_half: 1 computes in the input's type, 2 only normalises in it, 3 only returns it."""

    def nt_xent(z1, z2, temperature):
        kind = z1.dtype
        temperature = 1.0 if no_temperature else temperature
        z = torch.cat([z1, z2])
        z = z if in_half in (1, 2) else z.float()
        u = F.normalize(z, dim=axis) if norm else z
        u = u.float() if in_half == 2 else u
        n = len(z1)
        s = u @ u.T * temperature if multiply else u @ u.T / temperature
        if one_side or across_only:
            across = [F.cross_entropy(part, torch.arange(n)) for part in (s[:n, n:], s[n:, :n])]
            return across[0] if one_side else sum(across) / 2
        own = torch.eye(2 * n, dtype=torch.bool)
        partner = (torch.arange(2 * n) + (1 if neighbour else n)) % (2 * n)
        positive = s[torch.arange(2 * n), partner]
        s = s if self_in else s.masked_fill(own, 0.0 if zero_diagonal else -torch.inf)
        if positive_out:
            s = s.masked_fill(own.roll(n, 1), -torch.inf)
        losses = torch.logsumexp(s, 1) - positive
        losses = losses[:n] if first_anchors else losses
        loss = losses.sum() if summed else losses.sum() / n if by_n else losses.mean()
        return loss.to(kind) if in_half == 3 else loss

    return nt_xent


def nt_xent_detached(z1, z2, temperature):
    return ntx()(z1, z2.detach(), temperature)


def nt_xent_by_halves(z1, z2, temperature):
    u1, u2 = F.normalize(z1.float(), dim=1), F.normalize(z2.float(), dim=1)
    n, inf = len(u1), torch.inf
    a = torch.cat([u1 @ u2.T, (u1 @ u1.T).fill_diagonal_(-inf)], 1) / temperature
    b = torch.cat([u2 @ u1.T, (u2 @ u2.T).fill_diagonal_(-inf)], 1) / temperature
    target = torch.arange(n)
    return (F.cross_entropy(a, target) + F.cross_entropy(b, target)) / 2


# Task 2


def byol(
    *,
    same_view=False,
    one_direction=False,
    mean=False,
    norm=True,
    squared=False,
    detach=True,
    summed=False,
    root=False,
    second_constant=False,
    only_z1=False,
    half=False,
):
    def byol_loss(p1, p2, z1, z2):
        if second_constant:
            p2 = p2.detach()
        if detach:
            z1, z2 = z1.detach(), z2 if only_z1 else z2.detach()
        if same_view:
            z1, z2 = z2, z1
        total = 0
        pairs = [(p1, z2), (p2, z1)] if half else [(p1.float(), z2.float()), (p2.float(), z1.float())]
        for p, z in pairs[:1] if one_direction else pairs:
            if norm:
                p, z = F.normalize(p, dim=1), F.normalize(z, dim=1)
            per_row = (p - z).square().mean(1) if squared else (p - z).square().sum(1)
            per_row = per_row.sqrt() if root else per_row
            total = total + (per_row.sum() if summed else per_row.mean())
        return total / 2 if mean else total

    return byol_loss


def byol_by_cosine(*, axis=1, shift=2, factor=2):
    def byol_loss(p1, p2, z1, z2):
        cosines = [F.cosine_similarity(p.float(), z.detach().float(), dim=axis) for p, z in ((p1, z2), (p2, z1))]
        return sum((shift - factor * c).mean() for c in cosines)

    return byol_loss


def byol_of_products(p1, p2, z1, z2):
    products = [(p.float() * z.detach().float()).sum(1) for p, z in ((p1, z2), (p2, z1))]
    return sum((2 - 2 * product).mean() for product in products)


def byol_without_gradient(p1, p2, z1, z2):
    return byol()(p1.detach(), p2.detach(), z1, z2)


def byol_gradient_to_targets_only(p1, p2, z1, z2):
    return byol(detach=False)(p1.detach(), p2.detach(), z1, z2)


def ema(*, swap=False, buffers=None, online_moves=False, rebind=False, copy_all=False, added=False, exchanged=False):
    @torch.no_grad()
    def update_target(target, online, tau):
        tau = 1 - tau if swap else tau
        if exchanged:
            target, online = online, target
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            if rebind:
                slow = tau * slow + (1 - tau) * fast
            elif copy_all:
                slow.copy_(fast)
            else:
                slow.copy_(tau * slow + (1 if added else 1 - tau) * fast)
            if online_moves:
                fast.copy_(slow)
        for (name, slow), fast in zip(target.named_buffers(), online.buffers(), strict=True):
            if buffers == "copied":
                slow.copy_(fast)
            elif buffers == "averaged" and not name.endswith("num_batches_tracked"):
                slow.lerp_(fast, 1 - tau)

    return update_target


@torch.no_grad()
def ema_scaling_online(target, online, tau):
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.mul_(tau).add_(fast.mul_(1 - tau))


def byol_views(
    *,
    target_eval=False,
    target_joint=False,
    predictor_joint=False,
    second_first=False,
    online_again=False,
    concat=False,
    same_view=False,
    no_predictor=False,
    with_grad=False,
    all_joint=False,
    predicted_target=False,
    own_target=False,
    eval_online=False,
    eval_predictor=False,
    cut_predictor=False,
    z_again=False,
    returned="z1",
):
    def each(network, views, joint):
        if second_first:
            return [network(x) for x in reversed(list(views))][::-1]
        return network(torch.cat(list(views))).chunk(2) if joint else [network(x) for x in views]

    def byol_views_loss(online, predictor, target, views):
        for network, off in ((target, target_eval), (online, eval_online), (predictor, eval_predictor)):
            if off:
                network.eval()
        z1, z2 = each(online, views, concat or all_joint)
        seen = (z1.detach(), z2.detach()) if cut_predictor else (z1, z2)
        p1, p2 = seen if no_predictor else each(predictor, seen, all_joint or predictor_joint)
        with torch.set_grad_enabled(with_grad):
            teacher = online if online_again else target
            t1, t2 = (z1, z2) if own_target else each(teacher, views, all_joint or target_joint)
            if predicted_target:
                t1, t2 = predictor(t1), predictor(t2)
        if same_view:
            t1, t2 = t2, t1
        loss = byol(detach=not with_grad)(p1, p2, t1, t2)
        if z_again:
            z1 = online(views[0])
        z = {"z1": z1, "z2": z2, "p1": p1, "unit": F.normalize(z1.float(), dim=1), "target": t1}[returned]
        return loss, z.float()

    return byol_views_loss


def std_variant(
    *, norm=True, axis=1, dim=0, scaled=False, variance=False, correction=1, whole=False, summed=False, tensor=False
):
    def std_of_z(z):
        z = F.normalize(z.float(), dim=axis) if norm else z.float()
        if whole:
            return z.std().item()
        value = z.var(dim, correction=correction) if variance else z.std(dim, correction=correction)
        value = value.sum() if summed else value.mean()
        value = value * (z.shape[1] ** 0.5 if scaled else 1)
        return value if tensor else value.item()

    return std_of_z


# Task 3


def features_variant(
    *,
    output=False,
    train_mode=False,
    all_train=False,
    keep_hook=False,
    eval_after=False,
    drop=False,
    at_once=False,
    chunk=False,
    flat=False,
):
    @torch.no_grad()
    def inputs_of(model, layer, images, batch_size):
        kept, modes = [], {m: m.training for m in model.modules()}
        module = model.get_submodule(layer)
        if output:
            hook = module.register_forward_hook(lambda _, inputs, result: kept.append(result))
        else:
            hook = module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        if not train_mode:
            model.eval()
        batches = [images] if at_once else list((images.chunk if chunk else images.split)(batch_size))
        for batch in batches[:-1] if drop else batches:
            model(batch)
        if not keep_hook:
            hook.remove()
        if all_train:
            model.train()
        elif not eval_after:
            for m, mode in modes.items():
                m.training = mode
        return torch.cat(kept).flatten(1) if flat else torch.cat(kept)

    return inputs_of


class _Reached(Exception):
    pass


@torch.no_grad()
def features_by_stopping(model, layer, images, batch_size):
    twin, kept = copy.deepcopy(model).eval(), []

    def stop(_, inputs):
        kept.append(inputs[0])
        raise _Reached

    twin.get_submodule(layer).register_forward_pre_hook(stop)
    for start in range(0, len(images), batch_size):
        try:
            twin(images[start : start + batch_size])
        except _Reached:
            continue
    return torch.cat(kept)


# Task 4


def probe_variant(*, shared=False, trainable=False, train_mode=False, random_head=False, cut=True):
    class LinearProbe(nn.Module):
        def __init__(self, backbone, classes):
            super().__init__()
            self.backbone = backbone if shared else copy.deepcopy(backbone)
            self.backbone.requires_grad_(trainable)
            self.head = nn.Linear(feature_dim(backbone), classes)
            generator = torch.Generator().manual_seed(0)
            for p in self.head.parameters():
                p.data = torch.randn(p.shape, generator=generator) if random_head else torch.zeros_like(p)
            self.train()

        def train(self, mode=True):
            super().train(mode)
            if not train_mode:
                self.backbone.eval()
            return self

        def forward(self, images):
            with torch.set_grad_enabled(not cut and torch.is_grad_enabled()):
                features = self.backbone(images)
            return self.head(features)

    return LinearProbe


# Task 5


def build_variant(*, shared=False, random_head=False, frozen=False):
    def build_finetuner(backbone, classes):
        head = nn.Linear(feature_dim(backbone), classes)
        generator = torch.Generator().manual_seed(0)
        for p in head.parameters():
            p.data = 0.1 * torch.randn(p.shape, generator=generator) if random_head else torch.zeros_like(p)
        classifier = Classifier(backbone if shared else copy.deepcopy(backbone), head)
        return classifier if frozen else classifier.requires_grad_(True)

    return build_finetuner


def build_from_state(backbone, classes):
    classifier = Classifier(copy.deepcopy(backbone), nn.Linear(feature_dim(backbone), classes))
    for p in classifier.head.parameters():
        p.data.zero_()
    for p in classifier.parameters():
        p.requires_grad = True
    return classifier


def groups_variant(
    *,
    decay_all=False,
    swapped=False,
    one_rate=False,
    no_decay_head=False,
    head_first=False,
    bare_head=False,
    silent=False,
):
    def parameter_groups(classifier, backbone_lr, head_lr, weight_decay):
        if swapped:
            backbone_lr, head_lr = head_lr, backbone_lr
        if one_rate:
            head_lr = backbone_lr
        body = list(classifier.backbone.parameters())
        rows = [
            ([p for p in body if p.ndim > 1], backbone_lr, weight_decay),
            ([p for p in body if p.ndim <= 1], backbone_lr, weight_decay if decay_all else 0.0),
            ([classifier.head.weight], head_lr, 0.0 if no_decay_head else weight_decay),
            ([classifier.head.bias], head_lr, weight_decay if decay_all else 0.0),
        ]
        rows = rows[2:] + rows[:2] if head_first else rows
        groups = [{"params": p, "lr": lr, "weight_decay": decay} for p, lr, decay in rows]
        for group in groups[2:] if bare_head else ():
            (group["params"],) = group["params"]
        for group in groups[1::2] if silent else ():
            del group["weight_decay"]
        return groups

    return parameter_groups


# Task 6


def judged_backwards(logits, labels, mapping):
    kept = mapping[labels] >= 0
    return 100 * (mapping[logits.argmax(1)] == labels)[kept].float().mean().item()


def judged(*, keep_unpartnered=False, restrict=False, translate=True, share=False, nothing=math.nan):
    def mapped_accuracy(logits, labels, mapping):
        if (mapping[labels] < 0).all():
            return nothing
        truth = mapping[labels] if translate else labels
        kept = torch.ones_like(labels, dtype=torch.bool) if keep_unpartnered else mapping[labels] >= 0
        if restrict:
            possible = torch.zeros(logits.shape[1], dtype=torch.bool)
            possible[mapping[mapping >= 0]] = True
            logits = logits.masked_fill(~possible, -torch.inf)
        right = (logits.argmax(1) == truth)[kept].float().mean().item()
        return right if share else 100 * right

    return mapped_accuracy


def judged_without_mapping(logits, labels, mapping):
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def judged_by_translation(logits, labels, mapping):
    pairs = [(p, m) for p, m in zip(logits.argmax(1).tolist(), mapping[labels].tolist(), strict=True) if m >= 0]
    return 100 * sum(p == m for p, m in pairs) / len(pairs) if pairs else math.nan


def paired(*, unpaired=False, shares=False, without_square=False, error_share=False, all_right=False, sign=1):
    def paired_difference(right_a, right_b):
        n, a, b = len(right_a), right_a.double().mean().item(), right_b.double().mean().item()
        if unpaired:
            error = math.sqrt((a * (1 - a) + b * (1 - b)) / n)
        else:
            different = a + b if all_right else (right_a != right_b).double().mean().item()
            error = math.sqrt((different - (0 if without_square else (a - b) ** 2)) / n)
        factor = 1 if shares else 100
        return sign * factor * (a - b), error if error_share else factor * error

    return paired_difference


def paired_by_std(right_a, right_b):
    difference = right_a.double() - right_b.double()
    return 100 * difference.mean().item(), 100 * difference.std(correction=0).item() / math.sqrt(len(difference))


# Bonus


def ring(
    *,
    front=False,
    reverse=False,
    no_modulo=False,
    not_moved=False,
    beyond=False,
    long_from_pointer=False,
    first_kept=False,
    pointer_by_rows=False,
    unit=False,
    rebind=False,
):
    @torch.no_grad()
    def enqueue_keys(queue, pointer, keys):
        size, moved = len(queue), len(keys)
        if rebind:
            queue = queue.clone()
        if unit:
            keys = F.normalize(keys, dim=1)
        if first_kept:
            keys = keys[:size]
        if pointer_by_rows:
            moved = min(moved, size)
        if front:
            queue.copy_(torch.cat([keys, queue])[:size])
            return (pointer + len(keys)) % size
        if long_from_pointer:
            keys, moved = keys[-size:], min(moved, size)
        for i, key in enumerate(reversed(keys) if reverse else keys):
            row = pointer + i
            if no_modulo and row >= size:
                break
            queue[row % size] = key
        if beyond:
            return pointer + moved
        return pointer if not_moved else (pointer + moved) % size

    return enqueue_keys


def moco(
    *,
    zeros=False,
    norm=True,
    positive_in=True,
    detach=True,
    raw_query=False,
    raw_key=False,
    no_temperature=False,
    summed=False,
    half=False,
    written=lambda queue: queue.abs().sum(1) > 0,
):
    def moco_v2_loss(q, k, queue, temperature):
        k = k.detach() if detach else k
        q, k = (q, k) if half else (q.float(), k.float())
        temperature = 1.0 if no_temperature else temperature
        if norm:
            q = q if raw_query else F.normalize(q, dim=1)
            k = k if raw_key else F.normalize(k, dim=1)
        rows = queue.to(q.dtype) if zeros else queue[written(queue)].to(q.dtype)
        positive = (q * k).sum(1, keepdim=True) / temperature
        negative = q @ rows.T / temperature
        parts = torch.cat([positive, negative], 1) if positive_in else negative
        losses = torch.logsumexp(parts, 1) - positive[:, 0]
        return losses.sum() if summed else losses.mean()

    return moco_v2_loss


def moco_views(*, eval_keys=False, exchanged=False, raw_keys=False, unit_queries=False, returned_keys=False):
    def moco_views_loss(query_encoder, key_encoder, queue, views, temperature):
        if eval_keys:
            key_encoder.eval()
        first, second = (views[1], views[0]) if exchanged else (views[0], views[1])
        q = query_encoder(first)
        with torch.no_grad():
            k = key_encoder(second).float()
        z = k if returned_keys else F.normalize(q.float(), dim=1) if unit_queries else q.float()
        return moco()(q, k, queue, temperature), z, k if raw_keys else F.normalize(k, dim=1)

    return moco_views_loss


def moco_keys_with_gradient(query_encoder, key_encoder, queue, views, temperature):
    q, k = query_encoder(views[0]), F.normalize(key_encoder(views[1]).float(), dim=1)
    return moco()(q, k, queue, temperature), q.float(), k


def moco_after(*, swap=False, only_queue=False, buffers=None):
    @torch.no_grad()
    def moco_after_step(query_encoder, key_encoder, queue, pointer, keys, momentum):
        if not only_queue:
            ema(swap=swap, buffers=buffers)(key_encoder, query_encoder, momentum)
        return ring()(queue, pointer, keys)

    return moco_after_step


def mistake(hint: str, name: str, wrong, *fails: str) -> Mistake:
    return Mistake(hint, {name: wrong}, fails)


NTX, NTX_GRAD, NTX_HALF, SIMCLR = "nt_xent_value", "nt_xent_gradient", "nt_xent_half", "simclr_steps"
BYOL, BYOL_GRAD, EMA, BYOL_STEPS = "byol_loss_value", "byol_loss_gradient", "update_target_value", "byol_steps"
STD, INPUTS, PROBE = "std_of_z_value", "inputs_of_value", "linear_probe_frozen"
BUILD, GROUPS = "build_finetuner_value", "parameter_groups_value"
FT_GRAD, FT_STATE = "finetune_step_gradients", "finetune_step_parameters"
MAPPED, PAIRED = "mapped_accuracy_value", "paired_difference_value"
RING, MOCO, MOCO_STEPS = "enqueue_keys_value", "moco_v2_loss_value", "moco_steps"

MISTAKES = [
    mistake("The projections are not normalised: similarities are cosines.", "nt_xent", ntx(norm=False), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The columns are normalised: a vector is a row, normalise along dim=1.", "nt_xent", ntx(axis=0), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The similarity of a row to itself is still in the denominator: leave the diagonal out.", "nt_xent", ntx(self_in=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The positive is missing in the denominator: it has 2N - 1 terms.", "nt_xent", ntx(positive_out=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("Only the N pairs across the views count as candidates, and only one view as anchor: use all 2N rows.", "nt_xent", ntx(one_side=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("Only the pairs across the views are candidates: the other pictures in the anchor's own view are negatives, too (2N - 1 candidates).", "nt_xent", ntx(across_only=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("Only the first view's rows are anchors: take the mean over all 2N rows.", "nt_xent", ntx(first_anchors=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The temperature is not used.", "nt_xent", ntx(no_temperature=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The diagonal is set to 0, and exp(0) = 1 still counts in the denominator: set it to minus infinity.", "nt_xent", ntx(zero_diagonal=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The similarities are multiplied by the temperature: divide.", "nt_xent", ntx(multiply=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The losses of the anchors are summed: take the mean over all 2N.", "nt_xent", ntx(summed=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The sum over the 2N anchors is divided by N: take the mean over all 2N.", "nt_xent", ntx(by_n=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("The row below is taken as the partner: with z1 above z2 the partner of row i is row i + N, modulo 2N.", "nt_xent", ntx(neighbour=True), NTX, NTX_GRAD, NTX_HALF, SIMCLR),
    mistake("No gradient flows into z2: both views are trained.", "nt_xent", nt_xent_detached, NTX_GRAD, SIMCLR),
    mistake("Everything is computed in half precision, where the norms overflow: call .float() first.", "nt_xent", ntx(in_half=1), NTX_HALF),
    mistake("The vectors are normalised in half precision: call .float() before, not after.", "nt_xent", ntx(in_half=2), NTX_HALF),
    mistake("The loss is returned in half precision: return the float32 number.", "nt_xent", ntx(in_half=3), NTX_HALF),
    mistake("Only one direction is counted: p2 is compared with z1, too.", "byol_loss", byol(one_direction=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("Each prediction is compared with the target of its own view: compare p1 with z2 and p2 with z1.", "byol_loss", byol(same_view=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("This is half of the loss: the two directions are summed, not averaged, and each of them is 2 - 2 cos.", "byol_loss", byol(mean=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("The vectors are not normalised: 2 - 2 cos is the squared distance of unit vectors.", "byol_loss", byol(norm=False), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("The cosines are taken of columns: a vector is a row, use dim=1.", "byol_loss", byol_by_cosine(axis=0), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("This is -cos, as in SimSiam: BYOL's loss is 2 - 2 cos in each direction.", "byol_loss", byol_by_cosine(shift=0, factor=1), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("The squared differences are averaged over the channels: sum them (F.mse_loss is d times too small).", "byol_loss", byol(squared=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("This is the distance of the unit vectors: take its square.", "byol_loss", byol(root=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("These are dot products of vectors of any length: divide by both lengths for a cosine.", "byol_loss", byol_of_products, BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("Half precision is too coarse for norms: call .float() first.", "byol_loss", byol(half=True), BYOL),
    mistake("No gradient flows into p2: only z1 and z2 are constants.", "byol_loss", byol(second_constant=True), BYOL_GRAD, BYOL_STEPS),
    mistake("Gradients flow into z2: detach both targets.", "byol_loss", byol(only_z1=True), BYOL_GRAD),
    mistake("The loss is summed over the batch: take the mean.", "byol_loss", byol(summed=True), BYOL, BYOL_GRAD, BYOL_STEPS),
    mistake("Gradients flow into the targets: detach z1 and z2.", "byol_loss", byol(detach=False), BYOL_GRAD),
    mistake("No gradient flows into the predictions: only z1 and z2 are constants.", "byol_loss", byol_gradient_to_targets_only, BYOL_GRAD, BYOL_STEPS),
    mistake("There is no gradient at all: p1 and p2 are detached, too. Only z1 and z2 are constants.", "byol_loss", byol_without_gradient, BYOL_GRAD, BYOL_STEPS),
    mistake("tau and 1 - tau are exchanged: tau is the part of the target that stays.", "update_target", ema(swap=True), EMA, BYOL_STEPS),
    mistake("The target does not change: assigning to the loop's variable changes no parameter, work in place.", "update_target", ema(rebind=True), EMA, BYOL_STEPS),
    mistake("The target is a copy of the online network: average the two.", "update_target", ema(copy_all=True), EMA, BYOL_STEPS),
    mistake("The online network is added as a whole: its part is 1 - tau.", "update_target", ema(added=True), EMA, BYOL_STEPS),
    mistake("The networks are exchanged: the target follows the online network.", "update_target", ema(exchanged=True), EMA, BYOL_STEPS),
    mistake("The online network changes, too: only the target does.", "update_target", ema(online_moves=True), EMA, BYOL_STEPS),
    mistake("The online network is multiplied by 1 - tau in place: only the target changes.", "update_target", ema_scaling_online, EMA, BYOL_STEPS),
    mistake("The target runs in eval mode: it uses the statistics of its own batch.", "byol_views_loss", byol_views(target_eval=True), BYOL_STEPS),
    mistake("The online network runs in eval mode: it uses the statistics of each view's batch.", "byol_views_loss", byol_views(eval_online=True), BYOL_STEPS),
    mistake("The predictor runs in eval mode: it uses the statistics of each view's batch.", "byol_views_loss", byol_views(eval_predictor=True), BYOL_STEPS),
    mistake("The predictor gets a detached z, so the online network learns nothing.", "byol_views_loss", byol_views(cut_predictor=True), BYOL_STEPS),
    mistake("The second view's z is returned: return the first view's.", "byol_views_loss", byol_views(returned="z2"), BYOL_STEPS),
    mistake("The returned z is normalised: return it as it came from the online network.", "byol_views_loss", byol_views(returned="unit"), BYOL_STEPS),
    mistake("The target's projection is returned: return the online network's.", "byol_views_loss", byol_views(returned="target"), BYOL_STEPS),
    mistake("Both views go through the online network in one batch: BatchNorm then mixes them, run each on its own.", "byol_views_loss", byol_views(concat=True), BYOL_STEPS),
    mistake("Both views go through each network in one batch: BatchNorm then mixes them, run each view on its own.", "byol_views_loss", byol_views(all_joint=True), BYOL_STEPS),
    mistake("Both views go through the target in one batch: BatchNorm then mixes them, run each on its own.", "byol_views_loss", byol_views(target_joint=True), BYOL_STEPS),
    mistake("Both projections go through the predictor in one batch: its BatchNorm then mixes them, run each on its own.", "byol_views_loss", byol_views(predictor_joint=True), BYOL_STEPS),
    mistake("The second view goes through the networks first: the first view comes first.", "byol_views_loss", byol_views(second_first=True), BYOL_STEPS),
    mistake("The online network's own projections are the targets (that is SimSiam): run the target network.", "byol_views_loss", byol_views(own_target=True), BYOL_STEPS),
    mistake("The online network runs a second time to give the targets: run the target network.", "byol_views_loss", byol_views(online_again=True), BYOL_STEPS),
    mistake("The online network sees the first view once more to give z, and BatchNorm counts it twice: keep the first result.", "byol_views_loss", byol_views(z_again=True), BYOL_STEPS),
    mistake("The predictor runs on the target's projections, too: only the online side predicts.", "byol_views_loss", byol_views(predicted_target=True), BYOL_STEPS),
    mistake("The target's projections are exchanged: byol_loss itself crosses the views.", "byol_views_loss", byol_views(same_view=True), BYOL_STEPS),
    mistake("The predictor is not used: p is predictor(z).", "byol_views_loss", byol_views(no_predictor=True), BYOL_STEPS),
    mistake("The prediction is returned: return the projection z, before the predictor.", "byol_views_loss", byol_views(returned="p1"), BYOL_STEPS),
    mistake("The target is trained by gradient: run it under torch.no_grad().", "byol_views_loss", byol_views(with_grad=True), BYOL_STEPS),
    mistake("The rows are not divided by their lengths first.", "std_of_z", std_variant(norm=False), STD),
    mistake("The standard deviation runs over the channels of each row: take it over the batch.", "std_of_z", std_variant(dim=1), STD),
    mistake("This is multiplied by sqrt(d), like helpers.spread: return the plain mean.", "std_of_z", std_variant(scaled=True), STD),
    mistake("This is the variance: take its square root.", "std_of_z", std_variant(variance=True), STD),
    mistake("This is one standard deviation over all numbers: take each channel's over the batch, then the mean.", "std_of_z", std_variant(whole=True), STD),
    mistake("The columns are divided by their lengths: a vector is a row.", "std_of_z", std_variant(axis=0), STD),
    mistake("The channels are summed: take their mean.", "std_of_z", std_variant(summed=True), STD),
    mistake("The result is a tensor, and in training it keeps its graph: return a Python number with .item().", "std_of_z", std_variant(tensor=True), STD),
    mistake("These are outputs of the layer: the contract asks for what enters it.", "inputs_of", features_variant(output=True), INPUTS),
    mistake("The model runs in the mode that it came in: BatchNorm mixes the pictures of a batch, call eval().", "inputs_of", features_variant(train_mode=True), INPUTS),
    mistake("Every submodule is in train mode afterwards: one of them came in eval mode, put each one's mode back.", "inputs_of", features_variant(all_train=True), INPUTS),
    mistake("The model stays in eval mode: put the modes back.", "inputs_of", features_variant(eval_after=True), INPUTS),
    mistake("A hook is left on the layer: call its remove().", "inputs_of", features_variant(keep_hook=True), INPUTS),
    mistake("The pictures of the last, smaller batch are missing.", "inputs_of", features_variant(drop=True), INPUTS),
    mistake("All pictures run at once: the model takes batch_size of them at a time.", "inputs_of", features_variant(at_once=True), INPUTS),
    mistake("images.chunk(n) makes n batches: split(n) makes batches of n.", "inputs_of", features_variant(chunk=True), INPUTS),
    mistake("The maps are flattened: return them in the shape in which they enter the layer.", "inputs_of", features_variant(flat=True), INPUTS),
    mistake("The probe works on the backbone that was given: copy it.", "LinearProbe", probe_variant(shared=True), PROBE),
    mistake("The backbone's parameters still require gradients and are trained: freeze them.", "LinearProbe", probe_variant(trainable=True, cut=False), PROBE),
    mistake("The backbone's parameters still require gradients: torch.no_grad() in forward is not enough, call requires_grad_(False).", "LinearProbe", probe_variant(trainable=True), PROBE),
    mistake("probe.train() switches the backbone's BatchNorm to train mode: override train so that the backbone stays in eval mode.", "LinearProbe", probe_variant(train_mode=True), PROBE),
    mistake("The head does not start at 0.", "LinearProbe", probe_variant(random_head=True), PROBE),
    mistake("The classifier shares the backbone that was given: copy it.", "build_finetuner", build_variant(shared=True), BUILD),
    mistake("The head does not start at 0.", "build_finetuner", build_variant(random_head=True), BUILD),
    mistake("The backbone is still frozen: every parameter has to require a gradient.", "build_finetuner", build_variant(frozen=True), BUILD),
    mistake("BatchNorm and biases decay, too: their groups have the weight decay 0.", "parameter_groups", groups_variant(decay_all=True), GROUPS),
    mistake("The two learning rates are exchanged.", "parameter_groups", groups_variant(swapped=True), GROUPS),
    mistake("The head has the backbone's learning rate: it starts fresh and has its own.", "parameter_groups", groups_variant(one_rate=True), GROUPS),
    mistake("The head's groups come first: the backbone's two, then the head's two.", "parameter_groups", groups_variant(head_first=True), GROUPS),
    mistake("The head's weight does not decay: only vectors have the weight decay 0.", "parameter_groups", groups_variant(no_decay_head=True), GROUPS),
    mistake("The head's params are a tensor, so its rows are taken for parameters: put it in a list.", "parameter_groups", groups_variant(bare_head=True), GROUPS),
    mistake("Groups 2 and 4 have no weight_decay: without it the optimiser's own value is used, so write 0.", "parameter_groups", groups_variant(silent=True), GROUPS),
    mistake("BatchNorm runs in train mode also with freeze_norm: switch its layers to eval mode after classifier.train().", "finetune_step", finetune_in(True), FT_GRAD, FT_STATE),
    mistake("The step keeps the mode that it finds; here the classifier came in eval mode: call classifier.train() first.", "finetune_step", finetune_as_it_comes, FT_GRAD, FT_STATE),
    mistake("BatchNorm runs in eval mode also without freeze_norm: look at the argument.", "finetune_step", finetune_in("frozen"), FT_GRAD, FT_STATE),
    mistake("freeze_norm is turned round: BatchNorm runs in eval mode if it is true.", "finetune_step", finetune_reversed, FT_GRAD, FT_STATE),
    mistake("BatchNorm layers inside of blocks still run in train mode: go through modules(), not children().", "finetune_step", finetune_children_only, FT_GRAD, FT_STATE),
    mistake("The loss is returned as a tensor that keeps its graph, and with it every activation: return loss.item().", "finetune_step", finetune_in(graph=True), FT_GRAD),
    mistake("Gradients of earlier batches are still in .grad: call optimizer.zero_grad() before backward().", "finetune_step", finetune_in(accumulate=True), FT_GRAD, FT_STATE),
    mistake("The loss is summed over the batch: take the mean.", "finetune_step", finetune_in(reduction="sum"), FT_GRAD, FT_STATE),
    mistake("BatchNorm's weights and biases are frozen: only its statistics are.", "finetune_step", finetune_untrained_norm, FT_GRAD, FT_STATE),
    mistake("The gradients are gone after the step: call zero_grad() before backward(), not at the end.", "finetune_step", finetune_in(zero_after=True), FT_GRAD),
    mistake("Pictures of the class without a partner are counted as wrong: drop them.", "mapped_accuracy", judged(keep_unpartnered=True), MAPPED),
    mistake("Our class without a partner cannot be predicted any more: it stays a possible, wrong, answer.", "mapped_accuracy", judged(restrict=True), MAPPED),
    mistake("The labels are not translated: they are in their numbering, use mapping[labels].", "mapped_accuracy", judged(translate=False), MAPPED),
    mistake("The mapping is not used: the labels are in their numbering, and a picture without a partner is dropped.", "mapped_accuracy", judged_without_mapping, MAPPED),
    mistake("The predictions are translated, but the mapping goes from their classes to ours: translate the labels.", "mapped_accuracy", judged_backwards, MAPPED),
    mistake("If no picture is left, the answer is NaN, not 0.", "mapped_accuracy", judged(nothing=0.0), MAPPED),
    mistake("This is a share: the contract asks for percent.", "mapped_accuracy", judged(share=True), MAPPED),
    mistake("This is the standard error of two independent samples: the pictures are the same, use b and c.", "paired_difference", paired(unpaired=True), PAIRED),
    mistake("These are shares: the contract asks for percentage points.", "paired_difference", paired(shares=True), PAIRED),
    mistake("The term (b - c)^2 / n is missing.", "paired_difference", paired(without_square=True), PAIRED),
    mistake("The standard error is a share: it is in percentage points, too, times 100.", "paired_difference", paired(error_share=True), PAIRED),
    mistake("b and c count all pictures that a and b get right: b counts those right only under a, c those only under b.", "paired_difference", paired(all_right=True), PAIRED),
    mistake("The difference has the wrong sign: a minus b.", "paired_difference", paired(sign=-1), PAIRED),
    mistake("The keys are put in front and the others moved: write from the pointer on.", "enqueue_keys", ring(front=True), RING, MOCO_STEPS),
    mistake("Keys beyond the last row are lost: go on at row 0.", "enqueue_keys", ring(no_modulo=True), RING, MOCO_STEPS),
    mistake("The keys are written in reverse order.", "enqueue_keys", ring(reverse=True), RING, MOCO_STEPS),
    mistake("The pointer does not move: return the row after the last written one.", "enqueue_keys", ring(not_moved=True), RING, MOCO_STEPS),
    mistake("The returned pointer may lie beyond the last row: take it modulo K.", "enqueue_keys", ring(beyond=True), RING, MOCO_STEPS),
    mistake("If B > K, the last K keys are written from the pointer on: the keys before them move the start, too.", "enqueue_keys", ring(long_from_pointer=True), RING),
    mistake("If B > K, the first K keys are kept: the last K are.", "enqueue_keys", ring(first_kept=True), RING),
    mistake("If B > K, the pointer moves by K only: it moves by all B keys.", "enqueue_keys", ring(pointer_by_rows=True), RING),
    mistake("The keys are normalised on the way: write them as they come.", "enqueue_keys", ring(unit=True), RING),
    mistake("The queue that came does not change: write into it, in place.", "enqueue_keys", ring(rebind=True), RING, MOCO_STEPS),
    mistake("Rows that were never written count as negatives: exp(0) is 1, leave them out.", "moco_v2_loss", moco(zeros=True), MOCO, MOCO_STEPS),
    mistake("Queries and keys are not normalised.", "moco_v2_loss", moco(norm=False), MOCO, MOCO_STEPS),
    mistake("The queries are not normalised.", "moco_v2_loss", moco(raw_query=True), MOCO, MOCO_STEPS),
    mistake("The keys are not normalised.", "moco_v2_loss", moco(raw_key=True), MOCO),
    mistake("The temperature is not used.", "moco_v2_loss", moco(no_temperature=True), MOCO, MOCO_STEPS),
    mistake("The loss is summed over the queries: take the mean.", "moco_v2_loss", moco(summed=True), MOCO, MOCO_STEPS),
    mistake("Half precision is too coarse for norms: call .float() first.", "moco_v2_loss", moco(half=True), MOCO),
    mistake("A written row with a 0 in it counts as never written: only rows of nothing but zeros were not.", "moco_v2_loss", moco(written=lambda queue: (queue != 0).all(1)), MOCO),
    mistake("A written row without a positive number counts as never written: only rows of nothing but zeros were not.", "moco_v2_loss", moco(written=lambda queue: (queue > 0).any(1)), MOCO),
    mistake("The written rows need not be the first ones: look at each row.", "moco_v2_loss", moco(written=lambda queue: torch.arange(len(queue)) < (queue.abs().sum(1) > 0).sum()), MOCO),
    mistake("The positive is missing in the denominator.", "moco_v2_loss", moco(positive_in=False), MOCO, MOCO_STEPS),
    mistake("Gradients flow into the keys: they are constants.", "moco_v2_loss", moco(detach=False), MOCO),
    mistake("The key encoder runs in eval mode: it stays in train mode.", "moco_views_loss", moco_views(eval_keys=True), MOCO_STEPS),
    mistake("The views are exchanged: queries come from the first, keys from the second.", "moco_views_loss", moco_views(exchanged=True), MOCO_STEPS),
    mistake("The keys are not of unit length.", "moco_views_loss", moco_views(raw_keys=True), MOCO_STEPS),
    mistake("The returned queries are normalised: return them as they came from the encoder.", "moco_views_loss", moco_views(unit_queries=True), MOCO_STEPS),
    mistake("The keys are returned in the queries' place.", "moco_views_loss", moco_views(returned_keys=True), MOCO_STEPS),
    mistake("The keys carry a graph: run the key encoder under torch.no_grad().", "moco_views_loss", moco_keys_with_gradient, MOCO_STEPS),
    mistake("m and 1 - m are exchanged: the momentum is the part of the key encoder that stays.", "moco_after_step", moco_after(swap=True), MOCO_STEPS),
    mistake("The key encoder does not move: average it with the query encoder.", "moco_after_step", moco_after(only_queue=True), MOCO_STEPS),
]  # fmt: skip

ALTERNATIVES = [
    Alternative({"nt_xent": nt_xent_by_halves}),
    Alternative({"nt_xent": ntx()}),
    Alternative({"byol_loss": byol(), "update_target": ema()}),
    Alternative({"byol_loss": byol_by_cosine()}),
    Alternative({"update_target": ema(buffers="averaged")}, also_accepted=True),
    Alternative({"update_target": ema(buffers="copied")}, also_accepted=True),
    Alternative({"std_of_z": std_variant(correction=0)}, also_accepted=True),
    Alternative({"inputs_of": features_by_stopping}),
    Alternative({"LinearProbe": probe_variant(cut=False)}),
    Alternative({"build_finetuner": build_from_state, "parameter_groups": groups_variant()}),
    Alternative({"finetune_step": finetune_in()}),
    Alternative({"mapped_accuracy": judged_by_translation}),
    Alternative({"paired_difference": paired_by_std}),
    Alternative({"moco_after_step": moco_after(buffers="averaged")}, also_accepted=True),
    Alternative({"moco_after_step": moco_after(buffers="copied")}, also_accepted=True),
    Alternative({"enqueue_keys": ring(), "moco_v2_loss": moco(), "moco_after_step": moco_after()}),
]
