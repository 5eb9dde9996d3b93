"""The runs over seeds behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The seminar reads the parts from assets/tables.json; with
`RETRAIN = True` it measures each where it is first used: of the methods those whose functions it has itself. instructor/train.py has all.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import helpers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.tables import Row

COLOURS, PIXELS, RANDOM, SCRATCH = "colour histogram", "raw pixels", "random ViT", "from scratch"
_NETS: dict[tuple[str, int], tuple[helpers.Learner, Row]] = {}  # trained networks and their logs by run and seed
_FOLDER: Path | None = None  # of stored runs, see `stored`


# What makes a network for each run


def per_picture(s: Any) -> type[helpers.Learner]:
    """The seminar's MAE with the homework's functions: a mask per picture. Without them the seminar's own."""
    if not hasattr(s, "random_masking"):
        return s.MAE

    class MAE(s.MAE):
        def hide(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            noise = torch.rand(x.shape[:2], generator=generator).to(x.device)
            return s.random_masking(x, noise, self.ratio)

        def fill(self, y: Tensor, restore: Tensor) -> Tensor:
            return s.restore_tokens(y, restore, self.decoder.mask_token, self.decoder.positions)

        def target(self, images: Tensor) -> Tensor:
            return s.normalise_patches(helpers.to_patches(images, self.encoder.patch))

        def error(self, drawn: Tensor, target: Tensor, mask: Tensor) -> Tensor:
            return s.mae_loss(drawn, target, mask)

    return MAE


def mae(s: Any, **changes: Any) -> helpers.Learner:
    return per_picture(s)(**changes)


def raw_mae(s: Any) -> helpers.Learner:
    """MAE that draws the pixels as they are."""
    learner = mae(s)
    learner.target = lambda images: helpers.to_patches(images, learner.encoder.patch)
    return learner


def everywhere_mae(s: Any) -> helpers.Learner:
    """MAE whose loss counts the visible patches, too."""
    learner = mae(s)
    error = learner.error
    learner.error = lambda drawn, target, mask: error(drawn, target, torch.ones(drawn.shape[:2], device=drawn.device))
    return learner


def pixel_regression(s: Any) -> helpers.Learner:
    return s.MaskedPrediction(s.pixel_target, 3 * s.SETTINGS["patch"] ** 2, F.mse_loss)


def beit(s: Any) -> helpers.Learner:
    return s.MaskedPrediction(s.code_target, s.SETTINGS["codes"], F.cross_entropy)


def maskfeat(s: Any) -> helpers.Learner:
    patch, cell = s.SETTINGS["patch"], s.SETTINGS["cell"]
    target = partial(s.hog_targets, patch=patch, cell=cell)
    return s.MaskedPrediction(target, 27 * (patch // cell) ** 2, F.mse_loss)


def dino(s: Any) -> helpers.Learner:
    """The seminar's DINO with the homework's loss and centre: local views, a frozen last layer in the first epoch, a teacher that slows down."""
    settings = s.SETTINGS
    first_epoch = len(helpers.load_pictures(s.SCALE)) / settings["pictures"]

    class MultiCrop(s.DINO):
        decay = (0.8, 8.0)  # times 0.05: the paper's 0.04 to 0.4

        def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
            view = partial(helpers.view, images, generator, colour=True)
            whole = torch.cat([view(), view()])
            parts = [view(area=(0.1, 0.35), size=settings["local_size"]) for _ in range(settings["local_views"])]
            with torch.no_grad():
                t = list(self.teacher(whole).chunk(2))
            student = [*self.student(whole).chunk(2)]
            if parts:
                student += self.student(torch.cat(parts)).chunk(len(parts))
            loss = s.dino_loss(student, t, self.centre, self.tau_student, self.tau_teacher)
            p = ((torch.cat(t) - self.centre) / self.tau_teacher).softmax(-1)
            self.centre.copy_(s.update_centre(self.centre, t))
            entropy = -(p * p.clamp(min=1e-12).log()).sum(-1).mean()
            self.watch = {"entropy": entropy / math.log(p.shape[-1]), "KL": loss.detach() - entropy}
            return loss

        def before_step(self, progress: float) -> None:
            if progress < first_epoch:
                for p in self.student[1][-1].parameters():
                    p.grad = None

        @torch.no_grad()
        def after_step(self, progress: float) -> None:
            m = 1 - (1 - settings["momentum"]) * (1 + math.cos(math.pi * progress)) / 2
            torch._foreach_lerp_(list(self.teacher.module.parameters()), list(self.student.parameters()), 1 - m)

    return MultiCrop()


def collapsing(s: Any, **changes: Any) -> helpers.Learner:
    return s.DINO(**changes)


class Named(helpers.Learner):
    """Cross-entropy with the names of the things that are shown."""

    def __init__(self, settings: dict, scale: str) -> None:
        super().__init__(helpers.make_vit(settings))
        self.names = helpers.load_names(scale)
        self.head = nn.Linear(settings["width"], int(self.names.max()) + 1)

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        logits = self.head(self.encoder(helpers.view(images, generator, colour=True)))
        return F.cross_entropy(logits, self.names.to(index.device)[index])


def supervised_contrast(s: Any) -> helpers.Learner:
    """The same names, as positives of the homework's SupCon."""

    class SupCon(Named):
        def __init__(self) -> None:
            super().__init__(s.SETTINGS, s.SCALE)
            width = s.SETTINGS["width"]
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64))

        def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
            views = torch.cat([helpers.view(images, generator, colour=True) for _ in range(2)])
            return s.supcon(self.head(self.encoder(views)), self.names.to(index.device)[index].repeat(2), 0.1)

    return SupCon()


# row of the table -> the run's name, also of its file
METHODS = {"MAE": "mae", "BEiT": "beit", "MaskFeat": "maskfeat", "pixel regression": "pixels", "DINO": "dino", "SimCLR": "simclr"}  # fmt: skip
LONG_MAE = "MAE at DINO's cost"
RATIOS = (0.25, 0.5, 0.75, 0.875)
COLLAPSE = {"whole": {}, "no centre": {"centred": False}, "no sharpening": {"tau_teacher": 0.1}}
MAKE: dict[str, Callable[[Any], helpers.Learner]] = {
    "mae": mae,
    "beit": beit,
    "maskfeat": maskfeat,
    "pixels": pixel_regression,
    "dino": dino,
    "simclr": lambda s: s.SimCLR(),
    "scratch": lambda s: helpers.Learner(helpers.make_vit(s.SETTINGS)),
    "long-mae": mae,
    "label-ce": lambda s: Named(s.SETTINGS, s.SCALE),
    "label-supcon": supervised_contrast,
    # short runs, each compared with others of them
    **{f"short-mae-{round(100 * ratio)}": partial(mae, ratio=ratio) for ratio in RATIOS},
    "short-mae-raw": raw_mae,
    "short-mae-everywhere": everywhere_mae,
    "short-mae-depth1": partial(mae, decoder_depth=1),
    "short-mae-depth4": partial(mae, decoder_depth=4),
    **{f"collapse-{name.replace(' ', '')}": partial(collapsing, **more) for name, more in COLLAPSE.items()},
}
NEEDS = {"maskfeat": ("hog_targets",), "dino": ("dino_loss", "update_centre"), "simclr": ("SimCLR",), "supcon": ("supcon",)}  # fmt: skip


def kind_of(run: str) -> str:
    """The method of a run, the key of its settings."""
    if run.startswith("collapse-"):
        return "dino-live"
    return run.removeprefix("short-").removeprefix("long-").removeprefix("label-").removeprefix("rate-").split("-")[0]


def budget_of(s: Any, run: str) -> int:
    """Pictures that a run sees."""
    settings = s.SETTINGS
    if run.startswith("collapse-"):
        return settings["collapse_steps"] * settings["dino_batch_size"]
    if run.startswith("long-"):
        return round(settings["pictures"] * settings["long"])
    kinds = {"short-": "short_pictures", "label-": "label_pictures", "rate-": "rate_pictures"}
    return settings[next((name for start, name in kinds.items() if run.startswith(start)), "pictures")]


def make(s: Any, run: str, seed: int) -> helpers.Learner:
    """The network of a run before it is trained; "rate-METHOD-RATE" is METHOD's, "grid-RATE-EPOCHS" one that is not pretrained."""
    torch.manual_seed(seed)
    if run.startswith("grid-"):
        run = "scratch"
    return MAKE[run.split("-")[1] if run.startswith("rate-") else run](s)


def trained(s: Any, run: str, seed: int, **more: Any) -> tuple[helpers.Learner, Row]:
    """The network of a run, in eval mode, and its log: stored, or trained and judged here once per seed."""
    if (run, seed) not in _NETS and _FOLDER is not None:
        log = json.loads((_FOLDER / f"{run}-{seed}.json").read_text(encoding="utf-8"))["log"]
        _NETS[run, seed] = helpers.load_learner(_FOLDER / f"{run}-{seed}.safetensors", make(s, run, seed)), log
    if (run, seed) not in _NETS:
        learner, kind, settings = make(s, run, seed), kind_of(run), s.SETTINGS
        size = settings["dino_batch_size" if kind.startswith("dino") else "batch_size"]
        lr = float(run.split("-")[2]) if run.startswith("rate-") else settings["lr"].get(kind, 1e-3)
        images = helpers.load_pictures(s.SCALE)
        if run.startswith(("grid-", "scratch")):
            log = {}
        else:
            log = helpers.pretrain(
                learner, images, budget_of(s, run), batch_size=size, lr=lr, seed=seed, device=s.device, **more
            )
        log = {"run": run, "seed": seed, "batch_size": size, "lr": lr} | log
        _NETS[run, seed] = learner, log | judged(s, run, learner.kept, seed)
    return _NETS[run, seed]


READS = ("mean", "class")
FROZEN = ("dino", "simclr")  # methods whose rate is chosen by their probe, the others' by fine-tuning


def judged(s: Any, run: str, encoder: helpers.ViT, seed: int) -> Row:
    """What the tables say of a network: "val READ" and "test READ" of both readings and "tuned", lists with a row per choice of labels.

    Fine-tuning reads the mean of the patch tokens. A run that chooses a setting is judged on validation concepts only.
    """
    settings, found = s.SETTINGS, {}
    choosing, blank = run.startswith(("rate-", "grid-")), run.startswith(("grid-", "scratch"))
    if run.startswith("collapse-"):
        return found
    for read in () if blank else READS:
        source = partial(helpers.reading, encoder, read)
        found[f"val {read}"] = helpers.evaluate(source, s.SCALE, range(2 * settings["label_seeds"]), part="val")
        if not choosing:
            found[f"test {read}"] = helpers.evaluate(source, s.SCALE, choices_of(s))
    encoder.read = "mean"
    if run.startswith("label-") or (choosing and kind_of(run) in FROZEN):
        return found
    how = dict(epochs=settings["tune_epochs"], part="val" if choosing else "test")
    if blank:
        _, lr, epochs = run.split("-") if choosing else (0, settings["scratch_lr"], settings["scratch_epochs"])
        how |= dict(lr=float(lr), epochs=int(epochs), layer_decay=1.0)
    found["tuned"] = []
    for k in range(2) if choosing else choices_of(s):
        own = seed * settings["label_seeds"] + k
        net = make(s, run, own).encoder.to(s.device) if blank else copy.deepcopy(encoder)
        found["tuned"].append(helpers.tuned(net, s.SCALE, k, own, **how))
    return found


# Parts


def stored(folder: Path | None) -> None:
    """Take networks from runs that lie in a folder, and of no other; None: train them where they are first used."""
    global _FOLDER
    _FOLDER = folder
    _NETS.clear()


def seeds_of(s: Any, run: str, seeds: Sequence[int]) -> list[int]:
    """The seeds for which the run can be had: trained and stored, or all if `s` has the method's functions."""
    if _FOLDER is not None:
        return [seed for seed in seeds if (_FOLDER / f"{run}-{seed}.json").is_file()]
    return list(seeds) if all(hasattr(s, name) for name in NEEDS.get(kind_of(run), ())) else []


def choices_of(s: Any) -> range:
    """The choices of labels."""
    return range(s.SETTINGS["label_seeds"])
