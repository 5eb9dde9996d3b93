"""The runs over seeds behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The seminar reads the parts from assets/tables.json; with
`RETRAIN = True` it measures each where it is first used: of the tasks those whose functions it has itself. instructor/train.py has all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import helpers
import torch
from torch import Tensor, nn

from lsdl.tables import Row

COLOURS, PIXELS, RANDOM, SCRATCH = "colour histogram", "raw pixels", "random trunk", "supervised from scratch"
_NETS: dict[tuple[str, int], tuple[helpers.Pretext, Row]] = {}  # trained networks and their logs by run and seed
_BINS: list[tuple[Tensor, Tensor]] = []  # centres and shares of the bins of colour


# Tasks: what makes a network for each run


def images_of(s: Any, size: int) -> Tensor:
    """The pictures without labels."""
    return helpers.load_pictures(s.SCALE, size)


def rotation(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return helpers.Rotation(s.rotation_batch, trunk=trunk, size=s.SETTINGS["size"])


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
    permutations = s.permutation_set(9, s.SETTINGS["permutations"])
    return (make or helpers.Jigsaw)(permutations, s.cut_tiles, s.shuffle_tiles, trunk=trunk, **settings, **sizes)


def damaged(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return jigsaw(s, trunk, s.DamagedJigsaw)


def colorization(
    s: Any, trunk: nn.Module, make: Callable[..., helpers.Pretext] | None = None, lam: float = 0.5
) -> helpers.Pretext:
    if not _BINS:
        _BINS.append(helpers.colour_bins(images_of(s, s.SETTINGS["size"]), s.rgb_to_lab))
    functions = (s.rgb_to_lab, s.soft_targets, partial(s.rebalanced_loss, lam=lam), *_BINS[0])
    sizes = dict(doublings=s.SETTINGS["doublings"], size=s.SETTINGS["size"])
    return (make or helpers.Colorization)(*functions, trunk=trunk, **sizes)


def regression(s: Any, trunk: nn.Module) -> helpers.Pretext:
    return colorization(s, trunk, s.Regression)


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


def trained(s: Any, run: str, seed: int, width: int = 16, **more: Any) -> tuple[helpers.Pretext, Row]:
    """The network of a run, in eval mode, and its log; each seed is trained once, with the same settings for all tasks.

    Raises:
        AttributeError: `s` lacks a function of the task.
    """
    if (run, seed) not in _NETS:
        torch.manual_seed(seed)
        task = MAKE[run](s, helpers.make_trunk(width, s.SCALE))
        kind = run.removeprefix("short-").split("-")[0]
        size = s.SETTINGS["many_batch_size" if kind in MANY else "batch_size"] // (2 if kind == "simclr" else 1)
        budget = s.SETTINGS["short_pictures" if run.startswith("short-") else "pictures"]
        images = images_of(s, task.size)
        log = helpers.pretrain(task, images, budget, batch_size=size, seed=seed, device=s.device, **more)
        _NETS[run, seed] = task.eval(), {"run": run, "seed": seed, "batch_size": size, "cost": task.cost} | log
    return _NETS[run, seed]


def val_probe(s: Any, run: str) -> Callable[[nn.Module], float]:
    """The linear probe on validation concepts, in percent, for training curves; of tasks on tiles by tiles."""
    way = "tiles" if run.removeprefix("short-").split("-")[0] in PATCHES else "picture"

    def probe(trunk: nn.Module) -> float:
        size, source = ways(s, trunk)[way]
        return helpers.evaluate(source, s.SCALE, [0], part="val", size=size)[0]["probe"]

    return probe


def ways(s: Any, trunk: nn.Module) -> dict[str, tuple[int, helpers.Source]]:
    """`helpers.embeddings` at this scale."""
    return helpers.embeddings(
        trunk, *(s.SETTINGS[name] for name in ("size", "patch_size")), **{k: s.SETTINGS[k] for k in ("cell", "tile")}
    )
