"""What a class handed in: whose notebook lies where, and which one counts.

The outermost name says whose a file is, whatever names lie inside: what is in a folder or an archive named for a student is
that student's. What is understood, in a folder or in a zip archive of a class, and what is assumed of each:

- nbgrader: `STUDENT/WEEK/homework.ipynb`; a `timestamp.txt` beside it says when it was handed in.
- flat: `STUDENT.ipynb`, `STUDENT.zip`, or a folder `STUDENT` with the notebook anywhere inside, be it the zipped course. In a
  student's archive another one may lie, but none in that.
- Moodle ("Download all submissions"): `Full Name_12345_assignsubmission_file_/anything.ipynb`, or without folders
  `Full Name_12345_assignsubmission_file_anything.ipynb`. The name has no underscore. The number is another one in every
  assignment, so the name is the student's id, and the number is added only where two students share a name.
- Canvas ("Download Submissions"): `lastnamefirstname_LATE_12345_67890_anything.ipynb`, `_LATE` only if late. The first
  number is the student's and stays through the course, the second is the file's and grows: the student's id is
  `lastnamefirstname_12345`. Anonymous: `anon_x1y2z_67890_anything.ipynb`. A re-submission is named `homework-1.ipynb`.
- Teams (the synchronised library *Student Work*): `Submitted files/STUDENT/ASSIGNMENT/Version N/anything.ipynb`. Where
  there are several assignments, the one counts whose name contains the week's (`week01-finetune`), its beginning
  (`week01`, `Week 1`) or the title in course.toml.

Of several notebooks of one student the one counts that is this week's homework by its cells; where that is not known, those
named "homework..." go first. Of these the newest counts: by version (Teams), number of the file (Canvas), time, then the
number in `homework-1.ipynb` or `homework (1).ipynb`. Checkpoints of Jupyter never count. Nothing vanishes: every name in an
export is a row, an attempt that a row names, or a note.

Files that are handed in beside a notebook (`predictions.csv`) are found by the same rules, by their suffix and the word in their
name; a CSV file at the top of a folder is the instructor's.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from lsdl.grading import GradingError
from lsdl.grading.roster import Roster, folded
from lsdl.grading.times import EXAMPLE, utc
from lsdl.grading.unpack import (
    CHECKPOINTS,
    IS_LINK,
    NOTEBOOK,
    HandedFile,
    Wanted,
    bytes_of,
    read_file,
    walk_archive,
    walk_folder,
)
from lsdl.intake import BadNotebook, parse
from lsdl.printable import printable_name

MAX_ENTRIES = 50_000  # files in a folder, members in an archive
MAX_OF_ONE = 1_000  # files of one student's archive that are thought about, notebooks first
MAX_ARCHIVES = 20  # archives in one student's archive that are opened; none of theirs is
MAX_LOOKED_AT = 20  # notebooks of one student that are read to see which one is this homework
MAX_NAMED = 3  # in a note
# nbgrader reads a student's name as part of a glob and of a format string.
STUDENT_NAME = re.compile(r"\w[\w .,@+'-]*")
MAX_NAME, MAX_NAME_BYTES = 100, 200  # a file's name has at most 255 bytes
MOODLE = re.compile(r"(?P<name>[^_]+)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_.*)?", re.DOTALL)
CANVAS = re.compile(r"(?:(?P<name>\w+?)_)??(?P<late>LATE_)?(?P<user>\d+|anon_[0-9A-Za-z]+)_(?P<file>\d+)_.+", re.DOTALL)
VERSION = re.compile(r"[Vv]ersion[ _-]?(?P<number>\d+)")
ATTEMPT = re.compile(r"(?:-(\d+)| ?\((\d+)\))$")
WEEK_FOLDER = re.compile(r"week[ _-]?\d+", re.IGNORECASE)
CLASS_ARCHIVE = re.compile(r"submissions?(?: ?\(\d+\)|-\d+)?\.zip", re.IGNORECASE)  # what Canvas calls its own
TEAMS_LIBRARY = ("submitted files", "student work")
MAY_BE_A_NOTEBOOK = re.compile(r"\.(?:ipynb\.\w+|json|txt)$", re.IGNORECASE)
# What instructors keep beside hand-ins: tables and notes, which nobody hands in for a notebook.
OF_THE_INSTRUCTOR = (".csv", ".xlsx", ".ods", ".md", ".toml", ".yml", ".yaml", ".ini", ".log", ".db", ".key")
NAME_AN_ENCODING = (
    "give --encoding with the code page of the computer that packed it (cp866 or cp1251 for Russian, gbk for Chinese, cp850 for "
    "western Windows), or unpack it there and give the folder"
)


@dataclass(frozen=True)
class Submission:
    """One student's entry.

    Attributes:
        student: an id that nbgrader can use, made from the name if need be (`safe_id`).
        path: the file that counts, or the archive that holds it; None where nothing was handed in.
        members: the name inside the archive, and inside the archives in it; empty for a file of its own.
        problem: why this cannot be read, a sentence; empty if it can be tried.
        older: other attempts, which do not count, by name.
        notes: what the report should say of it: another name, marked late, a file that was refused or left out.
        handed_in: when, in UTC without a zone as nbgrader stores it; None if that is not known.
        shown: the name of what counts, as a person would look for it.
    """

    student: str
    path: Path | None
    members: tuple[str, ...] = ()
    problem: str = ""
    older: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    handed_in: datetime | None = None
    shown: str = ""

    @property
    def remarks(self) -> list[str]:
        """The notes, and a sentence for each older attempt."""
        return [*self.notes, *(f"An older attempt does not count: {name}." for name in self.older)]


@dataclass
class HandIns:
    """The entries of a class, by student, and what was found beside them and belongs to nobody."""

    entries: list[Submission]
    notes: list[str] = field(default_factory=list)


IsThisHomework = Callable[[bytes], bool]


def safe_id(name: str) -> str:
    """A student's name as nbgrader and file systems can use it: unchanged if they can, else with "_" for what they cannot.

    A changed name ends in a part of its hash, so that two names never become one.
    """
    name = unicodedata.normalize("NFC", name)
    fits = len(name) <= MAX_NAME and len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
    if STUDENT_NAME.fullmatch(name) and fits and name == name.rstrip(" ."):
        return name
    plain = re.sub(r"[^\w ,@+'-]", "_", name).strip(" _")[: MAX_NAME - 20]
    plain = plain.encode("utf-8")[: MAX_NAME_BYTES - 20].decode("utf-8", "ignore").strip(" _") or "student"
    if not STUDENT_NAME.match(plain):
        plain = f"student {plain}"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Owner:
    """Whose a file is by its outermost name; `form` is the source's."""

    form: str  # folder | flat | moodle | canvas | teams
    name: str
    number: str = ""
    file: int = 0
    version: int = 0
    assignment: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Candidate:
    """One file of a student; `rank` orders the notebooks, the newest last, and `uploaded` is whether it was handed in as such."""

    owner: _Owner
    file: HandedFile
    shown: str
    named: bool
    rank: tuple[Any, ...]
    uploaded: bool
    fits: bool

    @property
    def is_lost(self) -> bool:
        """Whether it is an archive that cannot be opened, whatever was in it."""
        return self.file.is_archive and bool(self.file.problem)

    def is_a(self, kind: Wanted) -> bool:
        """Whether it is of a kind, or may have held one."""
        return kind.fits(self.file.name) or self.is_lost

    @property
    def kind(self) -> str:
        """What the name says it is: notebook | checkpoint | other."""
        name = self.file.name.lower()
        if CHECKPOINTS in self.file.parts or name.endswith("-checkpoint.ipynb"):
            return "checkpoint"
        return "notebook" if self.fits or self.file.problem else "other"


def find_hand_ins(
    folder: Path,
    week: str,
    title: str = "",
    *,
    is_this_homework: IsThisHomework | None = None,
    roster: Roster | None = None,
    encoding: str | None = None,
) -> HandIns:
    """The submissions of one week, sorted by student; who handed in nothing has `path=None`.

    Args:
        folder: a folder, or one zip archive, in a form that the module's docstring names. Only looked at.
        week: the name of the week, which nbgrader's and Teams' folders have.
        title: the week's title, which Teams' folders may have instead.
        is_this_homework: whether the bytes of a file are a notebook with this homework; asked where a student has several.
        roster: the class list, whose ids take the place of an export's names where it is clear who is meant.
        encoding: that of the names in archives which do not say it, as Windows makes them.

    Raises:
        FileNotFoundError: `folder` is neither a folder nor an archive.
        GradingError: there are more files than a class can hand in, or the archive is damaged or in an unknown encoding.
    """
    by_student, notes = _of_everybody(folder, week, title, roster or Roster(), encoding, (NOTEBOOK,))
    return HandIns([_chosen(name, items, is_this_homework) for name, items in by_student.items()], notes)


def find_beside(
    folder: Path,
    week: str,
    title: str,
    kinds: Sequence[Wanted],
    *,
    roster: Roster | None = None,
    encoding: str | None = None,
) -> tuple[list[list[Submission]], list[str]]:
    """The files that are handed in beside a notebook: of each kind the entries of those who handed one in; and the notes.

    Args, errors: as of `find_hand_ins`. A student has the same id in all kinds.
    """
    by_student, notes = _of_everybody(folder, week, title, roster or Roster(), encoding, kinds)
    found = []
    for kind in kinds:
        of_kind = {name: [item for item in items if item.is_a(kind)] for name, items in by_student.items()}
        found.append([_chosen(name, items, None) for name, items in of_kind.items() if items])
    return found, notes


def _of_everybody(
    folder: Path, week: str, title: str, roster: Roster, encoding: str | None, kinds: Sequence[Wanted]
) -> tuple[dict[str, list[_Candidate]], list[str]]:
    """The files of each student, sorted by id, and the notes; of notebooks also who has a folder without one."""
    search = _Search(folder, week, encoding, roster, kinds)
    if folder.is_file() and folder.suffix.lower() == ".zip":
        search.read_archive()
    elif folder.is_dir():
        search.read_folder()
    else:
        what = "is neither a folder nor a zip archive" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"{printable_name(str(folder))} {what}: give the folder that holds STUDENT/{week}/homework.ipynb, or an archive from "
            "Moodle or Canvas."
        )
    found = _of_this_week(search.candidates(), week, title)
    numbers: dict[str, set[str]] = {}
    for item in found:
        numbers.setdefault(item.owner.name, set()).add(item.owner.number)
    attempts: dict[str, list[_Candidate]] = {}
    for item in found:
        owner = item.owner
        shared = owner.number and len(numbers[owner.name] - {""}) > 1
        attempts.setdefault(f"{owner.name} {owner.number}" if shared else owner.name, []).append(item)
    for name in search.students - {item.owner.name for item in found} if search.homework else ():
        attempts[name] = []
    by_student = _by_class_list(attempts, roster, search.notes)
    return {name: by_student[name] for name in sorted(by_student, key=safe_id)}, search.notes


def _by_class_list(
    attempts: dict[str, list[_Candidate]], roster: Roster, notes: list[str]
) -> dict[str, list[_Candidate]]:
    """The files of each student, by the id on the class list where that is clear; two of one name are not one student."""
    meant: dict[str, list[str]] = {}
    for name, items in attempts.items():
        owner = items[0].owner if items else _Owner("folder", name)
        meant.setdefault(roster.find(owner.name, owner.number) or name, []).append(name)
    found: dict[str, list[_Candidate]] = {}
    for student, names in meant.items():
        owners = [items[0].owner for name in names if (items := attempts[name])]
        if len({owner.name for owner in owners}) < len(owners):
            shown = ", ".join(map(printable_name, names))
            notes.append(
                f"{shown}: the class list has one {student}, so name them in a file for --names (columns name, student)."
            )
            found |= {name: attempts[name] for name in names}
        else:
            found[student] = [item for name in names for item in attempts[name]]
    return found


class _Search:
    """The files of a class, each with the names that say whose it is."""

    def __init__(self, source: Path, week: str, encoding: str | None, roster: Roster, kinds: Sequence[Wanted]) -> None:
        self.source, self.week, self.encoding, self.roster, self.kinds = source, week, encoding, roster, kinds
        self.homework = all(kind.is_homework for kind in kinds)
        self.largest = max(kinds, key=lambda kind: kind.archive)  # how much of an archive is opened
        # of what a student's folder in a class's archive holds
        self.suffixes = (".ipynb", ".zip", *(kind.suffix for kind in kinds))
        self.files: list[HandedFile] = []
        self.folders: list[tuple[str, ...]] = []
        self.notes: list[str] = []
        self.students: set[str] = set()  # who has a folder, perhaps without a file

    def read_archive(self) -> None:
        """What was given is an archive: a class's, or one student's."""
        own = HandedFile((), self.source, (), ())
        try:
            inside, folders = walk_archive(own, MAX_ENTRIES, self.encoding, self.largest)
        except BadNotebook as error:
            raise GradingError(f"{self.source}: {error}") from None
        inner, folders = _unwrapped(inside, folders, self.week)
        if _is_a_class(inner, self.week, self.suffixes) and not self._is_a_students(self.source.name):
            self.folders = folders
            self.files = self._decodable(inner, self.source.name)
        else:
            self.files = [file.below((self.source.name,)) for file in inside]

    def read_folder(self) -> None:
        """What was given is a folder: of files, of students' folders, or of archives."""
        files, folders = walk_folder(self.source, MAX_ENTRIES)
        files, self.folders = _unwrapped(files, folders, self.week)
        tops = [file for file in files if len(file.parts) == 1 and file.is_archive and not file.problem]
        tops = [file for file in tops if not self._is_a_students(file.name)]
        alone = not self.folders and all(file in tops or _is_of_the_instructor(file) for file in files)
        inside = {file: self._inside_class_archive(file) for file in tops}
        people = {
            file: {_name_of(other) for other in found if _owner(other).form in LMS} for file, found in inside.items()
        }
        all_exports = alone and all(len(names) > 1 for names in people.values())
        for file in files:
            found = inside.get(file, [])
            export = bool(people.get(file)) and all(_owner(other).form in LMS for other in found)
            whole_class = alone and len(tops) == 1 and _is_a_class(found, self.week, self.suffixes, in_folder=True)
            if whole_class or (
                export and (all_exports or (alone and len(tops) == 1) or CLASS_ARCHIVE.fullmatch(file.name))
            ):
                self.files += self._decodable(found, file.name)
            elif export and len(people[file]) > 1:
                names = ", ".join(sorted(map(printable_name, people[file]))[:MAX_NAMED])
                why = f"It holds what several students handed in ({names}): grade it by itself, with --submissions {file.name}."
                self.files.append(replace(file, problem=why))
            else:
                self.files.append(file)

    def _is_a_students(self, name: str) -> bool:
        """Whether an archive is one student's by its own name, whatever it holds."""
        listed = self.roster.find(PurePosixPath(unicodedata.normalize("NFC", name)).stem) is not None
        return listed or bool(MOODLE.fullmatch(name) or CANVAS.fullmatch(name))

    def _inside_class_archive(self, file: HandedFile) -> list[HandedFile]:
        try:
            inside, _ = walk_archive(replace(file, parts=()), MAX_ENTRIES, self.encoding, self.largest)
        except BadNotebook:
            return []  # said where it is opened as a student's
        return _unwrapped(inside, [], self.week)[0]

    def _decodable(self, files: list[HandedFile], archive: str) -> list[HandedFile]:
        """Without those whose owner cannot be read; a name that was made up would be a student who does not exist."""
        unknown = [file for file in files if 0 in file.undecoded]
        if unknown:
            sentence = f"The names in {printable_name(archive)} are not UTF-8, so whose file is whose cannot be told"
            if len(unknown) == len(files):
                raise GradingError(f"{sentence}: {NAME_AN_ENCODING}.")
            self.notes.append(
                f"{sentence} for {len(unknown)} of {len(files)} files, which were not graded: {NAME_AN_ENCODING}."
            )
        return [file for file in files if file not in unknown] if unknown else files

    def candidates(self) -> list[_Candidate]:
        """Every file with its owner; archives of students are opened."""
        for names in self.folders:
            if len(names) == 1:
                self.students.add(_owner(HandedFile((*names, ""), self.source, (), ())).name)
        found: list[_Candidate] = []
        for file in self.files:
            if len(file.parts) == 1 and _is_of_the_instructor(file):
                self.notes.append(f"{printable_name(file.name)} is no hand-in and was not read.")
            elif self._is_of_another_week(file):
                continue
            else:
                found += self._of_one(file)
        return found if self.homework else [item for item in found if item.fits or item.is_lost]

    def _is_of_another_week(self, file: HandedFile) -> bool:
        """nbgrader's folders hold all weeks of a student."""
        folder = file.parts[1] if len(file.parts) > 2 and _owner(file).form == "folder" else self.week
        return folder != self.week and WEEK_FOLDER.match(folder) is not None

    def _of_one(self, file: HandedFile) -> list[_Candidate]:
        alone = self._candidate(file, _owner(file), file, uploaded=True)
        if not file.is_archive or file.problem:
            return [alone]
        try:
            inside, _ = walk_archive(file, MAX_ENTRIES, self.encoding, self.largest)
        except BadNotebook as error:
            return [replace(alone, file=replace(file, problem=str(error)))]
        archives = [inner for inner in inside if inner.is_archive and not inner.problem][:MAX_ARCHIVES]
        opened = [one for inner in inside for one in (self._opened(inner) if inner in archives else [inner])]
        opened.sort(key=lambda one: not self._fits(one))
        del opened[MAX_OF_ONE:]
        found = [self._candidate(inner.below(file.parts), alone.owner, file, uploaded=False) for inner in opened]
        if not self.homework or any(
            item.kind == "notebook" or MAY_BE_A_NOTEBOOK.search(item.file.name) for item in found
        ):
            return found
        names = _some([inner.name for inner in opened])
        why = f"The archive holds no notebook{f' ({names})' if names else ''}: ask for the .ipynb file."
        return [replace(alone, file=replace(file, problem=why))]

    def _opened(self, inner: HandedFile) -> list[HandedFile]:
        """The files of an archive in an archive; a broken one is one file with its reason."""
        try:
            inside, _ = walk_archive(inner, MAX_ENTRIES, self.encoding, self.largest)
        except BadNotebook as error:
            return [replace(inner, problem=str(error))]
        return [file.below(inner.parts) for file in inside]

    def _candidate(self, file: HandedFile, owner: _Owner, upload: HandedFile, *, uploaded: bool) -> _Candidate:
        stem = PurePosixPath(file.name).stem
        attempt = ATTEMPT.search(stem)
        number = int((attempt[1] or attempt[2])[:9]) if attempt else 0
        named = any(kind.stem in stem.lower() for kind in self.kinds)
        # Within one upload the folder and the name say what is meant, before the time.
        uploaded_at = file.times[:1] if owner.form != "folder" else ()
        attempt_of = (owner.version, owner.file, self.week in upload.parts[:-1], uploaded_at)
        rank = (*attempt_of, self.week in file.parts[:-1], named, file.times, number, file.parts)
        # As a person finds it: an archive on the disk, then the name in it.
        shown = "/".join(file.parts)
        if file.members and self.source.is_file():
            shown = f"{self.source.name}/{shown}" if file.parts[0] != self.source.name else shown
        elif file.members and file.path.name not in file.parts:
            shown = f"{file.path.name}/{shown}"
        return _Candidate(owner, file, printable_name(shown)[:300], named, rank, uploaded, self._fits(file))

    def _fits(self, file: HandedFile) -> bool:
        return any(kind.fits(file.name) for kind in self.kinds)


LMS = ("moodle", "canvas", "teams")


def _owner(file: HandedFile) -> _Owner:
    """Whose a file is: its outermost name says it."""
    parts = tuple(unicodedata.normalize("NFC", part) for part in file.parts)
    top = parts[0]
    if moodle := MOODLE.fullmatch(top):
        return _Owner("moodle", moodle["name"], moodle["number"])
    if (len(parts) == 1 or top.lower().endswith(".zip")) and (canvas := CANVAS.fullmatch(top)):
        name = "_".join(filter(None, (canvas["name"], canvas["user"])))
        note = "Canvas marked it as late." if canvas["late"] else ""
        return _Owner("canvas", name, file=int(canvas["file"][:18]), note=note)
    if len(parts) >= 4 and (version := VERSION.fullmatch(parts[2])):
        return _Owner("teams", top, version=int(version["number"][:18]), assignment=parts[1])
    if len(parts) == 1 or top.lower().endswith(".zip"):
        plain = not top.lower().endswith((".ipynb", ".zip")) and file.problem == IS_LINK
        stem = top if plain else re.sub(r"\.ipynb\.\w+$", "", top, flags=re.IGNORECASE)
        return _Owner("flat", stem if plain or stem != top else PurePosixPath(top).stem)
    return _Owner("folder", top)


def _name_of(file: HandedFile) -> str:
    return _owner(file).name


def _is_of_the_instructor(file: HandedFile) -> bool:
    return not file.problem and _owner(file).form == "flat" and file.name.lower().endswith(OF_THE_INSTRUCTOR)


Names = list[tuple[str, ...]]


def _unwrapped(files: list[HandedFile], folders: Names, week: str) -> tuple[list[HandedFile], Names]:
    """Without the folders around a class: the library of Teams, or one folder that holds the class and nothing beside it."""
    while True:
        names: Names = [*(file.parts for file in files), *folders]
        tops = {parts[0]: len(parts) > 1 for parts in sorted(names, key=len)}
        tops |= {parts[0]: True for parts in folders}
        library = next((top for kind in TEAMS_LIBRARY for top in tops if top.lower() == kind), None)
        around = library or (next(iter(tops)) if len(tops) == 1 and all(tops.values()) else None)
        if around is None or MOODLE.fullmatch(around) or around.lower().endswith(".zip"):
            return files, folders
        below = [
            replace(file, parts=file.parts[1:]) for file in files if file.parts[0] == around and len(file.parts) > 1
        ]
        if library is None and not _looks_like_a_class(below, week):
            return files, folders
        files = [replace(file, undecoded=tuple(place - 1 for place in file.undecoded if place)) for file in below]
        folders = [parts[1:] for parts in folders if parts[0] == around and len(parts) > 1]


def _looks_like_a_class(files: list[HandedFile], week: str) -> bool:
    """Whether files are those of a class and not of one student's folder."""
    if any(WEEK_FOLDER.match(file.parts[0]) for file in files if len(file.parts) > 1):
        return False
    if any(file.parts[0].lower() in TEAMS_LIBRARY or _owner(file).form in LMS for file in files):
        return True
    if any(len(file.parts) > 2 and file.parts[1] == week for file in files):
        return True
    return _flat_notebooks(files) > 1


def _flat_notebooks(files: list[HandedFile]) -> int:
    """How many notebooks lie at the top, unless one is called homework: then they are all of one student."""
    flat = [file.name.lower() for file in files if len(file.parts) == 1 and file.name.lower().endswith(".ipynb")]
    return 0 if any(name.startswith("homework") for name in flat) else len(flat)


def _is_a_class(files: list[HandedFile], week: str, suffixes: tuple[str, ...], *, in_folder: bool = False) -> bool:
    """Whether an archive that was given, or is alone in the folder that was given, is a class's and not one student's."""
    if any(_owner(file).form in LMS for file in files):
        return True
    if not files or any(file.parts[0] == week for file in files if len(file.parts) > 1):
        return False
    if _flat_notebooks(files) > 1:
        return True
    of_week = {file.parts[0] for file in files if len(file.parts) > 2 and file.parts[1] == week}
    course = any(
        len(file.parts) == 2 and file.name == "README.md" for file in files
    )  # a student's copy of the repository
    if len(of_week) > 1 or (of_week and not in_folder and not course):
        return True
    holders = {file.parts[0] for file in files if len(file.parts) > 1 and file.name.lower().endswith(suffixes)}
    return len(holders) > 1 and not any(len(file.parts) == 1 and file.name.lower().endswith(".ipynb") for file in files)


def _chosen(name: str, items: list[_Candidate], is_this_homework: IsThisHomework | None) -> Submission:
    """The notebook that counts. A refused file counts only where there is no other; what does not count is named."""
    student = safe_id(name)
    if not items:
        return Submission(student, None)
    notes = (
        []
        if student == name
        else [f"It was handed in under the name {printable_name(name)[:200]!r}, which nbgrader cannot use."]
    )
    notebooks = [item for item in items if item.kind == "notebook" and not item.file.problem]
    refused = [item for item in items if item.file.problem]
    left_out: list[_Candidate] = []
    if len(notebooks) > 1 and is_this_homework is not None:
        notebooks, left_out = _by_their_cells(notebooks, is_this_homework)
    else:
        notebooks.sort(key=lambda item: (item.named, item.rank))
    if not notebooks:
        notebooks = sorted(_under_another_name(items), key=lambda item: item.rank)
    counted = notebooks[-1] if notebooks else None
    older = tuple(item.shown for item in notebooks[:-1])
    if left_out:
        notes.append(
            f"Not this week's homework, or nothing is written in it, so left out: {_some([item.shown for item in left_out])}."
        )
    if counted is None:
        counted = max(refused or items, key=lambda item: item.rank)
        problem = counted.file.problem or _no_notebook(items)
        counted = replace(counted, file=replace(counted.file, problem=problem))
    notes += [
        f"{item.shown}: {item.file.problem}"
        for item in refused
        if item.file is not counted.file and item.file.problem != counted.file.problem
    ]
    used = {counted.shown, *older, *(item.shown for item in (*left_out, *refused))}
    rest = [item.shown for item in items if item.shown not in used and (item.uploaded or item.kind == "checkpoint")]
    rest = [shown for shown in rest if not shown.endswith("/timestamp.txt")]
    if rest and not counted.file.problem and counted.owner.form != "folder":
        notes.append(f"Not read: {_some(rest)}.")
    if counted.owner.note:
        notes.insert(0, counted.owner.note)
    file = counted.file
    time, unclear = (None, "") if file.members or counted.owner.form == "flat" else _timestamp(file.path.parent)
    notes += [unclear] if unclear else []
    return Submission(student, file.path, file.members, file.problem, older, tuple(notes), time, counted.shown)


def _by_their_cells(
    notebooks: list[_Candidate], is_this_homework: IsThisHomework
) -> tuple[list[_Candidate], list[_Candidate]]:
    """Those that are this week's homework, the newest last, and the others. One that cannot be read may be it by its name."""
    newest = sorted(notebooks, key=lambda item: item.rank)
    looked_at = sorted(newest, key=lambda item: (item.named, item.rank))[-MAX_LOOKED_AT:]
    fits: dict[str, bool] = {}
    for item in looked_at:
        try:
            fits[item.shown] = is_this_homework(read_file(item.file))
        except BadNotebook:
            fits[item.shown] = item.named
    if not any(fits.values()):
        return sorted(notebooks, key=lambda item: (item.named, item.rank)), []
    return [item for item in newest if fits.get(item.shown)], [item for item in newest if not fits.get(item.shown)]


def _under_another_name(items: Iterable[_Candidate]) -> list[_Candidate]:
    """Files that are notebooks but for their name, as browsers and mail programs save them."""
    found = []
    for item in items:
        if item.kind == "other" and MAY_BE_A_NOTEBOOK.search(item.file.name) and len(found) < MAX_LOOKED_AT:
            try:
                parse(read_file(item.file))
            except BadNotebook:
                continue
            found.append(item)
    return found


def _no_notebook(items: list[_Candidate]) -> str:
    names = _some([item.file.name for item in items])
    if not any(item.uploaded for item in items):
        return f"The archive holds no notebook ({names}): ask for the .ipynb file."
    if all(item.kind == "checkpoint" for item in items):
        return f"Only a checkpoint that Jupyter made was handed in ({names}): ask for homework.ipynb itself."
    if any("onlinetext" in item.file.parts[0] for item in items):
        return f"Handed in was a text, perhaps with a link ({names}), no notebook: ask for the .ipynb file."
    return f"Handed in was {names}, no notebook: ask for the .ipynb file."


def _some(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    names = [printable_name(name)[:120] for name in names]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def is_called_like(week: str, title: str, name: str) -> bool:
    """Whether a platform's name of an assignment is this week's: it has the week's name, its beginning ("Week 1") or its title."""
    if any(text and text in folded(name) for text in (folded(week), folded(title))):
        return True
    number = re.match(r"week0*(\d+)", week)
    return number is not None and re.search(rf"week[ _-]*0*{number[1]}(?!\d)", name, re.IGNORECASE) is not None


def _of_this_week(found: list[_Candidate], week: str, title: str) -> list[_Candidate]:
    """Without what Teams keeps for other assignments; if no assignment looks like this week's, each is refused."""
    assignments = {item.owner.assignment for item in found} - {""}
    fitting = (
        assignments if len(assignments) == 1 else {name for name in assignments if is_called_like(week, title, name)}
    )
    if fitting or not assignments:
        return [item for item in found if item.owner.assignment in fitting | {""}]
    names = ", ".join(sorted(map(printable_name, assignments))[:5])
    why = f"No assignment is called like {week} (there is {names}): rename the folder, or give its files alone."
    return [replace(item, file=replace(item.file, problem=why)) if item.owner.assignment else item for item in found]


def _timestamp(folder: Path) -> tuple[datetime | None, str]:
    """nbgrader's own note of when a submission was handed in, in UTC, and what is wrong with it."""
    try:
        text = bytes_of(folder / "timestamp.txt", 200).decode("utf-8").strip()
    except (BadNotebook, UnicodeDecodeError):
        return None, ""
    time = utc(text, without_zone="UTC")
    wrong = f"timestamp.txt says {text[:60]!r}, which is not clear (write it like {EXAMPLE} UTC): it counts as on time."
    return time, "" if time else wrong


def read_bytes(submission: Submission, folder: Path, wanted: Wanted = NOTEBOOK) -> bytes:
    """The bytes of the file that counts.

    Args:
        submission: an entry of `find_hand_ins`.
        folder: where it was found; no link below it is followed.
        wanted: the kind that was looked for.

    Raises:
        BadNotebook: nothing there, a link, not an ordinary file, too large, or an archive that is broken or a bomb.
    """
    if submission.problem:
        raise BadNotebook(submission.problem)
    if submission.path is None:
        raise BadNotebook("Nothing was handed in.")
    parts = submission.path.relative_to(folder).parts
    if any(folder.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts))):
        raise BadNotebook(IS_LINK)
    return read_file(HandedFile((submission.path.name,), submission.path, submission.members, ()), wanted)
