"""The course as `course.toml` and the weeks' `week.toml` describe it, and where its weeks are.

The module knows nothing of notebooks or grading; it is what both ask for a folder, a budget or a due date.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

WEEK_NAME = re.compile(r"week[0-9]{2}-[a-z0-9]+(-[a-z0-9]+)*")
WEEK_FILE = "week.toml"
MIN_KEY = 32  # characters of the key that hidden checks are drawn from
Table = TypeVar("Table", bound=BaseModel)


class CourseError(ValueError):
    """A mistake in `course.toml`, in a `week.toml` or in the name of a week; the message is one sentence that says what to do."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Table):
    """Processor seconds a notebook may take at `SCALE="smoke"`; `lsdl run` fails over twice as many."""

    seminar_seconds: float = Field(150, gt=0)
    homework_seconds: float = Field(75, gt=0)


class Part(_Table):
    """One part of the assessment: its share of the final mark and the share of its own points needed to pass."""

    name: str = Field(min_length=1)
    weight: float = Field(gt=0, le=1)
    pass_mark: float = Field(ge=0, le=1)
    required: bool = True  # the course is passed only if every required part is
    minutes: int | None = Field(None, gt=0)


class Competition(_Table):
    """How the points of a week's competition (`lsdl leaderboard`) enter the marks.

    "bonus": they come on top of the homework's, at most `most`. "original": the mark is these points and those of the required cells, and no
    other cell counts; meant for the full scale, whose competition has 11.
    """

    counts: Literal["bonus", "original"] = "bonus"
    most: float = Field(5, gt=0)


class SyllabusEntry(_Table):
    """What `course.toml` says of a week: what the whole course has to know."""

    title: str = Field(min_length=1)
    topic: str = ""  # what the README's table of weeks says instead of the title
    points: float = Field(gt=0)
    required: bool = False  # True: nobody passes without handing in this homework
    due: date | None = None  # the end of that day, where the machine that computes the marks stands
    competition: Competition | None = None


class WeekFacts(_Table):
    """What `week.toml` in a week's folder says: the facts of its author. The file may be absent."""

    bonus: float = Field(0, ge=0)
    # Cells graded by hand: a homework counts 0 once a person gave one of them 0 of its points (no baseline, no report), or,
    # whatever its points, a comment that begins with "missing".
    required_cells: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()  # packages that this week needs beyond lsdl's own, as pip names them
    budget: Budget | None = None  # only where it differs from the course's
    lesson: bool = False  # it keeps the limits of a lesson (lesson.py); new weeks must


class Week(SyllabusEntry, WeekFacts):
    """One week, from both files. The cells of its homework add up to `points` plus `bonus` (`lsdl lint` holds them to it)."""


class Late(_Table):
    """What lateness costs; without entries it is only reported. The gradebook holds raw marks; `lsdl scores` applies this."""

    per_day: float = Field(0, ge=0, le=1)  # share of the homework's points for each day begun after `due`
    grace_minutes: float = Field(0, ge=0)  # so late is not late yet
    last_day: int | None = Field(None, ge=0)  # later than so many days, a homework counts 0


class Course(_Table):
    """All of `course.toml`, each week with the facts of its own `week.toml`."""

    title: str = Field(min_length=1)
    edition: str = Field(pattern=r"^\d{4}\.\d+$")
    repository: str = Field("", pattern=r"^$|^[\w.-]+/[\w.-]+$")  # OWNER/NAME on GitHub, for badges and setup cells
    budget: Budget = Budget()
    late: Late = Late()
    parts: tuple[Part, ...] = Field(min_length=1)
    weeks: dict[str, Week]
    grades: dict[str, float] = {}  # what `lsdl final` calls a mark: the least share of all points that a grade needs
    lectures: dict[str, str] = {}  # numbers ("07") that have no folder, with their topic

    @field_validator("parts")
    @classmethod
    def _weights_add_up(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        total = sum(part.weight for part in parts)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights must add up to 1, they add up to {total:g}")
        if len({part.name for part in parts}) < len(parts):
            raise ValueError("two parts have the same name")
        return parts

    @field_validator("grades")
    @classmethod
    def _grades_are_shares(cls, grades: dict[str, float]) -> dict[str, float]:
        for name, share in grades.items():
            if not 0 <= share <= 1:
                raise ValueError(f"the boundary of grade {name} is a share between 0 and 1, not {share:g}")
        return dict(sorted(grades.items(), key=lambda item: -item[1]))

    @model_validator(mode="after")
    def _week_names(self) -> Course:
        for name in self.weeks:
            if not WEEK_NAME.fullmatch(name):
                raise ValueError(f"a week is named like its folder, week01-finetune, not {name!r}")
        numbers = {name[4:6] for name in self.weeks}
        for number in self.lectures:
            if not re.fullmatch("[0-9]{2}", number) or number in numbers:
                raise ValueError(f"a lecture is a number of two digits that no week has, not {number!r}")
        return self

    def budget_of(self, week: str) -> Budget:
        """The budget of the week with this folder name (the course's own if the week has none)."""
        entry = self.weeks.get(week)
        return entry.budget if entry and entry.budget else self.budget

    def grade_of(self, share: float, *, passed: bool) -> str:
        """The best grade that a share of all points reaches; who has not passed has the one of the lowest boundary, or none."""
        reached = [name for name, least in self.grades.items() if share >= least - 1e-9]
        if passed:
            return reached[0] if reached else ""
        lowest = list(self.grades.items())[-1:]
        return lowest[0][0] if lowest and lowest[0][1] == 0 else ""

    def required_cells_of(self, week: str) -> tuple[str, ...]:
        """The required cells of the week with this folder name (none if the course does not list it)."""
        entry = self.weeks.get(week)
        return entry.required_cells if entry else ()


@dataclass(frozen=True)
class CoursePaths:
    """Where the course keeps what is the class's: in gradebook/, whose nbgrader_config.py names the same folders."""

    root: Path

    @property
    def gradebook(self) -> Path:
        """What only the instructor has; git ignores nearly all of it."""
        return self.root / "gradebook"

    @property
    def config(self) -> Path:
        """nbgrader's settings."""
        return self.gradebook / "nbgrader_config.py"

    @property
    def database(self) -> Path:
        """Where nbgrader keeps marks."""
        return self.gradebook / "gradebook.db"

    @property
    def demo_key(self) -> Path:
        """The public key of the hidden checks."""
        return self.gradebook / "demo.key"

    @property
    def extensions(self) -> Path:
        """Who may hand in later, a table."""
        return self.gradebook / "extensions.csv"

    @property
    def releases(self) -> Path:
        """The student versions, a folder for each week."""
        return self.gradebook / "release"

    @property
    def submitted(self) -> Path:
        """What was handed in, unless `lsdl grade` is told another folder; never written."""
        return self.gradebook / "submitted"

    @property
    def intake(self) -> Path:
        """What nbgrader is given in its place: the executed notebooks."""
        return self.gradebook / "intake"

    @property
    def autograded(self) -> Path:
        """What nbgrader made of them."""
        return self.gradebook / "autograded"


@dataclass(frozen=True)
class WeekPaths(CoursePaths):
    """Where a week is, and where the class's part of it lies. Only paths: none of them need exist."""

    name: str

    @classmethod
    def at(cls, folder: Path) -> WeekPaths:
        """The paths of the week in `folder`, a folder of a course.

        Raises:
            CourseError: there is no course.toml in it or above it.
        """
        return cls(course_root(folder), folder.absolute().name)

    @property
    def folder(self) -> Path:
        """What the author writes: notebooks, helpers.py, assets/, instructor/."""
        return self.root / self.name

    @property
    def homework(self) -> Path:
        """The solved homework."""
        return self.folder / "homework.ipynb"

    @property
    def visible_references(self) -> Path:
        """The references of the checks that students have."""
        return self.folder / "assets" / "references.safetensors"

    @property
    def hidden_references(self) -> Path:
        """Those of the hidden checks."""
        return self.gradebook / "references" / f"{self.name}.safetensors"

    @property
    def key_note(self) -> Path:
        """The path of the key that the hidden references were made with."""
        return self.gradebook / "references" / f"{self.name}.key-file"

    @property
    def release(self) -> Path:
        """The student version."""
        return self.releases / self.name

    @property
    def journal(self) -> Path:
        """What is graded (journal.py)."""
        return self.gradebook / "journal" / f"{self.name}.jsonl"

    @property
    def unread(self) -> Path:
        """Whose newest attempt could not be read (journal.py)."""
        return self.gradebook / "journal" / f"{self.name}.unread.json"

    @property
    def hand_ins(self) -> Path:
        """What the graded hand-ins were called and what was repaired in them (journal.py)."""
        return self.gradebook / "journal" / f"{self.name}.hand-ins.json"

    @property
    def regraded(self) -> Path:
        """Whom a --regrade that was stopped has run already (journal.py)."""
        return self.gradebook / "journal" / f"{self.name}.regrade.json"

    @property
    def rows(self) -> Path:
        """The newest row of every student (grade.py)."""
        return self.gradebook / "journal" / f"{self.name}.rows.json"

    @property
    def report(self) -> Path:
        """The page about the last run."""
        return self.gradebook / "reports" / f"{self.name}.html"

    @property
    def handback(self) -> Path:
        """What goes back to Moodle or Canvas."""
        return self.gradebook / "handback"

    def leaderboard(self, suffix: str) -> Path:
        """A file of the week's competition (leaderboard.py): ".solution.csv", ".test.safetensors", ".models.json", or the final ".json"."""
        return self.gradebook / "leaderboard" / f"{self.name}{suffix}"

    def feedback(self, student: str) -> Path:
        """The page that a student gets back."""
        return self.gradebook / "feedback" / student / self.name / "homework.html"


def course_root(start: Path | None = None) -> Path:
    """The repository: the nearest folder with a `course.toml`, from `start` (default: the working folder) upwards.

    Raises:
        CourseError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "course.toml").is_file():
            return folder
    raise CourseError(f"No course.toml in {start} or a folder above it: run lsdl inside the course's repository.")


def repository_of(start: Path) -> str:
    """OWNER/NAME of the course that a path lies in; a course that does not say it has that of the one around lsdl itself.

    Raises:
        CourseError: neither says it.
    """
    own = Path(__file__).resolve().parents[2]
    for folder in (start.resolve(), *start.resolve().parents, own):
        file = folder / "course.toml"
        if file.is_file() and (name := str(_read_toml(file).get("repository", ""))):
            return name
    raise CourseError('course.toml names no repository: add repository = "OWNER/NAME" and run lsdl lint --fix.')


def load_course(root: Path | None = None) -> Course:
    """Read `course.toml` in `root` (default: `course_root()`) and the `week.toml` of every week that has one.

    Raises:
        CourseError: a file is not TOML, or an entry is missing, unknown or out of range.
    """
    root = root or course_root()
    path = root / "course.toml"
    table = _read_toml(path)
    weeks = table.get("weeks")
    for name, entry in weeks.items() if isinstance(weeks, dict) else ():
        if WEEK_NAME.fullmatch(name) and isinstance(entry, dict):
            _validated(path, f"weeks.{name}.", SyllabusEntry, entry)
            entry |= week_facts(root / name).model_dump(exclude_unset=True)
    return _validated(path, "", Course, table)


def week_facts(week: Path) -> WeekFacts:
    """What the `week.toml` of a week's folder says, the defaults if there is none.

    Raises:
        CourseError: it is not TOML, or an entry is unknown or out of range.
    """
    path = week / WEEK_FILE
    return _validated(path, "", WeekFacts, _read_toml(path)) if path.is_file() else WeekFacts()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path} does not exist: run lsdl inside the course's repository.") from None
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path} is not valid TOML: {error}.") from None


def _validated(path: Path, place: str, kind: type[Table], table: dict[str, Any]) -> Table:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = place + ".".join(str(part) for part in first["loc"]) or "top level"
        raise CourseError(f"{path}, {where}: {first['msg'].removeprefix('Value error, ')}.") from None


def find_weeks(root: Path | None = None) -> list[Path]:
    """The folders `weekNN-*` in `root` (default: `course_root()`) that contain a homework, sorted by name."""
    root = root or course_root()
    return sorted(path for path in root.glob("week[0-9][0-9]-*") if (path / "homework.ipynb").is_file())


def find_week(name: str, root: Path | None = None) -> Path:
    """The folder of a week by its name, the beginning of it, its number ("1", "01", "week01"), or its path.

    Raises:
        CourseError: no week, or several weeks, have that name; the message lists what there is.
    """
    if (Path(name) / "homework.ipynb").is_file():
        return Path(name).resolve()
    weeks = find_weeks(root)
    prefix = f"week{int(name):02d}-" if name.isascii() and name.isdigit() else name.rstrip("/\\")
    found = [week for week in weeks if week.name == prefix] or [week for week in weeks if week.name.startswith(prefix)]
    if len(found) != 1:
        known = ", ".join(week.name for week in weeks) or "none yet"
        raise CourseError(
            f"{name!r} names {len(found) or 'no'} week{'s' if len(found) > 1 else ''}; there is: {known}."
        )
    return found[0]


def find_some_weeks(text: str, root: Path | None = None) -> list[Path]:
    """The folders of the weeks that a text such as "1-4", "1,3" or "week01,4-6" names, sorted; of a range those that are there.

    Raises:
        CourseError: a part of it names no week.
    """
    weeks = find_weeks(root)
    found: set[Path] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        if ends := re.fullmatch(r"(\d{1,2})\s*-\s*(\d{1,2})", part):
            first, last = int(ends[1]), int(ends[2])
            within = {week for week in weeks if first <= int(week.name[4:6]) <= last}
            if not within:
                known = ", ".join(week.name for week in weeks) or "none yet"
                raise CourseError(f"No week has a number from {first} to {last}; there is: {known}.")
            found |= within
        else:
            found.add(find_week(part, root))
    if not found:
        raise CourseError("No week was named: write 1-4, or 1,3.")
    return sorted(found, key=lambda week: week.name)
