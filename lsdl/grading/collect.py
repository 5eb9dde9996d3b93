"""What a class handed in: whose notebook lies where, and its bytes.

A submission is data from a stranger: only the bytes of one notebook are read, no link is followed, no pipe or device is
opened, nothing is extracted or written. What is understood, in a folder or in zip archives, and what is assumed of each:

- nbgrader: `STUDENT/WEEK/homework.ipynb`; a `timestamp.txt` beside it says when it was handed in.
- flat: `STUDENT.ipynb`, or `STUDENT.zip` with the notebook inside.
- Moodle ("Download all submissions"): `Full Name_12345_assignsubmission_file_/anything.ipynb`, or without folders
  `Full Name_12345_assignsubmission_file_anything.ipynb`. The name has no underscore. The number is another one in every
  assignment, so the name is the student's id, and the number is added only where two students share a name.
- Canvas ("Download Submissions"): `lastnamefirstname_LATE_12345_67890_anything.ipynb`, `_LATE` only if late. The first
  number is the student's and stays through the course, the second is the file's and grows: the student's id is
  `lastnamefirstname_12345`. Anonymous: `anon_x1y2z_67890_anything.ipynb`. A re-submission is named `homework-1.ipynb`.
- Teams (the synchronised library *Student Work*): `Submitted files/STUDENT/ASSIGNMENT/Version N/anything.ipynb`. Where
  there are several assignments, the one counts whose name contains the week's (`week01-finetune`), its beginning
  (`week01`, `Week 1`) or the title in course.toml.

Of several notebooks of one student those named "homework..." go first; of these the newest counts: by version (Teams),
number of the file (Canvas), time, then the number in `homework-1.ipynb` or `homework (1).ipynb`. The others stay where they
are and are named in the student's row.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lsdl.grading import GradingError
from lsdl.intake import MAX_BYTES, BadNotebook

MAX_ENTRIES = 50_000  # files in a folder, members in an archive
MAX_RATIO = 200  # of a member over a megabyte; notebooks compress 3-10 times
MAX_DEPTH = 8
# nbgrader reads a student's name as part of a glob and of a format string.
STUDENT_NAME = re.compile(r"\w[\w .,@+'-]*")
MOODLE = re.compile(r"(?P<name>[^_]+)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_.*)?", re.DOTALL)
CANVAS = re.compile(r"(?:(?P<name>\w+?)_)??(?P<late>LATE_)?(?P<user>\d+|anon_[0-9A-Za-z]+)_(?P<file>\d+)_.+", re.DOTALL)
VERSION = re.compile(r"[Vv]ersion[ _-]?(?P<number>\d+)")
ATTEMPT = re.compile(r"(?:-(\d+)| ?\((\d+)\))$")
TEAMS_LIBRARY = ("submitted files", "student work")
IS_LINK = "The submission is a link, which is never followed: ask for the file itself."
NO_FILE = "homework.ipynb is not an ordinary file: ask for the notebook itself."
TOO_LARGE = f"The notebook is larger than {MAX_BYTES >> 20} MB: ask for it with its outputs cleared."
NO_NOTEBOOK = "The archive holds no notebook: ask for the .ipynb file."


@dataclass(frozen=True)
class Submission:
    """One student's entry.

    Attributes:
        student: an id that nbgrader can use, made from the name if need be (`safe_id`).
        path: the file that counts, or the archive that holds it; None where nothing was handed in.
        members: the name inside the archive; empty for a file of its own.
        problem: why this cannot be read, a sentence; empty if it can be tried.
        older: other attempts, which do not count, by name.
        notes: what the report should say of it: another name, marked late, a file that was refused.
        handed_in: when, in UTC without a zone as nbgrader stores it; None if that is not known.
    """

    student: str
    path: Path | None
    members: tuple[str, ...] = ()
    problem: str = ""
    older: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    handed_in: datetime | None = None


def safe_id(name: str) -> str:
    """A student's name as nbgrader can use it: unchanged if it already can, else with "_" for what it cannot.

    A changed name ends in a part of its hash, so that two names never become one.
    """
    name = unicodedata.normalize("NFC", name)
    if STUDENT_NAME.fullmatch(name) and len(name) <= 100 and name == name.rstrip(" ."):
        return name
    plain = re.sub(r"[^\w ,@+'-]", "_", name).strip(" _")[:80] or "student"
    if not STUDENT_NAME.match(plain):
        plain = f"student {plain}"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Owner:
    """Whose a file is by its name and those of its folders; `form` is the source's, `wanted` whether the file can count."""

    form: str  # nbgrader | flat | moodle | canvas | teams
    name: str
    wanted: bool
    number: str = ""
    file: int = 0
    version: int = 0
    assignment: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Candidate:
    """One file that may be a student's notebook; `rank` orders the attempts of one student, the newest last."""

    owner: _Owner
    path: Path
    members: tuple[str, ...]
    shown: str
    rank: tuple[Any, ...]
    problem: str = ""


@dataclass
class _Found:
    candidates: list[_Candidate] = field(default_factory=list)
    students: set[str] = field(default_factory=set)  # who has a folder, perhaps without a notebook


def find_submissions(folder: Path, week: str, title: str = "") -> list[Submission]:
    """The submissions of one week, sorted by student; who handed in nothing has `path=None`.

    Args:
        folder: a folder, or one zip archive, in a form that the module's docstring names. Only looked at.
        week: the name of the week, which nbgrader's and Teams' folders have.
        title: the week's title, which Teams' folders may have instead.

    Raises:
        FileNotFoundError: `folder` is neither a folder nor an archive.
        GradingError: there are more files than a class can hand in.
    """
    found = _Found()
    if folder.is_file() and folder.suffix.lower() == ".zip":
        found.candidates = list(_in_archive(folder, week, (folder.name,)))
    elif folder.is_dir():
        _in_folder(folder, week, (), found, [0])
    else:
        raise FileNotFoundError(
            f"{folder} is not a folder: give the folder that holds STUDENT/{week}/homework.ipynb, or an archive from "
            "Moodle or Canvas."
        )
    candidates = _of_this_week(found.candidates, week, title)
    numbers: dict[str, set[str]] = {}
    for item in candidates:
        numbers.setdefault(item.owner.name, set()).add(item.owner.number)
    attempts: dict[str, list[_Candidate]] = {}
    for item in candidates:
        owner = item.owner
        shared = owner.number and len(numbers[owner.name] - {""}) > 1
        attempts.setdefault(f"{owner.name} {owner.number}" if shared else owner.name, []).append(item)
    missing = found.students - {item.owner.name for item in candidates}
    entries = {safe_id(name): Submission(safe_id(name), None) for name in missing}
    entries |= {safe_id(name): _newest(name, items) for name, items in attempts.items()}
    return [entries[student] for student in sorted(entries)]


def _newest(name: str, attempts: list[_Candidate]) -> Submission:
    """The attempt that counts. A refused one counts only where there is no other."""
    attempts = sorted(attempts, key=lambda item: item.rank)
    readable = [item for item in attempts if not item.problem]
    chosen = (readable or attempts)[-1]
    notes = [f"{item.shown}: {item.problem}" for item in attempts if item.problem and item is not chosen]
    if chosen.owner.note:
        notes.insert(0, chosen.owner.note)
    student = safe_id(name)
    if student != unicodedata.normalize("NFC", name):
        notes.insert(0, f"It was handed in under the name {name[:200]!r}, which nbgrader cannot use.")
    older = tuple(item.shown for item in readable if item is not chosen)
    time = None if chosen.members else _timestamp(chosen.path.parent)
    return Submission(student, chosen.path, chosen.members, chosen.problem, older, tuple(notes), time)


def _of_this_week(found: list[_Candidate], week: str, title: str) -> list[_Candidate]:
    """Without what Teams keeps for other assignments; if no assignment looks like this week's, each is refused."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    number = re.match(r"week0*(\d+)", week)
    short = re.compile(rf"week[ _-]*0*{number[1]}(?!\d)", re.IGNORECASE) if number else None

    def fits(name: str) -> bool:
        by_name = plain(week) in plain(name) or (bool(plain(title)) and plain(title) in plain(name))
        return by_name or bool(short and short.search(name))

    assignments = {item.owner.assignment for item in found} - {""}
    fitting = assignments if len(assignments) == 1 else {name for name in assignments if fits(name)}
    if fitting or not assignments:
        return [item for item in found if item.owner.assignment in fitting | {""}]
    names = ", ".join(sorted(assignments)[:5])
    why = f"No assignment is called like {week} (there is {names}): rename the folder, or give its files alone."
    return [replace(item, problem=why) if item.owner.assignment else item for item in found]


def _in_folder(folder: Path, week: str, parts: tuple[str, ...], found: _Found, seen: list[int]) -> None:
    """Add the candidates below a folder; links, pipes and devices are looked at, not opened."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        seen[0] += 1
        if seen[0] > MAX_ENTRIES:
            raise GradingError(f"There are over {MAX_ENTRIES} files: give the folder of one week's submissions.")
        here, path = (*parts, entry.name), Path(entry.path)
        is_file = entry.is_file(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            if all(part.lower() in TEAMS_LIBRARY for part in parts) and entry.name.lower() not in TEAMS_LIBRARY:
                moodle = MOODLE.fullmatch(entry.name)
                found.students.add(moodle["name"] if moodle else entry.name)
            if len(here) < MAX_DEPTH:
                _in_folder(path, week, here, found, seen)
        elif is_file and entry.name.lower().endswith(".zip"):
            found.candidates += _in_archive(path, week, here)
        else:
            # A link may stand for a student's whole folder.
            owner = _owner(here, week, folder=entry.is_symlink())
            if owner is not None and owner.wanted:
                problem = "" if is_file else IS_LINK if entry.is_symlink() else NO_FILE
                time = entry.stat(follow_symlinks=False).st_mtime
                shown = "/".join(here)
                found.candidates.append(_Candidate(owner, path, (), shown, _rank(here, time, owner), problem))


def _in_archive(path: Path, week: str, parts: tuple[str, ...]) -> Iterator[_Candidate]:
    """The candidates in an archive on the disk, be it a class's or one student's; a broken one is a refused candidate."""
    owner = _owner(parts, week, archive=True)
    if owner is None or not owner.wanted:
        return  # an archive among a student's other files
    alone = _Candidate(owner, path, (), "/".join(parts), _rank(parts, path.lstat().st_mtime, owner))
    try:
        with _opened(path) as file, _archive(file) as archive:
            inside = [item for info in archive.infolist() for item in _member(info, week, path)]
    except BadNotebook as error:
        yield replace(alone, problem=str(error))
        return
    forms = {item.owner.form for item in inside}
    flat = [item for item in inside if item.owner.form == "flat" and not item.problem]
    named_alike = any(item.members[0].lower().startswith("homework") for item in flat)
    of_a_class = bool(forms & {"nbgrader", "moodle", "canvas", "teams"}) or (len(flat) > 1 and not named_alike)
    if owner.form != "flat" or not of_a_class:
        notebooks = [item for item in inside if item.problem or item.members[0].lower().endswith(".ipynb")]
        yield from (replace(item, owner=owner, rank=item.rank[:1] + alone.rank[1:] + item.rank) for item in notebooks)
        if not notebooks:
            yield replace(alone, problem=NO_NOTEBOOK)
        return
    for item in inside:
        if item.owner.form:
            yield item
        elif item.problem or item.members[0].lower().endswith(".ipynb"):
            why = item.problem or "Whose notebook this is cannot be told from its name: rename it."
            yield replace(item, owner=replace(item.owner, name=item.members[0]), problem=why)


def _member(info: zipfile.ZipInfo, week: str, path: Path) -> Iterator[_Candidate]:
    """The candidate that a member of an archive is; its name says whose it is, and never where anything is written."""
    name = info.filename.replace("\\", "/")
    parts = tuple(part for part in name.split("/") if part not in ("", ".", ".."))
    mode = info.external_attr >> 16
    problem = ""
    if not parts or parts[0] == "__MACOSX" or parts[-1].startswith("."):
        return
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
        problem = f"The archive's member {name[:100]!r} points out of it, and nothing is extracted: ask for the notebook alone."
    elif info.is_dir():
        return
    elif stat.S_ISLNK(mode):
        problem = IS_LINK
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        problem = NO_FILE
    elif info.flag_bits & 1:
        problem = "The archive is locked with a password: ask for the notebook itself."
    elif info.file_size > 2**20 and info.file_size > MAX_RATIO * max(1, info.compress_size):
        problem = f"{name[:100]!r} unpacks to over {MAX_RATIO} times its size, like a zip bomb: it was not unpacked."
    elif info.file_size > MAX_BYTES:
        problem = TOO_LARGE
    if not problem and not name.lower().endswith((".ipynb", ".zip")):
        return
    owner = _owner(parts, week, archive=name.lower().endswith(".zip"))
    if owner is not None and not owner.wanted and not problem:
        return
    try:
        time = datetime(*info.date_time).timestamp()
    except (ValueError, OverflowError):
        time = 0.0
    owner = owner or _Owner("", "", True)
    yield _Candidate(owner, path, (info.filename,), f"{path.name}/{name[:200]}", _rank(parts, time, owner), problem)


def _owner(parts: tuple[str, ...], week: str, *, archive: bool = False, folder: bool = False) -> _Owner | None:
    """Whose a file is; None if its name has none of the known forms.

    Args:
        parts: the names of its folders and its own.
        archive: whether it is a zip archive, which may hold the notebook.
        folder: whether it may stand for a folder (a link).
    """
    last = parts[-1]
    wanted = archive or last.lower().endswith(".ipynb")
    for part in parts:
        if moodle := MOODLE.fullmatch(part):
            return _Owner("moodle", moodle["name"], wanted and moodle["kind"] == "file", moodle["number"])
    if canvas := CANVAS.fullmatch(last):
        name = "_".join(filter(None, (canvas["name"], canvas["user"])))
        note = "Canvas marked it as late." if canvas["late"] else ""
        return _Owner("canvas", name, wanted, file=int(canvas["file"]), note=note)
    if len(parts) >= 4 and (version := VERSION.fullmatch(parts[-2])):
        return _Owner("teams", parts[-4], wanted, version=int(version["number"]), assignment=parts[-3])
    if len(parts) >= 3 and parts[-2] == week:
        return _Owner("nbgrader", parts[-3], last in ("homework.ipynb", "homework.zip"))
    if folder and len(parts) == 2 and last == week:
        return _Owner("nbgrader", parts[0], True)
    if len(parts) == 1:
        return _Owner("flat", last if folder and not wanted else PurePosixPath(last).stem, wanted or folder)
    return None


def _rank(parts: tuple[str, ...], time: float, owner: _Owner) -> tuple[Any, ...]:
    stem = PurePosixPath(parts[-1]).stem
    attempt = ATTEMPT.search(stem)
    number = int(attempt[1] or attempt[2]) if attempt else 0
    return ("homework" in stem.lower(), owner.version, owner.file, round(time), number, parts)


def _timestamp(folder: Path) -> datetime | None:
    """nbgrader's own note of when a submission was handed in, in UTC."""
    from dateutil import parser

    try:
        time = parser.parse(_bytes_of(folder / "timestamp.txt", 200).decode("utf-8").strip())
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (BadNotebook, ValueError, OverflowError):
        return None


# Reading


def read_bytes(submission: Submission, folder: Path) -> bytes:
    """The bytes of the notebook a student handed in.

    Args:
        submission: an entry of `find_submissions`.
        folder: where it was found; no link below it is followed.

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
    if not submission.members:
        return _bytes_of(submission.path, MAX_BYTES)
    with _opened(submission.path) as file, _archive(file) as archive:
        data = _read_member(archive, submission.members[0])
    return _in_students_archive(data) if submission.members[0].lower().endswith(".zip") else data


def _in_students_archive(data: bytes) -> bytes:
    """The newest notebook in an archive that lay in an archive; archives inside it are not opened."""
    with _archive(io.BytesIO(data)) as archive:
        inside = [item for info in archive.infolist() for item in _member(info, "", Path("archive.zip"))]
        notebooks = [item for item in inside if item.members[0].lower().endswith(".ipynb")]
        chosen = max(notebooks, key=lambda item: (not item.problem, item.rank), default=None)
        if chosen is None:
            raise BadNotebook(NO_NOTEBOOK)
        if chosen.problem:
            raise BadNotebook(chosen.problem)
        return _read_member(archive, chosen.members[0])


def _archive(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except Exception:  # besides BadZipFile: struct, value, key and other errors of damaged tables
        raise BadNotebook("The archive is damaged: ask for it again, or for the notebook alone.") from None
    if len(archive.infolist()) > MAX_ENTRIES:
        raise BadNotebook(f"The archive has over {MAX_ENTRIES} members: ask for the notebook alone.")
    return archive


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """At most MAX_BYTES of a member, whatever size it claims."""
    try:
        with archive.open(name) as member:
            data = member.read(MAX_BYTES + 1)
    except Exception as error:  # zlib's, zipfile's, and those of unknown methods: all mean one thing
        raise BadNotebook(f"The archive is damaged ({type(error).__name__}): ask for the notebook alone.") from None
    return _capped(data, MAX_BYTES)


def _bytes_of(path: Path, most: int) -> bytes:
    with _opened(path) as file:
        return _capped(file.read(most + 1), most)


def _capped(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise BadNotebook(TOO_LARGE)
    return data


def _opened(path: Path) -> IO[bytes]:
    """An ordinary file, opened to be read: never a link, and never waiting for a writer."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        # Opening a device can act on it, so it is looked at first.
        descriptor = os.open(path, flags) if stat.S_ISREG(os.lstat(path).st_mode) else None
    except OSError as error:
        raise BadNotebook(f"The notebook cannot be read ({error.strerror}): ask for it again.") from None
    if descriptor is None:
        raise BadNotebook(NO_FILE)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise BadNotebook(NO_FILE)
    return file
