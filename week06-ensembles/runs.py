"""Week 06: the trainings behind the tables, on the seminar's functions: what each starts from, what it keeps.

A run has a name and a seed: `get(s, "pool", 3)`, where `s` holds the names of the seminar. It is read from a folder of stored runs (`stored`), or
trained where it is first used. Runs that need a solution of the homework are in instructor/train.py, which adds them to MAKE.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import helpers
import torch
from torch import Tensor, nn

from lsdl.data.emoji import load_emoji

State = dict[str, Tensor]


@dataclass
class Run:
    """What a training leaves.

    Attributes:
        log_p: log probabilities (members, n, C) by set: "val" and the names of the task's tests.
        states: networks and whatever else is kept, by name.
        log: numbers; "members" names the members where they differ in kind.
    """

    log_p: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)


FEW = ("split", "soup", "starsse", "transfersse", "sse-long", "csgld", "bezier", "simplex", "lookahead", "lookaround")


class Missing(LookupError):
    """A stored run is asked for that is not there."""


_RUNS: dict[tuple[str, int], Run] = {}
_FOLDER: Path | None = None


def stored(folder: Path | None) -> None:
    """Take runs from a folder, and from nowhere else; None: train them where they are first used."""
    global _FOLDER
    _FOLDER = folder
    _RUNS.clear()


def get(s: Any, name: str, seed: int) -> Run:
    """A run: stored, or trained once here.

    Raises:
        Missing: it is not in the folder.
    """
    if (name, seed) not in _RUNS:
        _RUNS[name, seed] = make(s, name, seed) if _FOLDER is None else read(_FOLDER, name, seed)
    return _RUNS[name, seed]


def make(s: Any, name: str, seed: int) -> Run:
    """Train a run; `get` gives what it starts from."""
    kind, *more = name.split("-")
    return MAKE[kind](s, seed, *more)


def write(run: Run, folder: Path, name: str, seed: int) -> Path:
    """Write NAME-SEED.safetensors; its log is the caller's."""
    file = folder / f"{name}-{seed}.safetensors"
    helpers.save_states({"log_p": run.log_p} | {f"state/{key}": state for key, state in run.states.items()}, file)
    return file


def read(folder: Path, name: str, seed: int) -> Run:
    """What `write` wrote, with the log beside it.

    Raises:
        Missing: there is no log, so the run is not whole.
    """
    log = folder / f"{name}-{seed}.json"
    if not log.is_file():
        raise Missing(f"{log.stem} is not in {folder.name}")
    states = helpers.load_states(log.with_suffix(".safetensors"))
    log_p = states.pop("log_p", {})
    states = {key.removeprefix("state/"): state for key, state in states.items()}
    return Run(log_p, states, json.loads(log.read_text(encoding="utf-8"))["log"])


def there(s: Any, name: str, seeds: Iterable[int]) -> list[int]:
    """The seeds for which a run can be had: stored, or all where the names that it needs are there; of FEW the first ones."""
    if name.startswith(FEW):
        seeds = [seed for seed in seeds if seed < s.SETTINGS["few_seeds"]]
    if _FOLDER is not None:
        return [seed for seed in seeds if (_FOLDER / f"{name}-{seed}.json").is_file()]
    kind = name.split("-")[0]
    return list(seeds) if kind in MAKE and all(hasattr(s, need) for need in NEEDS.get(kind, ())) else []


# What many of them do


def fresh(s: Any, seed: int) -> nn.Module:
    """A network from scratch."""
    return helpers.make_net(s.SCALE, len(s.task.classes), seed).to(s.device)


def blank(s: Any, tower: bool = False, classes: int = 0) -> nn.Module:
    """A network to load a state into."""
    return helpers.make_net(s.SCALE, classes or len(s.task.classes), 0, tower=tower).to(s.device)


def steps_of(s: Any, epochs: float) -> int:
    """Steps in so many epochs."""
    return round(epochs * helpers.steps_per_epoch(s.task.train, s.SETTINGS["batch_size"]))


def members(s: Any, nets: Iterable[nn.Module]) -> tuple[dict[str, Tensor], list[float]]:
    """Log probabilities (members, n, C) by set, and the training errors in percent."""
    found, errors = [], []
    for net in nets:
        found.append(helpers.all_log_probs(net, s.task))
        errors.append(helpers.error(net, s.task.train))
    return {name: torch.stack([log_p[name] for log_p in found]) for name in found[0]}, errors


def loaded(net: nn.Module, states: Iterable[State]) -> Iterable[nn.Module]:
    """One network with each of the states in turn."""
    for state in states:
        net.load_state_dict(state)
        yield net.eval()


def kept(s: Any, net: nn.Module, states: Sequence[State], **log: Any) -> Run:
    """The run of a list of states, which are named "0", "1", ..."""
    log_p, errors = members(s, loaded(net, states))
    return Run(log_p, {str(k): state for k, state in enumerate(states)}, {"train error": errors} | log)


# From scratch


def pool(s: Any, seed: int) -> Run:
    """One net: SGD, a cosine. The first seeds keep their states and momentum on the way, as "5" and "5 momentum"."""
    settings, net, states = s.SETTINGS, fresh(s, seed), {}
    wanted = {*settings["split_epochs"], settings["average_from"]} if seed < settings["seeds"] else set()
    ends = {steps_of(s, epoch): epoch for epoch in wanted if epoch < settings["epochs"]}

    def keep(done: int, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if done in ends:
            states[str(ends[done])] = helpers.state_of(net)
            states[f"{ends[done]} momentum"] = helpers.momentum_of(net, optimizer)

    optimizer = helpers.sgd(net)
    keep(0, net, optimizer)
    rates = helpers.cosine(steps_of(s, settings["epochs"]), settings["rate"])
    losses = helpers.train(
        net, s.task.train, rates, seed=seed, optimizer=optimizer, size=settings["batch_size"], on_step=keep
    )
    run = kept(
        s, net, [helpers.state_of(net)], loss=losses
    )  # "0" of a run's states is its first net, here epoch 0: so "final"
    return Run(run.log_p, states | {"final": run.states["0"]}, run.log)


def split(s: Any, seed: int, epoch: str) -> Run:
    """A child that leaves its parent's run after some epochs: another order and augmentation, the same schedule. Its twin is the parent."""
    settings, parent, net = s.SETTINGS, get(s, "pool", seed), blank(s)
    net.load_state_dict(parent.states[epoch])
    start = steps_of(s, int(epoch))
    rates = helpers.cosine(steps_of(s, settings["epochs"]), settings["rate"])[start:]
    helpers.train(net, s.task.train, rates, seed=1000 + seed, momentum=parent.states[f"{epoch} momentum"], start=start,
                  size=settings["batch_size"])  # fmt: skip
    return kept(s, net, [helpers.state_of(net)])


def sse(s: Any, seed: int, long: str = "") -> Run:
    """A snapshot ensemble at B 1; `long`: goes on with cycles of that length to the long budget, and keeps those that are new."""
    settings, net = s.SETTINGS, fresh(s, seed)
    steps, cycles, start, momentum = steps_of(s, settings["epochs"]), settings["cycles"], 0, None
    if long:
        first = get(s, "sse", seed)
        net.load_state_dict(first.states[str(len(first.log_p["val"]) - 1)])
        steps, cycles, start, momentum = (
            steps * settings["long"],
            cycles * settings["long"],
            steps,
            first.states["momentum"],
        )
    rates = s.sse_rates(steps, cycles, settings["rate"])
    length = -(-steps // cycles)
    ends = [*range(length, steps, length), steps]
    optimizer = helpers.sgd(net)
    states = s.snapshots(net, rates[start:], ends, seed, optimizer=optimizer, start=start, momentum=momentum)
    last = {} if long else {"momentum": helpers.momentum_of(net, optimizer)}
    run = kept(s, net, states)
    return Run(run.log_p, run.states | last, run.log)


def goes_on(s: Any, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """A net of the pool at the epoch from which averages are taken, and what `train` needs to go on from there."""
    epoch, parent, net = s.SETTINGS["average_from"], get(s, "pool", seed), blank(s)
    net.load_state_dict(parent.states[str(epoch)])
    return net, {"momentum": parent.states[f"{epoch} momentum"], "start": steps_of(s, epoch)}


def fge(s: Any, seed: int) -> Run:
    """Fast geometric ensembling from a net's own run, a snapshot at each lowest rate; those within B 1 come first."""
    settings, (net, start) = s.SETTINGS, goes_on(s, seed)
    steps, cycle = steps_of(s, settings["fge_epochs"]), steps_of(s, settings["fge_cycle"])
    rates = s.fge_rates(steps, cycle, settings["fge_high"], settings["fge_low"])
    ends = [start["start"] + end for end in range(cycle // 2, steps + 1, cycle)]
    return kept(s, net, s.snapshots(net, rates, ends, seed, **start))


AVERAGES = ("last", "no update", "clean update", "SWA")


def swa(s: Any, seed: int, rate: str) -> Run:
    """A constant rate until B 1 is spent; the net after every epoch is kept as "0", "1", ..., and four members are judged: AVERAGES."""
    settings, (net, start) = s.SETTINGS, goes_on(s, seed)
    ends = [steps_of(s, epoch + 1) for epoch in range(settings["average_from"], settings["epochs"])]
    rates = torch.full((ends[-1] - start["start"],), float(rate), dtype=torch.float64)
    states = s.snapshots(net, rates, ends, seed, **start)
    mean = s.average(net, states)
    data, size = s.task.train, settings["batch_size"]
    no_update = helpers.state_of(mean)
    clean = helpers.state_of(helpers.update(mean, data, seed=seed, size=size, augmented=False))
    augmented = helpers.state_of(helpers.update(mean, data, seed=seed, size=size))
    log_p, errors = members(s, loaded(net, [states[-1], no_update, clean, augmented]))
    run = Run(log_p, {str(k): state for k, state in enumerate(states)} | {"SWA": augmented})
    run.log = {"train error": errors, "members": AVERAGES}
    return run


def csgld(s: Any, seed: int, temperature: str) -> Run:
    """Cyclical SGLD in B 1 without momentum, noise at the end of a cycle: temperature "one" is the posterior, "cold" 1 / N (Zhang et al. 2020)."""
    settings, net, n = s.SETTINGS, fresh(s, seed), len(s.task.train[0])
    steps, generator = steps_of(s, settings["epochs"]), torch.Generator().manual_seed(seed)
    length, heat = -(-steps // settings["sgld_cycles"]), {"one": 1.0, "cold": 1 / n}[temperature]
    noisy, epoch, states = steps_of(s, settings["sgld_noisy"]), steps_of(s, 1), []

    def shake(done: int, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        place = (done - 1) % length + 1  # steps of the cycle that are done
        if place > length - noisy:
            spread = (2 * optimizer.param_groups[0]["lr"] * heat / n) ** 0.5
            with torch.no_grad():
                for p in net.parameters():
                    p += spread * torch.randn(p.shape, generator=generator).to(p.device)
            if (length - place) % epoch == 0:
                states.append(helpers.state_of(net))

    rates = s.sse_rates(steps, settings["sgld_cycles"], settings["sgld_rate"])
    helpers.train(net, s.task.train, rates, seed=seed, optimizer=helpers.sgd(net, momentum=0.0),
                  size=settings["batch_size"], on_step=shake)  # fmt: skip
    return kept(s, net, states)


# Transfer


def names_task() -> helpers.Labelled:
    """Every visible picture with its thing's name as the class: 1,389 of them."""
    data = load_emoji(32).select(held_out=False)
    return data.images, data.concept.unique(return_inverse=True)[1]


def tower(s: Any, seed: int) -> Run:
    """The network that transfer starts from, with all its layers under "tower"; at full scale it is a file."""
    if s.SCALE == "full":
        return Run(states={"tower": helpers.state_of(helpers.imagenet_tower(len(s.task.classes)))})
    settings, data = s.SETTINGS, names_task()
    net = helpers.make_net(s.SCALE, int(data[1].max()) + 1, 500 + seed, tower=True).to(s.device)
    rates = helpers.cosine(settings["pretrain_steps"], settings["pretrain_rate"])
    optimizer = torch.optim.AdamW(net.parameters(), settings["pretrain_rate"], weight_decay=0.05)
    size = settings["pretrain_batch"]
    losses = helpers.train(net, data, rates, seed=500 + seed, optimizer=optimizer, size=size)
    return Run(states={"tower": helpers.state_of(net)}, log={"loss": losses[-5:], "classes": int(data[1].max()) + 1})


def probe(s: Any, seed: int) -> Run:
    """The tower under a linear probe; the seed is the tower's."""
    state, net = get(s, "tower", seed).states["tower"], fresh_head(s, seed)
    net.load_state_dict(state | {name: value for name, value in net.state_dict().items() if name.startswith("fc.")})
    return kept(s, net, [helpers.state_of(helpers.fit_head(net, s.task.train))])


def fresh_head(s: Any, seed: int) -> nn.Module:
    """A network of the tower's kind whose head the seed decides."""
    return helpers.make_net(s.SCALE, len(s.task.classes), seed, tower=True).to(s.device)


def tune(s: Any, net: nn.Module, seed: int, *, rate: float = 0.0, epochs: int = 0, **more: Any) -> State:
    """Fine-tune a network: SGD at rest, one cosine."""
    settings = s.SETTINGS
    rates = helpers.cosine(steps_of(s, epochs or settings["tune_epochs"]), rate or settings["tune_rate"])
    helpers.train(net, s.task.train, rates, seed=seed, size=settings["batch_size"], **more)
    return helpers.state_of(net)


def start_of(s: Any, head: str, seed: int, which: int = 0) -> nn.Module:
    """The tower `which` under a head: "own" of each seed, "shared" by all, or the linear "probe"."""
    net, state = fresh_head(s, 700 + (seed if head == "own" else 0)), dict(get(s, "probe", which).states["0"])
    if head != "probe":
        state |= {name: value for name, value in helpers.state_of(net).items() if name.startswith("fc.")}
    net.load_state_dict(state)
    return net


def ft(s: Any, seed: int, head: str, which: str = "0") -> Run:
    """A fine-tuning of a tower under a head; seeds differ in order and augmentation."""
    net = start_of(s, head, seed, int(which))
    return kept(s, net, [tune(s, net, 2000 + 100 * int(which) + seed)])


def soup(s: Any, seed: int) -> Run:
    """Fine-tunings from the linear probe over rates, epochs and recipes."""
    settings, states, grid = s.SETTINGS, [], []
    for recipes in (helpers.RECIPES, ("mild",)):
        for epochs in settings["soup_epochs"]:
            for rate in settings["soup_rates"]:
                net, order = start_of(s, "probe", 0), 4000 + 100 * seed + len(states)
                states.append(tune(s, net, order, rate=rate, epochs=epochs, recipes=recipes))
                grid.append([rate, epochs, len(recipes)])
    return kept(s, blank(s, tower=True), states, grid=grid)


def cycles(s: Any, seed: int, ratio: str, *, star: bool) -> Run:
    """The members after the first of SSE or StarSSE in transfer: each a fine-tuning at `ratio` times the rate, from the last member or always from the first."""
    first, net, states = get(s, "ft-probe", seed).states["0"], blank(s, tower=True), []
    for k in range(1, s.SETTINGS["members"]):
        net.load_state_dict(first if star or not states else states[-1])
        states.append(tune(s, net, 3000 + 10 * seed + k, rate=float(ratio) * s.SETTINGS["tune_rate"]))
    return kept(s, net, states)


MAKE: dict[str, Callable[..., Run]] = {
    "pool": pool,
    "split": split,
    "sse": sse,
    "fge": fge,
    "swa": swa,
    "csgld": csgld,
    "tower": tower,
    "probe": probe,
    "ft": ft,
    "soup": soup,
    "starsse": partial(cycles, star=True),
    "transfersse": partial(cycles, star=False),
}
# names that a kind needs and that the seminar's first cells do not have; further.py has more, of the homework, too
NEEDS: dict[str, tuple[str, ...]] = {
    "sse": ("sse_rates", "snapshots"),
    "fge": ("fge_rates", "snapshots"),
    "swa": ("snapshots", "average"),
    "csgld": ("sse_rates",),
}
