"""A week's competition: its pictures, the ranking of what was handed in, and the points that `lsdl scores` adds.

`make` draws the pictures from the instructor's key and splits them by drawing: the public part gives the points for thresholds, the private one the
place. Handed in beside the notebook are `predictions.csv` (lsdl/predictions.py) and `model.safetensors`. The grader predicts with the weights in a
network of its own, so no code of a student runs. A model that gives another class for over 1 % of the pictures is "not reproduced" and has no points: so
are test-time augmentation, ensembles and labels by hand.

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
import hashlib
import hmac
import importlib
import json
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from lsdl.author.course import WeekPaths
from lsdl.author.homework import Homework
from lsdl.features import embed
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.collect import HandIns, Submission, find_hand_ins, read_bytes
from lsdl.grading.hand_ins import title_and_due
from lsdl.grading.html_report import CSS, POLICY
from lsdl.grading.points import plain
from lsdl.grading.roster import read_roster
from lsdl.grading.scores import csv_text
from lsdl.grading.unpack import Wanted
from lsdl.intake import BadNotebook
from lsdl.predictions import MAX_BYTES, NAME, SAMPLE, BadPredictions, read_predictions
from lsdl.printable import printable, printable_name
from lsdl.probes import clustered_error
from lsdl.weights import BadWeights, read_weights

RULES, MODEL, PICTURES = "leaderboard.toml", "model.safetensors", "test.safetensors"
PREDICTIONS = Wanted(".csv", "predictions", MAX_BYTES)
CONTRACT = ("competition_classes", "competition_model", "competition_tests")
REPRODUCED, SURPRISING = Fraction(99, 100), Fraction(1, 10)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


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


@dataclass
class Row:
    """What one student handed in.

    Attributes:
        problem: why it has no points, a sentence; empty if it is ranked.
        notes: what a person should know or look at.
        right: (n,) bool, of all pictures; None if the predictions cannot be read.
        agreed: on how many pictures the model says the same; None if that was not asked.
        reached: how many thresholds.
        place: among those who reached all of them.
        to_next: the private difference to the next of them and its standard error, in percentage points.
        digests: SHA-256 of what was handed in, by name.
    """

    student: str
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    right: Tensor | None = None
    agreed: int | None = None
    reached: int = 0
    place: int | None = None
    to_next: tuple[float, float] | None = None
    points: Fraction = Fraction(0)
    digests: dict[str, str] = field(default_factory=dict)

    def hits(self, part: Tensor) -> int:
        """How many pictures of a part are right."""
        return int(self.right[part].sum()) if self.right is not None else 0


@dataclass
class Board:
    """The ranking; nothing private is shown unless it is final. The best come first, those with a problem last."""

    week: str
    final: bool
    rules: Rules
    solution: Solution
    rows: list[Row]
    notes: list[str]
    digests: dict[str, str]

    @property
    def participants(self) -> int:
        """How many reached the last threshold."""
        return sum(row.place is not None for row in self.rows)


# Before the competition


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
    with _helpers(week) as helpers:
        images, labels, drawings = helpers.competition_tests(scale, generator)
        classes = tuple(helpers.competition_classes(scale))
    public, order = split(labels, drawings, generator), torch.randperm(len(images), generator=generator)
    ids = [
        f"p{number:0{len(str(len(order)))}d}" for number in range(1, len(order) + 1)
    ]  # a spreadsheet leaves them alone
    about = {"classes": json.dumps(classes), "scale": scale}
    pictures = save({"images": images[order].contiguous()}, about)
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


# After it


def rank(
    week: Path,
    submissions: Path | None = None,
    *,
    final: bool = False,
    models: bool = True,
    without: Collection[str] = (),
    encoding: str | None = None,
    names: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Board:
    """Read, reproduce and rank what a class handed in; with `final` also write gradebook/leaderboard/WEEK.json.

    Args:
        submissions, encoding, names: as of `lsdl grade`.
        final: also show the private part, places and points.
        models: predict with the models; False only reads the predictions, and cannot be final.
        without: students whose hand-in a person found to break the rules.
        say: told of each model that was run.

    Raises:
        GradingError: the competition was not made, `leaderboard.toml` is wrong, or nobody handed in a predictions.csv.
    """
    paths = WeekPaths.at(week)
    folder = submissions or paths.submitted
    if final and not models:
        raise GradingError("A final ranking needs the models: leave --no-models out.")
    solution, rules = _read_solution(paths), _read_rules(week)
    rules = rules[solution.scale]
    wanted = Wanted(".safetensors", "model", rules.model_mb << 20)
    title, roster = title_and_due(paths)[0], read_roster(paths.root, names)

    def find(kind: Wanted) -> HandIns:
        return find_hand_ins(folder, paths.name, title, roster=roster, encoding=encoding, wanted=kind)

    tables, weights = find(PREDICTIONS), {entry.student: entry for entry in find(wanted).entries}
    if not tables.entries:
        raise GradingError(
            f"{folder} holds no {NAME}: give the folder or archive that students handed in, with --submissions."
        )
    unknown = sorted(set(without) - {entry.student for entry in tables.entries})
    if unknown:
        raise GradingError(
            f"{printable_name(unknown[0])} handed in no {NAME}: --without takes ids as the table shows them."
        )
    base = folder if folder.is_dir() else folder.parent
    judge = _Judge(week, paths, solution, wanted.largest) if models else None
    rows = []
    for entry in tables.entries:
        row = Row(
            entry.student, notes=[*entry.notes, *(f"An older attempt does not count: {name}." for name in entry.older)]
        )
        rows.append(row)
        try:
            predicted = _predicted(row, entry, base, solution)
            model = weights.get(entry.student)
            if model is None:
                raise BadWeights(f"No {MODEL} was handed in with the predictions, so they cannot be reproduced.")
            data = read_bytes(model, base, wanted)
            row.digests[MODEL] = hashlib.sha256(data).hexdigest()
            if judge is not None:
                row.agreed = judge.agreed(data, predicted, lambda line, who=entry.student: say(f"{who}: {line}"))
                if row.agreed < REPRODUCED * len(predicted):
                    share = 100 * row.agreed / len(predicted)
                    raise BadWeights(
                        f"Not reproduced: the model gives the same class for {share:.1f} % of the pictures, 99 are needed."
                    )
        except (BadNotebook, BadPredictions, BadWeights) as error:
            row.problem = printable(str(error))
        if entry.student in without:
            row.problem = "Left out: a person found that it breaks the rules."
    pictures = (week / RULES, paths.leaderboard(".solution.csv"), paths.leaderboard(f".{PICTURES}"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    board = Board(paths.name, final, rules, solution, rows, tables.notes, digests)
    _award(board)
    if final:
        write_whole(paths.leaderboard(".json"), json_text(board), private=True)
    return board


def _predicted(row: Row, entry: Submission, base: Path, solution: Solution) -> Tensor:
    """The predicted labels, (n,) int64, in the order of the ids; sets what is right in the row."""
    data = read_bytes(entry, base, PREDICTIONS)
    row.digests[NAME] = hashlib.sha256(data).hexdigest()
    table, place = (
        read_predictions(data, solution.ids, solution.classes),
        {name: k for k, name in enumerate(solution.classes)},
    )
    predicted = torch.tensor([place[table[name]] for name in solution.ids])
    row.right = predicted == solution.labels
    return predicted


class _Judge:
    """Predicts with models that were handed in; remembers in gradebook/leaderboard/WEEK.models.json what it has run."""

    def __init__(self, week: Path, paths: WeekPaths, solution: Solution, largest: int) -> None:
        with _helpers(week) as helpers:
            self.network: nn.Module = helpers.competition_model(solution.scale)
        pictures = paths.leaderboard(f".{PICTURES}").read_bytes()
        self.images, self.largest, self.memory = load(pictures)["images"], largest, paths.leaderboard(".models.json")
        self.context = hashlib.sha256(pictures + (week / "helpers.py").read_bytes()).digest()
        self.known: dict[str, int] = json.loads(self.memory.read_text()) if self.memory.is_file() else {}

    def agreed(self, data: bytes, predicted: Tensor, say: Callable[[str], None]) -> int:
        """On how many pictures the model, given as a file's bytes, predicts the same.

        Raises:
            BadWeights: it is no such file, or not for this network.
        """
        run = hashlib.sha256(self.context + data + predicted.numpy().tobytes()).hexdigest()
        if run not in self.known:
            try:
                state = load(data)
            except Exception:  # besides SafetensorError: of unknown number formats and odd shapes
                raise BadWeights(
                    f"{MODEL} is no safetensors file: write it with safetensors.torch.save_file."
                ) from None
            self.network.load_state_dict(read_weights(state, self.network, self.largest))
            self.known[run] = int((embed(self.network, self.images).argmax(1) == predicted).sum())
            write_whole(self.memory, json.dumps(self.known), private=True)
            say(f"the model agrees on {self.known[run]} of {len(predicted)} pictures")
        return self.known[run]


def _award(board: Board) -> None:
    """Thresholds, places, points and the order of the rows."""
    rules, public, private = board.rules, board.solution.public, ~board.solution.public
    parts, drawings = ([public, private] if board.final else [public]), board.solution.drawings[private]
    for row in (row for row in board.rows if not row.problem):
        for least, points in rules.thresholds:
            if row.hits(public) >= Fraction(least) * int(public.sum()):
                row.reached += 1
                row.points += Fraction(points)
        best = Fraction(rules.best_measured) + SURPRISING
        if any(row.hits(part) > best * int(part.sum()) for part in parts):
            row.notes.append(
                f"To be looked at: over 10 points better than our best run ({100 * rules.best_measured:g} %)."
            )
    shown = private if board.final else public
    board.rows.sort(
        key=lambda row: (
            bool(row.problem),
            board.final and row.reached < len(rules.thresholds),
            -row.hits(shown),
            row.student,
        )
    )
    if not board.final:
        for row in board.rows:
            row.points = Fraction(0)
        return
    ranked = [row for row in board.rows if not row.problem and row.reached == len(rules.thresholds)]
    hits = [row.hits(private) for row in ranked]
    for row, own, after in zip(ranked, hits, [*ranked[1:], None], strict=True):
        row.place = 1 + sum(other > own for other in hits)
        row.points += Fraction(rules.place) * (1 - Fraction(row.place - 1, len(ranked)))
        if after is not None:
            error = clustered_error(row.right[private], after.right[private], drawings)
            row.to_next = 100 * (own - after.hits(private)) / int(private.sum()), error


# Shown


def table(board: Board) -> list[list[str]]:
    """The ranking as text, its header first; nothing is escaped."""
    parts = {"public %": board.solution.public} | ({"private %": ~board.solution.public} if board.final else {})
    ends = (["to the next", "points"] if board.final else []) + ["notes"]
    lines = [[*(["place"] if board.final else []), "student", *parts, *ends]]
    for row in board.rows:
        shown = [
            "" if row.right is None else f"{100 * row.hits(part) / int(part.sum()):.2f}" for part in parts.values()
        ]
        apart = "" if row.to_next is None else "{:.2f} ± {:.2f}".format(*row.to_next)
        ends = ([apart, plain(float(row.points))] if board.final else []) + [
            " ".join(filter(None, [row.problem, *row.notes]))
        ]
        lines.append([*([str(row.place or "")] if board.final else []), row.student, *shown, *ends])
    return lines


def summary(board: Board) -> str:
    """What the table means, in sentences."""
    good, count = sum(not row.problem for row in board.rows), int(board.solution.public.sum())
    said = f"{good} of {len(board.rows)} hand-ins can be scored, on {count} public pictures."
    if not board.final:
        return f"{said} Places and points come with --final, from the other {len(board.solution.public) - count}."
    apart = [row.to_next for row in board.rows if row.to_next is not None]
    close = sum(difference <= 2 * error for difference, error in apart)
    return (
        f"{said} {board.participants} reached the last threshold. Of {len(apart)} differences to the next, {close} are within two standard "
        "errors (drawings as clusters): those places are chance."
    )


def for_spreadsheets(board: Board) -> str:
    """The table as CSV; no cell of it is a formula."""
    return csv_text(
        [
            [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in map(printable_name, line)]
            for line in table(board)
        ]
    )


def html_page(board: Board) -> str:
    """The table as a page that loads nothing."""
    header, *lines = [[escape(printable(cell)) for cell in line] for line in table(board)]
    rows = "".join(f"<tr><td>{'</td><td>'.join(line)}</td></tr>\n" for line in lines)
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{CSS}</style>'
    title, said = f"{escape(board.week)}: the competition", escape(summary(board))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<p>{said}</p>\n'
        f"<table><tr><th>{'</th><th>'.join(header)}</th></tr>\n{rows}</table>\n</body></html>\n"
    )


def json_text(board: Board) -> str:
    """The ranking for programs; the final one is what `lsdl scores` reads."""
    students = {row.student: _entry(board, row) for row in board.rows}
    about = {"week": board.week, "scale": board.solution.scale, "final": board.final, "most": float(board.rules.most)}
    return json.dumps(about | {"digests": board.digests, "students": students}, indent=1) + "\n"


def _entry(board: Board, row: Row) -> dict[str, Any]:
    entry: dict[str, Any] = {"problem": row.problem, "notes": row.notes, "agreed": row.agreed, "digests": row.digests}
    public = board.solution.public
    entry |= {"public": f"{row.hits(public)} of {int(public.sum())}"} if row.right is not None else {}
    if board.final:
        place = f"place {row.place} of {board.participants}" if row.place else "no place"
        thresholds = f"{row.reached} of {len(board.rules.thresholds)} thresholds"
        entry |= {
            "points": round(float(row.points), 4),
            "place": row.place,
            "why": row.problem or f"{thresholds}, {place}",
        }
        entry |= {"private": f"{row.hits(~public)} of {int((~public).sum())}"} if row.right is not None else {}
    return entry


# Files


@contextmanager
def _helpers(week: Path) -> Iterator[ModuleType]:
    with Homework(week).at_home():
        module = importlib.import_module("helpers")
        absent = [name for name in CONTRACT if not hasattr(module, name)]
        if absent:
            raise GradingError(
                f"{week.name}/helpers.py does not define {absent[0]}, which a competition needs (lsdl/grading/leaderboard.py)."
            )
        yield module


def _read_rules(week: Path) -> dict[str, Rules]:
    path = week / RULES
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return {scale: Rules.model_validate(tables[scale]) for scale in ("smoke", "full")}
    except FileNotFoundError:
        raise GradingError(f"{week.name} has no competition: {path} does not exist.") from None
    except (tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else f"{error}"
        raise GradingError(
            f"{path} needs tables [smoke] and [full] as lsdl/grading/leaderboard.py describes them ({said})."
        ) from None


def _read_solution(paths: WeekPaths) -> Solution:
    try:
        with safe_open(paths.leaderboard(f".{PICTURES}"), "pt") as file:
            about = file.metadata()
        text = paths.leaderboard(".solution.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GradingError(
            f"The competition of {paths.name} was not made: lsdl leaderboard {paths.name} --make DIR --key FILE."
        ) from None
    lines: Sequence[dict[str, str]] = list(csv.DictReader(text.splitlines()))
    classes = tuple(json.loads(about["classes"]))
    return Solution(
        about["scale"],
        classes,
        tuple(line["id"] for line in lines),
        torch.tensor([classes.index(line["class"]) for line in lines]),
        torch.tensor([line["part"] == "public" for line in lines]),
        torch.tensor([int(line["drawing"]) for line in lines]),
    )
