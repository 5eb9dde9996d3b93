"""The runs over seeds behind assets/tables.json, on the functions of the seminar, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The seminar reads the parts from assets/tables.json; with
`RETRAIN = True` it measures each where it is first used, of the networks those whose blocks it has itself. instructor/train.py has all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers
import nets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.claims import Claims
from lsdl.features import read_into
from lsdl.probes import colours, linear_probe
from lsdl.tables import Names, NoTable, Row, Tables, gathered, part

COLOURS = "colours alone"
_NETS: dict[tuple[str, int], tuple[nn.Module, Row]] = {}  # trained networks and their logs by run and seed
_FOLDER: Path | None = None  # of stored runs, see `stored`


# Runs


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        net: a key of `MAKE`; its learning rate is that of `like` where that is given.
        data: of `helpers.load_data`; `subset`: only SETTINGS["subset"] pictures of it.
        long: SETTINGS["long"] times as many pictures.
        micro: a batch is accumulated from micro-batches.
        mode: what DeiT's second head learns.
        lr: a fixed learning rate.
    """

    net: str
    data: str = "A"
    subset: bool = False
    long: bool = False
    augment: bool = True
    micro: bool = False
    mode: str = ""
    like: str = ""
    lr: float = 0.0


MAKE: dict[str, Callable[[Any, int], nn.Module]] = {  # the seminar's names and the number of classes -> a fresh network
    "ResNet": lambda s, classes: nets.resnet(classes),
    "BiT": lambda s, classes: nets.bit(s.StdConv2d, classes),
    "ConvNeXt": lambda s, classes: nets.convnext(s.ConvNeXtBlock, classes),
    "Swin": lambda s, classes: nets.swin(classes),
    "NAT": lambda s, classes: nets.NAT(s.overlapping, s.neighborhood_attention, classes),
    "ViT": lambda s, classes: nets.vit(classes),
    "Mixer": lambda s, classes: nets.Mixer(s.MixerBlock, classes),
    "DeiT": lambda s, classes: nets.deit(classes),
} | {f"rung {k}": lambda s, classes, k=k: nets.ladder(k, classes) for k in range(len(nets.RUNGS))}
METHODS = ("ResNet", "BiT", "ConvNeXt", "Swin", "NAT", "ViT", "Mixer")  # the rows of the table
NEEDS = {  # names of `s` by network
    "BiT": ("StdConv2d",),
    "ConvNeXt": ("ConvNeXtBlock",),
    "NAT": ("overlapping", "neighborhood_attention"),
    "Mixer": ("MixerBlock",),
    "DeiT": ("deit_loss",),
}
PAIR = ("ResNet", "ViT")
MODES = ("label", "soft", "hard")  # DeiT's second head learns
TEACHER = "long ResNet"
RUNS: dict[str, Run] = {name: Run(name) for name in METHODS}
RUNS |= {f"long {name}": Run(name, long=True) for name in PAIR}
RUNS |= {f"DeiT {mode}": Run("DeiT", mode=mode, like="ViT") for mode in MODES}
RUNS |= {f"plain {name}": Run(name, augment=False) for name in PAIR}
RUNS |= {f"all {name}": Run(name, data="B") for name in PAIR}
RUNS |= {f"subset {name}": Run(name, data="B", subset=True) for name in PAIR}
RUNS |= {f"micro {name}": Run(name, micro=True) for name in ("ResNet", "BiT")}
RUNS |= {f"rung {k}": Run(f"rung {k}", like="ConvNeXt") for k in range(len(nets.RUNGS))}


def stored(folder: Path | None) -> None:
    """Take networks from runs that lie in a folder, and of no other; None: train them where they are first used."""
    global _FOLDER
    _FOLDER = folder
    _NETS.clear()


def run_named(name: str) -> Run:
    """A run of `RUNS`, or of the choice of learning rates: "rate NET LR"."""
    if not name.startswith("rate "):
        return RUNS[name]
    _, net, lr = name.split()
    return Run(net, lr=float(lr))


def file_of(folder: Path, name: str, seed: int) -> Path:
    """Where a run's weights lie in a folder."""
    return folder / f"{name.replace(' ', '-')}-{seed}.safetensors"


def can(s: Any, name: str) -> bool:
    """Whether `s` has what the run's network and objective need."""
    run = run_named(name)
    return run.mode == "label" or all(hasattr(s, needed) for needed in NEEDS.get(run.net, ()))


def seeds_of(s: Any, name: str, seeds: Sequence[int]) -> list[int]:
    """The seeds for which the run can be had: stored, or all if it can be trained here."""
    if _FOLDER is not None:
        return [seed for seed in seeds if file_of(_FOLDER, name, seed).with_suffix(".json").is_file()]
    return list(seeds) if can(s, name) else []


def data_of(s: Any, run: Run) -> Mapping[str, helpers.Labelled]:
    """The pictures of a run, by split."""
    return helpers.load_data(s.SCALE, run.data, s.SETTINGS["subset"] if run.subset else 0)


def trained_here(names: Mapping[str, Any], name: str) -> nn.Module:
    """The network of a run with seed 0, trained by the notebook whose `globals()` are given, on the CPU."""
    return trained(Names(names), name, 0)[0].cpu()


def make(s: Any, name: str, seed: int) -> nn.Module:
    """The network of a run before it is trained."""
    torch.manual_seed(seed)
    run = run_named(name)
    classes = int(data_of(s, run)["train"][1].max()) + 1
    return nets.full(run.net, classes) if s.SCALE == "full" and run.net in nets.FULL else MAKE[run.net](s, classes)


def objective_of(s: Any, run: Run, seed: int) -> helpers.Objective:
    """Cross-entropy; of DeiT the mean over both heads with labels, or `deit_loss` with the one teacher."""
    if not run.mode:
        return helpers.cross_entropy
    if run.mode == "label":
        return lambda net, x, y: sum(F.cross_entropy(z, y) for z in net(x)) / 2
    teacher, settings = trained(s, TEACHER, 0)[0], s.SETTINGS

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            z = teacher(x)  # in eval mode, on the same view
        return s.deit_loss(*net(x), z, y, run.mode, settings["tau"], settings["lam"])

    return loss


def trained(
    s: Any, name: str, seed: int, progress: Callable[[int, float], None] | None = None
) -> tuple[nn.Module, Row]:
    """The network of a run, in eval mode, and its log with the scores: stored, or trained here once per seed."""
    if (
        (name, seed) not in _NETS
        and _FOLDER is not None
        and file_of(_FOLDER, name, seed).with_suffix(".json").is_file()
    ):
        net, file = make(s, name, seed), file_of(_FOLDER, name, seed)
        read_into(net, file)
        _NETS[name, seed] = net, json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["log"]
    if (name, seed) not in _NETS:
        run, settings = run_named(name), s.SETTINGS
        net, data = make(s, name, seed), data_of(s, run)
        lr = run.lr or settings["lr"][run.like or run.net]
        log = helpers.train(
            net,
            data["train"],
            settings["rate_pictures"] if run.lr else settings["pictures"] * (settings["long"] if run.long else 1),
            lr=lr,
            batch_size=settings["batch_size"],
            micro=settings["micro"] if run.micro else 0,
            seed=seed,
            augment=run.augment,
            objective=objective_of(s, run, seed),
            device=s.device,
            progress=progress,
        )
        _NETS[name, seed] = net, {"run": name, "seed": seed, "lr": lr} | log | helpers.scores(net, data)
    return _NETS[name, seed]


def scored(s: Any, name: str, seeds: Sequence[int], **row: Any) -> Iterator[Row]:
    """A row per seed: `row`, the learning rate, accuracies in percent by split, and the validation loss."""
    for seed in seeds_of(s, name, seeds):
        log = trained(s, name, seed)[1]
        yield row | {"seed": seed} | {column: log[column] for column in ("lr", "train", "val", "test", "val loss")}


# Parts


@part(minutes=21)
def rates(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Learning rates of each row on a seed that is not used again; the lowest validation loss is chosen."""
    seed = s.SETTINGS["rate_seed"]
    for method in METHODS:
        found, name = {}, "rate {} {:g}"
        while (lr := next_rate(found, s.SETTINGS["grid"])) is not None:
            run = name.format(method, lr)
            if not seeds_of(s, run, [seed]):
                break
            found[lr] = trained(s, run, seed)[1]["val loss"]
            yield from scored(s, run, [seed], method=method)


def tuned_here(t: Tables) -> list[str]:
    """The networks whose learning rate was chosen."""
    return list(dict.fromkeys(row["method"] for row in t["rates"]))


def next_rate(found: Mapping[float, float], grid: Sequence[float]) -> float | None:
    """The learning rate that is to be tried next, by the validation losses so far: the grid, then beyond an end that wins; None: done."""
    for lr in grid:
        if lr not in found:
            return lr
    best = min(found, key=found.__getitem__)
    if len(found) >= len(grid) + 2:  # two steps outside are enough
        return None
    return 2 * best if best == max(found) else best / 2 if best == min(found) else None


@part(minutes=25)
def rows(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Each architecture, and colours alone: parameters, FLOPs, accuracies."""
    train, test = (data_of(s, Run("ResNet"))[name] for name in ("train", "test"))
    right = linear_probe((colours(train[0]), train[1]), {"test": (colours(test[0]), test[1])})["test"]
    yield {"method": COLOURS, "seed": 0, "test": 100 * right.float().mean().item()}
    for method in METHODS:
        for row in scored(s, method, seeds, method=method):
            yield row | counts(s, trained(s, method, row["seed"])[0])


def counts(s: Any, net: nn.Module) -> Row:
    """Thousands of parameters, and millions of FLOPs for one picture."""
    x = torch.zeros(1, *data_of(s, Run("ResNet"))["train"][0].shape[1:])
    x = helpers.sized(net, x).to(next(net.parameters()).device)
    return {"thousand parameters": helpers.parameters(net) / 1e3, "MFLOPs": helpers.flops(net, x) / 1e6}


@part(minutes=15)
def longer(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """ResNet and ViT, three times as long."""
    for method in PAIR:
        yield from scored(s, f"long {method}", seeds, method=method)


@part(minutes=10)
def deit(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """A second token and head, trained on labels, the teacher's probabilities, or its decisions."""
    for mode in MODES:
        yield from scored(s, f"DeiT {mode}", seeds, mode=mode)


@part(minutes=5)
def plain(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """ResNet and ViT without augmentation."""
    for method in PAIR:
        yield from scored(s, f"plain {method}", seeds, method=method)


@part(minutes=10)
def axis(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """ResNet and ViT on few and on all training pictures of nine styles, as many seen."""
    for size in ("subset", "all"):
        for method in PAIR:
            count = len(data_of(s, RUNS[f"{size} {method}"])["train"][1])
            yield from scored(s, f"{size} {method}", seeds, method=method, pictures=count)


@part(minutes=8)
def micro(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """BatchNorm and GroupNorm with weights standardised, a batch accumulated from micro-batches."""
    for method in ("ResNet", "BiT"):
        yield from scored(s, f"micro {method}", seeds, method=method)


@part(minutes=25)
def ladder(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """From a ResNet to a ConvNeXt: counts and accuracy after each change."""
    for k, change in enumerate(nets.RUNGS):
        for row in scored(s, f"rung {k}", seeds, rung=k, change=change):
            yield row | counts(s, trained(s, f"rung {k}", row["seed"])[0])


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some sections of `SECTIONS` (default: all) for which there are numbers.

    Args:
        live: what the notebook counted itself; what is counted has no spread.
    """
    return gathered((claim for name in sections or SECTIONS for claim in SECTIONS[name](t, live)), REASONS)


def main(t: Tables, live: Mapping[str, Any]) -> list[str]:
    """The claims that the summary shows, of those for which there are numbers; all others are folded."""
    told = claims(t, live)
    return [name for name in MAIN if name in told]


def _minus(first: Callable[[], np.ndarray], second: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """The difference of two margins, for the seeds that both have."""

    def margin() -> np.ndarray:
        a, b = first(), second()
        n = min(len(a), len(b))
        return a[:n] - b[:n]

    return margin


ON_A = "343 test pictures of one style, seeds paired"
RESNET, VIT = {"method": "ResNet"}, {"method": "ViT"}


def _reach(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "exponents" in live:
        for name, wanted in (("global", 2), ("windows", 1), ("neighbours", 1)):
            yield dict(
                name=f"Attention, {name}: FLOPs grow with exponent {wanted}",
                values=0.01 - abs(live["exponents"][name] - wanted),
                condition="0.01 minus the distance of the fitted exponent in tokens; counted products of attention",
                paper="Liu et al. 2021, equations 1 and 2" if name == "windows" else "",
            )
    if "shift" in live:
        what = (
            "change of the output, over its std, when the picture moves by one token; two blocks, away from the border"
        )
        yield dict(name="NAT commutes with a shift by one token", values=1e-5 - live["shift"]["NAT"],
                   condition=f"1e-5 minus the {what}", paper="Hassani et al. 2023")  # fmt: skip
        yield dict(name="Swin does not commute with a shift by one token", values=live["shift"]["Swin"] - 0.01,
                   condition=f"{what}, minus 0.01")  # fmt: skip


def _rows(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    for more, less, paper in (
        ("ResNet", "ViT", "Dosovitskiy et al. 2021: on small data sets"),
        ("Swin", "ViT", "Swin-T 81.3, DeiT-S 79.8"),
        ("NAT", "Swin", "NAT-T 83.2, Swin-T 81.3"),
        ("ConvNeXt", "ResNet", "ConvNeXt-T 82.1, ResNet-50 78.8"),
    ):
        margin = t.difference("rows", "test", {"method": more}, {"method": less})
        yield dict(name=f"{more} beats {less}", margin=margin, condition=ON_A, paper=paper)


def _controls(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    yield dict(
        name="ResNet beats ViT, trained three times as long",
        margin=t.difference("longer", "test", RESNET, VIT),
        condition=ON_A,
    )
    yield dict(
        name="Augmentation gives ViT more than ResNet",
        margin=_minus(
            _minus(_test(t, "rows", VIT), _test(t, "plain", VIT)),
            _minus(_test(t, "rows", RESNET), _test(t, "plain", RESNET)),
        ),
        condition=ON_A,
        paper="Steiner et al. 2022",
    )
    few, many = ({"pictures": count} for count in _sizes(t))
    yield dict(
        name="More pictures close the gap of ViT",
        margin=_minus(
            t.difference("axis", "test", RESNET | few, VIT | few),
            t.difference("axis", "test", RESNET | many, VIT | many),
        ),
        condition="ResNet minus ViT on 522 training pictures, minus the same on 5,217; nine styles, 1,785 test pictures",
        paper="Dosovitskiy et al. 2021, figure 4",
    )


def _test(t: Tables, name: str, where: Row) -> Callable[[], np.ndarray]:
    return lambda: t.values(name, "test", **where)


def _sizes(t: Tables) -> tuple[int, int]:
    """Numbers of training pictures on the data axis; zeros without the part."""
    try:
        counts = {row["pictures"] for row in t["axis"]}
    except NoTable:
        counts = {0}
    return min(counts), max(counts)


def _deit(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    hard = {"mode": "hard"}
    for rival, words, paper in (
        ("label", "labels for the second head", "Touvron et al. 2021, table 3: DeiT-Ti 72.2 without a teacher, 74.3 hard, 74.5 with its token"),
        ("soft", "soft ones", "Touvron et al. 2021, table 3: DeiT-B 81.8 soft, 83.0 hard"),
    ):  # fmt: skip
        margin = t.difference("deit", "test", hard, {"mode": rival})
        yield dict(name=f"DeiT: hard teacher labels beat {words}", margin=margin, condition=ON_A, paper=paper)


def _bit(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    yield dict(
        name="BiT beats ResNet at micro-batches of four",
        margin=t.difference("micro", "test", {"method": "BiT"}, RESNET),
        condition=f"gradients accumulated to 64; {ON_A}",
        paper="Kolesnikov et al. 2020; Qiao et al. 2019",
    )


# Of what the notebook counted: half precision, several workers, memory

FEW = 1e-5  # relative error of gradients that are equal but for rounding
ACCUMULATION = ("With GroupNorm accumulation equals the large batch", "With BatchNorm accumulation is another gradient")


def _half(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "zeros" in live:
        zeros, what = live["zeros"], "gradients of a ViT that are exactly 0, loss times 1e-3, 32 pictures"
        paper = "Micikevicius et al. 2018, section 3.2"
        back = zeros["float16"] - zeros["float16, scaled"]
        yield dict(name="A scale of 2^16 brings back gradients that are 0 in float16", values=back,
                   unit="gradients", condition=what, paper=paper)  # fmt: skip
        yield dict(name="bfloat16 has no gradient that is 0", values=1 - zeros["bfloat16"], unit="gradients",
                   condition=f"1 minus the {what}", paper="Kalamkar et al. 2019")  # fmt: skip
    if "accumulation" in live:
        group, batch, what = *live["accumulation"], "relative error, 64 pictures in micro-batches of 16"
        yield dict(name=ACCUMULATION[0], values=FEW - group,
                   condition=f"1e-5 minus the {what}")  # fmt: skip
        yield dict(name=ACCUMULATION[1], values=batch - FEW,
                   condition=f"{what}, minus 1e-5")  # fmt: skip


def _all_reduce(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "sends" not in live:
        return
    N, ring, naive = live["N"], live["sends"]["ring"], list(live["sends"]["naive"].values())
    yield dict(name="Ring: no worker sends 2 N numbers", values=min(2 * N - sent for sent in ring.values()),
               unit="numbers", condition=f"2 N minus the busiest worker, 2 to 64 workers, N = {N}, by formula",
               paper="Patarasuk and Yuan 2009")  # fmt: skip
    grown = [more - less for less, more in zip(naive, naive[1:], strict=False)]
    yield dict(name="Naive: what the root sends grows with the workers", values=min(grown), unit="numbers",
               condition=f"smallest growth from one number of workers to the next, 2 to 64, N = {N}")  # fmt: skip


def _workers(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "facts" not in live:
        return
    facts = live["facts"]
    ddp, fsdp, count = facts["data_parallel"], facts["sharded"], facts["workers"]
    here = f"{count} processes, five steps"
    yield dict(name="DDP equals one process", values=1e-6 - ddp["difference from one process"],
               condition=f"1e-6 minus the largest difference of a weight, {here} of SGD")  # fmt: skip
    yield dict(name="DDP: the workers' weights are equal bit for bit", values=1 if ddp["workers equal"] else -1,
               condition=f"{here} of SGD")  # fmt: skip
    off = sum(abs(count * fsdp[name] - fsdp[f"all {name}"]) for name in ("parameters", "Adam numbers"))
    yield dict(name="FSDP2: a worker keeps its share of weights and Adam's numbers", values=1 - off, unit="numbers",
               condition=f"1 minus the distance from 1/{count} of them", paper="Zhao et al. 2023")  # fmt: skip
    yield dict(name="FSDP2 moves more bytes than DDP", values=fsdp["bytes sent"] - ddp["bytes sent"], unit="bytes",
               condition="sent by a worker in a step", paper="Rajbhandari et al. 2020: 1.5 times")  # fmt: skip
    yield dict(name="no_sync: one all-reduce for four micro-batches", values=2 - facts["without_sync"]["no_sync"],
               unit="calls", condition="2 minus the calls")  # fmt: skip


def _checkpointing(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "checkpoint" in live:
        plain, kept = (live["checkpoint"][name] for name in ("plain", "checkpointed"))
        what = "ViT of eight blocks, each checkpointed, 16 pictures"
        yield dict(name="Checkpointing keeps under a fifth of the saved bytes", values=plain["MB"] / 5 - kept["MB"],
                   unit="MB", condition=what, paper="Chen et al. 2016")  # fmt: skip
        more = 4 / 3 * plain["MFLOPs"] - kept["MFLOPs"]
        yield dict(name="Checkpointing costs at most a third more FLOPs", values=more, unit="MFLOPs", condition=what,
                   paper="Chen et al. 2016")  # fmt: skip


def _int8(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "int8" in live:
        whole, eight = (hits.double() for hits in live["int8"])
        yield dict(name="int8 loses under one point", values=1 + 100 * (eight - whole), exact=False, unit="points",
                   condition="1 plus the change per test picture, in points; ViT")  # fmt: skip


SECTIONS: dict[str, Callable[[Tables, Mapping[str, Any]], Iterable[dict]]] = {
    "reach": _reach,
    "rows": _rows,
    "controls": _controls,
    "deit": _deit,
    "bit": _bit,
    "half precision": _half,
    "all-reduce": _all_reduce,
    "workers": _workers,
    "checkpointing": _checkpointing,
    "int8": _int8,
}
MAIN = (  # the claims that the summary shows; all others are folded
    "ResNet beats ViT",
    "ResNet beats ViT, trained three times as long",
    "Swin beats ViT",
    "DeiT: hard teacher labels beat labels for the second head",
    "Augmentation gives ViT more than ResNet",
    "NAT commutes with a shift by one token",
    "A scale of 2^16 brings back gradients that are 0 in float16",
    "With BatchNorm accumulation is another gradient",
    "Ring: no worker sends 2 N numbers",
    "DDP equals one process",
)
REASONS: dict[str, str] = {  # why a statement of the literature does not hold here
    "Swin beats ViT": "Swin is slow, not overfitted: its training accuracy is the lowest of all rows at 25,600 pictures seen",
    "ConvNeXt beats ResNet": "the paper's gain is under four points and comes with 300 epochs; here 42, without a recipe of its own",
}
SHIFT = ("NAT commutes with a shift by one token", "Swin does not commute with a shift by one token")
