"""Well-known wrong answers of week 01 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.checks import Alternative, Mistake

# Task 1


def encode(clip, texts: list[str]) -> Tensor:
    with torch.no_grad():
        return clip.encode_text(clip.tokenizer(texts))


def head_without_first_norm(clip, class_names, templates):
    features = encode(clip, [t.format(n) for n in class_names for t in templates])
    return F.normalize(features.view(len(class_names), len(templates), -1).mean(1), dim=-1)


def head_without_second_norm(clip, class_names, templates):
    features = F.normalize(encode(clip, [t.format(n) for n in class_names for t in templates]), dim=-1)
    return features.view(len(class_names), len(templates), -1).mean(1)


def head_without_any_norm(clip, class_names, templates):
    features = encode(clip, [t.format(n) for n in class_names for t in templates])
    return features.view(len(class_names), len(templates), -1).mean(1)


def head_mixed_up(clip, class_names, templates):
    features = F.normalize(encode(clip, [t.format(n) for n in class_names for t in templates]), dim=-1)
    return F.normalize(features.view(len(templates), len(class_names), -1).mean(0), dim=-1)


def head_template_by_template(clip, class_names, templates):
    features = F.normalize(encode(clip, [t.format(n) for t in templates for n in class_names]), dim=-1)
    return F.normalize(features.view(len(class_names), len(templates), -1).mean(1), dim=-1)


def head_first_template(clip, class_names, templates):
    return F.normalize(encode(clip, [templates[0].format(n) for n in class_names]), dim=-1)


def head_class_by_class(clip, class_names, templates):
    rows = []
    for name in class_names:
        features = torch.cat([F.normalize(encode(clip, [t.format(name)]), dim=-1) for t in templates])
        rows.append(features.sum(0) / features.sum(0).norm())
    return torch.stack(rows)


def logits_without_norm(image_features, head, log_scale):
    return log_scale.exp() * image_features @ head.T


def logits_without_scale(image_features, head, log_scale):
    return F.normalize(image_features, dim=-1) @ head.T


def logits_log_scale(image_features, head, log_scale):
    return log_scale * F.normalize(image_features, dim=-1) @ head.T


def logits_divided(image_features, head, log_scale):
    return F.normalize(image_features, dim=-1) @ head.T / log_scale.exp()


def logits_by_cosine(image_features, head, log_scale):
    return log_scale.exp() * F.cosine_similarity(image_features[:, None], head[None], dim=-1)


def unit(x: Tensor) -> Tensor:
    """Normalised with a small number in the denominator, as many write it: accepted."""
    return x / (x.norm(dim=-1, keepdim=True) + 1e-6)


def head_with_epsilon(clip, class_names, templates):
    features = unit(encode(clip, [t.format(n) for n in class_names for t in templates]))
    return unit(features.view(len(class_names), len(templates), -1).mean(1))


def logits_with_epsilon(image_features, head, log_scale):
    return log_scale.exp() * unit(image_features) @ head.T


def predictions_of_raw_pixels(clip, class_names, templates, images):
    with torch.no_grad():
        features = F.normalize(clip.model.visual(images), dim=-1)
        return (features @ head_class_by_class(clip, class_names, templates).T).argmax(1)


def predictions_with_argmin(clip, class_names, templates, images):
    with torch.no_grad():
        return (F.normalize(clip.tower(images), dim=-1) @ head_class_by_class(clip, class_names, templates).T).argmin(1)


# Task 2


def step_variant(
    *,
    train=False,
    zero_first=True,
    zero_last=False,
    reduction="mean",
    backward=True,
    move=True,
    step_first=False,
    graph=False,
    softmax=False,
):
    """finetune_step with the mistake that the argument names; `train` None leaves the mode as it is."""

    def finetune_step(classifier, images, labels, optimizer):
        if train is not None:
            classifier.train(train)
        scores = classifier(images)
        loss = F.cross_entropy(scores.softmax(1) if softmax else scores, labels, reduction=reduction)
        if zero_first:
            optimizer.zero_grad()
        if step_first:
            optimizer.step()
        if backward:
            loss.backward()
        if move and not step_first:
            optimizer.step()
        if zero_last:
            optimizer.zero_grad()
        return loss if graph else loss.item()

    return finetune_step


def step_on_the_head_only(classifier, images, labels, optimizer):
    classifier.eval()
    with torch.no_grad():
        features = F.normalize(classifier.tower(images), dim=1)
    loss = F.cross_entropy(classifier.logit_scale * features @ classifier.head.T, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_with_the_loss_after_it(classifier, images, labels, optimizer):
    step_by_hand(classifier, images, labels, optimizer)
    with torch.no_grad():
        return F.cross_entropy(classifier(images), labels).item()


def step_by_hand(classifier, images, labels, optimizer):
    classifier.train(False)
    classifier.zero_grad(set_to_none=True)
    log_probability = classifier(images).log_softmax(1)
    loss = -log_probability[torch.arange(len(labels)), labels].mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


# Task 3


def texts_in(
    *,
    end_last: bool = False,
    same: bool = False,
    seed: int | None = None,
    pad: bool = False,
    low: int = 0,
    high_offset: int = 0,
):
    """A generator of random texts with the mistake that the argument names."""

    def random_texts(count, length, tokenizer, generator):
        generator = torch.Generator().manual_seed(seed) if seed is not None else generator
        texts = torch.zeros(count, tokenizer.context_length, dtype=torch.int64)
        if pad:
            texts += tokenizer.eot_token_id
        high = tokenizer.sot_token_id + high_offset
        ids = torch.randint(low, high, (1 if same else count, length), generator=generator)
        texts[:, 0] = tokenizer.sot_token_id
        texts[:, 1 : length + 1] = ids
        texts[:, -1 if end_last else length + 1] = tokenizer.eot_token_id
        return texts

    return random_texts


def texts_without_generator(count, length, tokenizer, generator):
    return texts_in()(count, length, tokenizer, None)


def texts_clipped_normal(count, length, tokenizer, generator):
    texts = texts_in()(count, length, tokenizer, generator)
    ids = (torch.randn(count, length, generator=generator) * 1000 + tokenizer.sot_token_id / 2).long()
    texts[:, 1 : length + 1] = ids.clamp(0, tokenizer.sot_token_id - 1)
    return texts


def texts_with_cat(count, length, tokenizer, generator):
    ids = torch.randint(0, tokenizer.sot_token_id, (count, length), generator=generator)
    start = torch.full((count, 1), tokenizer.sot_token_id)
    end = torch.full((count, 1), tokenizer.eot_token_id)
    rest = torch.zeros(count, tokenizer.context_length - length - 2, dtype=torch.int64)
    return torch.cat([start, ids, end, rest], 1)


def score_change(features, features0, text, scale):
    return (
        scale
        * (F.normalize(features, dim=-1) - F.normalize(features0, dim=-1).detach())
        @ F.normalize(text, dim=-1).detach().T
    )


def lipsum_unscaled(features, features0, text, scale):
    return score_change(features, features0, text, 1.0).square().mean() / 2


def lipsum_without_half(features, features0, text, scale):
    return score_change(features, features0, text, scale).square().mean()


def lipsum_summed(features, features0, text, scale):
    return score_change(features, features0, text, scale).square().sum(1).mean() / 2


def lipsum_summed_over_pictures(features, features0, text, scale):
    return score_change(features, features0, text, scale).square().mean(1).sum() / 2


def lipsum_scaled_once(features, features0, text, scale):
    return scale * score_change(features, features0, text, 1.0).square().mean() / 2


def lipsum_not_normalised(features, features0, text, scale):
    return (scale * (features - features0.detach()) @ text.detach().T).square().mean() / 2


def lipsum_raw_text(features, features0, text, scale):
    change = F.normalize(features, dim=-1) - F.normalize(features0, dim=-1).detach()
    return (scale * change @ text.detach().T).square().mean() / 2


def lipsum_raw_features0(features, features0, text, scale):
    change = F.normalize(features, dim=-1) - features0.detach()
    return (scale * change @ F.normalize(text, dim=-1).detach().T).square().mean() / 2


def lipsum_raw_features(features, features0, text, scale):
    change = features - F.normalize(features0, dim=-1).detach()
    return (scale * change @ F.normalize(text, dim=-1).detach().T).square().mean() / 2


def lipsum_exp_twice(features, features0, text, scale):
    return score_change(features, features0, text, math.exp(scale)).square().mean() / 2


def lipsum_absolute(features, features0, text, scale):
    return score_change(features, features0, text, scale).abs().mean() / 2


def lipsum_gradient_everywhere(features, features0, text, scale):
    change = F.normalize(features, dim=-1) - F.normalize(features0, dim=-1)
    return (scale * change @ F.normalize(text, dim=-1).T).square().mean() / 2


def lipsum_gradient_into_features0(features, features0, text, scale):
    change = F.normalize(features, dim=-1) - F.normalize(features0, dim=-1)
    return (scale * change @ F.normalize(text, dim=-1).detach().T).square().mean() / 2


def lipsum_gradient_into_text(features, features0, text, scale):
    change = F.normalize(features, dim=-1) - F.normalize(features0, dim=-1).detach()
    return (scale * change @ F.normalize(text, dim=-1).T).square().mean() / 2


def lipsum_detached(features, features0, text, scale):
    return score_change(features.detach(), features0, text, scale).square().mean() / 2


def lipsum_with_epsilon(features, features0, text, scale):
    return (scale * (unit(features) - unit(features0.detach())) @ unit(text.detach()).T).square().mean() / 2


def lipsum_by_einsum(features, features0, text, scale):
    with torch.no_grad():
        old = torch.einsum(
            "bd,md->bm", features0 / features0.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)
        )
        unit_text = text / text.norm(dim=-1, keepdim=True)
    new = torch.einsum("bd,md->bm", features / features.norm(dim=-1, keepdim=True), unit_text)
    return F.mse_loss(scale * new, scale * old) / 2


def lipsum_step_variant(
    *,
    ignore_weight=False,
    train_mode=False,
    swapped=False,
    only_lipsum=False,
    only_cross_entropy=False,
    scale_of_classifier=False,
    log_scale=False,
    accumulate=False,
    no_step=False,
    step_first=False,
    after_step=False,
    weighted=False,
    total=False,
    graph=False,
    same_tower=False,
    raw_pixels=False,
    raw_features=False,
    unscaled_logits=False,
):
    """lipsum_step with the mistake (or the right variation) that the argument names."""

    def terms_of(classifier, clip, images, labels, texts):
        with torch.no_grad():
            pretrained = classifier.tower if same_tower else clip.model.visual if raw_pixels else clip.tower
            features0, text = pretrained(images), clip.encode_text(texts)
        features = classifier.tower(images)
        logits = (features if raw_features else F.normalize(features, dim=1)) @ classifier.head.T
        scale = clip.model.logit_scale.item() if log_scale else clip.model.logit_scale.exp().item()
        lipsum = lipsum_by_einsum(features, features0, text, classifier.logit_scale if scale_of_classifier else scale)
        return F.cross_entropy((1 if unscaled_logits else classifier.logit_scale) * logits, labels), lipsum

    def lipsum_step(classifier, clip, images, labels, texts, optimizer, weight):
        classifier.train(train_mode)
        cross_entropy, lipsum = terms_of(classifier, clip, images, labels, texts)
        loss = cross_entropy + (1.0 if ignore_weight else weight) * lipsum
        if not accumulate:
            optimizer.zero_grad()
        if step_first:
            optimizer.step()
        (lipsum if only_lipsum else cross_entropy if only_cross_entropy else loss).backward()
        if not (no_step or step_first):
            optimizer.step()
        if after_step:
            cross_entropy, lipsum = terms_of(classifier, clip, images, labels, texts)
        if graph:
            return cross_entropy, lipsum
        terms = (loss if total else cross_entropy).item(), lipsum.item() * (weight if weighted else 1.0)
        return terms[::-1] if swapped else terms

    return lipsum_step


# Tasks 4 and 5


def mix_reversed(zero_shot, fine_tuned, alpha):
    return {
        k: alpha * a + (1 - alpha) * fine_tuned[k] if a.is_floating_point() else fine_tuned[k].clone()
        for k, a in zero_shot.items()
    }


def mix_everything(zero_shot, fine_tuned, alpha):
    return {k: ((1 - alpha) * a + alpha * fine_tuned[k]).to(a.dtype) for k, a in zero_shot.items()}


def mix_integers_of_zero_shot(zero_shot, fine_tuned, alpha):
    return {
        k: (1 - alpha) * a + alpha * fine_tuned[k] if a.is_floating_point() else a.clone() for k, a in zero_shot.items()
    }


def mix_parameters_only(zero_shot, fine_tuned, alpha):
    mixed = {}
    for k, a in zero_shot.items():
        learned = a.is_floating_point() and "running" not in k
        mixed[k] = (1 - alpha) * a + alpha * fine_tuned[k] if learned else fine_tuned[k].clone()
    return mixed


def mix_integers_only(zero_shot, fine_tuned, alpha):
    return {k: b.clone() for k, b in fine_tuned.items() if not b.is_floating_point()}


def mix_by_difference(zero_shot, fine_tuned, alpha):
    return {
        k: a + alpha * (fine_tuned[k] - a) if a.is_floating_point() else fine_tuned[k].clone()
        for k, a in zero_shot.items()
    }


def mix_in_place(zero_shot, fine_tuned, alpha):
    mixed = dict(zero_shot)
    for k, a in mixed.items():
        mixed[k] = a.mul_(1 - alpha).add_(alpha * fine_tuned[k]) if a.is_floating_point() else fine_tuned[k]
    return mixed


def mix_returning_ends(zero_shot, fine_tuned, alpha):
    if alpha in (0, 1):
        return dict(fine_tuned if alpha else zero_shot)
    return mix_with_lerp(zero_shot, fine_tuned, alpha)


def mix_in_float32(zero_shot, fine_tuned, alpha):
    return {
        k: (1 - alpha) * a.float() + alpha * fine_tuned[k].float() if a.is_floating_point() else fine_tuned[k].clone()
        for k, a in zero_shot.items()
    }


def mix_sharing_integers(zero_shot, fine_tuned, alpha):
    return {
        k: (1 - alpha) * a + alpha * fine_tuned[k] if a.is_floating_point() else fine_tuned[k]
        for k, a in zero_shot.items()
    }


def mix_with_lerp(zero_shot, fine_tuned, alpha):
    mixed = copy.deepcopy(dict(fine_tuned))
    for k, a in zero_shot.items():
        if a.is_floating_point():
            mixed[k] = torch.lerp(a, fine_tuned[k], float(alpha))
    return mixed


@torch.no_grad()
def wise_output_space(zero_shot, fine_tuned, alphas, images):
    z0, z1 = zero_shot.eval()(images), fine_tuned.eval()(images)
    return torch.stack([(1 - a) * z0 + a * z1 for a in alphas])


@torch.no_grad()
def wise_into_zero_shot(zero_shot, fine_tuned, alphas, images):
    logits = []
    zero_shot.eval()
    for alpha in alphas:
        zero_shot.load_state_dict(mix_with_lerp(zero_shot.state_dict(), fine_tuned.state_dict(), alpha))
        logits.append(zero_shot(images))
    return torch.stack(logits)


@torch.no_grad()
def wise_into_fine_tuned(zero_shot, fine_tuned, alphas, images):
    logits = []
    fine_tuned.eval()
    for alpha in alphas:
        fine_tuned.load_state_dict(mix_with_lerp(zero_shot.state_dict(), fine_tuned.state_dict(), alpha))
        logits.append(fine_tuned(images))
    return torch.stack(logits)


@torch.no_grad()
def wise_from_the_mixed(zero_shot, fine_tuned, alphas, images):
    mixed, logits = copy.deepcopy(zero_shot).eval(), []
    for alpha in alphas:
        mixed.load_state_dict(mix_with_lerp(mixed.state_dict(), fine_tuned.state_dict(), alpha))
        logits.append(mixed(images))
    return torch.stack(logits)


@torch.no_grad()
def wise_parameters_only(zero_shot, fine_tuned, alphas, images):
    mixed, logits = copy.deepcopy(zero_shot).eval(), []
    for alpha in alphas:
        for p, a, b in zip(mixed.parameters(), zero_shot.parameters(), fine_tuned.parameters(), strict=True):
            p.copy_((1 - alpha) * a + alpha * b)
        logits.append(mixed(images))
    return torch.stack(logits)


@torch.no_grad()
def wise_train_mode(zero_shot, fine_tuned, alphas, images):
    mixed, logits = copy.deepcopy(zero_shot).train(), []
    for alpha in alphas:
        mixed.load_state_dict(mix_with_lerp(zero_shot.state_dict(), fine_tuned.state_dict(), alpha))
        logits.append(mixed(images))
    return torch.stack(logits)


@torch.no_grad()
def wise_functional(zero_shot, fine_tuned, alphas, images):
    states = [mix_with_lerp(zero_shot.state_dict(), fine_tuned.state_dict(), a) for a in alphas]
    twin = copy.deepcopy(zero_shot).eval()
    return torch.stack([torch.func.functional_call(twin, state, (images,)) for state in states])


def alpha_best_ood(alphas, id_accuracy, ood_accuracy, tolerance):
    return float(max(zip(ood_accuracy, [-a for a in alphas], strict=True))[1] * -1)


def alpha_from_best_id(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = max(id_accuracy) - tolerance
    return float(min((-o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i >= floor)[1])


def alpha_from_last_entry(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[-1] - tolerance
    return float(min((-o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i >= floor)[1])


def alpha_largest_of_equals(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[alphas.index(1)] - tolerance
    return float(max((o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i >= floor)[1])


def alpha_strict(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[alphas.index(1)] - tolerance
    return float(min((-o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i > floor)[1])


def alpha_smallest_allowed(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[alphas.index(1)] - tolerance
    return min(a for a, accuracy in zip(alphas, id_accuracy, strict=True) if accuracy >= floor)


def alpha_in_per_cent(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[alphas.index(1)] * (1 - tolerance / 100)
    allowed = [(-ood, a) for a, i, ood in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i >= floor]
    return min(allowed)[1]


def alpha_index(alphas, id_accuracy, ood_accuracy, tolerance):
    floor = id_accuracy[alphas.index(1)] - tolerance
    allowed = [(-o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if i >= floor]
    return alphas.index(min(allowed)[1])


def alpha_within(alphas, id_accuracy, ood_accuracy, tolerance):
    end = id_accuracy[alphas.index(1)]
    allowed = [(-o, a) for a, i, o in zip(alphas, id_accuracy, ood_accuracy, strict=True) if abs(i - end) <= tolerance]
    return float(min(allowed)[1])


def alpha_with_tensors(alphas, id_accuracy, ood_accuracy, tolerance):
    a, i, o = map(torch.tensor, (alphas, id_accuracy, ood_accuracy))
    allowed = i >= i[a == 1] - tolerance
    best = o[allowed].max()
    return a[allowed][o[allowed] == best].double().min().item()


def ensemble_of_logits(logits0, logits1, alpha):
    return ((1 - alpha) * logits0 + alpha * logits1).log_softmax(-1)


def ensemble_of_log_probabilities(logits0, logits1, alpha):
    return (1 - alpha) * logits0.log_softmax(-1) + alpha * logits1.log_softmax(-1)


def ensemble_reversed(logits0, logits1, alpha):
    return ensemble_logaddexp(logits0, logits1, 1 - alpha)


def ensemble_of_raw_exponentials(logits0, logits1, alpha):
    return torch.logaddexp(logits0 + math.log(1 - alpha), logits1 + math.log(alpha))


def ensemble_normalised_late(logits0, logits1, alpha):
    return ensemble_of_raw_exponentials(logits0, logits1, alpha).log_softmax(-1)


def ensemble_log_of_mean(logits0, logits1, alpha):
    return ((1 - alpha) * logits0.softmax(-1) + alpha * logits1.softmax(-1)).log()


def ensemble_with_epsilon(logits0, logits1, alpha):
    return ((1 - alpha) * logits0.softmax(-1) + alpha * logits1.softmax(-1) + 1e-12).log()


def ensemble_probabilities(logits0, logits1, alpha):
    return (1 - alpha) * logits0.softmax(-1) + alpha * logits1.softmax(-1)


def ensemble_logaddexp(logits0, logits1, alpha):
    weight = torch.tensor(alpha)
    return torch.logaddexp(
        F.log_softmax(logits0, dim=-1) + torch.log1p(-weight), F.log_softmax(logits1, dim=-1) + weight.log()
    )


HEAD, LOGITS, STEP = (
    ("zero_shot_head_value",),
    ("zero_shot_logits_value",),
    ("finetune_step_gradients", "finetune_step_parameters"),
)
LOSS = ("lipsum_loss_value", "lipsum_loss_gradient", "lipsum_step_value")

MISTAKES = [
    Mistake(
        "The text features are averaged before they have length 1: normalise each one first.",
        {"zero_shot_head": head_without_first_norm},
        HEAD,
    ),
    Mistake(
        "The rows are means of unit vectors, so they are shorter than 1: normalise them once more.",
        {"zero_shot_head": head_without_second_norm},
        HEAD,
    ),
    Mistake(
        "Neither the text features nor their mean are normalised: give each length 1, take the mean, and normalise that.",
        {"zero_shot_head": head_without_any_norm},
        (*HEAD, "zero_shot_predictions_accuracy"),
    ),
    Mistake(
        "The rows mix different classes: the texts are ordered class by class, so the shape is (classes, templates, dim).",
        {"zero_shot_head": head_mixed_up},
        (*HEAD, "zero_shot_predictions_accuracy"),
    ),
    Mistake(
        "The texts are ordered template by template, but their features are read class by class: exchange the loops.",
        {"zero_shot_head": head_template_by_template},
        (*HEAD, "zero_shot_predictions_accuracy"),
    ),
    Mistake(
        "Only the first template is used: average over all of them.", {"zero_shot_head": head_first_template}, HEAD
    ),
    Mistake(
        "The image features are not normalised: the logits depend on their lengths.",
        {"zero_shot_logits": logits_without_norm},
        LOGITS,
    ),
    Mistake(
        "The scale is missing: multiply the cosines by exp(s).",
        {"zero_shot_logits": logits_without_scale},
        LOGITS,
    ),
    Mistake(
        "The scale is used as it is stored: it is a logarithm, take exp.",
        {"zero_shot_logits": logits_log_scale},
        LOGITS,
    ),
    Mistake(
        "The scale divides: exp(s) is the inverse of the temperature, so it multiplies.",
        {"zero_shot_logits": logits_divided},
        LOGITS,
    ),
    Mistake(
        "clip.model.visual expects standardised pixels: clip.tower takes images in [0, 1].",
        {"zero_shot_predictions": predictions_of_raw_pixels},
        ("zero_shot_predictions_accuracy",),
    ),
    Mistake(
        "The least similar class is predicted: take argmax.",
        {"zero_shot_predictions": predictions_with_argmin},
        ("zero_shot_predictions_accuracy",),
    ),
    Mistake(
        "The step runs in train mode: BatchNorm uses the batch's statistics and its running ones move. Call classifier.eval().",
        {"finetune_step": step_variant(train=True)},
        STEP,
    ),
    Mistake(
        "The step keeps the mode that it finds; here the tower came in train mode. Call classifier.eval() in the step.",
        {"finetune_step": step_variant(train=None)},
        ("finetune_step_parameters",),
    ),
    Mistake(
        "Gradients of earlier batches are still in .grad: call optimizer.zero_grad() before backward().",
        {"finetune_step": step_variant(zero_first=False)},
        STEP,
    ),
    Mistake(
        "The gradients are gone after the step: call optimizer.zero_grad() before backward(), not at the end.",
        {"finetune_step": step_variant(zero_first=False, zero_last=True)},
        ("finetune_step_gradients",),
    ),
    Mistake(
        "No gradient was computed: call loss.backward() before optimizer.step().",
        {"finetune_step": step_variant(backward=False)},
        STEP,
    ),
    Mistake(
        "The parameters do not move: call optimizer.step() after backward().",
        {"finetune_step": step_variant(move=False)},
        ("finetune_step_parameters",),
    ),
    Mistake(
        "optimizer.step() comes before loss.backward(), when there is no gradient yet: call backward() first.",
        {"finetune_step": step_variant(step_first=True)},
        ("finetune_step_parameters",),
    ),
    Mistake(
        "Only the head gets gradients: the tower is trained, too, so it must not run under no_grad.",
        {"finetune_step": step_on_the_head_only},
        STEP,
    ),
    Mistake(
        "The loss is the one after the step: return the one from before it.",
        {"finetune_step": step_with_the_loss_after_it},
        ("finetune_step_parameters",),
    ),
    Mistake(
        "The loss is summed over the batch: take the mean.", {"finetune_step": step_variant(reduction="sum")}, STEP
    ),
    Mistake(
        "The loss is returned with its graph: a list of such losses keeps every batch in memory. Return loss.item().",
        {"finetune_step": step_variant(graph=True)},
        ("finetune_step_gradients",),
    ),
    Mistake(
        "The cross-entropy gets probabilities: F.cross_entropy applies the softmax itself, give it logits.",
        {"finetune_step": step_variant(softmax=True)},
        STEP,
    ),
    Mistake(
        "The end token is in the last place: it follows the random tokens directly, zeros fill the rest.",
        {"random_texts": texts_in(end_last=True)},
        ("random_texts_format",),
    ),
    Mistake(
        "The rest is filled with end tokens: fill it with zeros.",
        {"random_texts": texts_in(pad=True)},
        ("random_texts_format",),
    ),
    Mistake(
        "The tokens are drawn without the generator that is passed: give it to torch.randint.",
        {"random_texts": texts_without_generator},
        ("random_texts_format",),
    ),
    Mistake(
        "All texts are the same: draw (count, length) tokens.",
        {"random_texts": texts_in(same=True)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "Each call gives the same texts: use the generator that is passed, do not seed a new one.",
        {"random_texts": texts_in(seed=0)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "The id 0 is never drawn: every number from 0 to start - 1 has to be possible.",
        {"random_texts": texts_in(low=1)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "The id start - 1 is never drawn: the upper end of torch.randint is exclusive already.",
        {"random_texts": texts_in(high_offset=-1)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "The start token is drawn, too: the upper end of torch.randint is exclusive, so pass start itself.",
        {"random_texts": texts_in(high_offset=1)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "Start and end token are drawn, too: draw from the numbers under the start token, not from the whole vocabulary.",
        {"random_texts": texts_in(high_offset=2)},
        ("random_texts_uniform",),
    ),
    Mistake(
        "The tokens are not uniform: every number from 0 to start - 1 has the same probability.",
        {"random_texts": texts_clipped_normal},
        ("random_texts_uniform",),
    ),
    Mistake(
        "The scores are not multiplied by the scale exp(s): the term is then too small by the square of the scale.",
        {"lipsum_loss": lipsum_unscaled},
        LOSS,
    ),
    Mistake(
        "The factor 1/2 is missing: R averages half of the squared change.", {"lipsum_loss": lipsum_without_half}, LOSS
    ),
    Mistake("The squares are summed over the texts: divide by M.", {"lipsum_loss": lipsum_summed}, LOSS),
    Mistake(
        "The squares are summed over the pictures: divide by the size of the batch.",
        {"lipsum_loss": lipsum_summed_over_pictures},
        LOSS,
    ),
    Mistake(
        "The scale multiplies R once: it belongs to the scores, so R gets its square.",
        {"lipsum_loss": lipsum_scaled_once},
        LOSS,
    ),
    Mistake(
        "The features are not normalised: features, features0 and text all have to be of length 1.",
        {"lipsum_loss": lipsum_not_normalised},
        LOSS,
    ),
    Mistake(
        "The text features are not normalised: all three arguments have to be of length 1.",
        {"lipsum_loss": lipsum_raw_text},
        LOSS,
    ),
    Mistake(
        "features0 is not normalised: the pretrained tower's features come at any length, too.",
        {"lipsum_loss": lipsum_raw_features0},
        LOSS,
    ),
    Mistake(
        "features is not normalised: both towers' features come at any length.",
        {"lipsum_loss": lipsum_raw_features},
        LOSS,
    ),
    Mistake(
        "The scale that comes is exp(s) already: do not take exp again.",
        {"lipsum_loss": lipsum_exp_twice},
        LOSS,
    ),
    Mistake("The change is taken absolutely: square it.", {"lipsum_loss": lipsum_absolute}, LOSS),
    Mistake(
        "Gradients flow into features0 or text: both are constants, detach them.",
        {"lipsum_loss": lipsum_gradient_everywhere},
        ("lipsum_loss_gradient",),
    ),
    Mistake(
        "Gradients flow into features0: the pretrained features are constants, detach them.",
        {"lipsum_loss": lipsum_gradient_into_features0},
        ("lipsum_loss_gradient",),
    ),
    Mistake(
        "Gradients flow into text: the text features are constants, detach them.",
        {"lipsum_loss": lipsum_gradient_into_text},
        ("lipsum_loss_gradient",),
    ),
    Mistake(
        "No gradient flows into features: only features0 and text are constants.",
        {"lipsum_loss": lipsum_detached},
        ("lipsum_loss_gradient", "lipsum_step_value"),
    ),
    Mistake(
        "The weight is not used: the loss is cross-entropy + weight * R.",
        {"lipsum_step": lipsum_step_variant(ignore_weight=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The classifier is in train mode: R is then not even 0 in the first step. Call classifier.eval().",
        {"lipsum_step": lipsum_step_variant(train_mode=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The two terms come in the wrong order: (cross_entropy, lipsum).",
        {"lipsum_step": lipsum_step_variant(swapped=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "Only R is minimised: the cross-entropy belongs to the loss.",
        {"lipsum_step": lipsum_step_variant(only_lipsum=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "Only the cross-entropy is minimised: the loss is cross-entropy + weight * R.",
        {"lipsum_step": lipsum_step_variant(only_cross_entropy=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The parameters do not move: call optimizer.step() after backward().",
        {"lipsum_step": lipsum_step_variant(no_step=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "optimizer.step() comes before backward(), when there is no gradient yet: call backward() first.",
        {"lipsum_step": lipsum_step_variant(step_first=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The terms are those after the step: return the ones from before it.",
        {"lipsum_step": lipsum_step_variant(after_step=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "Gradients of the step before are still in .grad: call optimizer.zero_grad() before backward().",
        {"lipsum_step": lipsum_step_variant(accumulate=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "R is returned times its weight: return R itself.",
        {"lipsum_step": lipsum_step_variant(weighted=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The terms are returned with their graph: a list of such terms keeps every batch in memory. Return .item() of each.",
        {"lipsum_step": lipsum_step_variant(graph=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The first term is the whole loss: return the cross-entropy alone.",
        {"lipsum_step": lipsum_step_variant(total=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The scale in R is the stored logarithm: lipsum_loss gets its exp.",
        {"lipsum_step": lipsum_step_variant(log_scale=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "features0 comes from the classifier's own tower, so R is always 0: the pretrained tower is clip.tower.",
        {"lipsum_step": lipsum_step_variant(same_tower=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "features0 comes from clip.model.visual, which does not standardise the pixels: the pretrained tower is clip.tower.",
        {"lipsum_step": lipsum_step_variant(raw_pixels=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The logits come from features that are not normalised: Classifier.forward normalises them first.",
        {"lipsum_step": lipsum_step_variant(raw_features=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "The scale is missing in the logits: Classifier.forward multiplies by logit_scale.",
        {"lipsum_step": lipsum_step_variant(unscaled_logits=True)},
        ("lipsum_step_value",),
    ),
    Mistake(
        "alpha and 1 - alpha are exchanged: alpha = 0 is the zero-shot model.",
        {"interpolate_weights": mix_reversed},
        ("interpolate_weights_value", "interpolate_weights_ends", "wise_ft_logits_value"),
    ),
    Mistake(
        "Integer entries are mixed, too: take num_batches_tracked from fine_tuned.",
        {"interpolate_weights": mix_everything},
        ("interpolate_weights_value", "interpolate_weights_ends"),
    ),
    Mistake(
        "Integer entries come from zero_shot: take num_batches_tracked from fine_tuned.",
        {"interpolate_weights": mix_integers_of_zero_shot},
        ("interpolate_weights_value", "interpolate_weights_ends"),
    ),
    Mistake(
        "The floating-point buffers are not mixed: running means and variances belong to the weights.",
        {"interpolate_weights": mix_parameters_only},
        ("interpolate_weights_value", "interpolate_weights_ends", "wise_ft_logits_value"),
    ),
    Mistake(
        "Floating-point entries are missing: the result has every key of the two dicts.",
        {"interpolate_weights": mix_integers_only},
        ("interpolate_weights_value", "interpolate_weights_ends", "wise_ft_logits_value"),
    ),
    Mistake(
        "alpha = 1 is not exactly the fine-tuned model: a + alpha (b - a) rounds, (1 - alpha) a + alpha b does not.",
        {"interpolate_weights": mix_by_difference},
        ("interpolate_weights_ends",),
    ),
    Mistake(
        "Half precision became float32: every entry keeps its dtype.",
        {"interpolate_weights": mix_in_float32},
        ("interpolate_weights_ends",),
    ),
    Mistake(
        "The inputs change: mix into new tensors, not in place.",
        {"interpolate_weights": mix_in_place},
        ("interpolate_weights_ends", "wise_ft_logits_value"),
    ),
    Mistake(
        "At alpha = 0 or 1 the result holds the tensors of that end themselves: changing it changes the input. Clone them.",
        {"interpolate_weights": mix_returning_ends},
        ("interpolate_weights_ends",),
    ),
    Mistake(
        "The other entries are those of fine_tuned themselves: changing the result changes the input. Clone them.",
        {"interpolate_weights": mix_sharing_integers},
        ("interpolate_weights_ends",),
    ),
    Mistake(
        "The outputs are mixed: WiSE-FT mixes the weights and runs the mixed model.",
        {"wise_ft_logits": wise_output_space},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "The mixed weights are loaded into the zero-shot model itself, so the next alpha starts from them: load into a copy.",
        {"wise_ft_logits": wise_into_zero_shot},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "The mixed weights are loaded into the fine-tuned model itself, so the next alpha mixes with them: load into a copy.",
        {"wise_ft_logits": wise_into_fine_tuned},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "Each alpha mixes with the weights mixed before: take the state dict of zero_shot itself every time.",
        {"wise_ft_logits": wise_from_the_mixed},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "Only the parameters are mixed: the running statistics of BatchNorm belong to the weights. Mix whole state dicts.",
        {"wise_ft_logits": wise_parameters_only},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "The mixed model runs in train mode: call eval().",
        {"wise_ft_logits": wise_train_mode},
        ("wise_ft_logits_value",),
    ),
    Mistake(
        "The place in the list is returned: return the alpha that stands there.",
        {"choose_alpha": alpha_index},
        ("choose_alpha_value",),
    ),
    Mistake(
        "The ID accuracy is ignored: first leave out the alphas that lose more than the tolerance.",
        {"choose_alpha": alpha_best_ood},
        ("choose_alpha_value",),
    ),
    Mistake(
        "The tolerance is counted from the best ID accuracy: the rule counts from alpha = 1.",
        {"choose_alpha": alpha_from_best_id},
        ("choose_alpha_value",),
    ),
    Mistake(
        "An alpha with a higher ID accuracy than alpha = 1 is left out: only a loss is limited.",
        {"choose_alpha": alpha_within},
        ("choose_alpha_value",),
    ),
    Mistake(
        "The last entry is taken for alpha = 1: the alphas come in any order.",
        {"choose_alpha": alpha_from_last_entry},
        ("choose_alpha_value",),
    ),
    Mistake(
        "Of equally good alphas the largest is taken: the rule takes the smallest.",
        {"choose_alpha": alpha_largest_of_equals},
        ("choose_alpha_value",),
    ),
    Mistake(
        "The OOD accuracies are not read: of the allowed alphas the one with the highest OOD accuracy is taken.",
        {"choose_alpha": alpha_smallest_allowed},
        ("choose_alpha_value",),
    ),
    Mistake(
        "The tolerance is taken as per cent of the accuracy: it is in points, floor = accuracy - tolerance.",
        {"choose_alpha": alpha_in_per_cent},
        ("choose_alpha_value",),
    ),
    Mistake("A loss of exactly the tolerance is allowed.", {"choose_alpha": alpha_strict}, ("choose_alpha_value",)),
    Mistake(
        "The logits are averaged: that is another ensemble (a geometric mean). Average the probabilities.",
        {"output_ensemble": ensemble_of_logits},
        ("output_ensemble_value",),
    ),
    Mistake(
        "The logarithms of the probabilities are averaged: average the probabilities.",
        {"output_ensemble": ensemble_of_log_probabilities},
        ("output_ensemble_value",),
    ),
    Mistake(
        "alpha and 1 - alpha are exchanged: alpha is the weight of logits1.",
        {"output_ensemble": ensemble_reversed},
        ("output_ensemble_value",),
    ),
    Mistake(
        "exp of a logit is no probability yet: take log_softmax of logits0 and of logits1 first.",
        {"output_ensemble": ensemble_of_raw_exponentials},
        ("output_ensemble_value",),
    ),
    Mistake(
        "The softmax comes after the mean: each classifier has probabilities of its own, so take log_softmax of both first.",
        {"output_ensemble": ensemble_normalised_late},
        ("output_ensemble_value",),
    ),
    Mistake(
        "log(0) is -inf: the probabilities underflow. Stay with logarithms (logsumexp).",
        {"output_ensemble": ensemble_log_of_mean},
        ("output_ensemble_value",),
    ),
    Mistake(
        "A small number is added before the logarithm: no NaN any more, but small probabilities are wrong. Stay with logarithms (logsumexp).",
        {"output_ensemble": ensemble_with_epsilon},
        ("output_ensemble_value",),
    ),
    Mistake(
        "These are probabilities: return their logarithms.",
        {"output_ensemble": ensemble_probabilities},
        ("output_ensemble_value",),
    ),
]

ALTERNATIVES = [
    Alternative({"zero_shot_head": head_class_by_class, "zero_shot_logits": logits_by_cosine}),
    Alternative(
        {
            "zero_shot_head": head_with_epsilon,
            "zero_shot_logits": logits_with_epsilon,
            "lipsum_loss": lipsum_with_epsilon,
        }
    ),
    Alternative({"finetune_step": step_by_hand}),
    Alternative(
        {
            "random_texts": texts_with_cat,
            "lipsum_loss": lipsum_by_einsum,
            "lipsum_step": lipsum_step_variant(scale_of_classifier=True),
        }
    ),
    Alternative({"interpolate_weights": mix_with_lerp, "wise_ft_logits": wise_functional}),
    Alternative(
        {
            "choose_alpha": alpha_with_tensors,
            "output_ensemble": ensemble_logaddexp,
        }
    ),
]
