"""What was graded already, so that a run that was killed goes on where it stopped.

One line of JSON for every result, appended once the gradebook holds it. Its key is a hash of all that decides a mark, and
of nothing else: the submission's bytes and what `digest_of_week` reads. A result whose key is there need not be computed
again, unless the gradebook got another one of that student since: the line before a result says that it may have. That line also
has which text of each answer that people grade was there when somebody graded it, and which one comes now.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lsdl
from lsdl.author.course import WEEK_FILE, CourseError, WeekPaths, week_facts
from lsdl.files import digest_of, write_whole
from lsdl.grading.autograder import Result
from lsdl.grading.verdict import Verdict


class Journal:
    """The journal of one week.

    Args:
        path: its file, gradebook/journal/WEEK.jsonl; made when the first result is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, dict[str, Any]] = {}
        self._newest: dict[str, str | None] = {}  # of each student, the key of what the gradebook holds
        self._texts: dict[str, dict[str, Any]] = {}  # of each student, what people grade and graded
        if path.is_file():
            for line in path.read_bytes().split(b"\n"):
                try:  # a kill or a full disk can leave half a line
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue

    def find(self, key: str) -> Result | None:
        """The finished result of that key, if the gradebook holds it, without the executed notebook."""
        entry = self._lines.get(key)
        if entry is None or self._newest.get(entry["student"]) != key:
            return None
        return Result(entry["student"], {}, Verdict(**entry["verdict"]), entry["unsafe"], entry["seconds"])

    def begin(self, student: str, texts: Mapping[str, str], absent: Collection[str], settled: Collection[str]) -> None:
        """Note that the gradebook is about to get a result: until `add` nobody knows what it holds.

        Args:
            texts: of the answers that people grade, as they will be in the gradebook.
            absent: the answers that are not in the notebook and were put back empty.
            settled: the cells that somebody graded by hand as the gradebook holds them now.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        known = self._texts.get(student, {"graded": {}, "now": {}})
        graded = dict(known["graded"])
        if self._newest.get(student) is not None:
            graded |= {name: known["now"][name] for name in settled if name in known["now"]}
        now = {
            name: hashlib.sha256(text.strip().encode("utf-8", "replace")).hexdigest() for name, text in texts.items()
        }
        self._append({"key": None, "student": student, "graded": graded, "now": now, "absent": sorted(absent)})

    def changed(self, student: str) -> list[str]:
        """The cells whose text is another one than when it was graded by hand.

        nbgrader asks for a second look after every regrade, but only a text that changed needs one.
        """
        known = self._texts.get(student, {"graded": {}, "now": {}})
        return [name for name, digest in known["graded"].items() if known["now"].get(name) != digest]

    def absent(self, student: str) -> list[str]:
        """The answers that were not in the notebook and were put back empty."""
        return list(self._texts.get(student, {}).get("absent", []))

    def add(self, key: str, result: Result) -> None:
        """Note a result that the gradebook holds; it is on the disk when this returns.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        entry = {"key": key, "student": result.student, "verdict": asdict(result.verdict)}
        entry |= {"unsafe": result.unsafe, "seconds": result.seconds}
        self._append(entry)

    def _append(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The line break comes first: half a line that a kill left must not swallow this one.
        with self.path.open("ab") as file:
            file.write(b"\n" + json.dumps(entry).encode())
            file.flush()
            os.fsync(file.fileno())
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        self._newest[entry["student"]] = entry["key"]
        if entry["key"] is not None:
            self._lines[entry["key"]] = entry
        else:
            self._texts[entry["student"]] = {name: entry[name] for name in ("graded", "now", "absent")}


class Unread:
    """Whose newest attempt could not be read; the gradebook keeps the marks of an older one, if there is one.

    Args:
        path: its file, gradebook/journal/WEEK.unread.json; made when there is somebody.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.students: dict[str, str] = json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def set(self, student: str, why: str | None) -> None:
        """Note why a student's newest attempt cannot be read, or with None that it was graded.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        if self.students.get(student) == why:
            return
        self.students = {name: text for name, text in self.students.items() if name != student}
        if why is not None:
            self.students[student] = why
        write_whole(self.path, json.dumps(self.students, indent=1))


def noted_students(week: WeekPaths) -> set[str]:
    """Everybody whom the files of a week's journal know beside the marks."""
    return set().union(*(json.loads(path.read_text("utf-8")) for path in _by_student(week)))


def forget_student(week: WeekPaths, student: str) -> None:
    """Take a student out of a week's journal.

    Raises:
        OSError: the disk is full, or a file cannot be written.
    """
    for path in _by_student(week):
        known = json.loads(path.read_text("utf-8"))
        if known.pop(student, None) is not None:
            write_whole(path, json.dumps(known, indent=1))
    if week.journal.is_file():
        lines = week.journal.read_bytes().split(b"\n")
        write_whole(week.journal, b"\n".join(line for line in lines if not _is_of(line, student)))


def _by_student(week: WeekPaths) -> list[Path]:
    return [path for path in (week.unread, week.hand_ins, week.rows) if path.is_file()]


def _is_of(line: bytes, student: str) -> bool:
    try:
        return bool(json.loads(line)["student"] == student)
    except (ValueError, KeyError, TypeError):  # half a line, which nobody reads
        return False


def open_by_hand(journal: Journal, student: str, marks: Iterable[Any]) -> dict[str, str]:
    """The cells that somebody has to look at though they have points, and why.

    Args:
        journal: of the week.
        marks: nbgrader's grades of the student's notebook.
    """
    changed, absent = journal.changed(student), journal.absent(student)
    found = {}
    for mark in marks:
        if mark.manual_score is None and mark.name in absent:
            found[mark.name] = f"{mark.name} is not in the notebook, deleted or not in that version: grade it by hand"
        elif mark.manual_score is not None and mark.needs_manual_grade and mark.name in changed:
            found[mark.name] = f"{mark.name} changed since it was graded by hand"
    return found


@dataclass(frozen=True)
class Collected:
    """What a graded hand-in was called by who collected it, and what was repaired: what goes back to the student needs both.

    Attributes:
        name: the path in the folder or archive; an export's names hold the numbers by which Moodle and Canvas know people.
        repairs: (problem, remedy, advice) of each.
    """

    name: str
    repairs: tuple[tuple[str, str, str], ...] = ()


class CollectedHandIns:
    """The hand-ins that the gradebook's marks are of, by student.

    Args:
        path: its file, gradebook/journal/WEEK.hand-ins.json; made with the first one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.of = {
            student: Collected(entry["name"], tuple(tuple(repair) for repair in entry["repairs"]))
            for student, entry in known.items()
        }

    def set(self, student: str, hand_in: Collected) -> None:
        """Note a student's hand-in.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        if self.of.get(student) != hand_in:
            self.of[student] = hand_in
            write_whole(self.path, json.dumps({name: asdict(entry) for name, entry in self.of.items()}, indent=1))


class Regraded:
    """Whom a --regrade that was stopped has run already, so that the same command goes on.

    Args:
        path: its file, gradebook/journal/WEEK.regrade.json; there only while such a run is not finished.
        names: whom this run is about; another selection begins anew.
    """

    def __init__(self, path: Path, names: Collection[str]) -> None:
        self.path, self.names = path, sorted(names)
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.keys: set[str] = set(known["keys"]) if known.get("names") == self.names else set()

    def add(self, key: str) -> None:
        """Note a submission, by its key in the journal.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        self.keys.add(key)
        write_whole(self.path, json.dumps({"names": self.names, "keys": sorted(self.keys)}))

    def end(self) -> None:
        """All were run: the next --regrade begins anew."""
        self.path.unlink(missing_ok=True)


def digest_of_week(week: WeekPaths) -> str:
    """A hash of what decides a mark of a week, but for the submission: so that no mended sentence runs a class again.

    Of the week: what its kernel and the judge read, not README, seminar, trainings, tests or benchmarks. Of lsdl: what
    notebooks import or load, and what makes references, runs notebooks and judges. Of gradebook/: release, hidden references, settings.
    """
    lsdl_itself, folder = Path(lsdl.__file__).parent, week.folder
    code = [path for path in lsdl_itself.glob("*.py") if path.name != "cli.py"]
    code += [path for path in (lsdl_itself / "data").rglob("*") if path.suffix != ".md"]
    code += (lsdl_itself / "grading").glob("*.py")
    code += [lsdl_itself / "author" / name for name in ("homework.py", "references.py")]
    own = [week.homework, *folder.glob("*.py"), folder / "settings.toml", *(folder / "assets").rglob("*")]
    own += [folder / "instructor" / name for name in ("cases.py", "mistakes.py")]
    settings = [week.release / "homework.ipynb", week.hidden_references, week.config]
    state = hashlib.sha256(lsdl.__version__.encode() + _facts(folder))
    for place, paths in ((lsdl_itself, code), (folder, own), (week.gradebook, settings)):
        state.update(digest_of(paths, place).encode())
    return state.hexdigest()


def key_of(week_digest: str, student: str, data: bytes) -> str:
    """The journal's key of a submission's bytes."""
    return hashlib.sha256(f"{week_digest} {student}\n".encode() + data).hexdigest()


def _facts(folder: Path) -> bytes:
    """What a week.toml says but for the budget, which bounds the author's own runs only."""
    try:
        return week_facts(folder).model_dump_json(exclude={"budget"}).encode()
    except CourseError:  # `lsdl lint` says what is wrong; grading does without
        return (folder / WEEK_FILE).read_bytes()
