"""The ranking of a week's competition (competition.py): what was handed in, reproduced, placed, shown, and its points for `lsdl scores`.

Handed in beside the notebook are `predictions.csv` (lsdl/predictions.py) and `model.safetensors`. The public part of the drawings gives the points of the
thresholds, the private one the place. The grader predicts with the weights in a network of its own, so no code of a student runs. A model that gives
another class for over 1 % of the pictures is "not reproduced" and has no points: so are test-time augmentation, ensembles and labels by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fractions import Fraction
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from lsdl.author.course import WeekPaths
from lsdl.features import embed
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.collect import Submission, find_beside, read_bytes
from lsdl.grading.competition import PICTURES, RULES, Rules, Solution, helpers_of, read_rules, read_solution
from lsdl.grading.csv_tables import csv_text
from lsdl.grading.hand_ins import title_and_due
from lsdl.grading.html_report import CSS, POLICY
from lsdl.grading.points import plain
from lsdl.grading.roster import NOT_LISTED, about_strangers, read_roster
from lsdl.grading.unpack import Wanted
from lsdl.intake import MAX_BYTES as MAX_NOTEBOOK
from lsdl.intake import BadNotebook
from lsdl.predictions import MAX_BYTES, NAME, BadPredictions, read_predictions
from lsdl.printable import printable, printable_name
from lsdl.probes import clustered_error
from lsdl.weights import BadWeights, read_weights

MODEL = "model.safetensors"
REPRODUCED, SURPRISING = Fraction(99, 100), Fraction(1, 10)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


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


def rank(
    week: Path,
    submissions: Path | None = None,
    *,
    final: bool = False,
    models: bool = True,
    without: Collection[str] = (),
    encoding: str | None = None,
    names: Path | None = None,
    guests: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Board:
    """Read, reproduce and rank what a class handed in; with `final` also write gradebook/leaderboard/WEEK.json.

    Args:
        submissions, encoding, names, guests: as of `lsdl grade`.
        final: also show the private part, places and points.
        models: predict with the models; False only reads the predictions, and cannot be final.
        without: students whose hand-in a person found to break the rules.
        say: told of each model that was run.

    Raises:
        GradingError: the competition was not made, `leaderboard.toml` is wrong, or nobody handed in a part of an entry.
    """
    paths = WeekPaths.at(week)
    folder = submissions or paths.submitted
    if final and not models:
        raise GradingError("A final ranking needs the models: leave --no-models out.")
    solution = read_solution(paths)
    rules = read_rules(week, solution.scale)
    largest = rules.model_mb << 20
    csv_kind = Wanted(".csv", "predictions", MAX_BYTES, MAX_NOTEBOOK + largest)
    model_kind = Wanted(".safetensors", "model", largest, MAX_NOTEBOOK + largest)
    title, roster = title_and_due(paths)[0], read_roster(paths.root, names)
    kinds = (csv_kind, model_kind)
    (tables, models_found), notes = find_beside(folder, paths.name, title, kinds, roster=roster, encoding=encoding)
    entries: dict[str, dict[str, Submission]] = {}  # of each student, by the part's name
    for name, found in ((NAME, tables), (MODEL, models_found)):
        for entry in found:
            entries.setdefault(entry.student, {})[name] = entry
    if not entries:
        raise GradingError(
            f"{folder} holds no {NAME} and no {MODEL}: give the folder or archive that students handed in, with --submissions."
        )
    unknown = sorted(set(without) - entries.keys())
    if unknown:
        raise GradingError(
            f"{printable_name(unknown[0])} handed in no {NAME} and no {MODEL}: --without takes ids as the table shows them."
        )
    base = folder if folder.is_dir() else folder.parent
    judge = _Judge(week, paths, solution, largest) if models else None
    rows = []
    for student, parts in entries.items():
        remarks = dict.fromkeys(remark for entry in parts.values() for remark in entry.remarks)
        rows.append(row := Row(student, notes=list(remarks)))
        try:
            if not guests and roster.is_stranger(student):
                raise BadNotebook(NOT_LISTED)
            if NAME not in parts:
                raise BadPredictions(f"No {NAME} was handed in with the model: ask for a file of that name.")
            predicted = _predicted(row, read_bytes(parts[NAME], base, csv_kind), solution)
            if MODEL not in parts:
                raise BadWeights(f"No {MODEL} was handed in with the predictions: ask for a file of that name.")
            data = read_bytes(parts[MODEL], base, model_kind)
            row.digests[MODEL] = hashlib.sha256(data).hexdigest()
            if judge is not None:
                row.agreed = judge.agreed(data, predicted, lambda line, who=student: say(f"{who}: {line}"))
                if row.agreed < REPRODUCED * len(predicted):
                    share = f"{100 * row.agreed / len(predicted):.1f} % of the pictures, 99 are needed"
                    raise BadWeights(f"Not reproduced: the model gives the same class for {share}.")
        except (BadNotebook, BadPredictions, BadWeights) as error:
            row.problem = printable_name(str(error))
        if student in without:
            row.problem = "Left out: a person found that it breaks the rules."
    pictures = (week / RULES, paths.leaderboard(".solution.csv"), paths.leaderboard(f".{PICTURES}"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    strangers = [row.student for row in rows if roster.is_stranger(row.student)]
    notes += about_strangers(*((), strangers) if guests else (strangers, ()))
    board = Board(paths.name, final, rules, solution, rows, notes, digests)
    _award(board)
    if final:
        write_whole(paths.leaderboard(".json"), json_text(board), private=True)
    return board


def _predicted(row: Row, data: bytes, solution: Solution) -> Tensor:
    """The predicted labels, (n,) int64, in the order of the ids; sets what is right in the row."""
    row.digests[NAME] = hashlib.sha256(data).hexdigest()
    classes = read_predictions(data, solution.ids, solution.classes)
    label = {name: k for k, name in enumerate(solution.classes)}
    predicted = torch.tensor([label[classes[name]] for name in solution.ids])
    row.right = predicted == solution.labels
    return predicted


class _Judge:
    """Predicts with models that were handed in; remembers in gradebook/leaderboard/WEEK.models.json what it has run."""

    def __init__(self, week: Path, paths: WeekPaths, solution: Solution, largest: int) -> None:
        with helpers_of(week) as helpers:
            self.network: nn.Module = helpers.competition_model(solution.scale)
        if solution.scale == "full" and torch.cuda.is_available():
            self.network.cuda()
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
    best, parts = Fraction(rules.best_measured) + SURPRISING, [public, private] if board.final else [public]
    for row in (row for row in board.rows if not row.problem):
        hits, count = row.hits(public), int(public.sum())
        reached = [Fraction(points) for least, points in rules.thresholds if hits >= Fraction(least) * count]
        row.reached, row.points = len(reached), Fraction(sum(reached) if board.final else 0)
        if any(row.hits(part) > best * int(part.sum()) for part in parts):
            known = f"{100 * rules.best_measured:g} %"
            row.notes.append(f"To be looked at: over 10 points better than our best run ({known}).")
    all_reached, part = len(rules.thresholds), parts[-1]
    behind = {row.student: board.final and row.reached < all_reached for row in board.rows}
    board.rows.sort(key=lambda row: (bool(row.problem), behind[row.student], -row.hits(part), row.student))
    if not board.final:
        return
    ranked = [row for row in board.rows if not row.problem and row.reached == all_reached]
    hits = [row.hits(private) for row in ranked]
    for row, own in zip(ranked, hits, strict=True):
        row.place = 1 + sum(other > own for other in hits)
        row.points += Fraction(rules.place) * (1 - Fraction(row.place - 1, len(ranked)))
    for row, after in pairwise(ranked):
        error = clustered_error(row.right[private], after.right[private], board.solution.drawings[private])
        row.to_next = 100 * (row.hits(private) - after.hits(private)) / int(private.sum()), error


# Shown


def table(board: Board) -> list[list[str]]:
    """The ranking as text, its header first; nothing is escaped."""
    final, public = board.final, board.solution.public
    parts = {"public %": public, "private %": ~public} if final else {"public %": public}
    lines = [[*(["place"] if final else []), "student", *parts, *(["to the next", "points"] if final else []), "notes"]]
    for row in board.rows:
        line = [row.student]
        line += [
            "" if row.right is None else f"{100 * row.hits(part) / int(part.sum()):.2f}" for part in parts.values()
        ]
        if final:
            apart = "" if row.to_next is None else "{:.2f} ± {:.2f}".format(*row.to_next)
            line = [str(row.place or ""), *line, apart, plain(float(row.points))]
        lines.append([*line, " ".join(filter(None, [row.problem, *row.notes]))])
    return lines


def summary(board: Board) -> str:
    """What the table means, in sentences."""
    good, count = sum(not row.problem for row in board.rows), int(board.solution.public.sum())
    said = f"{good} of {len(board.rows)} hand-ins can be scored, on {count} public pictures."
    if not board.final:
        return f"{said} Places and points come with --final, from the other {len(board.solution.public) - count}."
    apart = [row.to_next for row in board.rows if row.to_next is not None]
    close = sum(difference <= 2 * error for difference, error in apart)
    chance = f"Differences to the next within two standard errors (drawings as clusters): {close} of {len(apart)}"
    return f"{said} {board.participants} reached the last threshold. {chance}; those places are chance."


def for_spreadsheets(board: Board) -> str:
    """The table as CSV; no cell of it is a formula."""
    lines = [[printable_name(cell) for cell in line] for line in table(board)]
    return csv_text([[f"'{cell}" if cell.startswith(FORMULA) else cell for cell in line] for line in lines])


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
    parts = {"public": board.solution.public} | ({"private": ~board.solution.public} if board.final else {})
    if row.right is not None:
        entry |= {name: f"{row.hits(part)} of {int(part.sum())}" for name, part in parts.items()}
    if board.final:
        place = f"place {row.place} of {board.participants}" if row.place else "no place"
        why = row.problem.rstrip(".") or f"{row.reached} of {len(board.rules.thresholds)} thresholds, {place}"
        entry |= {"points": round(float(row.points), 4), "place": row.place, "why": why}
    return entry
