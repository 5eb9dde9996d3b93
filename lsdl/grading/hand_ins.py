"""What was handed in, read before anything runs: whose it is, which homework it is, and what `lsdl grade --dry-run` shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lsdl.author.course import CourseError, WeekPaths, find_weeks, load_course
from lsdl.cells import grade_id, is_locked
from lsdl.doctor import EMPTY
from lsdl.grading import GradingError
from lsdl.grading.collect import Submission, find_hand_ins, read_bytes
from lsdl.grading.roster import Roster, read_roster
from lsdl.intake import BadNotebook, Cell, Notebook, parse
from lsdl.recognise import known_cells, likeness


class Homeworks:
    """The homeworks of the course, to tell by its cells which one a notebook is."""

    def __init__(self, week: WeekPaths) -> None:
        self.week = week.name
        self.cells = {}
        for folder in {week.folder, *find_weeks(week.root)}:
            try:
                self.cells[folder.name] = parse((folder / "homework.ipynb").read_bytes())["cells"]
            except (BadNotebook, OSError):  # another week that its author is writing
                continue

    def week_of(self, notebook: Notebook) -> str | None:
        """The week whose homework shares most cells with a notebook, this one where several do; None if none has any."""
        own = self.cells.get(self.week, [])
        if 2 * likeness(notebook["cells"], own) > sum(grade_id(cell) is not None for cell in own):
            return self.week  # weeks share a few names of cells, never most
        shared = {name: likeness(notebook["cells"], cells) for name, cells in self.cells.items()}
        best = max(shared, key=lambda name: (shared[name], name == self.week), default=None)
        return best if best is not None and shared[best] else None

    def is_this_week(self, data: bytes) -> bool:
        """Whether the bytes of a file are a notebook with this week's homework, and something is written in it.

        Raises:
            BadNotebook: they are no notebook.
        """
        notebook = parse(data)
        return self.week_of(notebook) == self.week and self._is_answered(notebook["cells"])

    def _is_answered(self, cells: list[Cell]) -> bool:
        own = self.cells[self.week]
        known = known_cells(cells, own)
        answers = [cells[here] for here, place in known.items() if grade_id(own[place]) and not is_locked(own[place])]
        return any(
            cell["source"].strip() and EMPTY.get(cell["cell_type"], "\0") not in cell["source"] for cell in answers
        )


@dataclass
class HandIn:
    """What one student handed in: the bytes and the notebook, or why there is none."""

    entry: Submission
    data: bytes = b""
    notebook: Notebook | None = None
    why: str = ""
    week: str | None = None  # whose homework the notebook is; None if no cell is known


def read_all(
    week: WeekPaths, folder: Path, title: str, roster: Roster, encoding: str | None, *, some: bool = False
) -> tuple[list[HandIn], list[str]]:
    """Find and read what was handed in, and what was found beside it; a notebook of another week is one that cannot be graded.

    Args, errors: as of `find_hand_ins`; and a GradingError if most notebooks, or with `some` all, are those of another week.
    """
    homeworks = Homeworks(week)
    known = homeworks.is_this_week
    found = find_hand_ins(folder, week.name, title, is_this_homework=known, roster=roster, encoding=encoding)
    base = folder if folder.is_dir() else folder.parent
    hand_ins = []
    for entry in found.entries:
        item = HandIn(entry)
        hand_ins.append(item)
        try:
            item.data = read_bytes(entry, base)
            item.notebook = parse(item.data)
        except BadNotebook as error:
            item.why = str(error)
            continue
        item.week = homeworks.week_of(item.notebook)
        if item.week not in (None, homeworks.week):
            item.why = f"This is the homework of {item.week}, not of {homeworks.week}: ask for the right one."
    weeks = Counter(item.week for item in hand_ins if item.week is not None)
    own = weeks.pop(homeworks.week, 0)
    if weeks and (not own or (2 * own < own + weeks.total() and not some)):
        other, count = weeks.most_common(1)[0]
        rest = f" To grade only the {own} of {homeworks.week}, name them with --student." if own else ""
        raise GradingError(
            f"{folder} holds the homework of {other} ({count} of {len(hand_ins)}), not of {homeworks.week}: grade it with "
            f"lsdl grade {other}. Nothing was graded or released.{rest}"
        )
    return hand_ins, found.notes


@dataclass
class Plan:
    """What `grade` would do with an export, before anything runs.

    Attributes:
        files: student -> the file that counts, or why none does.
        notes: student -> what the row would say besides; "" -> what concerns everybody.
        without_file: on the class list, nothing in the export.
        not_listed: with a file, not on the class list.
        listed: how many are on the class list.
    """

    files: dict[str, str]
    notes: dict[str, list[str]]
    without_file: list[str]
    not_listed: list[str]
    listed: int


def plan(
    week: Path, submissions: Path | None = None, *, encoding: str | None = None, names: Path | None = None
) -> Plan:
    """Whose file is whose: who is on the class list without one, and who has one without being on it. Nothing is written.

    Args, errors: as of `grade`.
    """
    paths = WeekPaths.at(week)
    folder = submissions or paths.submitted
    roster = read_roster(paths.root, names)
    hand_ins, beside = read_all(paths, folder, title_and_due(paths)[0], roster, encoding)
    files = {item.entry.student: item.why or item.entry.shown for item in hand_ins}
    notes = {item.entry.student: item.entry.remarks for item in hand_ins}
    there = {item.entry.student for item in hand_ins if item.entry.path is not None}
    strangers = sorted(filter(roster.is_stranger, there))
    return Plan(files, notes | {"": beside}, sorted(roster.students - there), strangers, len(roster.students))


def title_and_due(week: WeekPaths) -> tuple[str, date | None]:
    """What course.toml says of a week; nothing where it does not name it."""
    try:
        entry = load_course(week.root).weeks.get(week.name)
    except CourseError:
        return "", None
    return (entry.title, entry.due) if entry else ("", None)
