"""Well-known wrong answers of week 06 with the hints that they get, and correct answers that look different."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import brentq, minimize_scalar
from torch import nn

from lsdl.checks import Alternative, Mistake

# Task 1


def combined(*, integers="first", result="new", shares="given", half="float32", buffers="mixed"):
    """integers: of the "first", of the "last", or "mixed"; result: "new", the "first" state's dict, or with its integers "shared"; half: summed "float32", in "half", or "kept" float32; buffers: "mixed", or those of the "first"."""

    def combine(states, weights):
        weights = [1 / len(states)] * len(states) if shares == "equal" else weights
        mixed = states[0] if result == "first" else {}
        for name in list(states[0]):
            entries = [state[name] for state in states]
            dtype = entries[0].dtype
            if "running" in name and buffers == "first":
                mixed[name] = entries[0].clone()
                continue
            if not dtype.is_floating_point and integers != "mixed":
                chosen = entries[-1] if integers == "last" else entries[0]
                mixed[name] = chosen if result == "shared" else chosen.clone()
                continue
            total = torch.zeros(entries[0].shape, dtype=dtype if half == "half" and dtype.is_floating_point else None)
            for w, entry in zip(weights, entries, strict=True):
                total = total + (w * entry).to(total.dtype) if half == "half" else total + w * entry.float()
            mixed[name] = total if half == "kept" else total.to(dtype)
        return mixed

    return combine


def combine_by_stacks(states, weights):
    w = torch.tensor(weights)
    return {
        name: torch.tensordot(w, torch.stack([state[name].float() for state in states]), 1).to(first.dtype)
        if first.is_floating_point()
        else torch.tensor(first.tolist(), dtype=first.dtype)
        for name, first in states[0].items()
    }


def mirrored_line(alphas, errors):
    """A function of its own, whose text can be pasted into a notebook."""
    start, end = errors[:, alphas.argmin()], errors[:, alphas.argmax()]
    line = alphas * start[:, None] + (1 - alphas) * end[:, None]
    return (errors - line).amax(1), errors.amax(1) - (start + end) / 2


def risen(*, swapped=False, ends="alphas", over="ends", inner=False, lowest=False):
    """ends: where a is 0 and 1, or the first and last "position"; over: the mean of the ends or of "all" errors; lowest: the rise over the lowest error."""

    def barriers(alphas, errors):
        places = (0, -1) if ends == "position" else (int(alphas.argmin()), int(alphas.argmax()))
        start, end = (errors[:, place] for place in places)
        rise = errors - torch.outer(start, 1 - alphas) - torch.outer(end, alphas)
        kept = (alphas > 0) & (alphas < 1) if inner else torch.ones_like(alphas, dtype=torch.bool)
        line = rise[:, kept].max(1).values if not lowest else errors.max(1).values - errors.min(1).values
        base = (start + end) / 2 if over == "ends" else errors.mean(1)
        mean = errors.max(1).values - base
        return (mean, line) if swapped else (line, mean)

    return barriers


def risen_where_it_is_highest(alphas, errors):
    start, end = errors[:, alphas.argmin()], errors[:, alphas.argmax()]
    highest, place = errors.max(1)
    a = alphas[place]
    return highest - (1 - a) * start - a * end, highest - (start + end) / 2


def barriers_by_numbers(alphas, errors):
    """Pair by pair, in Python's numbers."""
    lines, means = [], []
    for row in errors.tolist():
        error = dict(zip(alphas.tolist(), row, strict=True))
        lines.append(max(e - (1 - a) * error[0] - a * error[1] for a, e in error.items()))
        means.append(max(row) - (error[0] + error[1]) / 2)
    return lines, means


# Task 2


def together(*, mean="probabilities", divided=True, eps=0.0, axis=-1, stable="logsumexp"):
    """mean: of "logits" or "logs", too; stable: "logsumexp", by a plain "log", or by a maximum that may be -inf: "maximum"."""

    def ensemble_log_probs(logits):
        if mean == "logits":
            return logits.mean(0).log_softmax(-1)
        logs = logits.log_softmax(axis)
        if mean == "logs":
            return logs.mean(0)
        count = len(logits) if divided else 1
        if stable == "log":
            return (logs.exp().sum(0) / count + eps).log()
        if stable == "maximum":
            top = logs.max(0).values
            return top + (logs - top).exp().sum(0).log() - math.log(count)
        return logs.logsumexp(0) - math.log(count)

    return ensemble_log_probs


def together_in_float64(logits):
    return logits.double().softmax(-1).mean(0).log().float()


def together_pair_by_pair(logits):
    total = logits[0].log_softmax(-1)
    for own in logits[1:]:
        total = torch.logaddexp(total, own.log_softmax(-1))
    return total - np.log(len(logits))


def calibration(*, closed="above", weights="pictures", of="largest", absolute=True, worst=False, empty="skipped", number="given", begin="0", signed=False):  # fmt: skip
    """closed: which side of a bin; "below" puts 1 into the last bin, "torchmetrics" into one of its own; of: whose probability is the confidence;
    number: of bins, "given" or "15"; begin: of the first bin, at "0" or at "1/C"; signed: the weighted sum of gaps as it is."""

    def ece(log_probs, labels, bins=15):
        bins = 15 if number == "15" else bins
        p = log_probs.exp()
        right = (p.argmax(1) == labels).float()
        confidence = p.max(1).values if of == "largest" else p[torch.arange(len(p)), labels]
        first = 0 if begin == "0" else 1 / log_probs.shape[1]
        edges, gaps, counts = torch.linspace(first, 1, bins + 1).tolist(), [], []
        if closed == "torchmetrics":
            edges.append(2.0)
        for lo, hi in zip(edges[:-1], edges[1:], strict=True):
            inside = (
                (confidence > lo) & (confidence <= hi) if closed == "above" else (confidence >= lo) & (confidence < hi)
            )
            if closed == "below" and hi == 1:
                inside |= confidence == 1
            if inside.any() or empty == "nan":
                gaps.append(right[inside].mean() - confidence[inside].mean())
                counts.append(inside.sum() / len(p))
        gaps, counts = torch.stack(gaps), torch.stack(counts)
        if worst:
            return gaps.abs().max().item()
        if signed:
            return (counts * gaps).sum().item()
        if weights == "bins":
            return gaps.abs().mean().item()
        return (counts * gaps).sum().abs().item() if not absolute else (counts * gaps.abs()).sum().item()

    return ece


def ece_by_sorting(log_probs, labels, bins=15):
    """Numpy's searchsorted, whose left side is (lo, hi]."""
    p = log_probs.exp().numpy()
    confidence, right = p.max(1), p.argmax(1) == labels.numpy()
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1].astype(np.float32), confidence, side="left")
    total = 0.0
    for b in np.unique(index):
        total += abs(right[index == b].mean() - confidence[index == b].astype(np.float64).mean()) * (index == b).mean()
    return float(total)


def nll(log_probs, labels, t, *, form="scaled"):
    """form: of log p over T, "unnormalised" or of "probabilities"."""
    x = log_probs.double()
    if form == "unnormalised":
        return -(x / t).gather(1, labels[:, None]).mean().item()
    return F.cross_entropy((x.exp() if form == "probabilities" else x) / t, labels).item()


def fitted(*, form="scaled", low=0.05, high=20.0, grid=0, inverse=False):
    """low, high: where the search ends; grid: the best of so many values in place of a search."""

    def temperature(log_probs, labels):
        def score(log_t):
            return nll(log_probs, labels, math.exp(log_t), form=form)

        ends = math.log(low), math.log(high)
        if grid:
            found = min(torch.linspace(*ends, grid, dtype=torch.float64).tolist(), key=score)
        else:
            found = minimize_scalar(score, bounds=ends, method="bounded", options={"xatol": 1e-9}).x
        return math.exp(-found) if inverse else math.exp(found)

    return temperature


def temperature_by_newton(log_probs, labels):
    """In b = 1/T, kept in its bounds."""
    x = log_probs.double()
    own, b = x[torch.arange(len(x)), labels], 1.0
    for _ in range(200):
        p = (b * x).softmax(1)
        mean = (p * x).sum(1)
        curvature = ((p * x * x).sum(1) - mean**2).mean()
        step = float((mean - own).mean() / (curvature + 1e-12))
        b = min(max(b - max(min(step, 0.5 * b), -0.5 * b), 0.05), 20.0)
    return 1 / b


def temperature_by_root(log_probs, labels):
    """scipy's root of the derivative by 1/T, or the bound towards which it points."""
    x, rows = log_probs.double(), torch.arange(len(labels))

    def slope(b):
        return float(((b * x).softmax(1) * x).sum(1).mean() - x[rows, labels].mean())

    if slope(20.0) <= 0:
        return 0.05
    return 20.0 if slope(0.05) >= 0 else 1 / brentq(slope, 0.05, 20.0, xtol=1e-12)


def temperature_by_lbfgs(log_probs, labels):
    x, log_t = log_probs.double(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(x / log_t.clamp(math.log(0.05), math.log(20)).exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return min(max(log_t.exp().item(), 0.05), 20.0)


# Task 3


def cosine(*, whole="up", snapshot="last", first=0, restarts=True, stretched=False, zero_end=False, cut=True):
    """whole: c is rounded "up" or "down"; snapshot: after the "last" step of a cycle or at the "restart"; stretched: the cut cycle has a whole cosine; cut: its end is a snapshot."""

    def cyclic_cosine(steps, cycles, rate):
        c = max(1, steps // cycles) if whole == "down" else -(-steps // cycles)
        rates = []
        for t in range(steps):
            length = min(c, steps - t // c * c) if stretched else c
            place = (t + first) % c if restarts else t + first
            divisor = max(1, length - 1) if zero_end else length if restarts else steps
            rates.append(rate / 2 * (math.cos(math.pi * place / divisor) + 1))
        if snapshot == "restart":
            found = [t for t in range(1, steps) if t % c == 0] + [steps]
        else:
            found = [t for t in range(steps) if (t + 1) % c == 0 or (cut and t == steps - 1)]
        return torch.tensor(rates, dtype=torch.float64), found

    return cyclic_cosine


def cosine_by_scheduler(steps, cycles, rate):
    """torch's own scheduler, and snapshots where it is about to restart."""
    c = math.ceil(steps / cycles)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, c)
    rates, snapshots = [], []
    for t in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        if scheduler.T_cur == 0 or t == steps - 1:
            snapshots.append(t)
    return torch.tensor(rates, dtype=torch.float64), snapshots


def cosine_by_cycles(steps, cycles, rate):
    """One cycle, repeated and cut."""
    c = (steps + cycles - 1) // cycles
    cycle = rate * np.cos(np.pi * np.arange(c) / (2 * c)) ** 2
    return torch.from_numpy(np.resize(cycle, steps)), sorted({*range(c - 1, steps, c), steps - 1})


# Task 4


def norms_of(model, where="modules", kinds=(nn.BatchNorm1d, nn.BatchNorm2d)):
    return [module for module in getattr(model, where)() if isinstance(module, kinds)]


def restatistics(*, momentum=None, reset=True, passes="norms", modes="each", give_back=True, graph=False, where="modules", kinds=(nn.BatchNorm1d, nn.BatchNorm2d), frozen=False, returned=False):  # fmt: skip
    """where, kinds: which layers are found; frozen: parameters need no gradient afterwards; returned: the model is.

    passes: what is in training mode, "all" or the "norms"; modes: "each" has its own again, "whole": that of the model for all, "eval" or "train" for all."""

    def recalibrate(model, batches):
        before, whole = [(m, m.training) for m in model.modules()], model.training
        momenta = [(norm, norm.momentum) for norm in norms_of(model, where, kinds)]
        if frozen:
            model.requires_grad_(False)
        model.train(passes == "all")
        for norm, own in momenta:
            if reset:
                norm.reset_running_stats()
            norm.momentum = own if momentum == "own" else momentum
            norm.train()
        with torch.set_grad_enabled(graph):
            for x in batches:
                model(x)
        for norm, own in momenta if give_back else ():
            norm.momentum = own
        if modes == "each":
            for module, mode in before:
                module.training = mode
        elif modes != "left":
            model.train(whole if modes == "whole" else modes == "train")
        return model if returned else None

    return recalibrate


def recalibrated_by_hand(*, weighted=False, correction=1):
    """Statistics from the layers' inputs; weighted: each picture counts alike."""

    def recalibrate(model, batches):
        batches, modes = list(batches), [(m, m.training) for m in model.modules()]
        norms = norms_of(model)
        seen = {norm: [] for norm in norms}

        def note(norm, given):
            x = given[0].detach()
            axes = [axis for axis in range(x.ndim) if axis != 1]
            count = len(x) if weighted else 1
            seen[norm].append((count, x.mean(axes), x.var(axes, correction=correction)))

        model.eval()
        for norm in norms:
            norm.train()
        handles = [norm.register_forward_pre_hook(note) for norm in norms]
        with torch.no_grad():
            for x in batches:
                model(x)
        for handle in handles:
            handle.remove()
        for norm in norms:
            total = sum(count for count, _, _ in seen[norm])
            for name, k in (("running_mean", 1), ("running_var", 2)):
                getattr(norm, name).copy_(sum(one[0] * one[k] for one in seen[norm]) / total)
            norm.num_batches_tracked.fill_(len(batches))
        for module, mode in modes:
            module.training = mode

    return recalibrate


def recalibrated_with_shares(model, batches):
    """The plain mean as a momentum of 1 / (number of batches so far)."""
    modes, norms = {m: m.training for m in model.modules()}, norms_of(model)
    momenta = {norm: norm.momentum for norm in norms}
    for module in model.modules():
        module.training = module in momenta
    for norm in norms:
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.num_batches_tracked.zero_()
    with torch.inference_mode():
        for k, x in enumerate(batches):
            for norm in norms:
                norm.momentum = 1 / (k + 1)
            model(x)
    for norm in norms:
        norm.momentum = momenta[norm]
    for module, mode in modes.items():
        module.training = mode


# Task 5


def swag(*, column="new", keep="last", average="mean", counted=1, square="weights", shared=False, side="right", in_place=False, begun="zeros"):  # fmt: skip
    """column: from the "old" mean; begun: the first column is "zeros" or the "weights"; keep: the "first" columns or "all"; average: a "moving" one; counted: n when the first comes; square: of the "deviation"; shared: the first mean is the weights themselves;
    side: where new columns stand; in_place: the old state is changed."""

    def swag_collect(state, weights, columns):
        if state is None:
            mean = weights if shared else weights.clone()
            column_0 = (torch.zeros_like(weights) if begun == "zeros" else weights.clone())[:, None]
            first = weights * weights if square == "weights" else torch.zeros_like(weights)
            return {"n": counted, "mean": mean, "square": first, "deviations": column_0}
        n, old = state["n"], state["mean"]
        share = 0.1 if average == "moving" else 1 / (n + 1)
        mean = old + share * (weights - old)
        of = weights if square == "weights" else weights - mean
        second = state["square"] + share * (of * of - state["square"])
        new = (weights - (old if column == "old" else mean))[:, None]
        both = torch.cat([state["deviations"], new] if side == "right" else [new, state["deviations"]], 1)
        if keep == "last":
            both = both[:, -columns:] if side == "right" else both[:, :columns]
        elif keep == "first":
            both = both[:, :columns]
        if in_place:
            old.copy_(mean)
            state["square"].copy_(second)
            mean, second = old, state["square"]
        return {"n": n + 1, "mean": mean, "square": second, "deviations": both}

    return swag_collect


def swag_by_sums(state, weights, columns):
    """Sums and a list of columns behind the same names."""
    n = 1 if state is None else state["n"] + 1
    before = 0 if state is None else state["mean"].double() * (n - 1)
    squares = 0 if state is None else state["square"].double() * (n - 1)
    mean = ((before + weights.double()) / n).float()
    kept = [] if state is None else list(state["deviations"].unbind(1))
    kept = [*kept, weights - mean][-columns:]
    return {"n": n, "mean": mean, "square": ((squares + weights.double() ** 2) / n).float(), "deviations": torch.stack(kept, 1)}  # fmt: skip


def drawn(*, scaled="both", root=True, divisor="K - 1", clamp=True, unbiased=False, floor=1, spread="root", order=False):  # fmt: skip
    """scaled: "both" parts, one of them, or "none"; root: of the scale; spread: the variance itself instead of its root."""

    def swag_sample(state, z1, z2, scale=0.5):
        D, K = state["deviations"], state["deviations"].shape[1]
        variance = state["square"] - state["mean"] * state["mean"]
        variance = variance.clamp(min=1e-30) if clamp else variance
        variance = variance * state["n"] / (state["n"] - 1) if unbiased else variance
        factor = math.sqrt(scale) if root else scale
        first = (variance.sqrt() if spread == "root" else variance) * z1
        below = {"K - 1": max(K - 1, floor), "squared": max(K - 1, 1) ** 2, "K": K, "none": 1}[divisor]
        second = (D * z2).sum(1) / torch.tensor(float(below)).sqrt()
        if scaled == "none":
            return state["mean"] + first + second
        first = factor * first if scaled in ("both", "diagonal") else first
        second = factor * second if scaled in ("both", "low rank") else second
        return state["mean"] + first + second

    return swag_sample


def drawn_by_einsum(state, z1, z2, scale=0.5):
    mean, square, D = (state[name].double() for name in ("mean", "square", "deviations"))
    spread = torch.sqrt(torch.clamp(square - mean * mean, min=1e-30)) * z1
    K = len(z2)
    low = torch.einsum("dk,k->d", D, z2.double()) * (K - 1) ** -0.5 if K > 1 else D[:, 0] * z2.double()
    return (mean + (spread + low) * torch.tensor(scale).double().sqrt()).float()


# Task 6


def mixed(nets, integers="first", precision="float32"):
    """The uniform mean of some states."""
    made = {}
    for name, first in nets[0].items():
        if first.is_floating_point():
            values = torch.stack([net[name] for net in nets])
            if precision == "own":
                made[name] = sum(values[1:], values[0]) / len(values)
            else:
                made[name] = values.float().mean(0).to(first.dtype)
        elif integers == "mean":
            made[name] = torch.stack([net[name] for net in nets]).float().mean(0).to(first.dtype)
        else:
            made[name] = nets[0 if integers == "first" else -1][name].clone()
    return made


def greedy(*, strict=False, order="best", against="soup", running=False, returned="soup", tied="low", integers="first", precision="float32", alone="copy", sorted_back=False, stops=False):  # fmt: skip
    """order: "best" first, "worst" first or as "given"; against: the soup or the "best" net; running: the mean of the soup and the new net; returned: the "soup" or the mean of "all";
    tied: "high" indices first; alone: a soup of one is the net itself; sorted_back: the indices rise; stops: at the first net that does not join."""

    def greedy_soup(states, evaluate):
        scores = [evaluate(state) for state in states]
        sign = {"best": -1, "worst": 1, "given": 0}[order]
        sequence = sorted(range(len(states)), key=lambda i: (sign * scores[i], i if tied == "low" or not sign else -i))
        chosen, best = [sequence[0]], scores[sequence[0]]
        soup = states[chosen[0]]
        for i in sequence[1:]:
            together = [states[j] for j in [*chosen, i]]
            new = mixed([soup, states[i]]) if running else mixed(together, integers, precision)
            score = evaluate(new)
            if score > best or (score == best and not strict):
                chosen, soup = [*chosen, i], new
                best = score if against == "soup" else best
            elif stops:
                break
        if returned == "all":
            soup = mixed([states[i] for i in sequence])
        if integers == "net 0":
            soup = soup | {name: x.clone() for name, x in states[0].items() if not x.is_floating_point()}
        if len(chosen) == 1 and alone == "copy":
            soup = mixed([soup])
        return sorted(chosen) if sorted_back else chosen, soup

    return greedy_soup


def greedy_by_sums(states, evaluate):
    """A running sum in float64."""
    accuracies = torch.tensor([evaluate(state) for state in states], dtype=torch.float64)
    order = accuracies.argsort(descending=True, stable=True).tolist()
    first = states[order[0]]
    total = {name: x.double() for name, x in first.items() if x.is_floating_point()}
    chosen, best = [order[0]], accuracies[order[0]].item()

    def state_of(sums, n):
        return {name: (sums[name] / n).to(x.dtype) if name in sums else x.clone() for name, x in first.items()}

    for i in order[1:]:
        tried = {name: x + states[i][name].double() for name, x in total.items()}
        accuracy = evaluate(state_of(tried, len(chosen) + 1))
        if not accuracy < best:
            total, best = tried, accuracy
            chosen.append(i)
    return chosen, state_of(total, len(chosen))


# Task 7


def lookahead(*, slow="start", fast="reset", alpha_of="fast", momentum="kept", counted="after", skip=False, returned=True, closed=True, memory="kept", saved=("inner", "steps", "slow")):  # fmt: skip
    """slow: weights as of the "start", after the "first" step, or at the first "sync"; counted: steps, "after" or "before" the question; skip: parameters without a gradient at a sync; closed: the closure is handed on; memory: of the parameters, "kept" or "new"; saved: what the state holds."""

    class Lookahead:
        def __init__(self, optimizer, k=5, alpha=0.5):
            self.optimizer, self.k, self.alpha, self.steps = optimizer, k, alpha, 0
            self.slow = self.copies() if slow == "start" else None

        @property
        def param_groups(self):
            return self.optimizer.param_groups

        def params(self):
            return list(itertools.chain.from_iterable(group["params"] for group in self.param_groups))

        def copies(self):
            return [p.detach().clone() for p in self.params()]

        def zero_grad(self):
            self.optimizer.zero_grad()

        @torch.no_grad()
        def sync(self):
            if self.slow is None:
                self.slow = self.copies()
            for phi, theta in zip(self.slow, self.params(), strict=True):
                if skip and theta.grad is None:
                    continue
                share = self.alpha if alpha_of == "fast" else 1 - self.alpha
                phi.copy_((1 - share) * phi + share * theta)
                if memory == "new":
                    theta.data = phi.clone()
                elif fast == "reset":
                    theta.copy_(phi)
            if momentum == "dropped":
                self.optimizer.state.clear()

        def step(self, closure=None):
            loss = self.optimizer.step(closure if closed else None)
            if slow == "first" and self.slow is None:
                self.slow = self.copies()
            self.steps += counted == "after"
            if self.steps % self.k == 0:
                self.sync()
            self.steps += counted == "before"
            return loss if returned else None

        def state_dict(self):
            whole = {"inner": self.optimizer.state_dict(), "steps": self.steps, "slow": self.slow}
            return {name: whole[name] for name in saved}

        def load_state_dict(self, state):
            if "inner" in state:
                self.optimizer.load_state_dict(state["inner"])
            self.steps = state.get("steps", self.steps)
            self.slow = [x.clone() for x in state["slow"]] if state.get("slow") else self.slow

    return Lookahead


class LookaheadInState:
    """Slow weights lie in the inner optimizer's own state, the counter in its groups, as in several packages; written with foreach."""

    def __init__(self, optimizer, k=5, alpha=0.5):
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.phi = torch.cat([p.detach().flatten() for p in self.params])
        self.left = k

    @property
    def params(self):
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def zero_grad(self):
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, closure=None):
        result = self.optimizer.step(closure) if closure else self.optimizer.step()
        self.left -= 1
        if not self.left:
            self.left = self.k
            theta = nn.utils.parameters_to_vector(self.params).detach()
            self.phi = torch.lerp(self.phi, theta, self.alpha)
            with torch.no_grad():
                parts = self.phi.split([p.numel() for p in self.params])
                torch._foreach_copy_(self.params, [x.view_as(p) for x, p in zip(parts, self.params, strict=True)])
        return result

    def state_dict(self):
        return self.optimizer.state_dict() | {"lookahead": (self.phi, self.left)}

    def load_state_dict(self, state):
        state = copy.deepcopy(state)
        self.phi, self.left = state.pop("lookahead")
        self.optimizer.load_state_dict(state)


# Task 8


def equivalent_by_interp(curve, nll):
    """On the reversed curve, as if that rose all the way."""
    import numpy

    sizes = numpy.arange(len(curve), 0, -1.0)
    return float(numpy.interp(nll, curve.flip(0).double().numpy(), sizes))


def equivalent(*, first=1, rounded="no", crossing="first", beyond="L", below="1", joined="lines", strict=False):
    """first: the size of curve[0]; crossing: the "last" one; beyond: what a value below the curve gets, "line" is extrapolated; below: likewise for one above the curve; joined: "steps": no lines between; strict: below nll in place of at most."""

    def deep_ensemble_equivalent(curve, nll):
        y = curve.double().tolist()
        L = len(y)
        size = None
        if y[0] < nll or (y[0] == nll and not strict):
            size = 1.0
            if below == "line" and L > 1:
                size = 1 + (y[0] - nll) / (y[0] - y[1])
            elif below == "0":
                size = 0.0 if y[0] < nll else 1.0
        else:
            if strict:
                pairs = [i for i in range(1, L) if y[i] < nll <= y[i - 1]]
            else:
                pairs = [i for i in range(1, L) if y[i - 1] > nll >= y[i]]
            if pairs:
                i = pairs[0 if crossing == "first" else -1]
                size = i + (y[i - 1] - nll) / (y[i - 1] - y[i])
            elif beyond == "line" and L > 1:
                size = L + (y[-1] - nll) / (y[-2] - y[-1])
            else:
                size = math.inf if beyond == "inf" else float(L)
        if rounded == "up" and math.isfinite(size):
            size = float(math.ceil(size - 1e-9))
        if joined == "steps" and math.isfinite(size):
            size = float(math.floor(size))
        return size + first - 1

    return deep_ensemble_equivalent


def equivalent_by_search(curve, nll):
    """Numpy's interpolation of the curve itself, and bisection on the segment of the first crossing."""
    sizes, values = np.arange(1, len(curve) + 1), curve.double().numpy()
    reached = np.flatnonzero(values <= nll)
    if not len(reached):
        return float(len(curve))
    right = float(sizes[reached[0]])
    left = max(right - 1, 1.0)
    for _ in range(60):
        middle = (left + right) / 2
        if np.interp(middle, sizes, values) <= nll:
            right = middle
        else:
            left = middle
    return right


# Bonus


def volume(*, squared=True, root=True, factor="squared", guard=True, power=True):
    """squared: distances; factor: n! "squared" or "plain"; guard: against a negative square; power: 2^n stands below."""

    def simplex_volume(points):
        points = points.double()
        n = len(points) - 1
        distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        M = torch.nn.functional.pad(distance**2 if squared else distance, (1, 0, 1, 0), value=1.0)
        M[0, 0] = 0
        below = (2**n if power else 1) * math.factorial(n) ** (2 if factor == "squared" else 1)
        square = torch.linalg.det(M) * (-1) ** (n + 1) / below
        if not root:
            return square
        return square.clamp(min=0).sqrt() if guard else torch.where(square < 1e-12, torch.nan, square.sqrt())

    return simplex_volume


def volume_by_gram(points):
    edges = (points[1:] - points[0]).double()
    square = torch.linalg.det(edges @ edges.T)
    return max(square.item(), 0.0) ** 0.5 / math.factorial(len(edges))


def looked_around(*, buffers="own", end="kept", mean="last", every=False, start="given", recipe="own", in_place=False):
    """buffers: "one" for all heads; end: momenta are "averaged" or set to "zero" at the end; mean: "early", before the last step; every: after each step; start: momenta from "zero"; recipe: the "first" head's for all; in_place: the given momenta are changed."""

    def lookaround_round(weights, momenta, gradient, k, rate, momentum=0.9):
        number = len(momenta)
        heads = [weights.clone() for _ in range(number)]
        moving = [m.clone() if start == "given" else torch.zeros_like(m) for m in momenta]
        for step in range(k):
            if mean == "early" and step == k - 1:
                heads = [torch.stack(heads).mean(0)] * number
            for h in range(number):
                place = 0 if buffers == "one" else h
                g = gradient(0 if recipe == "first" else h, step, heads[h])
                moving[place] = momentum * moving[place] + g
                heads[h] = heads[h] - rate * moving[place]
            if every:
                heads = [torch.stack(heads).mean(0)] * number
        buffer = torch.stack([moving[0]] * number if buffers == "one" else moving)
        buffer = momenta.copy_(buffer) if in_place else buffer
        if end == "averaged":
            buffer = buffer.mean(0, keepdim=True).expand(number, -1)
        return torch.stack(heads).mean(0), torch.zeros_like(buffer) if end == "zero" else buffer

    return lookaround_round


def looked_around_with_sgd(weights, momenta, gradient, k, rate, momentum=0.9):
    """Head after head with torch's own optimizer."""
    ends, buffers = [], []
    for h, m in enumerate(momenta):
        p = nn.Parameter(weights.clone())
        optimizer = torch.optim.SGD([p], lr=rate, momentum=momentum)
        optimizer.state[p]["momentum_buffer"] = m.clone()
        for step in range(k):
            p.grad = gradient(h, step, p.detach())
            optimizer.step()
        ends.append(p.detach())
        buffers.append(optimizer.state[p]["momentum_buffer"])
    return sum(ends) / len(ends), torch.stack(buffers)


def triangle(*, exchanged=False, snapshot="half", period=1.0, ahead=0):
    """snapshot: after "half" of the steps, at the "lowest" rate's step, or at the "end" of a cycle; ahead: steps by which u is."""

    def triangular(steps, cycle, high, low):
        r1, r2, rates, c = (low, high, [], cycle) if exchanged else (high, low, [], cycle)
        for t in range(steps):
            u = (t + ahead) / (c * period) % 1
            rates.append((1 - 2 * u) * r1 + 2 * u * r2 if u < 0.5 else (2 * u - 1) * r1 + (2 - 2 * u) * r2)
        done = {"half": c // 2, "lowest": c // 2 + 1, "end": c}[snapshot]
        return torch.tensor(rates, dtype=torch.float64), [t for t in range(steps) if t % c == done - 1]

    return triangular


def triangle_by_scheduler(steps, cycle, high, low):
    """torch's CyclicLR, started half a cycle in."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=low)
    half = cycle // 2
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, low, high, half, cycle_momentum=False)
    rates, snapshots = [], []
    for t in range(half + steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        if t >= half and (t + 1) % cycle == 0:
            snapshots.append(t - half)
    return torch.tensor(rates[half:], dtype=torch.float64), snapshots


def mistake(hint: str, name: str, wrong: Callable, *fails: str) -> Mistake:
    return Mistake(hint, {name: wrong}, fails)


COMBINE, COMBINE_HALF, BARRIERS = "combine_value", "combine_half", "barriers_value"
TOGETHER = ("ensemble_log_probs_value", "ensemble_log_probs_far")
ECE = ("ece_value", "ece_edges")
TEMPERATURE = ("temperature_value", "temperature_bounds")
COSINE, TRIANGLE = "cyclic_cosine_value", "triangular_value"
RECALIBRATE, TRACES = "recalibrate_value", "recalibrate_traces"
MOMENTS, COLUMNS = "swag_collect_moments", "swag_collect_columns"
SAMPLE, EDGES = "swag_sample_value", "swag_sample_edges"
CHOICE, TIES = "greedy_soup_choice", "greedy_soup_ties"
PATH, RESUMED = "lookahead_path", "lookahead_state"
DEE, DEE_ENDS = "deep_ensemble_equivalent_value", "deep_ensemble_equivalent_ends"
VOLUME, AROUND = "simplex_volume_value", "lookaround_round_value"


MISTAKES = [
    # Task 1
    mistake("Integers are mixed: a count of batches is that of the first state.", "combine", combined(integers="mixed"), COMBINE),
    mistake("Integers are those of the last state: take the first one's.", "combine", combined(integers="last"), COMBINE),
    mistake("The first state's own dict is filled: start with a new dict, the caller still needs the state.", "combine", combined(result="first"), COMBINE),
    mistake("The integers share memory with the first state: clone them.", "combine", combined(result="shared"), COMBINE),
    mistake("All states count alike: multiply each by its own weight.", "combine", combined(shares="equal"), COMBINE, COMBINE_HALF),
    mistake("Buffers are those of the first state: floating-point ones, such as running means, are mixed like parameters.", "combine", combined(buffers="first"), COMBINE),
    mistake("The sum is taken in half precision, where small shares get lost: call .float() on each entry first, and cast once at the end.", "combine", combined(half="half"), COMBINE_HALF),
    mistake("Half precision came back as float32: cast the sum to the entry's own dtype.", "combine", combined(half="kept"), COMBINE_HALF),
    mistake("The line is mirrored: at a = 0 stands theta_0, so E(0) has the share 1 - a.", "barriers", mirrored_line, BARRIERS),
    mistake("Line and mean are exchanged: the line comes first.", "barriers", risen(swapped=True), BARRIERS),
    mistake("The ends are taken by position: look for a = 0 and a = 1, alphas come in any order.", "barriers", risen(ends="position"), BARRIERS),
    mistake("This is the largest minus the smallest error: take off the line between the ends.", "barriers", risen(lowest=True), BARRIERS),
    mistake("The ends are left out of the maximum: they belong to it, so no barrier is negative.", "barriers", risen(inner=True), BARRIERS),
    mistake("The mean is over all errors of the path: it is that of the two ends.", "barriers", risen(over="all"), BARRIERS),
    mistake("The line is taken off where the error itself is highest: take the largest distance from the line over all a.", "barriers", risen_where_it_is_highest, BARRIERS),
    # Task 2
    mistake("Logits are averaged: average probabilities.", "ensemble_log_probs", together(mean="logits"), *TOGETHER),
    mistake("log p is averaged, which is a geometric mean: average the probabilities themselves.", "ensemble_log_probs", together(mean="logs"), *TOGETHER),
    mistake("The sum is not divided by K: subtract log K.", "ensemble_log_probs", together(divided=False), *TOGETHER),
    mistake("The softmax is over the networks or the pictures: it is over the last axis, the classes.", "ensemble_log_probs", together(axis=0), *TOGETHER),
    mistake("Probabilities underflow to 0, so the logarithm is -inf: stay with log p, and use logsumexp over the networks.", "ensemble_log_probs", together(stable="log"), TOGETHER[1]),
    mistake("Probabilities below about e^-745 are 0 in float64, too: stay with log p, and use logsumexp over the networks.", "ensemble_log_probs", together_in_float64, TOGETHER[1]),
    mistake("A small number inside the logarithm bounds the answer from below: leave it out, and use logsumexp over the networks.", "ensemble_log_probs", together(stable="log", eps=1e-12), TOGETHER[1]),
    mistake("Where all networks exclude a class, -inf minus -inf is nan: torch.logsumexp gives -inf there.", "ensemble_log_probs", together(stable="maximum"), TOGETHER[1]),
    mistake("Each bin counts alike: its weight is its share of the pictures.", "ece", calibration(weights="bins"), *ECE),
    mistake("The confidence is the right class's probability: it is the largest one.", "ece", calibration(of="label"), *ECE),
    mistake("The gaps are summed with their signs, so they cancel: take the absolute value per bin.", "ece", calibration(absolute=False), *ECE),
    mistake("The gaps are summed with their signs, so they cancel: take the absolute value per bin.", "ece", calibration(signed=True), *ECE),
    mistake("The number of bins is always 15: use `bins`.", "ece", calibration(number="15"), *ECE),
    mistake("The bins begin at 1/C: they divide the whole of [0, 1].", "ece", calibration(begin="1/C"), *ECE),
    mistake("This is the largest gap: it is the weighted sum over bins.", "ece", calibration(worst=True), *ECE),
    mistake("An empty bin gives nan, the mean of nothing: skip it.", "ece", calibration(empty="nan"), *ECE),
    mistake("Bins are closed below: a confidence on an edge belongs to the bin that ends there, (lo, hi].", "ece", calibration(closed="below"), ECE[1]),
    mistake("Bins are closed below, and a confidence of 1 has a bin of its own, as in torchmetrics: here they are (lo, hi].", "ece", calibration(closed="torchmetrics"), ECE[1]),
    mistake("log p / T is not normalised, so its NLL falls for ever: it is log_softmax(log p / T).", "temperature", fitted(form="unnormalised"), *TEMPERATURE),
    mistake("Probabilities are divided by T: divide log p.", "temperature", fitted(form="probabilities"), *TEMPERATURE),
    mistake("This is 1/T: log p is divided by the temperature.", "temperature", fitted(inverse=True), *TEMPERATURE),
    mistake("This is the best of a few fixed values: search on, until T is right to a relative 0.001.", "temperature", fitted(grid=60), *TEMPERATURE),
    mistake("The search leaves [0.05, 20]: return the bound where the NLL falls towards it.", "temperature", fitted(low=1e-3, high=1e3), TEMPERATURE[1]),
    mistake("The search leaves [0.05, 20]: return the bound where the NLL falls towards it.", "temperature", fitted(low=1e-2, high=1e2), TEMPERATURE[1]),
    mistake("The search begins at 1: a T below 1 sharpens, and down to 0.05 is possible.", "temperature", fitted(low=1.0), *TEMPERATURE),
    # Task 3
    mistake("The snapshot is taken one step late, after the first step of the next cycle: take it after a cycle's last step, counted from 0.", "cyclic_cosine", cosine(snapshot="restart"), COSINE),
    mistake("The length of a cycle is rounded down, which makes one cycle more: round it up.", "cyclic_cosine", cosine(whole="down"), COSINE),
    mistake("t starts at 1: the first rate is r itself.", "cyclic_cosine", cosine(first=1), COSINE),
    mistake("t is one step behind, as in the paper, whose steps count from 1: here they count from 0, so t mod c.", "cyclic_cosine", cosine(first=-1), COSINE),
    mistake("This is one cosine over all steps: it starts anew in each cycle, t mod c.", "cyclic_cosine", cosine(restarts=False), COSINE),
    mistake("The last cycle's cosine is squeezed into its few steps: it is the beginning of a whole one.", "cyclic_cosine", cosine(stretched=True), COSINE),
    mistake("The cycle is divided by c - 1, so that it ends at 0: divide by c.", "cyclic_cosine", cosine(zero_end=True), COSINE),
    mistake("The cut cycle has no snapshot: its last step is one, too.", "cyclic_cosine", cosine(cut=False), COSINE),
    mistake("This is a moving average, with the layer's own momentum: set momentum to None, so that all batches count alike.", "recalibrate", restatistics(momentum="own"), RECALIBRATE, TRACES),
    mistake("The old statistics are still in the mean: call reset_running_stats() first.", "recalibrate", restatistics(reset=False), RECALIBRATE, TRACES),
    mistake("Each picture counts alike: here each batch does, whatever its size.", "recalibrate", recalibrated_by_hand(weighted=True), RECALIBRATE, TRACES),
    mistake("The variance of a batch is divided by its count: BatchNorm's running variance is unbiased.", "recalibrate", recalibrated_by_hand(correction=0), RECALIBRATE, TRACES),
    mistake("Dropout works during the passes: only BatchNorm layers belong into training mode.", "recalibrate", restatistics(passes="all"), RECALIBRATE, TRACES),
    mistake("Dropout works during the passes: only BatchNorm layers belong into training mode.", "recalibrate", restatistics(passes="all", modes="whole"), RECALIBRATE, TRACES),
    mistake("A BatchNorm layer inside another module is left out: model.modules() finds it, model.children() does not.", "recalibrate", restatistics(where="children"), RECALIBRATE, TRACES),
    mistake("BatchNorm1d layers are left out: they have statistics, too.", "recalibrate", restatistics(kinds=(nn.BatchNorm2d,)), RECALIBRATE, TRACES),
    mistake("BatchNorm layers stay in training mode: give each module its own mode again.", "recalibrate", restatistics(modes="left"), TRACES),
    mistake("All modules get the mode of the whole model: a frozen layer has a mode of its own, note `training` of every module.", "recalibrate", restatistics(modes="whole"), TRACES),
    mistake("The momentum stays None: give each layer its own again.", "recalibrate", restatistics(give_back=False), TRACES),
    mistake("The passes build a graph: run them under torch.no_grad().", "recalibrate", restatistics(graph=True), TRACES),
    mistake("requires_grad of parameters is changed: torch.no_grad() around the passes is enough.", "recalibrate", restatistics(frozen=True), TRACES),
    mistake("The model is returned: return nothing, it is changed in place.", "recalibrate", restatistics(returned=True), TRACES),
    mistake("The column is the distance from the mean before its update: update the mean first.", "swag_collect", swag(column="old"), COLUMNS),
    mistake("The column is the distance from the mean before its update: update the mean first.", "swag_collect", swag(column="old", begun="weights"), COLUMNS),
    mistake("The first columns are kept: the oldest go, the last stay.", "swag_collect", swag(keep="first"), COLUMNS),
    mistake("All columns are kept: at most `columns` of them stay.", "swag_collect", swag(keep="all"), COLUMNS),
    mistake("New columns stand on the left: the newest stands on the right.", "swag_collect", swag(side="left"), COLUMNS),
    mistake("This is a moving average: each of the n weights counts alike.", "swag_collect", swag(average="moving"), MOMENTS, COLUMNS),
    mistake("n is one too small: it counts these weights, too.", "swag_collect", swag(counted=0), MOMENTS, COLUMNS),
    mistake("`square` is the mean of squared deviations: it is the mean of the squared weights.", "swag_collect", swag(square="deviation"), MOMENTS),
    mistake("The mean shares its memory with `weights`, which the training changes: clone it.", "swag_collect", swag(shared=True), MOMENTS, COLUMNS),
    mistake("The old state is changed: return a new one, made by arithmetic that is not in place.", "swag_collect", swag(in_place=True), MOMENTS),
    mistake("The scale is taken as a standard deviation: it is a variance, so its root stands in front.", "swag_sample", drawn(root=False), SAMPLE, EDGES),
    mistake("The scale is missing: the root of s stands in front of both parts.", "swag_sample", drawn(scaled="none"), SAMPLE, EDGES),
    mistake("Only the diagonal part is scaled: the root of s stands in front of both.", "swag_sample", drawn(scaled="diagonal"), SAMPLE, EDGES),
    mistake("Only the low-rank part is scaled: the root of s stands in front of both.", "swag_sample", drawn(scaled="low rank"), SAMPLE, EDGES),
    mistake("The columns are divided by the root of k: it is the root of k - 1.", "swag_sample", drawn(divisor="K"), SAMPLE, EDGES),
    mistake("The columns are not divided by the root of k - 1.", "swag_sample", drawn(divisor="none"), SAMPLE, EDGES),
    mistake("The columns are divided by k - 1 itself: take its root.", "swag_sample", drawn(divisor="squared"), SAMPLE, EDGES),
    mistake("z1 is multiplied by the variance: take its root.", "swag_sample", drawn(spread="variance"), SAMPLE, EDGES),
    mistake("The variance is made unbiased, by n / (n - 1): here it is square - mean^2.", "swag_sample", drawn(unbiased=True), SAMPLE, EDGES),
    mistake("Rounding makes the variance negative, and its root is nan: clamp it at 1e-30 first.", "swag_sample", drawn(clamp=False), EDGES),
    mistake("With one column this divides by 0: divide by 1 there.", "swag_sample", drawn(floor=0), EDGES),
    mistake("A net joins only if the accuracy rises: it joins too if it stays the same.", "greedy_soup", greedy(strict=True), TIES),
    mistake("Of equal accuracies the higher index comes first: sort so that the lower one does.", "greedy_soup", greedy(tied="high"), TIES),
    mistake("The nets come in the order given: sort them by accuracy, best first.", "greedy_soup", greedy(order="given"), CHOICE, TIES),
    mistake("The worst net comes first: sort by accuracy, best first.", "greedy_soup", greedy(order="worst"), CHOICE, TIES),
    mistake("The search ends at the first net that does not join: go on with the others.", "greedy_soup", greedy(stops=True), CHOICE, TIES),
    mistake("A new soup is compared with the best single net: compare it with the soup so far.", "greedy_soup", greedy(against="best"), CHOICE),
    mistake("The old soup and the new net are averaged, so the new one has half of the weight: average all nets of the soup alike.", "greedy_soup", greedy(running=True), CHOICE, TIES),
    mistake("The state is the mean of all nets: only those that joined are in it.", "greedy_soup", greedy(returned="all"), CHOICE, TIES),
    mistake("The indices rise: they stand in the order of joining.", "greedy_soup", greedy(sorted_back=True), CHOICE, TIES),
    mistake("Integers are averaged, too: they are those of the best net.", "greedy_soup", greedy(integers="mean"), CHOICE, TIES),
    mistake("Integers are those of net 0: take the best net's.", "greedy_soup", greedy(integers="net 0"), CHOICE, TIES),
    mistake("The sum is in half precision, where it overflows: add up in float32 and cast the mean back.", "greedy_soup", greedy(precision="own"), TIES),
    mistake("A soup of one net is that net itself, in the same memory: return a copy.", "greedy_soup", greedy(alone="itself"), TIES),
    mistake("The slow weights are copied after the first step: they are the parameters as they were before it.", "Lookahead", lookahead(slow="first"), PATH, RESUMED),
    mistake("The slow weights are made at the first sync, which then does nothing: copy the parameters in __init__.", "Lookahead", lookahead(slow="sync"), PATH, RESUMED),
    mistake("The slow weights move, but the fast ones go on where they were: copy the slow ones into the parameters. Or the slow weights share the parameters' memory: clone them.", "Lookahead", lookahead(fast="kept"), PATH, RESUMED),
    mistake("alpha and 1 - alpha are exchanged: alpha is the share of the fast weights.", "Lookahead", lookahead(alpha_of="slow"), PATH, RESUMED),
    mistake("The inner optimizer's state is lost at a sync: momentum is kept.", "Lookahead", lookahead(momentum="dropped"), PATH, RESUMED),
    mistake("The first sync comes after step 1: count the step first, then ask whether k are done.", "Lookahead", lookahead(counted="before"), PATH, RESUMED),
    mistake("Parameters without a gradient are left out of a sync: all take part.", "Lookahead", lookahead(skip=True), PATH),
    mistake("step(closure) returns nothing: return what the inner step returned.", "Lookahead", lookahead(returned=False), PATH),
    mistake("The closure is not handed on: call the inner optimizer's step(closure).", "Lookahead", lookahead(closed=False), PATH),
    mistake("The parameters get new memory: change them in place, with copy_.", "Lookahead", lookahead(memory="new"), PATH),
    mistake("The state lacks the number of steps, so the cycle begins anew: save it.", "Lookahead", lookahead(saved=("inner", "slow")), RESUMED),
    mistake("The state lacks the slow weights, so they are the parameters at the time of loading: save them.", "Lookahead", lookahead(saved=("inner", "steps")), RESUMED),
    mistake("The state lacks that of the inner optimizer, so momentum begins at 0: save it.", "Lookahead", lookahead(saved=("steps", "slow")), RESUMED),
    mistake("The state is the inner optimizer's alone: save the number of steps and the slow weights, too.", "Lookahead", lookahead(saved=("inner",)), RESUMED),
    mistake("np.interp on the reversed curve needs values that rise all the way, and this curve is wavy: look for the first size whose value is at most nll.", "deep_ensemble_equivalent", equivalent_by_interp, DEE),
    mistake("The answer is one too small: curve[0] is the ensemble of one net.", "deep_ensemble_equivalent", equivalent(first=0), DEE, DEE_ENDS),
    mistake("The answer is rounded up to a whole number of nets: take the crossing on the straight line.", "deep_ensemble_equivalent", equivalent(rounded="up"), DEE),
    mistake("This is the size before the crossing: go on along the straight line.", "deep_ensemble_equivalent", equivalent(joined="steps"), DEE),
    mistake("On a curve that rises in between this is the last crossing: take the first.", "deep_ensemble_equivalent", equivalent(crossing="last"), DEE),
    mistake("A value that equals nll is passed over: the curve is at most nll there.", "deep_ensemble_equivalent", equivalent(strict=True), DEE),
    mistake("Below the curve its last line is drawn on: the answer is L there.", "deep_ensemble_equivalent", equivalent(beyond="line"), DEE_ENDS),
    mistake("Below the curve the answer is infinite: it is L there.", "deep_ensemble_equivalent", equivalent(beyond="inf"), DEE_ENDS),
    mistake("Above the curve its first line is drawn on: the answer is 1 there.", "deep_ensemble_equivalent", equivalent(below="line"), DEE_ENDS),
    mistake("A method worse than one net has the answer 0: it is 1.", "deep_ensemble_equivalent", equivalent(below="0"), DEE_ENDS),
    mistake("This is the square of the volume, as the authors' function returns it: take the root.", "simplex_volume", volume(root=False), VOLUME),
    mistake("The matrix holds distances: it needs their squares.", "simplex_volume", volume(squared=False), VOLUME),
    mistake("n! stands below once: it is squared.", "simplex_volume", volume(factor="plain"), VOLUME),
    mistake("2^n is missing below.", "simplex_volume", volume(power=False), VOLUME),
    mistake("A flat simplex gives nan, where rounding makes the square negative: clamp it at 0.", "simplex_volume", volume(guard=False), VOLUME),
    mistake("The momenta are averaged, too: only the weights become one, each head keeps its momentum.", "lookaround_round", looked_around(end="averaged"), AROUND),
    mistake("The momenta are set to 0 at the end: each head keeps its own for the next round.", "lookaround_round", looked_around(end="zero"), AROUND),
    mistake("The momenta begin at 0 in each round: they go on from `momenta`.", "lookaround_round", looked_around(start="zero"), AROUND),
    mistake("The given momenta are changed: work on a clone.", "lookaround_round", looked_around(in_place=True), AROUND),
    mistake("All heads share one momentum: each has its own row.", "lookaround_round", looked_around(buffers="one"), AROUND),
    mistake("The heads become one before the last step: take the mean after all k steps.", "lookaround_round", looked_around(mean="early"), AROUND),
    mistake("The heads become one after every step: take the mean after all k steps.", "lookaround_round", looked_around(every=True), AROUND),
    mistake("All heads have the gradient of the first: ask for gradient(h, step, w) of each.", "lookaround_round", looked_around(recipe="first"), AROUND),
    mistake("The cycle starts at the low rate: it starts at r_1, the high one.", "triangular", triangle(exchanged=True), TRIANGLE),
    mistake("The snapshot is taken at the end of a cycle, where the rate is high: take it when half of the steps are done.", "triangular", triangle(snapshot="end"), TRIANGLE),
    mistake("The snapshot is one step late: c/2 steps are done after step c/2 - 1, counted from 0.", "triangular", triangle(snapshot="lowest"), TRIANGLE),
    mistake("The period is half a cycle: down and up again take c steps together.", "triangular", triangle(period=0.5), TRIANGLE),
    mistake("u is one step ahead, as in the paper's text: step 0 has u = 0.", "triangular", triangle(ahead=1), TRIANGLE),
]  # fmt: skip

ALTERNATIVES = [
    # Task 1
    Alternative({"combine": combined(), "barriers": risen()}),
    Alternative({"combine": combine_by_stacks}),
    Alternative({"barriers": barriers_by_numbers}, also_accepted=True),
    # Task 2
    Alternative({"ensemble_log_probs": together(), "ece": calibration(), "temperature": fitted()}),
    Alternative({"ece": ece_by_sorting, "temperature": temperature_by_newton}),
    Alternative({"ensemble_log_probs": together_pair_by_pair, "temperature": temperature_by_root}),
    Alternative({"temperature": temperature_by_lbfgs}),
    # Task 3
    Alternative({"cyclic_cosine": cosine()}),
    Alternative({"cyclic_cosine": cosine_by_scheduler}),
    Alternative({"cyclic_cosine": cosine_by_cycles}),
    Alternative({"recalibrate": restatistics()}),
    Alternative({"recalibrate": recalibrated_by_hand()}),
    Alternative({"recalibrate": recalibrated_with_shares}),
    Alternative({"swag_collect": swag(), "swag_sample": drawn()}),
    Alternative({"swag_collect": swag_by_sums, "swag_sample": drawn_by_einsum}),
    Alternative({"greedy_soup": greedy()}),
    Alternative({"greedy_soup": greedy_by_sums}),
    Alternative({"Lookahead": lookahead()}),
    Alternative({"Lookahead": LookaheadInState}),
    Alternative({"deep_ensemble_equivalent": equivalent()}),
    Alternative({"deep_ensemble_equivalent": equivalent_by_search}),
    Alternative({"simplex_volume": volume(), "lookaround_round": looked_around()}),
    Alternative({"simplex_volume": volume_by_gram, "lookaround_round": looked_around_with_sgd}),
    Alternative({"triangular": triangle()}),
    Alternative({"triangular": triangle_by_scheduler}),
]
