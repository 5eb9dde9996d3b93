"""Why a cell failed, in the grader's words: the error behind a NameError, what the sandbox lacks, how a kernel ended.

All texts are a student's: they are searched, never parsed, and cut.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from lsdl.cells import called, grade_id, is_test, source_of
from lsdl.grading.jail import Limits
from lsdl.grading.judge import TIMEOUT
from lsdl.recognise import answer_names, defined_names

Cell = Mapping[str, Any]

MAX_WORDS = 300
_UNKNOWN_NAME = re.compile(r"name '(\w{1,200})' is not defined")
_PLACE = re.compile(r"\([^()\s]{1,200}, line (\d+)\)")  # IPython's name of a cell changes from run to run
# what an error says -> what the grader lacks, as the end of a sentence
_LACKS = (
    (
        r"\[Errno -[235]\]|name resolution|URLError|Max retries|internet connection|Cannot resolve|offline mode|LocalEntryNotFound",
        "there is no network",
    ),
    (r"ModuleNotFoundError|No module named", "there are no packages but those of the course, and pip installs none"),
    (
        r"MemoryError|can't allocate memory|bad_alloc|Cannot allocate memory",
        f"a notebook has {Limits().memory >> 30} GB of memory",
    ),
    (
        r"Permission ?denied|PermissionError|Operation not permitted|non-zero exit status 127",
        "there are no other programs, no network, and no files outside the week's folder",
    ),
    (r"File too large|\[Errno 27\]", f"a file has at most {Limits().file >> 20} MB"),
    (r"Too many open files|can't start new thread", "files and threads of a notebook are limited"),
)


def lacking(error: Mapping[str, Any] | None) -> str | None:
    """What the grader lacks that an error speaks of, as the end of a sentence; None if it speaks of nothing of the kind."""
    if error is None:
        return None
    # the end of a traceback is the error itself; the lines of code above it could hold any word
    last = " ".join(str(line)[-2000:] for line in error["traceback"][-1:])
    text = f"{error['ename']}: {error['evalue']} {last}"
    return next((lack for pattern, lack in _LACKS if re.search(pattern, text)), None)


class Causes:
    """The errors of one notebook, to be asked what is behind one of them.

    Args:
        cells: the notebook's.
        homework: the cells of the homework, which say what an answer should define.
        cell_seconds: the time limit of a cell.
    """

    def __init__(self, cells: Sequence[Cell], homework: Sequence[Cell], cell_seconds: float) -> None:
        self._cells, self._seconds = cells, cell_seconds
        named = [{**cell, "source": source_of(cell)} for cell in homework if grade_id(cell)]
        self._should = {str(grade_id(cell)): answer_names(cell) for cell in named}
        self._errors: dict[int, Mapping[str, Any]] = {}

    def note(self, index: int, error: Mapping[str, Any]) -> None:
        """Keep the error that a cell ended with."""
        self._errors[index] = error

    def behind(self, index: int) -> str:
        """Sentences to be added to the error of a cell: whose error it comes from, and what the grader lacks; "" if neither."""
        origin, sentences = self._origin(index), []
        if origin != index:
            sentences.append(f"The cause: {called(self._cells[origin])} {self._ended(origin)}.")
        if lack := lacking(self._errors.get(origin)):
            sentences.append(f"In the grader {lack}.")
        return " ".join(sentences)

    def _origin(self, index: int) -> int:
        """The cell whose error is at the beginning of a chain of names that are not defined."""
        while (error := self._errors.get(index)) is not None and error["ename"] == "NameError":
            unknown = _UNKNOWN_NAME.search(error["evalue"][:MAX_WORDS])
            failed = sorted((place for place in self._errors if place < index), reverse=True)
            before = next((place for place in failed if unknown and unknown[1] in self._names(place)), None)
            if before is None:
                break
            index = before
        return index

    def _names(self, index: int) -> frozenset[str]:
        """What a cell defines, or should."""
        cell = self._cells[index]
        if is_test(cell):
            return frozenset()
        return defined_names(source_of(cell)) | self._should.get(str(grade_id(cell)), frozenset())

    def _ended(self, index: int) -> str:
        error = self._errors[index]
        if error["ename"] == TIMEOUT:
            return f"ran longer than {self._seconds:g} s"
        words = _PLACE.sub(r"(line \1)", error["evalue"])[:MAX_WORDS].rstrip(". ")
        return f"ended with {error['ename'][:MAX_WORDS]}" + (f": {words}" if words else "")


def how_it_ended(status: int | None, cpu_seconds: float, limits: Limits) -> str:
    """What most likely ended a kernel, from the wait status of its process and the processor time that it used."""
    if status is None:
        return "for no reason that it gave"
    if not os.WIFSIGNALED(status):
        return f"os._exit or a similar call ended it (exit code {os.waitstatus_to_exitcode(status)})"
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds > 0.95 * limits.cpu):
        return f"it had used its {limits.cpu} s of processor time"
    if number == signal.SIGKILL:
        return "it was killed, most likely because the machine had no memory left"
    if number == signal.SIGABRT:
        return "a library gave up (SIGABRT), most likely for lack of memory"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        return f"a library crashed ({signal.Signals(number).name})"
    if number == signal.SIGSYS:
        return "it made a system call of another processor's"
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"it was ended by {name}"
