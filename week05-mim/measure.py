"""The runs over seeds behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The seminar reads the parts from assets/tables.json; with
`RETRAIN = True` it measures each where it is first used: of the methods those whose functions it has itself. instructor/train.py has all.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lsdl.claims import Claims
from lsdl.data.emoji import normalise
from lsdl.data.few_labels import Labelled, load_task, moved_tests
from lsdl.features import embed
from lsdl.probes import colours, frozen_row, linear_probe, pixels
from lsdl.tables import Row, Tables, gathered, part

COLOURS, PIXELS, RANDOM, SCRATCH = "colour histogram", "raw pixels", "random ViT", "from scratch"
TUNED_LONG = "MAE, tuned as long as scratch"
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
    """MAE that draws the pixels as they are, in units of their standard deviation."""
    learner = mae(s)
    learner.target = lambda images: helpers.to_patches(normalise(images), learner.encoder.patch)
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


def densecl(s: Any, dense: float = 0.5) -> helpers.Learner:
    """DenseCL with the homework's matches and loss, `dense` its weight; 0: MoCo, which is the same loss with one cell per picture."""
    width, size = s.SETTINGS["width"], s.SETTINGS["queue"]

    class DenseCL(helpers.Learner):
        def __init__(self) -> None:
            super().__init__(helpers.make_vit(s.SETTINGS))
            mlp = lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64))  # noqa: E731
            self.query = nn.ModuleList([self.encoder, mlp(), mlp()])  # of whole pictures, of cells
            self.key = copy.deepcopy(self.query).requires_grad_(False)
            self.register_buffer("queues", F.normalize(torch.randn(2, size, 64), dim=-1))

        def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
            views = [helpers.view(images, generator, colour=True) for _ in range(2)]
            (encoder, whole, cell), (slow, slow_whole, slow_cell) = self.query, self.key
            q = encoder.forward_features(views[0])[:, 1:]  # (B, L, d)
            with torch.no_grad():
                k = slow.forward_features(views[1])[:, 1:]
            one = torch.zeros(len(q), 1, dtype=torch.int64, device=q.device)
            pairs = [(whole(q.mean(1, True)), slow_whole(k.mean(1, True)), one)]
            if dense:
                pairs.append((cell(q), slow_cell(k), s.dense_match(q.detach(), k)))
            found = [s.dense_loss(*pair, queue) for pair, queue in zip(pairs, self.queues, strict=False)]
            kept = [torch.cat([new, queue])[:size] for queue, (_, new) in zip(self.queues, found, strict=False)]
            self.queues = torch.stack(kept + list(self.queues[len(kept) :]))  # of MoCo the second stays
            losses = [loss for loss, _ in found]
            return torch.lerp(*losses, dense) if dense else losses[0]

        @torch.no_grad()
        def after_step(self, progress: float) -> None:
            torch._foreach_lerp_(list(self.key.parameters()), list(self.query.parameters()), 1 - s.SETTINGS["momentum"])

    return DenseCL()


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
    # with the mean over positives inside of the logarithm: train.py has that loss
    "label-supcon-in": lambda s: supervised_contrast(
        SimpleNamespace(SETTINGS=s.SETTINGS, SCALE=s.SCALE, supcon=s.supcon_in)
    ),
    "further-looc": lambda s: s.LooC(),
    "further-looc-one": lambda s: s.LooC(spaces=1),
    "further-densecl": densecl,
    "further-moco": partial(densecl, dense=0.0),
    "further-dilo": lambda s: s.DiLo(),
    "further-dilo-fixed": lambda s: s.DiLo(new=False),
    # short runs, each compared with others of them
    **{f"short-mae-{round(100 * ratio)}": partial(mae, ratio=ratio) for ratio in RATIOS},
    "short-mae-raw": raw_mae,
    "short-mae-everywhere": everywhere_mae,
    "short-mae-depth1": partial(mae, decoder_depth=1),
    "short-mae-depth4": partial(mae, decoder_depth=4),
    **{f"collapse-{name.replace(' ', '')}": partial(collapsing, **more) for name, more in COLLAPSE.items()},
}
NEEDS = {  # names of seminar and homework
    "mae": ("MAE",),
    "beit": ("MaskedPrediction", "code_target"),
    "pixels": ("MaskedPrediction", "pixel_target"),
    "maskfeat": ("MaskedPrediction", "hog_targets"),
    "dino": ("DINO", "dino_loss", "update_centre"),
    "dino-live": ("DINO",),
    "simclr": ("SimCLR",),
    "supcon": ("supcon",),
    "densecl": ("dense_match", "dense_loss"),
    "moco": ("dense_loss",),
}


def kind_of(run: str) -> str:
    """The method of a run, the key of its settings."""
    if run.startswith("collapse-"):
        return "dino-live"
    return (
        run.removeprefix("short-")
        .removeprefix("long-")
        .removeprefix("label-")
        .removeprefix("rate-")
        .removeprefix("further-")
        .split("-")[0]
    )


def budget_of(s: Any, run: str) -> int:
    """Pictures that a run sees."""
    settings = s.SETTINGS
    if run.startswith("collapse-"):
        return settings["collapse_steps"] * settings["dino_batch_size"]
    if run.startswith("long-"):
        return round(settings["pictures"] * settings["long"])
    if run.startswith("rate-") and kind_of(run) not in FROZEN:
        return settings["pictures"]
    kinds = {
        "short-": "short_pictures",
        "label-": "label_pictures",
        "rate-": "rate_pictures",
        "further-": "further_pictures",
    }
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
        if run.startswith("collapse-"):  # the last entry is the mean over the last tenth
            more["every"] = max(1, settings["collapse_steps"] // 10)
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

    MAE has "tuned long", too: for as many epochs as training from scratch. Fine-tuning reads the mean of the patch tokens. A run that chooses a setting is judged on validation concepts only.
    """
    settings, found = s.SETTINGS, {}
    choosing, blank = run.startswith(("rate-", "grid-")), run.startswith(("grid-", "scratch"))
    if run.startswith(("collapse-", "further-")):  # the parts judge them
        return found
    for read in () if blank else READS:
        source = partial(helpers.reading, encoder, read)
        found[f"val {read}"] = helpers.evaluate(source, s.SCALE, range(2 * settings["label_seeds"]), part="val")
        if not choosing:
            found[f"test {read}"] = helpers.evaluate(source, s.SCALE, choices_of(s))
    encoder.read = "mean"
    if run.startswith("label-") or (choosing and kind_of(run) in FROZEN):
        return found
    lr = settings["tune_lr"].get(kind_of(run), settings["tune_lr"]["mae"])
    epochs = settings["short_tune_epochs" if run.startswith("short-") else "tune_epochs"]
    how = dict(lr=lr, epochs=epochs, part="val" if choosing else "test")
    if blank:
        _, lr, epochs = run.split("-") if choosing else (0, settings["scratch_lr"], settings["scratch_epochs"])
        how |= dict(lr=float(lr), epochs=int(epochs), layer_decay=1.0)

    def tuned(**changes: Any) -> list[Row]:
        rows = []
        for k in range(2) if choosing else choices_of(s):
            own = seed * settings["label_seeds"] + k
            net = make(s, run, own).encoder.to(s.device) if blank else copy.deepcopy(encoder)
            rows.append(helpers.tuned(net, s.SCALE, k, own, **how | changes))
        return rows

    found["tuned"] = tuned()
    if run == "mae":
        found["tuned long"] = tuned(epochs=settings["scratch_epochs"])
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


@part(minutes=120)
def methods(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Probe, nearest neighbour and fine-tuning: a row per method, seed and choice of labels.

    Columns are those of `helpers.evaluate` and `helpers.tuned`. "read" is the reading of the frozen network that has the better probe on validation
    concepts, the same for all seeds of a method. Of fixed features the seed is the choice of labels.
    """
    for name, source in ((COLOURS, colours), (PIXELS, pixels)):
        for k, row in zip(choices_of(s), helpers.evaluate(source, s.SCALE, choices_of(s)), strict=True):
            yield {"method": name, "seed": k, "labels": k} | row
    fresh = {}
    for seed in seeds:
        encoder = make(s, "scratch", seed).encoder.to(s.device)
        sources = {read: partial(helpers.reading, encoder, read) for read in READS}
        fresh[seed] = {
            f"{part} {read}": helpers.evaluate(source, s.SCALE, choices_of(s), part=part)
            for read, source in sources.items()
            for part in ("val", "test")
        }
    yield from scored(s, RANDOM, fresh)
    for method, run in {SCRATCH: "scratch", **METHODS, LONG_MAE: "long-mae"}.items():
        logs = {seed: trained(s, run, seed)[1] for seed in seeds_of(s, run, seeds)}
        yield from scored(s, method, logs)
        if run == "mae":
            yield from scored(s, TUNED_LONG, {seed: {"tuned": log["tuned long"]} for seed, log in logs.items()})


def scored(s: Any, method: str, logs: Mapping[int, Row]) -> list[Row]:
    """The rows of a method from what its judges said, by seed."""
    read = reading_of(logs)
    rows = []
    for seed, log in logs.items():
        for k in choices_of(s):
            row = {"method": method, "seed": seed, "labels": k}
            if f"test {read}" in log:
                row |= {"read": read} | log[f"test {read}"][k]
            rows.append(row | (log["tuned"][k] if "tuned" in log else {}))
    return rows


def reading_of(logs: Mapping[int, Row]) -> str:
    """The reading with the better probe on validation concepts."""
    val = {read: [row["probe"] for log in logs.values() for row in log.get(f"val {read}", ())] for read in READS}
    return max(READS, key=lambda read: np.mean(val[read] or [0]))


@part(minutes=1)
def cost(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Counted work: "MFLOP" of a step per picture, forward and backward, with decoder, teacher and all views; "share": of MAE's encoder in that on all tokens."""
    images = helpers.load_pictures(s.SCALE)[:8].to(s.device)
    for method, run in METHODS.items():
        for seed in [0] if all(hasattr(s, name) for name in NEEDS.get(run, ())) else []:
            learner = make(s, run, seed).to(s.device)
            row = {"method": method, "seed": seed, "MFLOP": helpers.flops(learner, images) / 1e6}
            yield row | ({"share": encoder_share(learner)} if run == "mae" else {})


@torch.no_grad()
def encoder_share(learner: helpers.Learner) -> float:
    """Multiply-adds of the encoder on the visible tokens over those on all."""
    encoder = learner.encoder
    counts = []
    for tokens in (int(encoder.grid**2 * (1 - learner.ratio)), encoder.grid**2):
        x = torch.zeros(1, tokens, encoder.embed_dim, device=encoder.cls_token.device)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            encoder.encode(x)
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def short(s: Any, runs: Mapping[Any, str], seeds: Sequence[int], column: str) -> Iterator[Row]:
    """Rows of runs that are compared with each other: the means over the choices of labels."""
    for value, run in runs.items():
        logs = {seed: trained(s, run, seed)[1] for seed in seeds_of(s, run, seeds)}
        read = reading_of(logs)
        for seed, log in logs.items():
            row = {
                column: value,
                "seed": seed,
                "probe": float(np.mean([found["probe"] for found in log[f"test {read}"]])),
            }
            yield row | (
                {"tuned": float(np.mean([found["tuned"] for found in log["tuned"]]))} if "tuned" in log else {}
            )


@part(minutes=30)
def ratios(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MAE by the share of patches that it hides; short trainings."""
    yield from short(s, {ratio: f"short-mae-{round(100 * ratio)}" for ratio in RATIOS}, seeds, "ratio")


@part(minutes=25)
def ablations(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MAE with one thing changed; short trainings."""
    runs = {"MAE": "short-mae-75", "pixels as they are": "short-mae-raw", "loss on all patches": "short-mae-everywhere"}
    runs |= {f"decoder of {depth} block{'s' * (depth > 1)}": f"short-mae-depth{depth}" for depth in (1, 4)}
    yield from short(s, runs, seeds, "variant")


@part(minutes=15)
def labels(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Training with the names of the things that the pictures without labels show: cross-entropy, and SupCon."""
    yield from short(
        s, {"cross-entropy": "label-ce", "SupCon": "label-supcon", "SupCon, L_in": "label-supcon-in"}, seeds, "method"
    )


@part(minutes=12)
def collapse(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """DINO with two views from random weights, means over the last tenth: the teacher's entropy over log K, that of its mean over a batch, and its divergence from the student."""
    for mode in COLLAPSE:
        run = f"collapse-{mode.replace(' ', '')}"
        for seed in seeds_of(s, run, range(s.SETTINGS["collapse_seeds"])):
            log = trained(s, run, seed)[1]
            yield {"mode": mode, "seed": seed} | {name: log[name][-1] for name in ("entropy", "of the mean", "KL")}


@part(minutes=1)
@torch.no_grad()
def blank(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """MAE's loss per hidden patch on pictures of unseen things, moved: of flat patches and of drawn ones, beside drawing nothing; and their share."""
    images = torch.cat([x for x, _ in helpers.few_labels(s.SCALE, 0)[1].values()])
    for seed in seeds_of(s, "mae", seeds):
        learner, generator = trained(s, "mae", seed)[0], torch.Generator().manual_seed(0)
        x = images.to(s.device) / 255
        drawn, mask = learner(normalise(x), generator)
        target, hidden = learner.target(x), mask.expand(drawn.shape[:2]) > 0
        flat = helpers.to_patches(x, learner.encoder.patch).var(-1) < 1e-4
        for kind, where in (("blank", flat & hidden), ("drawn", ~flat & hidden)):
            row = {"kind": kind, "seed": seed, "share": 100 * float(where.sum() / hidden.sum())}
            row |= {
                "loss": float((drawn - target)[where].square().mean()),
                "trivial": float(target[where].square().mean()),
            }
            yield row


@part(minutes=3)
def spaces(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """What ridge regression reads from LooC's spaces: R^2 in percent of a view's "colour" and "turn", on things that the regression did not see.

    Views are of unseen things, each four times, with colours and quarter turns at random; half of the things fit the regression, the others test it.
    The colour is the drawn pixels' mean of red, green and blue, the turn is its cosine and sine. "encoder" are the features before the heads.
    Beside the spaces stands a "head" with its random weights.
    """
    if not hasattr(s, "LooC"):  # the further sections were not run
        return
    x, facts, first = changed_views(s)
    for seed in seeds:
        blank = make(s, "further-looc", seed).to(s.device).eval()
        found = {"encoder": by_batch(s, blank.encoder, x), "head": by_batch(s, blank.spaces, x, 1)[0]}
        yield from read_spaces(RANDOM, seed, found, facts, first)
    for method, run in {"LooC": "further-looc", "one space": "further-looc-one"}.items():
        for seed in seeds_of(s, run, seeds):
            learner = trained(s, run, seed)[0].to(s.device)
            found = {"encoder": by_batch(s, learner.encoder, x)}
            found |= {f"Z_{i}": z for i, z in enumerate(by_batch(s, learner.spaces, x, 1))}
            yield from read_spaces(method, seed, found, facts, first)


def changed_views(s: Any, copies: int = 4) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Views (n, 3, S, S) in [0, 1] with LooC's changes, what was changed, and which n belong to the first half of the things."""
    generator = torch.Generator().manual_seed(0)
    task = load_task(s.SCALE)
    images, things = (torch.cat(found) for found in zip(task.train, *task.tests.values(), strict=True))
    some = torch.arange(0, len(images), max(1, len(images) // 600)).repeat_interleave(copies)
    images, things = images[some], things[some]
    turn = torch.randint(4, (len(images),), generator=generator)
    x = helpers.view(images, generator, normalised=False)
    views = s.changed(x, turn, 0)
    drawn = (torch.stack([x.rot90(k, (2, 3)) for k in range(4)])[turn, torch.arange(len(x))] < 0.95).any(1, True)
    colour = (views * drawn).sum((2, 3)) / drawn.sum((2, 3)).clamp(min=1)  # (n, 3)
    angle = turn * math.pi / 2
    facts = {"colour": colour, "turn": torch.stack([angle.cos(), angle.sin()], 1)}
    return views, facts, things < (things.max() + 1) // 2


def read_spaces(
    method: str, seed: int, found: dict[str, Tensor], facts: dict[str, Tensor], first: Tensor
) -> Iterator[Row]:
    """A row per space, R^2 in percent."""
    for space, z in found.items():
        row = {"method": method, "seed": seed, "space": space, "what": f"{method}, {space}"}
        for name, target in facts.items():
            model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
            model.fit(z[first].numpy(), target[first].numpy())
            row[name] = 100 * model.score(z[~first].numpy(), target[~first].numpy())
        yield row


@torch.no_grad()
def by_batch(s: Any, net: Callable[[Tensor], Tensor], x: Tensor, dim: int = 0) -> Tensor:
    """What a network says of pictures, uint8 or in [0, 1], along `dim` of the result."""
    return torch.cat([net(normalise(some.to(s.device))).cpu() for some in x.split(500)], dim)


@part(minutes=3)
def dense(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """DenseCL beside MoCo: "mosaic", accuracy per cell of 2 x 2 mosaics, and "whole", the probe on whole pictures; in percent, per choice of labels.

    A mosaic has twice the side of a picture. Its cell's features are the mean of the cell's patch tokens; a linear probe names the thing.
    """
    if not hasattr(s, "mosaic"):
        return
    for method, run in {RANDOM: "scratch", "MoCo": "further-moco", "DenseCL": "further-densecl"}.items():
        for seed in seeds if method == RANDOM else seeds_of(s, run, seeds):
            learner = make(s, run, seed) if method == RANDOM else trained(s, run, seed)[0]
            encoder = learner.encoder.to(s.device)
            whole = helpers.evaluate(partial(embed, encoder), s.SCALE, choices_of(s))
            for k in choices_of(s):
                row = {"method": method, "seed": seed, "labels": k, "mosaic": in_mosaics(s, encoder, k)}
                yield row | {"whole": whole[k]["probe"]}


def in_mosaics(s: Any, encoder: helpers.ViT, labels: int) -> float:
    """Accuracy per cell in percent, mean over the three tests; every picture once in each corner."""
    train, tests = helpers.few_labels(s.SCALE, labels)
    right = linear_probe(corners(s, encoder, train), {name: corners(s, encoder, test) for name, test in tests.items()})
    return 100 * float(np.mean([hits.float().mean() for hits in right.values()]))


def corners(s: Any, encoder: helpers.ViT, known: Labelled) -> Labelled:
    """Features (4 n, d) of the cells of n mosaics, and what they show."""
    images, things = known
    generator = torch.Generator().manual_seed(0)
    index = torch.stack([torch.randperm(len(images), generator=generator) for _ in range(4)], 1)  # (n, 4)

    def cells(x: Tensor) -> Tensor:
        y = encoder.forward_features(x)[:, 1:].mT  # (n, d, tokens)
        side = math.isqrt(y.shape[-1])
        return F.adaptive_avg_pool2d(y.unflatten(2, (side, side)), 2).flatten(2).mT  # (n, 4, d)

    return by_batch(s, cells, s.mosaic(images, index)).flatten(0, 1), things[index].flatten()


@part(minutes=3)
def grounds(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """The probe on made photographs with fresh grounds, labels and tests, and on white ground: a row per method, ground, seed and choice of labels."""
    if not hasattr(s, "DiLo"):
        return
    encoders: dict[str, dict[int, nn.Module]] = {RANDOM: {k: make(s, "scratch", k).encoder.to(s.device) for k in seeds}}
    for method, run in {"fixed grounds": "further-dilo-fixed", "new grounds": "further-dilo"}.items():
        encoders[method] = {k: trained(s, run, k)[0].encoder for k in seeds_of(s, run, seeds)}
    for k in choices_of(s):
        for ground, (train, tests) in {
            "white": helpers.few_labels(s.SCALE, k),
            "made": made_photographs(s, k),
        }.items():
            yield {"method": PIXELS, "ground": ground, "seed": k, "labels": k} | frozen_row(pixels, train, tests)
            for method, nets in encoders.items():
                for seed, net in nets.items():
                    row = {"method": method, "ground": ground, "seed": seed, "labels": k}
                    yield row | frozen_row(partial(embed, net), train, tests)


def made_photographs(s: Any, labels: int) -> tuple[Labelled, dict[str, Labelled]]:
    """`helpers.few_labels` with a fresh ground under each picture, found at 64 pixels; the tests are moved before."""
    task, generator = load_task(s.SCALE, "test", labels, size=64), torch.Generator().manual_seed(labels)

    def pasted(images: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(images.float() / 255, s.SETTINGS["size"])
        x = s.paste(x, s.ground_share(images), s.draw_grounds(len(x), generator))
        return (255 * x).round().to(torch.uint8)

    (images, things), tests = task.train, moved_tests(task)
    return (pasted(images), things), {name: (pasted(x), y) for name, (x, y) in tests.items()}


# Claims: signed margins, positive where the statement holds


def claims(t: Tables, live: Mapping[str, Any], *sections: str) -> Claims:
    """The claims of some sections of `SECTIONS` (default: all) for which there are numbers.

    Args:
        live: what the notebook measured itself; no claim needs it.
    """
    return gathered((claim for name in sections or SECTIONS for claim in SECTIONS[name](t)), REASONS)


def main(t: Tables) -> list[str]:
    """The claims that the summary shows, of those for which there are numbers; all others are folded."""
    told = claims(t, {})
    return [name for name in MAIN if name in told]


TASK = "100 unseen things, 3 labels each, mean of three moved tests"


def between(t: Tables, way: str, method: str, rival: str) -> Callable[[], np.ndarray]:
    """The margin of two methods, paired by seed."""
    return t.difference("methods", way, {"method": method}, {"method": rival})


def _mae(t: Tables) -> Iterator[dict]:
    yield dict(
        name="MAE: fine-tuning beats scratch",
        margin=between(t, "tuned", TUNED_LONG, SCRATCH),
        condition=f"{TASK}; both with the best of their settings on validation concepts, 400 epochs",
        paper="He et al. 2021, section 4: ViT-L 84.9 and 82.5",
    )
    yield dict(
        name="MAE wants many hidden patches",
        margin=t.difference("ratios", "tuned", {"ratio": 0.75}, {"ratio": 0.25}),
        condition=f"fine-tuned, 75 % hidden minus 25 %; {TASK}; 60,000 pictures, tuned for 100 epochs",
        paper="He et al. 2021, figure 5: best near 75 %",
    )
    yield dict(
        name="MAE's encoder costs under half",
        margin=lambda: 0.5 - t.values("cost", "share", method="MAE"),
        condition="0.5 minus the multiply-adds of the encoder on the visible tokens over those on all, counted",
        paper="He et al. 2021, table 1c: 3.3 times fewer FLOPs without mask tokens in the encoder",
        unit="",
        exact=True,
    )


def _targets(t: Tables) -> Iterator[dict]:
    for method, words, paper in (
        ("BEiT", "codes are a", "Bao et al. 2021, table 4: 82.9, pixels 81.0"),
        ("MaskFeat", "HOG is a", "Wei et al. 2021, table 2: 83.6, pixels 82.5"),
    ):
        yield dict(
            name=f"{words} better target than pixels",
            margin=between(t, "tuned", method, "pixel regression"),
            condition=f"{method} minus pixel regression, fine-tuned, the same masks; {TASK}",
            paper=paper,
        )


def _dino(t: Tables) -> Iterator[dict]:
    yield dict(
        name="DINO without a centre: one code",
        margin=lambda: 0.1 - t.values("collapse", "entropy", mode="no centre"),
        condition="0.1 minus the teacher's entropy over log K, last tenth of 300 steps",
        paper="Caron et al. 2021, figure 7: entropy 0",
        unit="",
    )
    yield dict(
        name="DINO without sharpening: all codes alike",
        margin=lambda: t.values("collapse", "entropy", mode="no sharpening") - 0.95,
        condition="the teacher's entropy over log K minus 0.95, last tenth of 300 steps",
        paper="Caron et al. 2021, figure 7: entropy log K",
        unit="",
    )
    yield dict(
        name="frozen, DINO beats MAE",
        margin=between(t, "1-NN", "DINO", "MAE"),
        condition=f"nearest neighbour, the same pictures seen; {TASK}",
        paper="Caron et al. 2021, table 2: k-NN 74.5 for ViT-S",
    )
    yield dict(
        name="DINO's neighbours beat raw pixels",
        margin=lambda: (
            t.values("methods", "1-NN", method="DINO")
            - max(t.values("methods", way, method=PIXELS).mean() for way in ("probe", "1-NN"))
        ),
        condition=f"1-NN, minus the better of probe and 1-NN on pixels; {TASK}",
    )


def _labels(t: Tables) -> Iterator[dict]:
    yield dict(
        name="SupCon beats cross-entropy",
        margin=t.difference("labels", "probe", {"method": "SupCon"}, {"method": "cross-entropy"}),
        condition=f"the same names and pictures, then a probe; {TASK}",
        paper="Khosla et al. 2020, table 2: 78.7 and 78.2",
    )


def _more(t: Tables) -> Iterator[dict]:
    for rival in ("DINO", "SimCLR"):
        yield dict(
            name=f"fine-tuned, MAE beats {rival}",
            margin=between(t, "tuned", "MAE", rival),
            condition=f"the same pictures seen; {TASK}",
        )
    for method in METHODS:
        yield dict(
            name=f"{method}: fine-tuning for half as long beats scratch",
            margin=between(t, "tuned", method, SCRATCH),
            condition=f"{TASK}; {method} tuned for 200 epochs, scratch for 400",
        )


def _ablations(t: Tables) -> Iterator[dict]:
    for variant, words in (
        ("pixels as they are", "normalised patches beat pixels as they are"),
        ("loss on all patches", "the loss on hidden patches alone beats that on all"),
        ("decoder of 1 block", "a decoder of two blocks beats one"),
    ):
        yield dict(
            name=f"MAE: {words}",
            margin=t.difference("ablations", "tuned", {"variant": "MAE"}, {"variant": variant}),
            condition=f"fine-tuned, {TASK}; 60,000 pictures, tuned for 100 epochs",
            paper="He et al. 2021, table 1",
        )


UNSEEN = "R^2 of ridge regression, views of unseen things"


def _supcon(t: Tables) -> Iterator[dict]:
    yield dict(
        name="SupCon: L_out beats L_in",
        margin=t.difference("labels", "probe", {"method": "SupCon"}, {"method": "SupCon, L_in"}),
        condition=f"the same names and pictures, then a probe; {TASK}",
        paper="Khosla et al. 2020, section 3.2: 78.7 and 67.4",
    )


def _looc(t: Tables) -> Iterator[dict]:
    for fact, space in (("colour", "Z_1"), ("turn", "Z_2")):
        looc, one = {"method": "LooC"}, {"method": "one space"}
        yield dict(
            name=f"LooC: the space that shares the {fact} tells it better than Z_0",
            margin=t.difference("spaces", fact, looc | {"space": space}, looc | {"space": "Z_0"}),
            condition=f"{space} minus Z_0, {UNSEEN}",
        )
        yield dict(
            name=f"LooC: its encoder tells the {fact} better than that of one space",
            margin=t.difference("spaces", fact, looc | {"space": "encoder"}, one | {"space": "encoder"}),
            condition=f"features before the heads, {UNSEEN}",
        )


def _dense(t: Tables) -> Iterator[dict]:
    for column, words, more, less, paper in (
        ("mosaic", "in mosaics DenseCL's cells beat MoCo's", "DenseCL", "MoCo", "Wang et al. 2021, abstract: detection, 2.0 AP more"),
        ("whole", "on whole pictures DenseCL pays", "MoCo", "DenseCL", "not in the paper"),
    ):  # fmt: skip
        yield dict(
            name=words,
            margin=t.difference("dense", column, {"method": more}, {"method": less}),
            condition=f"{more} minus {less}, linear probe; {TASK}",
            paper=paper,
        )


def _dilo(t: Tables) -> Iterator[dict]:
    for ground, words, more, less in (
        ("made", "on made photographs new grounds beat fixed ones", "new grounds", "fixed grounds"),
        ("white", "on white ground new grounds pay", "fixed grounds", "new grounds"),
    ):
        yield dict(
            name=words,
            margin=t.difference(
                "grounds", "probe", {"method": more, "ground": ground}, {"method": less, "ground": ground}
            ),
            condition=f"{more} minus {less}, probe; {TASK}",
        )


def _decoder(t: Tables) -> Iterator[dict]:
    yield dict(
        name="MAE: frozen, a decoder of four blocks beats one",
        margin=t.difference(
            "ablations", "probe", {"variant": "decoder of 4 blocks"}, {"variant": "decoder of 1 block"}
        ),
        condition=f"probe, {TASK}; 60,000 pictures",
        paper="He et al. 2021, table 1: 71.9 and 65.5",
    )


SECTIONS = {
    "mae": _mae,
    "targets": _targets,
    "dino": _dino,
    "labels": _labels,
    "more": _more,
    "ablations": _ablations,
    "supcon": _supcon,
    "looc": _looc,
    "dense": _dense,
    "dilo": _dilo,
    "decoder": _decoder,
}
MAIN = (  # the claims that the summary shows; all others are folded
    "MAE: fine-tuning beats scratch",
    "MAE wants many hidden patches",
    "MAE's encoder costs under half",
    "codes are a better target than pixels",
    "HOG is a better target than pixels",
    "DINO without a centre: one code",
    "DINO without sharpening: all codes alike",
    "frozen, DINO beats MAE",
    "DINO's neighbours beat raw pixels",
    "SupCon beats cross-entropy",
)
REASONS = {  # why a statement of the literature does not hold here, or is not decided
    "MAE wants many hidden patches": "the curve is flat up to 75 %, as the paper's is for fine-tuning from 40 to 80 %",
    "frozen, DINO beats MAE": "validation concepts chose the patch tokens, but DINO trains its class token, and 200,000 pictures are few",
    "codes are a better target than pixels": "k-means codes of raw patches are little more than rounded pixels; the paper's come from a trained network",
    "HOG is a better target than pixels": "drawings have few textures, and MAE's target, too, is without a patch's brightness",
    "DINO's neighbours beat raw pixels": "200,000 pictures are few: the paper's network saw a billion, and moved drawings of 32 pixels still overlap",
    "DINO: fine-tuning for half as long beats scratch": "half as many epochs of fine-tuning, and DINO asks for agreement of views, which a colour or a coarse shape can give",
    "LooC: the space that shares the turn tells it better than Z_0": "45,000 pictures do not teach quarter turns, which ask how things usually stand",
    "SupCon: L_out beats L_in": "nine in ten anchors have one positive, and then the two losses are equal",
}
