"""The runs over seeds and grids behind assets/tables.json, on the seminar's own functions, and the margins of its claims.

A part is a generator of rows; its `s` holds the names of the seminar (`s.SimCLR`, `s.unlabelled`, ...). The seminar reads the parts
from assets/tables.json and its checkpoints from assets/; with `RETRAIN = True` it measures and trains each where it is first used,
ten hours of one thread in all.
"""

from __future__ import annotations

import copy
import json
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import helpers
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.claims import Claims
from lsdl.data.few_labels import load_task
from lsdl.features import feature_dim, make_backbone, view
from lsdl.memory import peak_bytes
from lsdl.probes import colours, pixels
from lsdl.tables import Names, NoTable, Row, Tables, part
from lsdl.torch_tools import training_autocast

COLOURS, PIXELS, RANDOM, SCRATCH = "colour histogram", "raw pixels", "random ResNet", "supervised from scratch"
# method -> its class, the seminar's (BYOL's and MoCo v2's are the homework's), and its file in assets/
CLASSES = {"SimCLR": "SimCLR", "MoCo v1": "MoCo", "MoCo v2": "MoCoV2", "BYOL": "BYOL", "SimSiam": "SimSiam"}
CLASSES |= {"DeepCluster": "DeepCluster", "SwAV": "SwAV"}
FILES = {method: method.lower().replace(" ", "-").replace("moco-v2", "moco") for method in CLASSES}
_PRETRAINED: dict[tuple[str, int], tuple[nn.Module, dict]] = {}  # backbone and log by method and seed
_RUNS: dict[tuple, Row] = {}  # short trainings that several parts share


# Checkpoints


class Checkpoints(Mapping[str, nn.Module]):
    """Pretrained backbones by method, in eval mode: the committed ones, or with `retrain` trained here where they are first used.

    Args:
        seminar: the notebook's names; a method whose class is not among them has its committed checkpoint (at full scale: none).
        retrain: train instead of loading.
    """

    def __init__(self, seminar: Mapping[str, Any], retrain: bool) -> None:
        self._s, self._retrain = Names(seminar), retrain

    def __iter__(self) -> Iterator[str]:
        return (method for method in CLASSES if self._s.SCALE == "smoke" or hasattr(self._s, CLASSES[method]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, method: object) -> bool:
        return method in list(iter(self))

    def __getitem__(self, method: str) -> nn.Module:
        return copy.deepcopy(self._find(method)[0])

    def log(self, method: str) -> dict[str, Any]:
        """The method's log: "log" of `helpers.pretrain`, and for some methods "notes"."""
        return self._find(method)[1]

    def _find(self, method: str) -> tuple[nn.Module, dict]:
        if self._retrain and hasattr(self._s, CLASSES[method]):
            return pretrained(self._s, method, 0)
        log = json.loads((helpers.ASSETS / f"{FILES[method]}.json").read_text(encoding="utf-8"))
        return helpers.load_backbone(FILES[method]).to(self._s.device), log


def pretrained(s: Any, method: str, seed: int) -> tuple[nn.Module, dict]:
    """A backbone trained at full length by the method's class, in eval mode, with its log; each seed once."""
    if (method, seed) not in _PRETRAINED:
        learner = seeded(seed, getattr(s, CLASSES[method]))
        settings = {"batch_size": s.SETTINGS["batch_size"], **learner.recipe}
        steps = steps_of(s, s.SETTINGS["epochs"], settings["batch_size"])
        log = helpers.pretrain(learner, s.unlabelled, steps, probe=s.score, **settings, **common(s, seed))
        notes = {"notes": learner.notes} if hasattr(learner, "notes") else {}
        _PRETRAINED[method, seed] = learner.backbone.eval(), {"steps": steps, **settings, "log": log} | notes
    return _PRETRAINED[method, seed]


def seeded(seed: int, make: Callable[[], nn.Module]) -> Any:
    """A new learner or network whose weights depend on the seed only."""
    torch.manual_seed(seed)
    return make()


def steps_of(s: Any, epochs: float, batch_size: int) -> int:
    """Optimiser steps that show every unlabelled picture about `epochs` times."""
    return max(1, round(epochs * len(s.unlabelled) / batch_size))


def common(s: Any, seed: int) -> dict[str, Any]:
    """What every training gets: batches of one style."""
    return {"seed": seed, "device": s.device, "groups": s.styles}


# Short trainings


def mean_scores(s: Any, source: helpers.Source) -> Row:
    """Accuracies of frozen features in percent, means over the choices of labels."""
    return helpers.mean_row(helpers.evaluate(source, s.SCALE, range(s.SETTINGS["label_seeds"])))


def run(s: Any, learner: helpers.Learner, seed: int, *, epochs: float | None = None, **settings: Any) -> Row:
    """One short training: last loss, spread and rank, steps, and accuracies. One or two CPU minutes."""
    size = settings.get("batch_size", s.SETTINGS["batch_size"])
    settings = {"batch_size": size, "lr": 4e-3 * (size / 256) ** 0.5, **learner.recipe} | settings
    steps = steps_of(s, epochs or s.SETTINGS["sweep_epochs"], settings["batch_size"])
    log = helpers.pretrain(learner, s.unlabelled, steps, **common(s, seed) | settings)
    row = {name: log[name][-1] for name in ("loss", "spread", "rank")} | {"steps": steps}
    return row | mean_scores(s, learner.backbone)


def simclr_rows(s: Any, seeds: Sequence[int], settings: Sequence[Row]) -> Iterator[Row]:
    """Short SimCLRs; a setting changes one thing. The warm-up takes the same number of pictures in every run."""
    for seed in seeds:
        for changes in settings:
            c = {
                "colour": True,
                "one_style": True,
                "temperature": 0.2,
                "batch_size": s.SETTINGS["batch_size"],
            } | changes
            key = ("SimCLR", seed, *c.values())
            if key not in _RUNS:
                learner = seeded(seed, partial(s.SimCLR, c["temperature"]))
                more = {} if c["one_style"] else {"groups": None}
                views, warmup = None if c["colour"] else s.without_colour, round(100 * 256 / c["batch_size"])
                _RUNS[key] = run(s, learner, seed, batch_size=c["batch_size"], warmup=warmup, views=views, **more)
            yield changes | {"seed": seed} | _RUNS[key]


@part(minutes=8)
def colour(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SimCLR with and without colour augmentation."""
    yield from simclr_rows(s, seeds, [{"colour": True}, {"colour": False}])


@part(minutes=4)
def style(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SimCLR with batches of one style and of all styles."""
    yield from simclr_rows(s, seeds, [{"one_style": True}, {"one_style": False}])


@part(minutes=16)
def temperature(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SimCLR at several temperatures."""
    yield from simclr_rows(s, seeds, [{"temperature": tau} for tau in s.SETTINGS["temperatures"]])


@part(minutes=14)
def batch(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SimCLR with several batch sizes, equal pictures seen; the rate goes with the root of the batch size."""
    yield from simclr_rows(s, seeds, [{"batch_size": size} for size in s.SETTINGS["batch_sizes"]])


def moco_rows(s: Any, seeds: Sequence[int], settings: Sequence[Row]) -> Iterator[Row]:
    """Short MoCo v1s at batch 64."""
    for seed in seeds:
        for changes in settings:
            c = {"queue": s.SETTINGS["sweep_queue"], "momentum": 0.999} | changes
            key = ("MoCo", seed, *c.values())
            if key not in _RUNS:
                learner = seeded(seed, partial(s.MoCo, **c))
                row = run(s, learner, seed, batch_size=64)
                _RUNS[key] = row | {"accuracy": 100 * float(np.mean(learner.notes["accuracy"][-50:]))}
            yield changes | {"seed": seed} | _RUNS[key]


@part(minutes=16)
def moco(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MoCo v1 with several queues; 0 takes the other keys of the batch."""
    yield from moco_rows(s, seeds, [{"queue": K} for K in s.SETTINGS["queues"]])


@part(minutes=12)
def momentum(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MoCo v1 with several momenta of the key encoder."""
    yield from moco_rows(s, seeds, [{"momentum": m} for m in s.SETTINGS["momenta"]])


@part(minutes=15)
def shuffle(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MoCo v1 on eight emulated devices, keys shuffled or not; "device told" as in section 8, in percent."""
    for seed in seeds:
        for shuffled in (True, False):
            make = partial(s.MoCoOnDevices, s.SETTINGS["sweep_queue"], 0.999, groups=8, shuffle=shuffled)
            learner = seeded(seed, make)
            row = {"shuffle": shuffled, "seed": seed} | run(s, learner, seed, batch_size=64)
            row["accuracy"] = 100 * float(np.mean(learner.notes["accuracy"][-50:]))
            yield row | {"device told": s.device_told(learner)}


@part(minutes=60)
def collapse(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SimSiam and BYOL with and without what keeps them from collapsing. BYOL is the homework's: where it is not, its rows are left out."""
    variants = {
        "SimSiam": s.SimSiam,
        "SimSiam, one rate": partial(one_rate, s),
        "SimSiam, no stop-gradient": partial(s.SimSiam, stop_gradient=False),
        "SimSiam, no predictor": partial(s.SimSiam, predictor=False),
    }
    if hasattr(s, "BYOL_VARIANTS"):
        variants |= s.BYOL_VARIANTS
    for seed in seeds:
        for variant, make in variants.items():
            learner = seeded(seed, make)
            yield {"variant": variant, "seed": seed} | run(s, learner, seed, epochs=s.SETTINGS["collapse_epochs"])


def one_rate(s: Any) -> helpers.Learner:
    """SimSiam whose predictor learns at the rate of the rest."""
    learner = s.SimSiam()
    learner.rates = {}
    return learner


@part(minutes=33)
def swav(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """SwAV, without Sinkhorn, and with multi-crop at equal FLOPs (two thirds of the steps); "used": prototypes in use."""
    variants = {"SwAV": (True, None), "no Sinkhorn": (False, None), "multi-crop": (True, s.multi_crop)}
    for seed in seeds:
        for variant, (balanced, views) in variants.items():
            learner = seeded(seed, partial(s.SwAV, balanced=balanced))
            row = run(s, learner, seed, epochs=s.SETTINGS["sweep_epochs"] / (1.5 if views else 1), views=views)
            yield {"variant": variant, "seed": seed} | row | {"used": s.prototypes_used(learner)}


# Critics under InfoNCE: the score of a pair of features, f(h, h'), for all N x N pairs of a batch


class Cosine(nn.Module):
    """SimCLR's critic: f(h, h') = cos(g(h), g(h')) / tau with a projection head g."""

    def __init__(self, dim: int, hidden: int, d: int = 128) -> None:
        super().__init__()
        self.g = helpers.mlp(dim, hidden, d)

    def forward(self, h: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        z, other = self.g(h).float(), self.g(other).float()  # (N, d) each
        with torch.autocast(z.device.type, enabled=False):
            return F.normalize(z, dim=1) @ F.normalize(other, dim=1).T / 0.2, z


class Bilinear(nn.Module):
    """f(h, h') = h' W h."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.W = nn.Linear(dim, dim, bias=False)

    def forward(self, h: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return self.W(h) @ other.T, h.float()


class Joint(nn.Module):
    """f(h, h') = MLP([h, h']); the first layer is applied to h and h' apart and added."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, h: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        pairs = self.first(h)[:, None] + self.second(other)[None]  # (N, N, hidden)
        return self.rest(pairs)[..., 0], h.float()


class InBatch(helpers.Learner):
    """Backbone and critic under section 1's InfoNCE: the second views of the batch are the K = N candidates."""

    def __init__(self, s: Any, critic: Callable[[int, int], nn.Module] = Cosine) -> None:
        super().__init__()
        self.backbone, self.info_nce = make_backbone(s.SCALE), s.info_nce
        self.critic = critic(feature_dim(self.backbone), s.SETTINGS["hidden"])

    def loss(self, views: Sequence[Tensor], index: Tensor) -> Tensor:
        h1, h2 = (self.backbone(x) for x in views)  # (N, features) each
        scores, self.z = self.critic(h1, h2)  # (N, N): row = first view, column = second view
        return self.info_nce(scores.float())


@part(minutes=6)
def head(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """In-batch InfoNCE: linear probes on h, before the projection head, and on z, behind it."""
    for seed in seeds:
        learner = seeded(seed, partial(InBatch, s))
        yield {"layer": "h", "seed": seed} | run(s, learner, seed)
        yield {"layer": "z", "seed": seed} | mean_scores(s, nn.Sequential(learner.backbone, learner.critic.g))


@part(minutes=21)
def critics(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """The bound on unseen pictures and the probe for three critics at batch 128."""
    for seed in seeds:
        for name, critic in (("bilinear", Bilinear), ("cosine", Cosine), ("joint", Joint)):
            learner = seeded(seed, partial(InBatch, s, critic))
            row = {"critic": name, "seed": seed} | run(s, learner, seed, batch_size=128)
            yield row | {"bound": bound(s, learner)}


@torch.no_grad()
def bound(s: Any, learner: InBatch, K: int = 128, batches: int = 20) -> float:
    """log K - L on pictures and views that training did not use, in nats (eval mode)."""
    generator, pictures = torch.Generator().manual_seed(0), load_task(s.SCALE, "val").train[0]
    learner.eval()
    found = []
    for _ in range(batches):
        x = pictures[torch.randperm(len(pictures), generator=generator)[:K]].to(s.device)
        views = [view(x, generator), view(x, generator)]
        found.append(np.log(len(x)) - float(learner.loss(views, torch.arange(len(x)))))
    return float(np.mean(found))


# All methods on the task


@part(minutes=400)
def methods(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Probe, k-NN and, where the homework's functions are at hand, fine-tuning ("tuned"): a row per seed and choice of labels.

    Of fixed features the seed is the choice of labels. Columns that begin with "kinds: " are week 01's task.
    """
    for name, source in ((COLOURS, colours), (PIXELS, pixels)):
        for row in scored(s, name, 0, source):
            yield row | {"seed": row["labels"]}
    for seed in seeds:
        yield from scored(s, RANDOM, seed, seeded(seed, partial(make_backbone, s.SCALE)).to(s.device))
    if hasattr(s, "train_supervised"):
        for seed in seeds:
            yield from scratch(s, seed)
    for method, name in CLASSES.items():
        for seed in seeds:
            if (method, seed) in _PRETRAINED or hasattr(s, name):
                yield from scored(s, method, seed, pretrained(s, method, seed)[0])


def scored(s: Any, name: str, seed: int, source: helpers.Source) -> list[Row]:
    """The rows of one source of features, one per choice of labels."""
    choices = range(s.SETTINGS["label_seeds"])
    rows = [{"method": name, "seed": seed, "labels": k} for k in choices]
    for kinds in (False, True) if s.SCALE == "smoke" else (False,):
        for row, found in zip(rows, helpers.evaluate(source, s.SCALE, choices, kinds), strict=True):
            row |= {f"kinds: {column}": value for column, value in found.items()} if kinds else found
        if name in CLASSES and hasattr(s, "train_finetuned"):
            for k, row in enumerate(rows):
                row |= tuned(s, partial(s.train_finetuned, source, **LONG), k, k, kinds)
    return rows


def scratch(s: Any, seed: int) -> list[Row]:
    """Training from scratch with the same labels; every choice of labels has a network of its own."""
    rows = []
    for k in range(s.SETTINGS["label_seeds"]):
        own = seed * s.SETTINGS["label_seeds"] + k
        train = partial(s.train_supervised, **LONG)
        found = tuned(s, train, k, own, False) | tuned(s, train, k, own, True)
        rows.append({"method": SCRATCH, "seed": seed, "labels": k} | found)
    return rows


def tuned(s: Any, train: Callable[..., tuple[nn.Module, list]], labels: int, seed: int, kinds: bool) -> Row:
    """Accuracies of what `train` makes of a choice of labels."""
    train_set, tests = helpers.few_labels(s.SCALE, labels, kinds)
    model, _ = train(train_set, int(train_set[1].max()) + 1, seed=seed)
    row = {f"tuned {test}": value for test, value in s.accuracies(model, tests).items()}
    return {f"kinds: {column}": v for column, v in row.items()} if kinds else row | helpers.mean_over_artists(row)


@part(minutes=1)
def costs(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """What a checkpoint took: steps and batch size of its training, and of a forward and backward pass on two views of a batch seconds
    (best of five) and peak memory beyond the learner itself in MB, measured here one after the other."""
    images = s.unlabelled[: s.SETTINGS["batch_size"]]
    for method, name in CLASSES.items():
        if hasattr(s, name):
            log = s.checkpoints.log(method)
            steps = {key: log[key] for key in ("steps", "batch_size")}
            yield {"method": method} | steps | step_cost(seeded(0, getattr(s, name)), images)


def step_cost(learner: helpers.Learner, images: Tensor) -> Row:
    """Seconds and MB of one step on `images`, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    views = [learner.augment(images, generator) for _ in range(2)]
    learner.before_epoch(images, generator)

    def step() -> None:
        with training_autocast("cpu"):
            loss = learner.loss(views, torch.arange(len(images)))
        loss.backward()

    step()  # allocates the gradients
    seconds = min(timeit.repeat(step, number=1, repeat=5))
    return {"seconds_per_step": round(seconds, 3), "megabytes": round(peak_bytes(step) / 1e6, 1)}


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some sections of `SECTIONS` (default: all) for which there are numbers.

    Args:
        live: what the notebook measured itself: "InfoNCE" and "NWJ" hold estimates (batches,) by truth and K, "device told" four values
            by views and shuffling, "SwAV" the prototypes in use by name. Without the last three, which are of further sections, their
            claims are left out.
    """
    found = Claims()
    for section in sections or SECTIONS:
        for claim in _told(SECTIONS[section], t, live):
            found.add(**{"unit": "points", "reason": REASONS.get(claim["name"], "")} | claim)
    return found


def names(t: Tables, live: Mapping[str, Any], section: str, beginning: str) -> list[str]:
    """The claims of a section that begin so, of those for which there are numbers."""
    told = (claim["name"] for claim in _told(SECTIONS[section], t, live))
    return [name for name in told if name.startswith(beginning)]


def main(t: Tables, live: Mapping[str, Any]) -> list[str]:
    """The claims that the summary shows, of those for which there are numbers; all others are folded."""
    told = {claim["name"] for section in SECTIONS.values() for claim in _told(section, t, live)}
    return [name for name in MAIN if name in told]


def _told(section: Callable[..., Iterable[dict]], t: Tables, live: Mapping[str, Any]) -> list[dict]:
    """Claims with their margins; one that needs rows or columns of the homework's functions is left out where there are none."""
    found = []
    for claim in section(t, live):
        try:
            values = claim.pop("margin")()
        except NoTable:
            continue
        found.append(claim | {"values": values})
    return found


def difference(t: Tables, name: str, column: str, by: str, more: Any, less: Any) -> Callable[[], np.ndarray]:
    """The margin of two settings, paired by seed: one value per seed."""
    return lambda: t.values(name, column, **{by: more}) - t.values(name, column, **{by: less})


LONG = {"epochs": 80, "batch_size": 100}  # of the trainings with labels in the tables; the homework trains shorter
SHORT = "15 epochs, linear probe, ID"
CHEN = "Chen et al. 2020, {}"
TASK = "100 unseen things, 3 labels each, ID"


def _infonce(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    found = live.get("InfoNCE")
    if found:
        yield dict(
            name="more negatives raise what InfoNCE can show",
            margin=lambda: found[8, 512] - found[8, 8],
            condition="truth 8 nats, K = 512 against 8, 40 batches",
            paper="van den Oord et al. 2018, section 2.3",
            unit="nats",
        )


def _nwj(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "NWJ" in live:
        nwj, infonce = (abs(x - np.median(x)) for x in (live["NWJ"][8, 512], live["InfoNCE"][8, 512]))
        yield dict(
            name="NWJ scatters more than InfoNCE",
            margin=lambda: nwj - infonce,
            condition="distance from the median, truth 8 nats, K = 512, 40 batches",
            paper="Poole et al. 2019, figure 2",
            unit="nats",
        )


def _simclr(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    for name, column in (("id", "probe ID"), ("other artists", "probe OOD")):
        yield dict(
            name=f"removing colour augmentation hurts SimCLR ({name})",
            margin=difference(t, "colour", column, "colour", True, False),
            condition=SHORT.replace("ID", column.split()[1]),
            paper=CHEN.format("figure 5: crop with colour 56 %, crop alone 33"),
        )
    yield dict(
        name="the layer before the projection head has the better features",
        margin=difference(t, "head", "probe ID", "layer", "h", "z"),
        condition=f"in-batch InfoNCE; {SHORT}",
        paper=CHEN.format("section 4.2: over 10 %"),
    )


def _style(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    yield dict(
        name="batches of one style help SimCLR",
        margin=difference(t, "style", "probe ID", "one_style", True, False),
        condition=f"against mixed batches; {SHORT}",
    )


def _batch(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    yield dict(
        name="SimCLR: a larger batch helps",
        margin=difference(t, "batch", "probe ID", "batch_size", 512, 64),
        condition=f"512 against 64, equal pictures seen; {SHORT}",
        paper=CHEN.format("figure 9"),
    )


def _temperature(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    yield dict(
        name="SimCLR: a low temperature helps",
        margin=difference(t, "temperature", "probe ID", "temperature", 0.2, 1.0),
        condition=f"0.2 against 1; {SHORT}",
        paper=CHEN.format("table 5: 0.1 against 1, 64.4 and 58.0 %"),
    )


def _moco(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    K = max(row["queue"] for row in t["moco"])
    yield dict(
        name="MoCo needs a slow key encoder",
        margin=difference(t, "momentum", "probe ID", "momentum", 0.999, 0.9),
        condition=f"m = 0.999 against 0.9, K = 1,024, batch 64; {SHORT}",
        paper="He et al. 2020, section 4.1: 59.0 against 55.2 %",
    )
    yield dict(
        name="MoCo: a queue helps a small batch",
        margin=difference(t, "moco", "probe ID", "queue", K, 0),
        condition=f"batch 64, K = {K} against the batch's own keys; {SHORT}",
        paper="He et al. 2020, figure 3",
    )
    yield dict(
        name="MoCo at batch 64 is at most 2 points under SimCLR at 512",
        margin=lambda: t.values("moco", "probe ID", queue=K) - t.values("batch", "probe ID", batch_size=512) + 2,
        condition=f"MoCo v1, K = {K}, equal pictures seen; {SHORT}",
        paper="Chen et al. 2020b, table 2: 67.5 against 66.6 %",
    )


def _devices(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "device told" in live:
        told = live["device told"]
        yield dict(
            name="without shuffling, BatchNorm tells the device",
            margin=lambda: np.subtract(told["without_colour", False], told["without_colour", True]),
            condition="an empty picture finds its device; views without colour, four random networks",
            paper="He et al. 2020, section 3.3",
        )
        yield dict(
            name="shuffled BatchNorm gives better features",
            margin=difference(t, "shuffle", "probe ID", "shuffle", True, False),
            condition=f"batch 64, eight devices; {SHORT}",
            paper="He et al. 2020, figure A.1",
        )


def _collapse(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    for variant in ("SimSiam, no stop-gradient", "SimSiam, no predictor", "BYOL, no predictor"):
        whole = variant.split(",")[0]
        paper = "Grill et al. 2020, table 5b: 0.2 % top-1" if whole == "BYOL" else "Chen and He 2021, table 1, figure 2"
        yield dict(
            name=f"{variant}: collapses (spread under 0.1)",
            margin=lambda v=variant: 0.1 - t.values("collapse", "spread", variant=v),
            condition="std of z/|z| times sqrt(d) after 8 epochs",
            paper=paper,
            unit="",
        )
        yield dict(
            name=f"{variant}: k-NN falls",
            margin=difference(t, "collapse", "k-NN ID", "variant", whole, variant),
            condition=f"against {whole}; ID, after 8 epochs",
            paper=paper,
        )
        yield dict(
            name=f"{variant}: k-NN falls to chance (under 2 %)",
            margin=lambda v=variant: 2 - t.values("collapse", "k-NN ID", variant=v),
            condition="ID, after 8 epochs; guessing 1 %",
            paper=paper,
        )


def against(t: Tables, method: str, way: str, rival: str, its_way: str) -> Callable[[], np.ndarray]:
    """One margin per pretraining seed: the method's accuracy minus the mean of a baseline's."""
    return lambda: t.values("methods", way, method=method) - t.values("methods", its_way, method=rival).mean()


def _methods(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    few_labels = {  # top-5 with 1 % of ImageNet's labels, fine-tuned
        "SimCLR": CHEN.format("table 7: 75.5 %, supervised 48.4"),
        "BYOL": "Grill et al. 2020, table 2: 78.4 %, supervised 48.4",
        "SwAV": "Caron et al. 2020, semi-supervised: 78.5 %, supervised 48.4",
    }
    for method in CLASSES:
        yield dict(
            name=f"{method}: few-label fine-tuning beats scratch",
            margin=against(t, method, "tuned ID", SCRATCH, "tuned ID"),
            condition=TASK,
            paper=few_labels.get(method, ""),
        )
    for method in ("SimCLR", "BYOL"):
        yield dict(
            name=f"{method}: the probe beats {SCRATCH}",
            margin=against(t, method, "probe ID", SCRATCH, "tuned ID"),
            condition=TASK,
        )
        for rival in (RANDOM, PIXELS):
            ways = {way: t.values("methods", f"{way} ID", method=rival).mean() for way in ("probe", "k-NN")}
            way = max(ways, key=ways.__getitem__)
            yield dict(
                name=f"{method}: the probe beats {rival} ({way.lower().replace('-', '')})",
                margin=against(t, method, "probe ID", rival, f"{way} ID"),
                condition=f"{TASK}; the better of the rival's probe and k-NN",
            )
    yield dict(
        name="MoCo v2's probe beats v1's",
        margin=against(t, "MoCo v2", "probe ID", "MoCo v1", "probe ID"),
        condition=TASK,
        paper="Chen et al. 2020b, table 1: 67.5 against 60.6 %",
    )
    yield dict(
        name="SimCLR: the probe beats raw pixels on aligned pictures",
        margin=against(t, "SimCLR", "probe ID aligned", PIXELS, "probe ID aligned"),
        condition="the same test pictures, not moved",
    )


def _kinds(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    for name, way, rival in (("finetune", "tuned", SCRATCH), ("probe", "probe", RANDOM), ("probe", "probe", COLOURS)):
        yield dict(
            name=f"SimCLR helps to tell kinds: {name} beats {rival}",
            margin=against(t, "SimCLR", f"kinds: {way} ID", rival, f"kinds: {way} ID"),
            condition="18 kinds of things, 10 labels each by one maker, ID",
        )


def _critics(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    paper, unseen = "Tschannen et al. 2020: higher capacity, tighter bounds, worse accuracy", "K = 128, unseen pictures"
    for name, column, better, worse, source in (
        ("a joint critic reaches a higher bound than a bilinear one", "bound", "joint", "bilinear", paper),
        ("a joint critic gives worse features than a bilinear one", "probe ID", "bilinear", "joint", paper),
        ("a cosine critic reaches a higher bound than a bilinear one", "bound", "cosine", "bilinear", ""),
        ("a cosine critic gives better features than a bilinear one", "probe ID", "cosine", "bilinear", ""),
    ):
        more = dict(condition=unseen, unit="nats") if column == "bound" else dict(condition=SHORT)
        margin = difference(t, "critics", column, "critic", better, worse)
        yield dict(name=name, margin=margin, paper=source) | more


def _swav(t: Tables, live: Mapping[str, Any]) -> Iterator[dict]:
    if "SwAV" in live:
        yield dict(
            name="Sinkhorn's codes keep more prototypes in use",
            margin=difference(t, "swav", "used", "variant", "SwAV", "no Sinkhorn"),
            condition="exp of the entropy of the nearest prototype",
            paper="Caron et al. 2020, section 3.1",
            unit="prototypes",
        )
        yield dict(
            name="multi-crop helps SwAV at equal FLOPs",
            margin=difference(t, "swav", "probe ID", "variant", "multi-crop", "SwAV"),
            condition=f"{SHORT}; multi-crop 10 epochs",
            paper="Caron et al. 2020: 2 to 4 points, at more FLOPs",
        )


SECTIONS = {
    "InfoNCE": _infonce,
    "SimCLR": _simclr,
    "batch": _batch,
    "MoCo": _moco,
    "collapse": _collapse,
    "methods": _methods,
    "SwAV": _swav,
    "NWJ": _nwj,
    "critics": _critics,
    "temperature": _temperature,
    "style": _style,
    "devices": _devices,
    "kinds": _kinds,
}
MAIN = (  # the claims that the summary shows; all others are folded
    "more negatives raise what InfoNCE can show",
    "removing colour augmentation hurts SimCLR (id)",
    "the layer before the projection head has the better features",
    "SimCLR: a larger batch helps",
    "MoCo needs a slow key encoder",
    "MoCo: a queue helps a small batch",
    "SimSiam, no stop-gradient: collapses (spread under 0.1)",
    "SimSiam, no predictor: k-NN falls",
    "SimCLR: few-label fine-tuning beats scratch",
    "BYOL: few-label fine-tuning beats scratch",
)
LINE = "its last BatchNorm forbids a point: the pictures fall on one line (rank 1.0)"
REASONS = {  # why a statement of the literature does not hold here
    "SimSiam, no stop-gradient: collapses (spread under 0.1)": LINE,
    "SimSiam, no predictor: collapses (spread under 0.1)": LINE,
    "BYOL: the probe beats supervised from scratch": (
        "37 epochs of 6,830 pictures; the paper trained 1,000 epochs of ImageNet in batches of 4,096"
    ),
    "SimCLR: a larger batch helps": "batch 64 takes eight times as many steps; the paper compares 256 to 8,192",
    "SimSiam: few-label fine-tuning beats scratch": (
        "37 epochs of 6,830 pictures; the paper trained 100 to 800 epochs of ImageNet"
    ),
    "MoCo v2's probe beats v1's": (
        "they share augmentation and schedule, part of the paper's gain, and differ in head, temperature, queue, BatchNorm"
    ),
    "BYOL, no predictor: k-NN falls to chance (under 2 %)": (
        "k-NN reads the backbone's features, one head before z: they still tell a little"
    ),
    "multi-crop helps SwAV at equal FLOPs": (
        "534 steps are too few: its loss is 5.2 (log 300 = 5.7); crops of 16 pixels show little"
    ),
}
