"""The claims of the sections on half precision, workers, checkpointing and int8; all from what the notebook counted itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lsdl.claims import Claims
from lsdl.tables import Tables

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
    "half precision": _half,
    "all-reduce": _all_reduce,
    "workers": _workers,
    "checkpointing": _checkpointing,
    "int8": _int8,
}


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some of `SECTIONS` (default: all); those of a further section only if it left its numbers in `live`."""
    found = Claims()
    for section in sections or SECTIONS:
        for claim in SECTIONS[section](t, live):
            found.add(**{"exact": True} | claim)
    return found
