"""The runs over seeds behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The seminar reads the parts from assets/tables.json; with
`RETRAIN = True` it measures each where it is first used: of the tasks those whose functions it has itself. instructor/train.py has all.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lsdl.claims import Claims
from lsdl.data import animals
from lsdl.data.emoji import normalise
from lsdl.data.few_labels import load_task
from lsdl.features import embed
from lsdl.probes import colours, linear_probe, pixels
from lsdl.tables import NoTable, Row, Tables, gathered, part

COLOURS, PIXELS, RANDOM, SCRATCH = "colour histogram", "raw pixels", "random trunk", "supervised from scratch"
SIMCLR = "SimCLR"  # a line of reference
_NETS: dict[tuple[str, int], tuple[helpers.Pretext, Row]] = {}  # trained networks and their logs by run and seed
_ONCE: dict[Any, Any] = {}  # what takes seconds and is always the same: bins of colour, sets of permutations
_FOLDER: Path | None = None  # of stored runs, see `stored`


# Tasks: what makes a network for each run


class Regression(helpers.Colorization):
    """Colorization by squared error of (a, b) in place of a distribution; the decoder's first two channels are a and b over 100."""

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        lab = self.to_lab(helpers.augment(images, generator, colour=False))
        predicted = self(lab[:, :1])[:, :2]
        ab = F.adaptive_avg_pool2d(lab[:, 1:], predicted.shape[-2:])
        return F.mse_loss(predicted, ab / 100), predicted.new_tensor(math.nan)


def images_of(s: Any, size: int) -> Tensor:
    """The pictures without labels."""
    return helpers.load_pictures(s.SCALE, size)


def rotation(s: Any, trunk: nn.Module) -> helpers.Pretext:
    """With all four turns of a picture, or each turned once where only the seminar's function is at hand."""
    make_batch, cost = (s.rotation_batch, 4.0) if hasattr(s, "rotation_batch") else (s.random_turns, 1.0)
    return helpers.Rotation(make_batch, cost, trunk=trunk, size=s.SETTINGS["size"])


def exemplar(s: Any, trunk: nn.Module, classes: int | None = None) -> helpers.Pretext:
    pictures = len(images_of(s, s.SETTINGS["size"]))
    classes = min(pictures, classes or s.SETTINGS["classes"])
    return s.Exemplar(classes, pictures, trunk=trunk, size=s.SETTINGS["size"])


def context(s: Any, trunk: nn.Module, **changes: Any) -> helpers.Pretext:
    settings = {name: s.SETTINGS[name] for name in ("tile", "gap", "jitter")} | changes
    sizes = dict(whole=s.SETTINGS["size"], size=s.SETTINGS["patch_size"])
    return helpers.Context(s.context_draws, s.context_pairs, trunk=trunk, **settings, **sizes)


def jigsaw(
    s: Any, trunk: nn.Module, make: Callable[..., helpers.Pretext] | None = None, **changes: Any
) -> helpers.Pretext:
    settings = {name: s.SETTINGS[name] for name in ("cell", "tile")} | changes
    sizes = dict(whole=s.SETTINGS["size"], size=s.SETTINGS["patch_size"])
    if "permutations" not in _ONCE:
        _ONCE["permutations"] = s.permutation_set(9, s.SETTINGS["permutations"])
    return (make or helpers.Jigsaw)(
        _ONCE["permutations"], s.cut_tiles, s.shuffle_tiles, trunk=trunk, **settings, **sizes
    )


def damaged(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return jigsaw(s, trunk, s.DamagedJigsaw)


def colorization(
    s: Any, trunk: nn.Module, make: Callable[..., helpers.Pretext] | None = None, lam: float = 0.5
) -> helpers.Pretext:
    if "bins" not in _ONCE:
        _ONCE["bins"] = helpers.colour_bins(images_of(s, s.SETTINGS["size"]), s.rgb_to_lab)
    functions = (s.rgb_to_lab, s.soft_targets, partial(s.rebalanced_loss, lam=lam), *_ONCE["bins"])
    sizes = dict(doublings=s.SETTINGS["doublings"], size=s.SETTINGS["size"])
    return (make or helpers.Colorization)(*functions, trunk=trunk, **sizes)


def regression(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return colorization(s, trunk, Regression)


def inpainting(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return helpers.Inpainting(
        s.inpainting_loss, doublings=s.SETTINGS["whole_doublings"], trunk=trunk, size=s.SETTINGS["size"]
    )


def ensemble(s: Any, trunk: nn.Module, harmonise: bool = True) -> helpers.Pretext:
    everything = partial(exemplar, classes=len(images_of(s, s.SETTINGS["size"])))
    return s.Ensemble([make(s, trunk) for make in (context, colorization, everything, rotation)], harmonise)


def simclr(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return s.SimCLR(trunk=trunk, size=s.SETTINGS["size"])


# row of the table -> the run's name, also of its file
TASKS = {"Rotation": "rotation", "Exemplar": "exemplar", "Context": "context", "Jigsaw": "jigsaw"}
TASKS |= {
    "Inpainting": "inpainting",
    "Colorization": "colorization",
    "Damaged jigsaw": "damaged",
    "Ensemble": "ensemble",
}
PATCHES = ("context", "jigsaw", "damaged")  # tasks whose trunk saw nothing but tiles
MAKE: dict[str, Callable[[Any, nn.Module], helpers.Pretext]] = {
    "rotation": rotation,
    "exemplar": exemplar,
    "context": context,
    "jigsaw": jigsaw,
    "inpainting": inpainting,
    "colorization": colorization,
    "damaged": damaged,
    "ensemble": ensemble,
    "simclr": simclr,
    # short runs, each compared with others of them
    "short-context": context,
    "short-context-touching": partial(context, gap=0, jitter=0),
    "short-context-whole": partial(context, zoom=False),
    "short-context-whole-blind": partial(context, zoom=False, blind=True),
    "short-context-blind": partial(context, blind=True),
    "short-jigsaw": jigsaw,
    "short-jigsaw-whole": partial(jigsaw, zoom=False),
    "short-exemplar": exemplar,
    "short-exemplar-500": partial(exemplar, classes=500),
    "short-colorization": colorization,
    "short-colorization-plain": partial(colorization, lam=1.0),
    "short-colorization-l2": regression,
    "short-ensemble": ensemble,
    "short-ensemble-unharmonised": partial(ensemble, harmonise=False),
}
MANY = ("rotation", "jigsaw", "damaged", "ensemble")  # become several pictures or tiles each: smaller batches
_COLOUR = ("rgb_to_lab", "soft_targets", "rebalanced_loss", "annealed_mean")
NEEDS = {  # names of `s` by kind of task
    "rotation": ("random_turns",),
    "exemplar": ("Exemplar",),
    "context": ("context_draws", "context_pairs"),
    "jigsaw": ("permutation_set", "cut_tiles", "shuffle_tiles"),
    "inpainting": ("inpainting_loss",),
    "colorization": _COLOUR,
    "damaged": ("permutation_set", "cut_tiles", "shuffle_tiles", "DamagedJigsaw"),
    "ensemble": ("rotation_batch", "Exemplar", "context_draws", "context_pairs", *_COLOUR, "Ensemble"),
    "simclr": ("SimCLR",),
}
# embeddings beside "picture", so that a change of domain does not look like a bad feature
WAYS = {kind: ("picture", "tiles") for kind in PATCHES} | {
    kind: ("picture", "grey") for kind in ("colorization", "ensemble")
}


def kind_of(run: str) -> str:
    """The task of a run."""
    return run.removeprefix("short-").split("-")[0]


def make(s: Any, run: str, seed: int, width: int = 16) -> helpers.Pretext:
    """The network of a run before it is trained."""
    torch.manual_seed(seed)
    return MAKE[run](s, helpers.make_trunk(width, s.SCALE))


def trained(s: Any, run: str, seed: int, width: int = 16, **more: Any) -> tuple[helpers.Pretext, Row]:
    """The network of a run, in eval mode, and its log: stored, or trained here once per seed, with the same settings for all tasks."""
    if (run, seed) not in _NETS and _FOLDER is not None:
        log = json.loads((_FOLDER / f"{run}-{seed}.json").read_text(encoding="utf-8"))["log"]
        _NETS[run, seed] = helpers.load_task_net(_FOLDER / f"{run}-{seed}.safetensors", make(s, run, seed)), log
    if (run, seed) not in _NETS:
        task, kind = make(s, run, seed, width), kind_of(run)
        size = s.SETTINGS["many_batch_size" if kind in MANY else "batch_size"] // (2 if kind == "simclr" else 1)
        budget = s.SETTINGS["short_pictures" if run.startswith("short-") else "pictures"]
        more = {"probe": val_probe(s, run)} | more
        log = helpers.pretrain(
            task, images_of(s, task.size), budget, batch_size=size, seed=seed, device=s.device, **more
        )
        _NETS[run, seed] = task.eval(), {"run": run, "seed": seed, "batch_size": size, "cost": task.cost} | log
    return _NETS[run, seed]


def val_probe(s: Any, run: str) -> Callable[[nn.Module], float]:
    """The linear probe on validation concepts, in percent, for training curves; of tasks on tiles by tiles."""
    way = "tiles" if kind_of(run) in PATCHES else "picture"

    def probe(trunk: nn.Module) -> float:
        size, source = ways(s, trunk)[way]
        return helpers.evaluate(source, s.SCALE, [0], part="val", size=size)[0]["probe"]

    return probe


def ways(s: Any, trunk: nn.Module) -> dict[str, tuple[int, helpers.Source]]:
    """`helpers.embeddings` at this scale."""
    return helpers.embeddings(
        trunk, *(s.SETTINGS[name] for name in ("size", "patch_size")), **{k: s.SETTINGS[k] for k in ("cell", "tile")}
    )


# Parts


def stored(folder: Path | None) -> None:
    """Take networks from runs that lie in a folder, and of no other; None: train them where they are first used."""
    global _FOLDER
    _FOLDER = folder
    _NETS.clear()


def seeds_of(s: Any, run: str, seeds: Sequence[int]) -> list[int]:
    """The seeds for which the run can be had: trained and stored, or all if `s` has the task's functions."""
    if _FOLDER is not None:
        return [seed for seed in seeds if (_FOLDER / f"{run}-{seed}.json").is_file()]
    return list(seeds) if all(hasattr(s, name) for name in NEEDS[kind_of(run)]) else []


def choices(s: Any) -> range:
    """The choices of labels."""
    return range(s.SETTINGS["label_seeds"])


@part(minutes=60)
def tasks(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Probe, nearest neighbour and fine-tuning: a row per method, seed and choice of labels.

    "probe" and "1-NN" are those of the method's better embedding on validation concepts, named in "embedding"; "probe, EMBEDDING" of each.
    Of fixed features the seed is the choice of labels.
    """
    for name, source in ((COLOURS, colours), (PIXELS, pixels)):
        for k, row in zip(
            choices(s), helpers.evaluate(source, s.SCALE, choices(s), size=s.SETTINGS["size"]), strict=True
        ):
            yield {"method": name, "seed": k, "labels": k} | row
    for seed in seeds:
        trunk = fresh_trunk(s, seed)
        found = helpers.evaluate(partial(embed, trunk), s.SCALE, choices(s), size=s.SETTINGS["size"])
        yield from (
            {"method": RANDOM, "seed": seed, "labels": k} | row for k, row in zip(choices(s), found, strict=True)
        )
    yield from scratch(s, seeds)
    for method, run in (TASKS | {SIMCLR: "simclr"}).items():
        yield from scored(s, method, run, seeds)


def fresh_trunk(s: Any, seed: int) -> nn.Module:
    """A random trunk that depends on the seed only."""
    torch.manual_seed(seed)
    return helpers.make_trunk(scale=s.SCALE).to(s.device)


def scored(s: Any, method: str, run: str, seeds: Sequence[int], tune: bool = True) -> list[Row]:
    """The rows of a run: all its embeddings, the better one chosen on validation concepts over all its seeds; fine-tuning with `tune`."""
    rows, val = {}, {way: [] for way in WAYS.get(kind_of(run), ("picture",))}
    found: dict[tuple[str, int], list[Row]] = {}
    for seed in seeds_of(s, run, seeds):
        trunk = trained(s, run, seed)[0].trunk
        for way, (size, source) in ways(s, trunk).items():
            if way in val:
                found[way, seed] = helpers.evaluate(source, s.SCALE, choices(s), size=size)
                val[way] += [
                    row["probe"] for row in helpers.evaluate(source, s.SCALE, choices(s), part="val", size=size)
                ]
        for k in choices(s):
            rows[seed, k] = {"method": method, "seed": seed, "labels": k}
            rows[seed, k] |= {f"probe, {way}": found[way, seed][k]["probe"] for way in val}
            if tune:
                tuned = helpers.tuned(copy.deepcopy(trunk), s.SCALE, k, own=k, size=s.SETTINGS["size"])
                rows[seed, k] |= tuned
    best = max(val, key=lambda way: np.mean(val[way] or [0]))
    return [
        row | {"embedding": best, "val probe": float(np.mean(val[best]))} | found[best, seed][k]
        for (seed, k), row in rows.items()
    ]


def scratch(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Training from scratch with the same labels, as long as is better on validation concepts; each choice of labels has a network of its own."""
    val = {
        epochs: np.mean(
            [
                helpers.tuned(fresh_trunk(s, k), s.SCALE, k, own=k, part="val", epochs=epochs, size=s.SETTINGS["size"])[
                    "tuned"
                ]
                for k in choices(s)
            ]
        )
        for epochs in s.SETTINGS["epochs"]
    }
    epochs = max(val, key=val.__getitem__)
    for seed in seeds:
        for k in choices(s):
            own = seed * s.SETTINGS["label_seeds"] + k
            row = helpers.tuned(fresh_trunk(s, own), s.SCALE, k, own=own, epochs=epochs, size=s.SETTINGS["size"])
            yield {
                "method": SCRATCH,
                "seed": seed,
                "labels": k,
                "epochs": epochs,
                "val tuned": float(val[epochs]),
            } | row


@part(minutes=15)
def stages(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Linear probes after each stage, pooled alike to 2 x 2: a row per method, seed and stage, the mean over choices of labels."""
    for seed in seeds:
        yield from staged(s, RANDOM, seed, fresh_trunk(s, seed))
    for method, run in (TASKS | {SIMCLR: "simclr"}).items():
        for seed in seeds_of(s, run, seeds):
            yield from staged(s, method, seed, trained(s, run, seed)[0].trunk)


def staged(s: Any, method: str, seed: int, trunk: nn.Module) -> Iterator[Row]:
    """The rows of one trunk: "probe" of stages 1 to 4."""
    found = np.zeros((len(choices(s)), 4))
    for k in choices(s):
        (images, labels), tests = helpers.few_labels(s.SCALE, k, size=s.SETTINGS["size"])
        train = helpers.stage_features(trunk, images)
        asked = {name: (helpers.stage_features(trunk, x), y) for name, (x, y) in tests.items()}
        for stage in range(4):
            right = linear_probe((train[stage], labels), {name: (x[stage], y) for name, (x, y) in asked.items()})
            found[k, stage] = 100 * np.mean([hits.float().mean().item() for hits in right.values()])
    for stage, value in enumerate(found.mean(0), 1):
        yield {"method": method, "seed": seed, "stage": stage, "probe": float(value)}


def unseen(s: Any, size: int) -> Tensor:
    """Pictures of concepts that pretraining did not see, as drawn: (n, 3, size, size) uint8, 1,000 at smoke."""
    if s.SCALE == "full":
        return animals.load_labelled("test", size).tests["id"][0]
    tasks = [load_task(s.SCALE, part, size=size) for part in ("val", "test")]
    return torch.cat([images for task in tasks for images, _ in (task.train, *task.tests.values())])


@torch.no_grad()
def pretext_accuracy(s: Any, task: helpers.Pretext) -> float:
    """The pretext accuracy on unseen pictures in percent; eval mode, random numbers of a fixed seed."""
    generator, images = torch.Generator().manual_seed(0), unseen(s, task.size)
    parts = [task.loss(x.to(s.device), torch.arange(len(x)), generator)[1] for x in images.split(250)]
    return 100 * float(torch.stack(parts).mean())


@part(minutes=12)
def shortcuts(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Context and jigsaw with what gives them away, and without: pretext accuracy on unseen pictures, probe by tiles. Short trainings."""
    variants = {
        ("context", "all prevented"): "short-context",
        ("context", "touching"): "short-context-touching",
        ("context", "whole"): "short-context-whole",
        ("context", "one tile"): "short-context-blind",
        ("context", "whole, one tile"): "short-context-whole-blind",
        ("jigsaw", "all prevented"): "short-jigsaw",
        ("jigsaw", "whole"): "short-jigsaw-whole",
    }
    for seed in seeds:
        size, source = ways(s, fresh_trunk(s, seed))["tiles"]
        found = helpers.evaluate(source, s.SCALE, choices(s), size=size)
        for kind, chance in (("context", 1 / 8), ("jigsaw", 1 / s.SETTINGS["permutations"])):
            row = {"task": kind, "variant": RANDOM, "seed": seed, "pretext": 100 * chance}
            yield row | {"probe": float(np.mean([r["probe"] for r in found]))}
    for (kind, variant), run in variants.items():
        for seed in seeds_of(s, run, seeds):
            task, _ = trained(s, run, seed)
            size, source = ways(s, task.trunk)["tiles"]
            row = helpers.evaluate(source, s.SCALE, choices(s), size=size)
            about = {"task": kind, "variant": variant, "seed": seed, "pretext": pretext_accuracy(s, task)}
            yield about | {"probe": float(np.mean([r["probe"] for r in row]))}


@part(minutes=1)
def symmetry(s: Any, seeds: Sequence[int], share: float = 0.06) -> Iterator[Row]:
    """Rotation on unseen pictures, not augmented: accuracy in percent on the most symmetric and on the others, and the ceiling.

    The ceiling guesses between two turns where a picture looks like its half turn: the mean difference is under 2 of 255.
    """
    images = unseen(s, s.SETTINGS["size"])
    change = (images.float() - images.rot90(2, (-2, -1)).float()).abs().mean((1, 2, 3))
    symmetric = torch.zeros(len(images), dtype=torch.bool)
    symmetric[change.argsort()[: round(share * len(images))]] = True
    parts = {"symmetric": symmetric, "others": ~symmetric, "all": torch.ones_like(symmetric)}
    possible = 1 - (change < 2).double() / 2
    for seed in seeds:
        yield {"network": "ceiling", "seed": seed} | {
            name: 100 * float(possible[rows].mean()) for name, rows in parts.items()
        }
    for seed in seeds_of(s, "rotation", seeds):
        right = turned_right(s, trained(s, "rotation", seed)[0], images)
        yield {"network": "rotation", "seed": seed} | {
            name: 100 * float(right[rows].mean()) for name, rows in parts.items()
        }


@torch.no_grad()
def turned_right(s: Any, task: helpers.Pretext, images: Tensor) -> Tensor:
    """Share of the four turns of each picture that are told, (n,)."""
    found = []
    for x in images.split(250):
        x = normalise(x.to(s.device))
        told = [task.head(task.trunk(x.rot90(k, (-2, -1)))).argmax(1) == k for k in range(4)]
        found.append(torch.stack(told).float().mean(0).cpu())
    return torch.cat(found)


@part(minutes=4)
def colour(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Colorization with rebalancing, without, and by regression: mean chroma of the colours drawn for unseen pictures with colour. Short trainings.

    "chroma": mean of the length of (a, b), at T = 0.38 for distributions; "truth": of the pictures themselves; "pretext": accuracy on coloured pixels.
    """
    runs = {
        "rebalanced": "short-colorization",
        "plain": "short-colorization-plain",
        "regression": "short-colorization-l2",
    }
    to_lab = (
        s.rgb_to_lab if hasattr(s, "rgb_to_lab") else s.figures.to_lab
    )  # before the homework is solved: by a library
    lab = to_lab(unseen(s, s.SETTINGS["size"]).float() / 255)
    lab = lab[helpers.is_coloured(lab)]
    true = F.avg_pool2d(lab[:, 1:], 2)
    for seed in seeds:
        yield {"variant": "truth", "seed": seed, "chroma": float(true.norm(dim=1).mean())}
    for variant, run in runs.items():
        for seed in seeds_of(s, run, seeds):
            task, _ = trained(s, run, seed)
            with torch.no_grad():
                logits = torch.cat([task(x.to(s.device)).cpu() for x in lab[:, :1].split(250)])  # (n, Q, h, w)
            logits = logits.permute(0, 2, 3, 1).flatten(0, 2)
            ab = 100 * logits[:, :2] if variant == "regression" else s.annealed_mean(logits, task.centres.cpu())
            row = {"variant": variant, "seed": seed, "chroma": float(ab.norm(dim=1).mean())}
            yield row | ({} if variant == "regression" else {"pretext": pretext_accuracy(s, task)})


@part(minutes=6)
def variants(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Short trainings that differ in one thing: Exemplar's classes, what the ensemble's tasks see. Probe and fine-tuning."""
    runs = {"Exemplar, 2,000 classes": "short-exemplar", "Exemplar, 500 classes": "short-exemplar-500"}
    runs |= {"Ensemble, harmonised": "short-ensemble", "Ensemble, not harmonised": "short-ensemble-unharmonised"}
    for variant, run in runs.items():
        for row in scored(s, variant, run, seeds, tune="ensemble" in run):
            yield {"variant": row.pop("method")} | row


@part(minutes=1)
def progress(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """What a training took and reached: cost per picture, pictures shown, seconds, pretext accuracy, the probe on validation concepts half way and at the end."""
    for method, run in (TASKS | {SIMCLR: "simclr"}).items():
        for seed in seeds_of(s, run, seeds):
            task, log = trained(s, run, seed)
            row = {"method": method, "seed": seed, "cost": task.cost, "decoder": decoder_share(s, task)}
            row |= {
                "different": len(task.wanted(images_of(s, task.size))),
                "half": log["probe"][-3],
                "end": log["probe"][-1],
            }
            row |= {name: log[name] for name in ("steps", "shown", "pictures", "seconds")}
            row["loss"] = log["loss"][-1]
            pretext = (
                100 * log["correct"][-1] if run == "exemplar" else pretext_accuracy(s, task)
            )  # its classes are pictures seen
            yield row | ({} if math.isnan(pretext) else {"pretext": pretext})


def decoder_share(s: Any, task: helpers.Pretext) -> float:
    """Multiply-adds of the decoder over those of the trunk; 0 where there is none."""
    if not hasattr(task, "decoder"):
        return 0.0
    x, counts = torch.zeros(1, 3, task.size, task.size, device=s.device), []
    for run in (partial(task.trunk), partial(task.decoder, task.trunk)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run(x)
        counts.append(counter.get_total_flops())
    return counts[1] / counts[0] - 1


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some sections of `SECTIONS` (default: all) for which there are numbers.

    Args:
        live: what the notebook measured itself; no claim needs it.
    """
    return gathered((claim for name in sections or SECTIONS for claim in SECTIONS[name](t)), REASONS)


def names(t: Tables, section: str, beginning: str = "") -> list[str]:
    """The claims of a section that begin so, of those for which there are numbers."""
    return [name for name in claims(t, {}, section) if name.startswith(beginning)]


def main(t: Tables) -> list[str]:
    """The claims that the summary shows, of those for which there are numbers; all others are folded."""
    told = claims(t, {})
    return [name for name in MAIN if name in told]


def against(t: Tables, method: str, way: str, rival: str, *its_ways: str) -> Callable[[], np.ndarray]:
    """One margin per pretraining seed: the method's accuracy minus the mean of a baseline's, in the better of its ways."""
    return lambda: (
        t.values("tasks", way, method=method) - max(t.values("tasks", w, method=rival).mean() for w in its_ways)
    )


TASK = "100 unseen things, 3 labels each, mean of three moved tests"
SHORT = "40 % of the budget"


def _probes(t: Tables) -> Iterator[dict]:
    papers = {
        "Rotation": "Gidaris et al. 2018, section 3.2",
        "Context": "Doersch et al. 2015, section 4",
    }
    for method in TASKS:
        yield dict(
            name=f"{method}: the probe beats a random trunk",
            margin=against(t, method, "probe", RANDOM, "probe", "1-NN"),
            condition=f"{TASK}; the random trunk's better of probe and 1-NN",
            paper=papers.get(method, ""),
        )


def _tuned(t: Tables) -> Iterator[dict]:
    for method in TASKS:
        yield dict(
            name=f"{method}: fine-tuning beats scratch",
            margin=against(t, method, "tuned", SCRATCH, "tuned"),
            condition=TASK,
        )


def _stages(t: Tables) -> Iterator[dict]:
    def drop(method: str) -> np.ndarray:
        return t.values("stages", "probe", method=method, stage=3) - t.values("stages", "probe", method=method, stage=4)

    for method in TASKS:
        yield dict(
            name=f"{method}: the last stage is specialised",
            margin=lambda method=method: drop(method) - drop(RANDOM).mean(),
            condition="probe of stage 3 minus stage 4, minus the random trunk's; pooled alike to 2 x 2",
            paper="Gidaris et al. 2018, section 3.1: the third of four blocks is best" if method == "Rotation" else "",
        )


def _shortcuts(t: Tables) -> Iterator[dict]:
    def pair(task: str, variant: str) -> tuple[Row, Row]:
        return {"task": task, "variant": variant}, {"task": task, "variant": "all prevented"}

    for task, variant, words in (
        ("context", "touching", "touching tiles"),
        ("context", "whole", "whole pictures"),
        ("jigsaw", "whole", "whole pictures"),
    ):
        against_what = (
            "tiles that touch against a gap and jitter"
            if variant == "touching"
            else "whole pictures against zoomed ones"
        )
        condition = f"{against_what}; unseen pictures, {SHORT}"
        more, less = pair(task, variant)
        yield dict(
            name=f"{task.title()}: {words} raise the pretext accuracy",
            margin=t.difference("shortcuts", "pretext", more, less),
            condition=condition,
        )
        yield dict(
            name=f"{task.title()}: {words} lower the probe",
            margin=t.difference("shortcuts", "probe", less, more),
            condition=f"{condition}; mean over tiles",
        )
    for variant, blind, words in (
        ("whole", "whole, one tile", "whole pictures"),
        ("all prevented", "one tile", "zoomed"),
    ):
        yield dict(
            name=f"Context: one tile alone gives over half ({words})",
            margin=lambda blind=blind, variant=variant: (
                t.values("shortcuts", "pretext", task="context", variant=blind)
                - 12.5
                - (t.values("shortcuts", "pretext", task="context", variant=variant) - 12.5) / 2
            ),
            condition=f"accuracy above the chance of 12.5 %, half of two tiles'; unseen pictures, {SHORT}",
        )


def _symmetry(t: Tables) -> Iterator[dict]:
    yield dict(
        name="Rotation fails on look-alikes",
        margin=lambda: 60 - t.values("symmetry", "symmetric", network="rotation"),
        condition="60 minus the accuracy on the 6 % most symmetric unseen pictures",
        paper="Feng et al. 2019",
    )


def _colour(t: Tables) -> Iterator[dict]:
    for rival, words in (("plain", "rebalancing"), ("regression", "classification instead of regression")):
        yield dict(
            name=f"Colorization: {words} raises the chroma",
            margin=t.difference("colour", "chroma", {"variant": "rebalanced"}, {"variant": rival}),
            condition=f"mean length of (a, b) drawn for unseen pictures, {SHORT}",
            paper="Zhang et al. 2016, section 2.2",
            unit="",
        )


def _variants(t: Tables) -> Iterator[dict]:
    yield dict(
        name="Damaged beats plain jigsaw",
        margin=t.difference("tasks", "probe", {"method": "Damaged jigsaw"}, {"method": "Jigsaw"}),
        condition=f"probe; {TASK}",
        paper="Kim et al. 2018",
    )
    yield dict(
        name="Exemplar: 2,000 classes beat 500",
        margin=t.difference(
            "variants", "probe", {"variant": "Exemplar, 2,000 classes"}, {"variant": "Exemplar, 500 classes"}
        ),
        condition=f"probe; {TASK}; {SHORT}",
        paper="Dosovitskiy et al. 2014, section 4",
    )
    single = [method for method in TASKS if method != "Ensemble"]
    for way, words in (("probe", "probe"), ("tuned", "fine-tuning")):
        try:
            best = max(single, key=lambda method: t.values("tasks", "val probe", method=method).mean())
            margin = t.difference("tasks", way, {"method": "Ensemble"}, {"method": best})
        except NoTable:
            continue
        yield dict(
            name=f"Ensemble beats the best single task ({words})",
            margin=margin,
            condition=f"best by its probe on validation concepts; {TASK}",
            paper="Doersch and Zisserman 2017, section 5",
        )
        yield dict(
            name=f"Ensemble: harmonised beats not harmonised ({words})",
            margin=t.difference(
                "variants", way, {"variant": "Ensemble, harmonised"}, {"variant": "Ensemble, not harmonised"}
            ),
            condition=f"{TASK}; {SHORT}",
            paper="Doersch and Zisserman 2017, section 3",
        )


def _progress(t: Tables) -> Iterator[dict]:
    def change() -> np.ndarray:
        """The mean over tasks, one value per seed."""
        return np.mean(
            [t.values("progress", "end", method=m) - t.values("progress", "half", method=m) for m in TASKS], axis=0
        )

    yield dict(
        name="a higher pretext score is a better probe",
        margin=change,
        condition="the probe's change over the last half of each training, mean over the tasks; validation concepts",
    )


SECTIONS = {
    "probes": _probes,
    "tuned": _tuned,
    "stages": _stages,
    "shortcuts": _shortcuts,
    "symmetry": _symmetry,
    "colour": _colour,
    "variants": _variants,
    "progress": _progress,
}
MAIN = (  # the claims that the summary shows; all others are folded
    "Rotation: the probe beats a random trunk",
    "Jigsaw: the probe beats a random trunk",
    "Colorization: the probe beats a random trunk",
    "Rotation: fine-tuning beats scratch",
    "Rotation: the last stage is specialised",
    "Context: touching tiles raise the pretext accuracy",
    "Jigsaw: whole pictures raise the pretext accuracy",
    "Context: one tile alone gives over half (whole pictures)",
    "Colorization: rebalancing raises the chroma",
    "a higher pretext score is a better probe",
)
REASONS: dict[str, str] = {  # why a statement of the literature does not hold here
    "Exemplar: the last stage is specialised": "to tell pictures apart is near to the task that is asked: its last stage is the best",
    "Exemplar: 2,000 classes beat 500": "in so short a training each of 2,000 pictures is seen 51 times, each of 500 four times as often",
    "Rotation: fine-tuning beats scratch": "minutes on 6,830 drawings, some without an up; the paper's network had 1.3 million photographs",
} | {
    f"Ensemble beats the best single task ({way})": "each task had a quarter of the compute and no colours; Exemplar alone had all of both"
    for way in ("probe", "fine-tuning")
}
