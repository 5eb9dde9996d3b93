"""The runs over seeds and grids behind assets/tables.json, on the seminar's own functions, and the margins of its claims.

A part is a generator of rows; its `s` holds the names of the seminar (`s.fit`, `s.BASE`, ...). The seminar reads the parts from
assets/tables.json; with `RETRAIN = True` it measures each where it is first used, 80 minutes of one thread in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import models
import numpy as np

from lsdl.claims import Claims
from lsdl.tables import Row, Tables, part

POSITIONS = ("none", "sinusoidal", "learned", "shaw", "rope", "alibi")
MLPS = ("relu", "gelu", "reglu", "geglu", "swiglu")
RATES, WARMUPS = (3e-4, 1e-3, 3e-3, 1e-2), (0.0, 0.1)


def validation_loss(s: Any, model: models.Transformer) -> float:
    """Mean loss in nats per token over pieces of the training length."""
    return models.losses_at(model, s.corpus.held_out(s.T, 4 * s.SETTINGS["texts"])).mean().item()


def compared(s: Any, variants: Mapping[str, models.Config], seeds: Sequence[int], **settings: Any) -> Iterator[Row]:
    """Validation loss and thinned training losses of every variant and seed; half a minute to a minute each."""
    for name, config in variants.items():
        for seed in seeds:
            model, losses = s.fit(config, seed=seed, **settings)
            yield {"name": name, "seed": seed, "loss": validation_loss(s, model), "curve": models.thinned(losses)}


# Section 3


@part(minutes=7)
def kv(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Fewer KV heads at equal width."""
    heads = s.BASE.heads
    yield from compared(s, {f"{G} KV heads": s.BASE._replace(kv_heads=G) for G in (heads, heads // 2, 1)}, seeds)


# Section 4


@part(minutes=15)
def positions(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Loss at the training length T, and by position in pieces of 4T tokens (`models.by_position`)."""
    for name in POSITIONS:
        for seed in seeds:
            model, _ = s.fit(s.BASE._replace(positions=name), seed=seed)
            row = {"name": name, "seed": seed, "loss": validation_loss(s, model)}
            ids = s.corpus.held_out(4 * s.T, s.SETTINGS["texts"])
            yield row | models.by_position(model, ids, s.SETTINGS["stride"])


# Further sections


@part(minutes=12)
def mlp(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MLPs of equal numbers of parameters."""
    yield from compared(s, {name: s.BASE._replace(mlp=name) for name in MLPS}, seeds)


@part(minutes=5)
def norm(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """LayerNorm against RMSNorm."""
    variants = {"LayerNorm": s.BASE._replace(norm="layer"), "RMSNorm": s.BASE._replace(norm="rms")}
    yield from compared(s, variants, seeds)


@part(minutes=21)
def depth(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Pre- and post-norm on the same grid of rates, with and without warm-up."""
    for name, config in s.NORM_PLACES.items():
        for lr in RATES:
            for warmup in WARMUPS:
                for seed in seeds:
                    model, losses = s.fit(config, seed=seed, steps=s.SETTINGS["deep_steps"], lr=lr, warmup=warmup)
                    row = {"name": name, "lr": lr, "warmup": warmup, "seed": seed, "loss": validation_loss(s, model)}
                    yield row | {"curve": models.thinned(losses)}


@part(minutes=13)
def experts(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Dense SwiGLU, experts with and without balancing, all experts at once; of sparse ones also the use of every expert."""
    for name, config in s.MIXTURES.items():
        for seed in seeds:
            model, losses = s.fit(config, seed=seed)
            row = {"name": name, "seed": seed, "loss": validation_loss(s, model), "curve": models.thinned(losses)}
            if config.mlp == "experts":
                row["use"] = models.expert_use(model, s.corpus.held_out(s.T, s.SETTINGS["texts"])[:, :-1])
            yield row


@part(minutes=3)
def init(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """A deep model with and without scaled initialisation."""
    deep = s.BASE._replace(layers=s.SETTINGS["deep"], dim=s.SETTINGS["deep_dim"])
    variants = {"plain": deep, "scaled": deep._replace(scaled=True)}
    yield from compared(s, variants, seeds, steps=s.SETTINGS["deep_steps"])


@part(minutes=5)
def documents(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Packed training with and without masks, tested on single documents of 24 tokens after the separator."""
    texts = s.corpus.held_out(24, 8 * s.SETTINGS["texts"])
    texts[:, 0] = s.corpus.separator
    for name, numbers in {"masked": s.numbered, "packed only": None}.items():
        for seed in seeds:
            pieces = s.corpus.packed(seed, s.SETTINGS["batch"], s.T)
            model, losses = s.fit(s.BASE, seed=seed, pieces=pieces, documents=numbers)
            loss = models.losses_at(model, texts).mean().item()
            yield {"name": name, "seed": seed, "loss": loss, "curve": models.thinned(losses)}


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: MutableMapping[str, Any], *sections: str) -> Claims:
    """The claims of some keys of `SECTIONS`; without any, of all that were asked for before, so that the last table has them.

    Args:
        live: what the notebook measured itself. "settings" are its SETTINGS; "memory" and "work" have exponents of growth,
            "cache bytes" the bytes of a cache by KV heads. The sections asked for are noted under "sections".
    """
    live.setdefault("sections", set()).update(sections)
    found = Claims()
    for section in sections or [name for name in SECTIONS if name in live["sections"]]:
        for claim in SECTIONS[section](t, live):
            if claim.get("exact") or (len(claim["values"]) > 1 and np.isfinite(claim["values"]).all()):
                found.add(**{"unit": "nats", "reason": REASONS.get(claim["name"], "")} | claim)
    return found


def main_claims(live: Mapping[str, Any]) -> list[str]:
    """The claims that the last table shows: those of MAIN whose sections were asked for; all others are folded."""
    return [name for section, names in MAIN.items() if section in live["sections"] for name in names]


def counted(name: str, margin: float, condition: str, paper: str = "", unit: str = "in the exponent") -> dict:
    """A claim about counted work."""
    return dict(name=name, values=margin, condition=condition, paper=paper, unit=unit, exact=True)


def better(t: Tables, part_name: str, variant: str, rival: str, tolerance: float = 0.0) -> np.ndarray:
    """By how much a variant's loss is lower than its rival's, one value per seed; up to `tolerance` higher counts as lower."""
    losses = [t.values(part_name, "loss", name=name) for name in (rival, variant)]
    return losses[0] - losses[1] + tolerance


def _memory(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    lengths, grows = live["settings"]["lengths"], live["memory"]
    ends = f"peak memory of one call, {lengths[0]} to {lengths[-1]} tokens"
    name = "the plain formula's memory grows faster than N^1.5"
    yield counted(name, grows["plain formula"] - 1.5, ends, "N^2 scores")
    paper = "Dao et al. 2022, theorem 1: O(N)"
    yield counted("tiles keep attention memory linear (under N^1.25)", 1.25 - grows["by tiles"], ends, paper)


def _cache(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    contexts, grows = live["settings"]["contexts"], live["work"]
    where = f"FLOPs per token, context {contexts[0]} to {contexts[-1]}"
    without, cached = (grows[name, "bmm"] for name in ("without cache", "with cache"))
    yield counted("without a cache attention costs about n^2 a token (over n^1.75)", without - 1.75, where)
    yield counted("with a cache attention costs about n a token (under n^1.25)", 1.25 - cached, where)
    name = "with a cache projections and MLP cost the same at any context (under n^0.1)"
    yield counted(name, 0.1 - grows["with cache", "mm"], where)


def _sharing(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    H, held = live["settings"]["heads"], live["cache bytes"]
    few, all_heads, where = f"{H // 2} KV heads", f"{H} KV heads", "validation loss, equal width"
    name, least = (
        "grouped queries cut the cache by the group factor",
        "8 heads, 8 against 2 KV heads: at least 99 % of 4",
    )
    yield counted(name, held[8] / held[2] - 0.99 * 4, least, "Ainslie et al. 2023, section 2.2", "times")
    name, paper = (
        "grouped queries (half the KV heads) cost at most 0.02 nats",
        "Ainslie et al. 2023: close to multi-head",
    )
    yield dict(name=name, values=better(t, "kv", few, all_heads, 0.02), condition=where, paper=paper)
    name, paper = "one KV head costs loss", "Shazeer 2019: minor degradation"
    yield dict(name=name, values=better(t, "kv", all_heads, "1 KV heads"), condition=where, paper=paper)


def beyond(t: Tables, name: str) -> np.ndarray:
    """Loss beyond T of the whole text minus that of the model's own window, one value per seed."""
    return t.values("positions", "same", name=name) - t.values("positions", "window", name=name)


def _positions(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    T = live["settings"]["length"]
    over, within = f"T = {T}, reading {4 * T} tokens", f"validation loss at T = {T}"
    press = "Press et al. 2022, figure 1: perplexity {}"
    for name, values, paper in (
        ("ALiBi extrapolates (at most 0.02 nats over its window)", 0.02 - beyond(t, "alibi"), press.format("stays")),
        ("RoPE degrades beyond the training length", beyond(t, "rope"), press.format("rises")),
        ("learned positions fail beyond the training length", beyond(t, "learned"), ""),
        ("sinusoidal positions degrade beyond the training length", beyond(t, "sinusoidal"), press.format("explodes")),
    ):
        yield dict(name=name, values=values, condition=over, paper=paper)
    for kind in ("shaw", "rope", "alibi"):
        paper = "Shaw et al. 2018, abstract: +1.3 and +0.3 BLEU over sinusoidal" if kind == "shaw" else ""
        gain = better(t, "positions", kind, "learned")
        yield dict(name=f"{kind} beats learned positions", values=gain, condition=within, paper=paper)


def _gated(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    for name, gated, plain, numbers in (
        ("SwiGLU beats a ReLU layer", "swiglu", "relu", "1.636 against 1.677"),
        ("GEGLU beats a GELU layer", "geglu", "gelu", "1.633 against 1.679"),
        ("ReGLU beats a ReLU layer", "reglu", "relu", "1.645 against 1.677"),
    ):
        paper = f"Shazeer 2020, table 1: {numbers}"
        where = "validation loss at equal parameters"
        yield dict(name=name, values=better(t, "mlp", gated, plain), condition=where, paper=paper)


def _norm(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    name, paper = "RMSNorm is at most 0.02 nats worse than LayerNorm", "Zhang and Sennrich 2019, abstract: comparable"
    gain = better(t, "norm", "RMSNorm", "LayerNorm", 0.02)
    yield dict(name=name, values=gain, condition="validation loss", paper=paper)


def _depth(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    setting, names = "{deep} layers, {deep_steps} steps".format_map(live["settings"]), ("pre-norm", "post-norm")

    def at(name: str, lr: float, warmup: float) -> np.ndarray:
        return t.values("depth", "loss", name=name, lr=lr, warmup=warmup)

    for warmup, how in ((0.1, "with warm-up"), (0.0, "without warm-up")):
        margin = at("post-norm", 3e-3, warmup) - at("pre-norm", 3e-3, warmup)
        name, paper = f"post-norm trains more slowly than pre-norm at rate 3e-3, {how}", "pre-norm converges faster"
        yield dict(name=name, values=margin, condition=setting, paper=f"Xiong et al. 2020: {paper}")
        best = {name: t.best("depth", "loss", "lr", lowest=True, name=name, warmup=warmup) for name in names}
        margin = at("post-norm", best["post-norm"], warmup) - at("pre-norm", best["pre-norm"], warmup)
        where = f"{setting}; rates {best['pre-norm']:g} (pre) and {best['post-norm']:g} (post)"
        yield dict(name=f"post-norm trains more slowly, each at its best rate, {how}", values=margin, condition=where)
    gain = {name: at(name, 3e-3, 0.0) - at(name, 3e-3, 0.1) for name in names}
    name, paper = "post-norm needs warm-up more than pre-norm", "Xiong et al. 2020: pre-norm trains without warm-up"
    where = f"gain by warm-up at rate 3e-3, {setting}"
    yield dict(name=name, values=gain["post-norm"] - gain["pre-norm"], condition=where, paper=paper)


def _experts(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    use = {name: [row["use"] for row in t.rows("experts", name=name)] for name in ("experts", "balanced")}
    even = {name: np.array([models.evenness(layers) for layers in each]) for name, each in use.items()}
    name, where = "the balancing loss keeps all experts in use", "evenness (entropy) of use on validation text"
    common = dict(condition=where, paper="Fedus et al. 2021, section 2.2", unit="of 1")
    yield dict(name=name, values=even["balanced"] - even["experts"], **common)
    least = np.array([min(map(min, layers)) for layers in use["balanced"]])
    name = "with it the least used expert gets over half of its even share"
    common = dict(condition="validation text, all layers", unit="of the choices")
    yield dict(name=name, values=least - 0.5 / models.EXPERTS, **common)
    name, gain = "experts beat the dense layer of the same active width", better(t, "experts", "balanced", "dense")
    where, paper = "validation loss; four times its MLP parameters", "Fedus et al. 2021, figure 1"
    yield dict(name=name, values=gain, condition=where, paper=paper)


def _tricks(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    setting = "{deep} layers, {deep_steps} steps".format_map(live["settings"])
    gain = better(t, "init", "scaled", "plain")
    yield dict(name="scaled initialisation lowers the loss", values=gain, condition=setting)
    name, where = "document masks lower the loss on single texts", "24 tokens after a separator"
    yield dict(name=name, values=better(t, "documents", "masked", "packed only"), condition=where)


SECTIONS: dict[str, Callable[[Tables, Mapping[str, Any]], Iterator[dict]]] = {
    "memory": _memory,
    "cache": _cache,
    "sharing": _sharing,
    "positions": _positions,
    "gated": _gated,
    "norm": _norm,
    "depth": _depth,
    "experts": _experts,
    "tricks": _tricks,
}
MAIN = {
    "memory": ("tiles keep attention memory linear (under N^1.25)",),
    "cache": (
        "without a cache attention costs about n^2 a token (over n^1.75)",
        "with a cache attention costs about n a token (under n^1.25)",
    ),
    "sharing": (
        "grouped queries cut the cache by the group factor",
        "grouped queries (half the KV heads) cost at most 0.02 nats",
    ),
    "positions": (
        "rope beats learned positions",
        "ALiBi extrapolates (at most 0.02 nats over its window)",
        "RoPE degrades beyond the training length",
        "learned positions fail beyond the training length",
    ),
    "depth": ("post-norm needs warm-up more than pre-norm",),
}
REASONS = {  # why a statement of the literature does not hold here
    "post-norm needs warm-up more than pre-norm": "At this rate eight post-norm layers are stuck with and without warm-up; pre-norm gains by it too.",
}
