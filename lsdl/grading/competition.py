"""A week's competition before it is ranked: what a week gives for it, its pictures and their truth, drawn from the instructor's key.

What a week gives, and nothing else is known of it here:

- `leaderboard.toml`, with the tables [smoke] and [full]; numbers are read as exact fractions:
    thresholds = [[0.47, 1], [0.5, 1]]   public accuracy that has to be reached, and its points
    place = 3                            place * (1 - (place - 1) / participants) on private hits, among those who reached the last threshold;
                                         a place is 1 + how many of them have more hits
    best_measured = 0.52                 accuracy of our best run; more than 10 points over it is marked for a person
    model_mb = 8                         largest model.safetensors
- `helpers.py`, with functions of a scale ("smoke" or "full"):
    competition_classes(scale) -> Sequence[str]: names, index = label
    competition_model(scale) -> nn.Module: a fresh network, whose state_dict says names and shapes; normalised pictures (`lsdl.data.emoji.normalise`)
        (batch, 3, size, size) -> logits (batch, classes)
    competition_tests(scale, generator) -> (images, labels, drawings): (n, 3, size, size) uint8, (n,) int64, and (n,) int64, which drawing a picture is a
        copy of; every random number is drawn from the CPU generator. A class has two drawings or more, a drawing one class.
"""

from __future__ import annotations

import csv
import hmac
import importlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lsdl.author.course import WeekPaths
from lsdl.author.homework import Homework
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.csv_tables import csv_text
from lsdl.predictions import SAMPLE

RULES, PICTURES = "leaderboard.toml", "test.safetensors"
CONTRACT = ("competition_classes", "competition_model", "competition_tests")


class Rules(BaseModel):
    """A table of `leaderboard.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: tuple[tuple[Decimal, Decimal], ...] = Field(min_length=1)
    place: Decimal = Field(ge=0)
    best_measured: Decimal = Field(ge=0, le=1)
    model_mb: int = Field(gt=0)

    @property
    def most(self) -> Decimal:
        """All points together."""
        return self.place + sum(points for _, points in self.thresholds)


@dataclass(frozen=True)
class Solution:
    """The pictures' truth, in the order of their ids; tensors have one entry for each."""

    scale: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Tensor  # int64
    public: Tensor  # bool
    drawings: Tensor  # int64


def make(week: Path, folder: Path, key: bytes, scale: str = "smoke") -> str:
    """Draw the competition: pictures and a sample for students into `folder`, the solution into gradebook/leaderboard/.

    Returns:
        A line that says what there is.

    Raises:
        GradingError: the week does not keep the contract, or another competition of this week is there already.
    """
    paths = WeekPaths.at(week)
    seed = int.from_bytes(hmac.digest(key.strip(), f"{paths.name}/leaderboard".encode(), "sha256")[:8]) >> 1
    generator = torch.Generator().manual_seed(seed)
    with helpers_of(week) as helpers:
        images, labels, drawings = helpers.competition_tests(scale, generator)
        classes = tuple(helpers.competition_classes(scale))
    public, order = split(labels, drawings, generator), torch.randperm(len(images), generator=generator)
    width = len(str(len(order)))
    ids = [f"p{number:0{width}d}" for number in range(1, len(order) + 1)]  # no number, which a spreadsheet changes
    pictures = picture_file(images[order], classes, scale)
    lines = [
        [ids[i], classes[labels[k]], "public" if public[k] else "private", int(drawings[k])]
        for i, k in enumerate(order.tolist())
    ]
    made = {
        paths.leaderboard(f".{PICTURES}"): pictures,
        paths.leaderboard(".solution.csv"): csv_text([["id", "class", "part", "drawing"], *lines]).encode(),
    }
    if any(path.is_file() and path.read_bytes() != data for path, data in made.items()):
        raise GradingError(
            f"{paths.leaderboard('.solution.csv').parent} holds another competition of {paths.name}, drawn from another key: "
            "move its files away if nobody has its pictures."
        )
    sample = [[name, classes[i % len(classes)]] for i, name in enumerate(ids)]  # has every class, for `lsdl doctor`
    made |= {folder / PICTURES: pictures, folder / SAMPLE: csv_text([["id", "class"], *sample]).encode()}
    for path, data in made.items():
        write_whole(path, data, private=path.parent != folder)
    count = len(drawings.unique())
    return f"{len(ids)} pictures of {count} drawings, {int(public.sum())} public: give students {folder / PICTURES} and {SAMPLE}"


def picture_file(images: Tensor, classes: Sequence[str], scale: str) -> bytes:
    """What students get as test.safetensors: "images" (n, 3, size, size) uint8; the metadata "competition" is JSON with "classes" and "scale"."""
    return save(
        {"images": images.contiguous()}, {"competition": json.dumps({"classes": list(classes), "scale": scale})}
    )


def split(labels: Tensor, drawings: Tensor, generator: torch.Generator) -> Tensor:
    """Which pictures are public, (n,) bool: all copies of a drawing or none, every class on both sides, as many drawings on either.

    First each class gives a drawing to either side, then the others are dealt out in random order.

    Raises:
        GradingError: a class has one drawing only, or a drawing two classes.
    """
    class_of = dict(zip(drawings.tolist(), labels.tolist(), strict=True))
    if any(class_of[drawing] != label for drawing, label in zip(drawings.tolist(), labels.tolist(), strict=True)):
        raise GradingError("competition_tests gives one drawing two classes: a drawing has one.")
    names = sorted(class_of)
    by_class: dict[int, list[int]] = {}
    for place in torch.randperm(len(names), generator=generator).tolist():
        by_class.setdefault(class_of[names[place]], []).append(names[place])
    if any(len(found) < 2 for found in by_class.values()):
        raise GradingError("competition_tests gives a class one drawing only: each needs one for either part.")
    rest = [drawing for _, found in sorted(by_class.items()) for drawing in found[2:]]
    order = torch.randperm(len(rest), generator=generator)[: (len(rest) + 1) // 2].tolist()
    public = [found[0] for found in by_class.values()] + [rest[place] for place in order]
    return torch.isin(drawings, torch.tensor(public))


@contextmanager
def helpers_of(week: Path) -> Iterator[ModuleType]:
    """The week's `helpers`, imported in its own folder.

    Raises:
        GradingError: they lack a function of the contract.
    """
    with Homework(week).at_home():
        module = importlib.import_module("helpers")
        absent = [name for name in CONTRACT if not hasattr(module, name)]
        if absent:
            raise GradingError(
                f"{week.name}/helpers.py does not define {absent[0]}, which a competition needs (lsdl/grading/competition.py)."
            )
        yield module


def read_rules(week: Path, scale: str) -> Rules:
    """The week's `leaderboard.toml` at a scale.

    Raises:
        GradingError: there is none, or it is not as the module's docstring says.
    """
    path = week / RULES
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return {name: Rules.model_validate(tables[name]) for name in ("smoke", "full")}[scale]
    except FileNotFoundError:
        raise GradingError(f"{week.name} has no competition: {path} does not exist.") from None
    except (tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else f"{error}"
        raise GradingError(
            f"{path} needs tables [smoke] and [full] as lsdl/grading/competition.py describes them ({said})."
        ) from None


def read_solution(paths: WeekPaths) -> Solution:
    """What `make` wrote for the instructor.

    Raises:
        GradingError: it was not made.
    """
    try:
        with safe_open(paths.leaderboard(f".{PICTURES}"), "pt") as file:
            about = json.loads(file.metadata()["competition"])
        text = paths.leaderboard(".solution.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GradingError(
            f"The competition of {paths.name} was not made: lsdl leaderboard {paths.name} --make DIR --key FILE."
        ) from None
    lines = list(csv.DictReader(text.splitlines()))
    classes = tuple(about["classes"])
    return Solution(
        about["scale"],
        classes,
        tuple(line["id"] for line in lines),
        torch.tensor([classes.index(line["class"]) for line in lines]),
        torch.tensor([line["part"] == "public" for line in lines]),
        torch.tensor([int(line["drawing"]) for line in lines]),
    )
