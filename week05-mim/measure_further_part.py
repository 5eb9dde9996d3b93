"""To be appended to measure.py: the runs of the further sections, the parts that judge them, and their claims."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import helpers
import numpy as np
import torch
import torch.nn.functional as F
from measure import PIXELS, RANDOM, TASK, choices_of, make, seeds_of, supervised_contrast, trained
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from lsdl.data.emoji import normalise
from lsdl.data.few_labels import Labelled, load_task, moved_tests
from lsdl.features import embed
from lsdl.probes import frozen_row, linear_probe, pixels
from lsdl.tables import Row, Tables, part

# 1. What makes a network for each run


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


FURTHER: dict[str, Callable[[Any], helpers.Learner]] = {  # into MAKE
    "further-looc": lambda s: s.LooC(),
    "further-looc-one": lambda s: s.LooC(spaces=1),
    "further-densecl": densecl,
    "further-moco": partial(densecl, dense=0.0),
    "further-dilo": lambda s: s.DiLo(),
    "further-dilo-fixed": lambda s: s.DiLo(new=False),
}
# the same labels with the mean inside of the logarithm; instructor/train.py has that loss
FURTHER["label-supcon-in"] = lambda s: supervised_contrast(
    SimpleNamespace(SETTINGS=s.SETTINGS, SCALE=s.SCALE, supcon=s.supcon_in)
)
FURTHER_NEEDS = {"densecl": ("dense_match", "dense_loss"), "moco": ("dense_loss",)}  # into NEEDS


# 2. Parts


@part(minutes=3)
def spaces(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """What ridge regression reads from LooC's spaces: R^2 in percent of a view's "colour" and "turn", on things that the regression did not see.

    Views are of unseen things, each four times, with colours and quarter turns at random; half of the things fit the regression, the others test it.
    The colour is the drawn pixels' mean of red, green and blue, the turn is its cosine and sine. "encoder" are the features before the heads.
    """
    x, facts, first = changed_views(s)
    for seed in seeds:
        found = {"encoder": by_batch(s, make(s, "scratch", seed).encoder.to(s.device), x)}
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


# 3. Claims, into SECTIONS: "supcon", "looc", "dense", "dilo", "decoder"

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
        condition=f"probe, {TASK}; a quarter of the pictures",
        paper="He et al. 2021, table 1: 71.9 and 65.5",
    )


SECTIONS_FURTHER = {"supcon": _supcon, "looc": _looc, "dense": _dense, "dilo": _dilo, "decoder": _decoder}
