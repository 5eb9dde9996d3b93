"""The rows behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. It takes its runs from runs.py, which reads or trains them. The seminar reads
the parts from assets/tables.json; with `RETRAIN = True` it measures each where it is first used, without the rows that need the homework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any

import further
import helpers
import numpy as np
import runs
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tv
from further import curves, optimisers, plane, samples, simplex  # noqa: F401
from runs import State
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import AveragedModel

from lsdl.claims import Claims
from lsdl.tables import Names, Row, Tables, gathered, part

runs.MAKE |= further.MAKE
runs.NEEDS |= further.NEEDS

SIZES = (3, 5, 10)  # of the deep ensembles in the tables
FIVE = 5  # nets in a deep ensemble of the claims
DRAWS = 200  # of nets without replacement, for each size
HEADS = {"own heads": "own", "shared head": "shared", "probe head": "probe"}
# sd of noise, sd of the blur in pixels, factor, degrees
STRENGTHS = {
    "noise": (0.03, 0.06, 0.1, 0.17, 0.25),
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),
    "contrast": (0.75, 0.5, 0.35, 0.25, 0.15),
    "rotation": (10, 20, 30, 45, 60),
}
Predicted = Mapping[str, Tensor]  # log probabilities by set: "val" and the tests


# What parts share


def pool(s: Any) -> dict[int, runs.Run]:
    """The nets from scratch that there are, by seed."""
    return {seed: runs.get(s, "pool", seed) for seed in runs.there(s, "pool", range(s.SETTINGS["pool"]))}


def disjoint(items: Iterable[Any], size: int) -> list[list[Any]]:
    """Groups of so many, in order; what is left over is in none."""
    items = list(items)
    return [items[i : i + size] for i in range(0, len(items) - size + 1, size)]


def mixed(s: Any, *members: Predicted, chosen: slice = slice(None)) -> dict[str, Tensor]:
    """The ensemble of all members (k, n, C), or of the chosen ones."""
    return {name: s.ensemble(torch.cat([log_p[name] for log_p in members])[chosen]) for name in members[0]}


def member(log_p: Predicted, k: int = 0) -> dict[str, Tensor]:
    """One of the members (k, n, C)."""
    return {name: value[k] for name, value in log_p.items()}


def judged(s: Any, log_p: Predicted) -> Row:
    """`helpers.judged` of one predictor, (n, C) by set."""
    return helpers.judged(log_p, s.task.labels, s.task.home, s.task.ood)


def vector(net: nn.Module, state: State) -> Tensor:
    """The parameters of a state, without its buffers, as one vector."""
    net.load_state_dict(state)
    return parameters_to_vector(net.parameters()).detach()


def updated(s: Any, net: nn.Module, seed: int = 0) -> nn.Module:
    """BatchNorm's statistics anew, on augmented batches."""
    return helpers.update(net, s.task.train, seed=seed, size=s.SETTINGS["batch_size"])


def accuracy(net: nn.Module, data: helpers.Labelled) -> float:
    """In percent."""
    return 100 - helpers.error(net, data)


def mean_numbers(rows: Sequence[Row]) -> Row:
    """The mean of each column."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def shipped(name: str, names: Mapping[str, Any]) -> dict[str, State]:
    """Networks that live cells start from, by name: of assets/, or with `retrain` the runs that they come from.

    Args:
        name: "nets", three from scratch; "start", a net where SWA leaves its run, at smoke "epoch 40", and its "momentum"; "tower", the pretrained one
            under a linear "probe"; "fine-tunings" of it, four.
        names: of the seminar.
    """
    if not names["retrain"]:
        found = helpers.load_states("tower" if name == "fine-tunings" else name)
        return {key: state for key, state in found.items() if key != "probe" or name == "tower"}
    s = Names(names)
    if name == "nets":
        return {str(seed): runs.get(s, "pool", seed).states["final"] for seed in range(3)}
    if name == "start":
        epoch, states = s.SETTINGS["average_from"], runs.get(s, "pool", 0).states
        return {"epoch 40": states[str(epoch)], "momentum": states[f"{epoch} momentum"]}
    if name == "tower":
        return {"probe": runs.get(s, "probe", 0).states["0"]}
    return {str(seed): runs.get(s, "ft-probe", seed).states["0"] for seed in range(min(4, s.SETTINGS["tuned"]))}


# Paths


def kinds(s: Any) -> list[str]:
    """The kinds of pairs."""
    return ["two seeds", *(f"part at {epoch}" for epoch in s.SETTINGS["split_epochs"]), *HEADS]


def ends_of(kind: str, pair: int) -> list[tuple[str, int]]:
    """The names and seeds of a pair's runs; pairs of a kind share no net, but for the parts a child's parent has its seed."""
    if kind.startswith("part at "):
        return [("pool", pair), (f"split-{kind.removeprefix('part at ')}", pair)]
    name = f"ft-{HEADS[kind]}" if kind in HEADS else "pool"
    return [(name, 2 * pair), (name, 2 * pair + 1)]


def pairs_of(s: Any, kind: str, seeds: Sequence[int]) -> list[int]:
    """The pairs for which both runs can be had."""
    limits = {"pool": s.SETTINGS["pool"]} | {f"ft-{head}": s.SETTINGS["tuned"] for head in HEADS.values()}
    return [
        pair
        for pair in seeds
        if all(seed < limits.get(name, 1 + pair) and runs.there(s, name, [seed]) for name, seed in ends_of(kind, pair))
    ]


def states_of(s: Any, kind: str, pair: int) -> list[State]:
    return [runs.get(s, name, seed).states["final" if name == "pool" else "0"] for name, seed in ends_of(kind, pair)]


@cache
def path(s: Any, kind: str, pair: int, update: bool) -> Tensor:
    """Training error in percent at the points of the grid, (points,): two parts want it."""
    net = runs.blank(s, tower=kind in HEADS)
    return s.errors_along(net, *states_of(s, kind, pair), points=s.SETTINGS["grid"], update=update)


def apart(net: nn.Module, a: State, b: State) -> Row:
    """Euclidean distance and cosine of two networks' parameters."""
    x, y = vector(net, a), vector(net, b)
    return {"distance": (x - y).norm().item(), "cosine": F.cosine_similarity(x, y, dim=0).item()}


@part(minutes=6)
def paths(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Barriers of training error on straight paths, in points: "line" over the line between the ends, "mean" over their mean.

    "middle": the error half way, in percent; "update": whether BatchNorm's statistics were computed anew at each point.
    """
    for kind in kinds(s):
        net = runs.blank(s, tower=kind in HEADS)
        for pair in pairs_of(s, kind, seeds):
            distance = apart(net, *states_of(s, kind, pair))["distance"]
            for update in (True, False) if kind in ("two seeds", "probe head") else (True,):
                errors = path(s, kind, pair, update)
                straight = torch.lerp(errors[0], errors[-1], torch.linspace(0, 1, len(errors)))
                row = {"kind": kind, "seed": pair, "update": update, "line": (errors - straight).max().item()}
                row |= {"mean": (errors.max() - (errors[0] + errors[-1]) / 2).item()}
                yield row | {"middle": errors[len(errors) // 2].item(), "distance": distance}


@part(minutes=5)
def profiles(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Training error in percent along each of the paths, with updated statistics."""
    for kind in kinds(s):
        for pair in pairs_of(s, kind, seeds):
            errors = path(s, kind, pair, True)
            for alpha, error in zip(torch.linspace(0, 1, len(errors)).tolist(), errors.tolist(), strict=True):
                yield {"kind": kind, "seed": pair, "alpha": alpha, "error": error}


# Ensembles


@cache
def curve(s: Any) -> tuple[Row, ...]:
    """The rows of `sizes`, which DEE needs, too."""
    nets, generator, rows = list(pool(s).values()), np.random.default_rng(0), []
    tests = (s.task.home, *s.task.ood)
    log_p = {name: torch.cat([net.log_p[name] for net in nets]) for name in tests}  # (nets, n, C)
    for size in range(1, len(nets) + 1):
        if math.comb(len(nets), size) <= DRAWS:
            draws = [list(draw) for draw in combinations(range(len(nets)), size)]
        else:
            draws = [generator.permutation(len(nets))[:size].tolist() for _ in range(DRAWS)]
        found = []
        for draw in draws:
            scores = [helpers.calibrated_nll(s.ensemble(log_p[name][draw]), s.task.labels[name]) for name in tests]
            found.append((scores[0], float(np.mean(scores[1:]))))
        row = {"seed": 0, "size": size, "draws": len(draws)}
        for suffix, values in zip(("", " OOD"), np.array(found).T, strict=True):
            low, high = np.quantile(values, (0.1, 0.9)).tolist()
            row |= {f"calibrated{suffix}": float(values.mean()), f"low{suffix}": low, f"high{suffix}": high}
        rows.append(row)
    return tuple(rows)


@part(minutes=5)
def sizes(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Calibrated NLL of deep ensembles by size: the mean over 200 draws of nets, or all, and their quantiles of 10 and 90 %. Draws share nets."""
    yield from curve(s)


def scored(s: Any, method: str, seed: int, budget: float, nets: int, passes: int, log_p: Predicted) -> Row:
    """A row of `scores`; with the homework's function it has "dee", too."""
    row = {"method": method, "seed": seed, "B": budget, "nets": nets, "passes": passes} | judged(s, log_p)
    if hasattr(s, "deep_ensemble_equivalent"):
        for suffix in ("", " OOD"):
            by_size = torch.tensor([found[f"calibrated{suffix}"] for found in curve(s)])
            row[f"dee{suffix}"] = float(s.deep_ensemble_equivalent(by_size, row[f"calibrated{suffix}"]))
    return row


def cut(s: Any) -> int:
    """How many of the first snapshots are left out: of five the first two, which are weak."""
    return max(0, s.SETTINGS["cycles"] - 3)


@part(minutes=8)
def scores(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """What each method reaches: "B", trained budget in nets; "nets", stored; "passes" at test time; the numbers of `helpers.judged`; DEE.

    The seed of a deep ensemble is its number; those of a size share no net.
    """
    settings, nets = s.SETTINGS, pool(s)
    for seed, net in nets.items():
        yield scored(s, "one net", seed, 1, 1, 1, member(net.log_p))
    for size in SIZES:
        for number, group in enumerate(disjoint(nets.values(), size)):
            log_p = mixed(s, *(net.log_p for net in group))
            yield scored(s, f"deep ensemble of {size}", number, size, size, size, log_p)
    cycles, first = settings["cycles"], cut(s)
    for seed in runs.there(s, "sse", seeds):
        own = [runs.get(s, "sse", seed).log_p]
        yield scored(s, "SSE", seed, 1, cycles - first, cycles - first, mixed(s, *own, chosen=slice(first, None)))
        yield scored(s, "SSE, all", seed, 1, cycles, cycles, mixed(s, *own))
        if runs.there(s, "sse-long", [seed]):
            own.append(runs.get(s, "sse-long", seed).log_p)
            for budget in (3, 5):
                if budget <= settings["long"]:
                    kept = slice(first, budget * cycles)
                    count = budget * cycles - first
                    yield scored(s, f"SSE at B {budget}", seed, budget, count, count, mixed(s, *own, chosen=kept))
    start, cycle = runs.steps_of(s, settings["average_from"]), runs.steps_of(s, settings["fge_cycle"])
    one = runs.steps_of(s, settings["epochs"])
    for seed in runs.there(s, "fge", seeds):
        log_p = runs.get(s, "fge", seed).log_p
        ends = [start + cycle // 2 + k * cycle for k in range(len(log_p["val"]))]
        within = sum(end <= one for end in ends)
        yield scored(s, "FGE at B 1", seed, 1, within, within, mixed(s, log_p, chosen=slice(within)))
        yield scored(s, "FGE, ten", seed, round(ends[-1] / one, 2), len(ends), len(ends), mixed(s, log_p))
    usual = f"swa-{settings['average_rates'][0]:g}"
    for seed in runs.there(s, usual, seeds):
        run = runs.get(s, usual, seed)
        yield scored(s, "SWA", seed, 1, 1, 1, member(run.log_p, runs.AVERAGES.index("SWA")))
        yield scored(s, "SWA's last iterate", seed, 1, 1, 1, member(run.log_p, runs.AVERAGES.index("last")))
        if hasattr(s, "swag_collect") and hasattr(s, "swag_sample"):
            count = settings["swag_samples"]
            log_p, _ = runs.members(s, swag(s, seed, count))
            yield scored(s, "SWAG", seed, 1, settings["swag_columns"] + 2, count, mixed(s, log_p))


def swag(s: Any, seed: int, count: int) -> Iterator[nn.Module]:
    """Networks drawn by SWAG from the epochs of a run at the usual constant rate, with statistics of their own; it is one module."""
    run, net, moments = runs.get(s, f"swa-{s.SETTINGS['average_rates'][0]:g}", seed), runs.blank(s), None
    epochs = [run.states[name] for name in sorted(filter(str.isdecimal, run.states), key=int)]
    for state in epochs:
        moments = s.swag_collect(moments, vector(net, state), s.SETTINGS["swag_columns"])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        z1, z2 = (torch.randn(n, generator=generator).to(s.device) for n in moments["deviations"].shape)
        vector_to_parameters(s.swag_sample(moments, z1, z2), net.parameters())
        yield updated(s, net, seed)


@part(minutes=1)
def gains(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Disjoint deep ensembles of five beside their "member"s' mean and the "best" of them on that test, for NLL and ECE, raw and home.

    Of "ID" and of the mean "OOD" over styles the best member is the one of the lowest mean.
    """
    task = s.task
    for number, group in enumerate(disjoint(pool(s).values(), FIVE)):
        log_p = {name: torch.cat([net.log_p[name] for net in group]) for name in ("val", *task.tests)}  # (5, n, C)
        everybody = [*(member(log_p, k) for k in range(FIVE)), mixed(s, log_p)]
        found = {
            name: [four(task, one, name) for one in everybody] for name in task.tests
        }  # of 5 members and the ensemble
        found["ID"] = found[task.home]
        found["OOD"] = [mean_numbers(rows) for rows in zip(*(found[name] for name in task.ood), strict=True)]
        for name, rows in found.items():
            row = {"seed": number, "set": name}
            for score in rows[0]:
                *members, whole = (of_one[score] for of_one in rows)
                row |= {f"{score} member": float(np.mean(members)), f"{score} best": min(members)}
                row[f"{score} ensemble"] = whole
            yield row


def four(task: helpers.Task, log_p: Predicted, test: str, shifted: Tensor | None = None) -> Row:
    """NLL and ECE of a predictor on a test, raw and at the home temperature; `shifted`: log p of the test's pictures if it is changed."""
    here, labels = log_p[test] if shifted is None else shifted, task.labels[test]
    cold = helpers.cooled(here, log_p["val"], task.labels["val"])
    row = {"raw": helpers.nll(here, labels).item(), "home": helpers.nll(cold, labels).item()}
    return row | {"ECE raw": helpers.ece(here, labels), "ECE home": helpers.ece(cold, labels)}


def changed(images: Tensor, corruption: str, strength: int) -> Tensor:
    """Pictures (n, 3, S, S) uint8 at a strength from 0, as they are, to 5."""
    if strength == 0:
        return images
    value = STRENGTHS[corruption][strength - 1]
    if corruption == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(strength))
        return (images + 255 * value * noise).round().clamp(0, 255).to(torch.uint8)
    if corruption == "blur":
        return tv.gaussian_blur(images, 2 * math.ceil(3 * value) + 1, value)
    if corruption == "contrast":
        return tv.adjust_contrast(images, value)
    return tv.rotate(images, value, tv.InterpolationMode.BILINEAR, fill=255)


@part(minutes=4)
def strengths(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """One net and disjoint deep ensembles of five ("what") on the home test's pictures, corrupted at strengths from 0 to 5 (Ovadia et al. 2019)."""
    nets, task = pool(s), s.task
    images, labels = task.tests[task.home]
    net = runs.blank(s)
    for corruption in STRENGTHS:
        for strength in range(6):
            shown = changed(images, corruption, strength)
            here = [
                helpers.log_probs(one, shown)
                for one in runs.loaded(net, (run.states["final"] for run in nets.values()))
            ]
            known = [member(run.log_p) for run in nets.values()]
            found = [("one net", k, log_p, at_home) for k, (log_p, at_home) in enumerate(zip(here, known, strict=True))]
            groups = zip(disjoint(here, FIVE), disjoint((run.log_p for run in nets.values()), FIVE), strict=True)
            for k, (group, home) in enumerate(groups):
                found.append((f"ensemble of {FIVE}", k, s.ensemble(torch.stack(group)), mixed(s, *home)))
            for what, seed, log_p, at_home in found:
                row = {"corruption": corruption, "strength": strength, "what": what, "seed": seed}
                row["accuracy"] = 100 * (log_p.argmax(1) == labels).float().mean().item()
                yield row | four(task, at_home, task.home, log_p)


@part(minutes=2)
def diversity(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Pairs of networks: "disagreement", the share of the home test's pictures that they name differently, in percent; "over error": that over the
    better one's error; Euclidean "distance" and "cosine" of their parameters. One pair per kind and seed."""
    settings, net = s.SETTINGS, runs.blank(s)
    images, labels = s.task.tests[s.task.home]

    def row(kind: str, seed: int, a: State, b: State) -> Row:
        said = [helpers.log_probs(one, images).argmax(1) for one in runs.loaded(net, (a, b))]
        error = min(100 * (answer != labels).float().mean().item() for answer in said)
        differ = 100 * (said[0] != said[1]).float().mean().item()
        found = {"kind": kind, "seed": seed, "disagreement": differ, "over error": differ / max(error, 1e-9)}
        return found | apart(net, a, b)

    for seed in runs.there(s, "pool", seeds):
        states = runs.get(s, "pool", seed).states
        yield row("one run's epochs", seed, states[str(settings["average_from"])], states["final"])
    if hasattr(s, "swag_collect") and hasattr(s, "swag_sample"):
        for seed in runs.there(s, f"swa-{settings['average_rates'][0]:g}", seeds):
            yield row("SWAG samples", seed, *[helpers.state_of(drawn) for drawn in swag(s, seed, 2)])
    for seed in runs.there(s, "sse", seeds):
        last = settings["cycles"] - 1
        yield row("SSE snapshots", seed, *(runs.get(s, "sse", seed).states[str(k)] for k in (last - 1, last)))
    for kind in (kind for kind in kinds(s) if kind not in HEADS):
        for pair in pairs_of(s, kind, seeds):
            yield row("other seeds" if kind == "two seeds" else kind, pair, *states_of(s, kind, pair))


# Averages


@part(minutes=1)
def averages(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Epochs at a constant rate from a net's own run: the last one, their average without update, with clean pictures, with augmented ones; beside
    the net's own cosine run of the same budget."""
    words = {"last": "last iterates"}
    for rate in s.SETTINGS["average_rates"]:
        for seed in runs.there(s, f"swa-{rate:g}", seeds):
            run, own = runs.get(s, f"swa-{rate:g}", seed), runs.get(s, "pool", seed)
            found = {
                words.get(name, name): (member(run.log_p, k), run.log["train error"][k])
                for k, name in enumerate(runs.AVERAGES)
            }
            found["cosine run"] = member(own.log_p), own.log["train error"][0]
            for what, (log_p, error) in found.items():
                row = judged(s, log_p)
                row = {name: row[name] for name in ("accuracy", "raw", "calibrated", "accuracy OOD", "calibrated OOD")}
                yield {"rate": rate, "what": what, "seed": seed} | row | {"train error": error}


@part(minutes=4)
def soups(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Fine-tunings over rates, epochs and recipes: one of them ("best": on validation), their ensemble, their soups.

    "no update" averages BatchNorm's statistics, too; so does the greedy soup, by the homework's function, whose choice is on validation.
    """
    task, val = s.task, s.task.labels["val"]
    for seed in runs.there(s, "soup", seeds):
        run, net = runs.get(s, "soup", seed), runs.blank(s, tower=True)
        count = len(run.log_p["val"])
        states = [run.states[str(k)] for k in range(count)]

        def row(what: str, size: int, log_p: Predicted, seed: int = seed) -> Row:
            found = judged(s, log_p) | {"val accuracy": 100 * (log_p["val"].argmax(1) == val).float().mean().item()}
            found = {
                name: found[name]
                for name in ("accuracy", "calibrated", "val accuracy", "accuracy OOD", "calibrated OOD")
            }
            return {"what": what, "seed": seed} | found | {"size": size}

        each = [row("mean ingredient", 1, member(run.log_p, k)) for k in range(count)]
        yield each[0] | mean_numbers([{k: v for k, v in one.items() if k not in ("what", "seed")} for one in each])
        yield max(each, key=lambda one: one["val accuracy"]) | {"what": "best ingredient"}  # the first of equals
        yield row("ensemble", count, mixed(s, run.log_p))
        yield row("uniform soup", count, helpers.all_log_probs(updated(s, s.average(net, states)), task))
        plain = AveragedModel(net, use_buffers=True)
        for one in runs.loaded(net, states):
            plain.update_parameters(one)
        yield row("uniform soup, no update", count, helpers.all_log_probs(plain.module, task))
        if hasattr(s, "greedy_soup"):

            def evaluate(state: State, net: nn.Module = net) -> float:
                net.load_state_dict(state)
                return accuracy(net, task.val)

            chosen, state = s.greedy_soup(states, evaluate)
            net.load_state_dict(state)
            yield row("greedy soup", len(chosen), helpers.all_log_probs(net, task))


# Transfer


@part(minutes=5)
def star(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SSE and StarSSE from a fine-tuning: the ensemble of all members, their soup, the mean accuracy of the members after the first.

    "barrier": training error half way from the first to the last member, over the mean of the two, in points; "val": calibrated NLL on validation.
    """
    for ratio in s.SETTINGS["ratios"]:
        for method, kind in (("SSE", "transfersse"), ("StarSSE", "starsse")):
            for seed in runs.there(s, f"{kind}-{ratio:g}", seeds):
                first, run = runs.get(s, "ft-probe", seed), runs.get(s, f"{kind}-{ratio:g}", seed)
                states = [first.states["0"], *(run.states[str(k)] for k in range(len(run.log_p["val"])))]
                log_p, net = mixed(s, first.log_p, run.log_p), runs.blank(s, tower=True)
                found = judged(s, log_p)
                row = {"method": method, "ratio": ratio, "seed": seed}
                row |= {name: found[name] for name in ("calibrated", "accuracy", "calibrated OOD", "accuracy OOD")}
                row["val"] = helpers.calibrated_nll(log_p["val"], s.task.labels["val"])
                soup = helpers.all_log_probs(updated(s, s.average(net, states)), s.task)
                row["soup calibrated"] = helpers.calibrated_nll(soup[s.task.home], s.task.labels[s.task.home])
                right = run.log_p[s.task.home].argmax(2) == s.task.labels[s.task.home]
                row["member accuracy"] = 100 * right.float().mean().item()
                errors = s.errors_along(net, states[0], states[-1], points=3)
                yield row | {"barrier": (errors[1] - (errors[0] + errors[2]) / 2).item()}


@part(minutes=1)
def local(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Deep ensembles of three fine-tunings: "local" from one tower, "global" from three; "gain": their calibrated NLL below the mean member's."""
    towers, groups = range(s.SETTINGS["towers"]), {"local": [], "global": []}
    for which in towers:
        name = f"ft-probe-{which}" if which else "ft-probe"
        there = runs.there(s, name, range(s.SETTINGS["tuned"]) if which == 0 else seeds)
        groups["local"] += disjoint([(name, seed) for seed in there], 3)
    for seed in seeds:
        three = [(f"ft-probe-{which}" if which else "ft-probe", seed) for which in towers]
        if len(three) == 3 and all(runs.there(s, name, [seed]) for name, seed in three):
            groups["global"].append(three)
    for what, found in groups.items():
        for number, group in enumerate(found):
            nets = [runs.get(s, name, seed).log_p for name, seed in group]
            alone, whole = mean_numbers([judged(s, member(log_p)) for log_p in nets]), judged(s, mixed(s, *nets))
            row = {"what": what, "seed": number}
            for suffix in ("", " OOD"):
                column = f"calibrated{suffix}"
                row |= {column: whole[column], f"gain{suffix}": alone[column] - whole[column]}
            yield row


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some sections of `SECTIONS` (default: all) for which there are numbers.

    Args:
        live: what the notebook measured itself; no claim needs it.
    """
    return gathered((claim for name in sections or SECTIONS for claim in SECTIONS[name](t)), REASONS, unit="nats")


def main(t: Tables) -> list[str]:
    """The claims that the summary shows, of those for which there are numbers; all others are folded."""
    told = claims(t, {})
    return [name for name in MAIN if name in told]


GAIN = "disjoint deep ensembles of 5; ID: noto's test, OOD: mean of five styles"
CALIBRATED = "noto's test, calibrated NLL"
TRANSFER = "noto's test, fine-tunings of one tower from the linear probe's head"


def under(t: Tables, part: str, column: str, of: str, more: Any, less: Any, **where: Any) -> Callable[[], np.ndarray]:
    """The margin by which `less` is under `more`, both in the column `of`, paired by seed."""
    return t.difference(part, column, {of: more} | where, {of: less} | where)


def gain(t: Tables, score: str, test: str, rival: str = "member") -> np.ndarray:
    """By how much the ensembles are under a rival of them."""
    return t.values("gains", f"{score} {rival}", set=test) - t.values("gains", f"{score} ensemble", set=test)


def best_ratio(t: Tables, method: str) -> Any:
    """The ratio of the lowest calibrated NLL on validation."""
    return t.best("star", "val", "ratio", lowest=True, method=method)


def until(t: Tables, kind: str) -> str:
    """The kind itself; where settings know no parting at that epoch, the last one before."""
    epochs = [int(row["kind"].split()[-1]) for row in t["paths"] if row["kind"].startswith("part at ")]
    before = [epoch for epoch in epochs if kind.startswith("part at ") and epoch <= int(kind.split()[-1])]
    return f"part at {max(before)}" if before else kind


def _paths(t: Tables) -> Iterator[dict]:
    line = "maximum of training error over the line between its ends, BatchNorm updated"
    for name, kind, sign, paper in (
        ("two scratch nets: barrier above 2 points", "two seeds", 1, "Frankle et al. 2020: unstable when above 2 %"),
        ("parted at epoch 20 of 60: barrier below 2 points", "part at 20", -1, "Frankle et al. 2020, section 3: ResNet-20 is stable from 3 % of training"),
        ("fine-tunings from the probe's head: barrier below 2 points", "probe head", -1, "Neyshabur et al. 2020, section 4: no barrier"),
        ("parted at the start: barrier above 2 points", "part at 0", 1, "Frankle et al. 2020, section 3"),
    ):  # fmt: skip
        yield dict(
            name=name,
            margin=lambda kind=kind, sign=sign: (
                sign * (t.values("paths", "line", kind=until(t, kind), update=True) - 2)
            ),
            condition=f"{line}; 2 points {'are taken off' if sign > 0 else 'minus it'}; disjoint pairs",
            paper=paper,
            unit="points",
        )
    yield dict(
        name="own heads: a higher barrier than the probe's head",
        margin=under(t, "paths", "line", "kind", "own heads", "probe head", update=True),
        condition=f"{line}; disjoint pairs of fine-tunings",
        unit="points",
    )


def _ensembles(t: Tables) -> Iterator[dict]:
    yield dict(
        name="a deep ensemble of 5 is below its best member",
        margin=lambda: gain(t, "home", "ID", "best"),
        condition=f"NLL at the home temperature, best member on the test set itself; {GAIN}",
        paper="Lakshminarayanan et al. 2017, figure 2: below one net",
    )
    for score, words in (("raw", "raw NLL"), ("home", "NLL at the home temperature")):
        yield dict(
            name=f"an ensemble gains more under shift: {words}",
            margin=lambda score=score: gain(t, score, "OOD") - gain(t, score, "ID"),
            condition=f"gain over the mean member, OOD minus ID; {GAIN}",
            paper="Ovadia et al. 2019, section 4: raw",
        )
    yield dict(
        name="under shift, too, a deep ensemble of 5 is below its best member",
        margin=lambda: gain(t, "home", "OOD", "best"),
        condition=f"NLL at the home temperature, best member on the tests themselves; {GAIN}",
    )
    for score, words in (("ECE raw", "raw"), ("ECE home", "at the home temperature")):
        yield dict(
            name=f"under shift an ensemble's ECE is below its members', {words}",
            margin=lambda score=score: gain(t, score, "OOD"),
            condition=f"ECE, 15 bins, mean member minus ensemble; {GAIN}",
            paper="Ovadia et al. 2019, figure 2" if words == "raw" else "",
            unit="",
        )


def _cycles(t: Tables) -> Iterator[dict]:
    for method, name, paper in (
        ("SSE", "SSE in one budget is above deep ensembles of 3", "Ashukha et al. 2020, figure 3"),
        ("FGE at B 1", "FGE in one budget is above deep ensembles of 3", "Ashukha et al. 2020, figure 3"),
        ("SWAG", "SWAG in one budget is above deep ensembles of 3", "Ashukha et al. 2020, figure 3"),
    ):
        yield dict(
            name=name,
            margin=under(t, "scores", "calibrated", "method", method, "deep ensemble of 3"),
            condition=f"{CALIBRATED}; each seed minus a disjoint ensemble",
            paper=paper,
        )
    yield dict(
        name="five times the budget helps SSE",
        margin=under(t, "scores", "calibrated", "method", "SSE", "SSE at B 5"),
        condition=f"{CALIBRATED}; 5 cycles minus 25, without the first two",
        paper="Huang et al. 2017, table 1: more budget, lower error",
    )
    for kind in ("SSE snapshots", "SWAG samples"):
        yield dict(
            name=f"other seeds disagree more than {kind}",
            margin=under(t, "diversity", "disagreement", "kind", "other seeds", kind),
            condition="share of noto's test pictures that two nets name differently",
            paper="Fort et al. 2019, figure 6",
            unit="points",
        )


def _averages(t: Tables) -> Iterator[dict]:
    usual, loud = 0.05, 0.1
    yield dict(
        name="SWA is below the cosine run of its budget",
        margin=under(t, "averages", "calibrated", "what", "cosine run", "SWA", rate=usual),
        condition=f"{CALIBRATED}; both from epoch 40 of the same run",
        paper="Izmailov et al. 2018, table 1: accuracy, VGG-16 on CIFAR-100 73.9 and 72.6",
    )
    for rate, words in ((loud, "at rate 0.1"), (usual, "at rate 0.05")):
        yield dict(
            name=f"without BatchNorm's update SWA loses accuracy, {words}",
            margin=t.difference(
                "averages", "accuracy", {"what": "SWA", "rate": rate}, {"what": "no update", "rate": rate}
            ),
            condition="noto's test, statistics of the last epoch against new ones of the average",
            paper="Izmailov et al. 2018, section 3.2",
            unit="points",
        )
    for rival, name in (
        ("last iterates", "SWA is below its last iterate"),
        ("clean update", "an update on clean pictures is worse than on augmented ones"),
    ):
        yield dict(
            name=name,
            margin=under(t, "averages", "calibrated", "what", rival, "SWA", rate=usual),
            condition=f"{CALIBRATED}; constant rate 0.05",
        )


def _soups(t: Tables) -> Iterator[dict]:
    yield dict(
        name="the uniform soup is below its mean ingredient",
        margin=under(t, "soups", "calibrated", "what", "mean ingredient", "uniform soup"),
        condition=f"{CALIBRATED}; 12 fine-tunings over rates, epochs and recipes",
        paper="Wortsman et al. 2022, table 3: accuracy, CLIP",
    )
    yield dict(
        name="the greedy soup beats the best ingredient",
        margin=t.difference("soups", "accuracy", {"what": "greedy soup"}, {"what": "best ingredient"}),
        condition="accuracy on noto's test; both chosen on 102 validation pictures, statistics averaged like weights",
        paper="Wortsman et al. 2022, table 3: CLIP ViT-B/32 81.0 and 80.4",
        unit="points",
    )


def _star(t: Tables) -> Iterator[dict]:
    yield dict(
        name="at its best ratio StarSSE beats SSE",
        margin=lambda: t.difference(
            "star",
            "calibrated",
            {"method": "SSE", "ratio": best_ratio(t, "SSE")},
            {"method": "StarSSE", "ratio": best_ratio(t, "StarSSE")},
        )(),
        condition=f"{TRANSFER}, calibrated NLL, SSE minus StarSSE, each at the ratio that validation prefers",
        paper="Sadrtdinov et al. 2023, section 6",
    )
    yield dict(
        name="at ratio 16 StarSSE beats SSE",
        margin=under(t, "star", "calibrated", "method", "SSE", "StarSSE", ratio=16),
        condition=f"{TRANSFER}, calibrated NLL, SSE minus StarSSE",
    )
    for method in ("SSE", "StarSSE"):
        for ratio in (1, 16):
            yield dict(
                name=f"{method}: ratio 4 beats {ratio}",
                margin=under(t, "star", "calibrated", "ratio", ratio, 4, method=method),
                condition=f"{TRANSFER}, calibrated NLL of 4 nets",
            )
    yield dict(
        name="local ensembles gain less than global ones",
        margin=t.difference("local", "gain", {"what": "global"}, {"what": "local"}),
        condition="gain of 3 fine-tunings over their mean member, noto's test, calibrated NLL; three towers minus one",
        paper="Sadrtdinov et al. 2023, section 4",
    )


def _samples(t: Tables) -> Iterator[dict]:
    yield dict(
        name="cSGLD: cold samples are below those of the posterior",
        margin=under(t, "samples", "calibrated", "method", "cSGLD, one", "cSGLD, cold"),
        condition=f"{CALIBRATED}; temperature 1 minus 1/N, nine samples each",
        paper="Wenzel et al. 2020, figure 1: the cold posterior effect",
    )

    def margin() -> np.ndarray:
        laplace = t.values("samples", "calibrated", method="KFAC-Laplace, exact")
        three = t.values("scores", "calibrated", method="deep ensemble of 3")
        return laplace[: len(three)] - three[: len(laplace)]

    yield dict(
        name="KFAC-Laplace is above deep ensembles of 3",
        margin=margin,
        condition=f"{CALIBRATED}; each net's last layer, exact form, minus a disjoint ensemble",
        paper="Ashukha et al. 2020, figure 3",
    )


def _optimisers(t: Tables) -> Iterator[dict]:
    for method, paper in (
        ("Lookahead", "Zhang et al. 2019, table 1: better accuracy"),
        ("Lookaround", "Zhang et al. 2023, table 1: better accuracy"),
    ):
        yield dict(
            name=f"{method} is below SGD",
            margin=under(t, "optimisers", "calibrated", "method", "SGD", method),
            condition=f"{CALIBRATED}; equal gradient steps",
            paper=paper,
        )


SECTIONS = {
    "paths": _paths,
    "ensembles": _ensembles,
    "cycles": _cycles,
    "averages": _averages,
    "soups": _soups,
    "star": _star,
    "samples": _samples,
    "optimisers": _optimisers,
}
MAIN = (  # the claims that the summary shows; all others are folded
    "two scratch nets: barrier above 2 points",
    "parted at epoch 20 of 60: barrier below 2 points",
    "fine-tunings from the probe's head: barrier below 2 points",
    "a deep ensemble of 5 is below its best member",
    "an ensemble gains more under shift: raw NLL",
    "an ensemble gains more under shift: NLL at the home temperature",
    "SSE in one budget is above deep ensembles of 3",
    "SWA is below the cosine run of its budget",
    "without BatchNorm's update SWA loses accuracy, at rate 0.1",
    "at its best ratio StarSSE beats SSE",
)
# why a statement of the literature does not hold here, or is not decided
REASONS: dict[str, str] = {
    "at its best ratio StarSSE beats SSE": "15 epochs do not converge, and SSE's members train on: each starts from the last one",
    "fine-tunings from the probe's head: barrier below 2 points": "a small tower that saw drawings, not ImageNet: fine-tuning moves it far",
    "the uniform soup is below its mean ingredient": "rates differ tenfold, and fine-tunings of this tower have barriers already at one rate",
}
