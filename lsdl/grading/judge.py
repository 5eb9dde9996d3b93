"""Decides what a graded cell is worth from the answers that `check` wrote into its outbox; runs outside the kernel.

An outbox holds files that a student's process wrote: data from a stranger, of which any error means a failed check.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import re
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.utils import determine_grade, is_grade

from lsdl.cells import grade_id, is_test, named_in, source_of, visible_part
from lsdl.checks import Entry, NoReference, ReferenceStore, read_answer
from lsdl.compare import Packed
from lsdl.intake import Notebook
from lsdl.pictures import picture_problem

TIMEOUT = "CellTimeoutError"  # what nbgrader writes into a cell that it stopped
MAX_ANSWERS = 64  # of one cell
MAX_ANSWER_BYTES = 64 << 20
MAX_TEXT = 100_000  # characters that are kept of one output
MAX_MESSAGE = 4_000
_IMAGES = ("image/png", "image/jpeg")
OWN_ERRORS = (TIMEOUT, "DeadKernelError")
_SHARE_RIGHT = re.compile(r"[\d.]+ % of the predictions are right \(\d+ of \d+\), at least [\d.]+ % are needed\.")


@dataclass(frozen=True)
class GradedTest:
    """A graded cell that a program judges, as the instructor wrote it.

    Attributes:
        source: with its hidden tests.
        checks: names of the checks that it makes, in their order; none: plain asserts.
        hidden: those that only the hidden tests make.
        inputs: names whose inputs its hidden tests ask for.
        messages: what its own asserts say.
    """

    source: str
    checks: tuple[str, ...]
    hidden: frozenset[str]
    inputs: tuple[str, ...]
    messages: frozenset[str] = frozenset()


def read_tests(homework: Notebook) -> dict[str, GradedTest]:
    """The tests of the instructor's version of a homework by their grade_id."""
    tests = {}
    for cell in homework["cells"]:
        if is_test(cell):
            source = source_of(cell)
            checks, shown = named_in(source, "check"), named_in(visible_part(source), "check")
            hidden, inputs = frozenset(checks) - frozenset(shown), named_in(source, "check.inputs")
            tests[str(grade_id(cell))] = GradedTest(source, checks, hidden, inputs, _assert_messages(source))
    return tests


def _assert_messages(source: str) -> frozenset[str]:
    said = [node.msg for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return frozenset(text.value for text in said if isinstance(text, ast.Constant) and isinstance(text.value, str))


class References:
    """What the kernel never sees: the visible and the hidden references of a week, as far as there are any."""

    def __init__(self, visible: Path, hidden: Path) -> None:
        self._visible, self._hidden = (ReferenceStore(path) if path.is_file() else None for path in (visible, hidden))

    def entry(self, name: str) -> Entry:
        """The reference of a check.

        Raises:
            NoReference: no file has it.
        """
        for store in (self._visible, self._hidden):
            if store is not None and name in store.names:
                return store.entry(name)
        raise NoReference(f"There is no reference of the check {name!r}: run `lsdl refs` for this week.")

    def hides(self, name: str) -> bool:
        """Whether the reference of a check is not public."""
        return self._hidden is not None and name in self._hidden.names and not self._shows(name)

    def _shows(self, name: str) -> bool:
        return self._visible is not None and name in self._visible.names

    def write_inputs(self, names: Iterable[str], path: Path) -> None:
        """Write a file from which `check.inputs` reads, without anything that an answer is compared with."""
        ReferenceStore.write(path, {name: Entry(inputs=self.entry(name).inputs) for name in names})


class BadOutbox(ValueError):
    """An outbox holds something that `check` did not write; the message is a sentence for the student."""


def read_outbox(folder: Path, private: Path) -> dict[str, list[Packed]]:
    """The answers in an outbox by the check's name.

    Args:
        folder: the outbox; whoever writes there is not trusted.
        private: a path that only the grader can write; each answer is copied there before it is read.

    Raises:
        BadOutbox: a file is no answer, or there is too much of them.
    """
    answers: dict[str, list[Packed]] = {}
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        names = sorted(os.listdir(directory))
        if len(names) > MAX_ANSWERS:
            raise BadOutbox(f"More than {MAX_ANSWERS} answers came from one cell.")
        for name in names:
            private.write_bytes(_read_regular(directory, name))
            try:
                check, packed = read_answer(private)
                answers.setdefault(str(check), []).append(packed)
            except Exception:
                raise BadOutbox("A file among the answers is not one that `check` wrote.") from None
    finally:
        os.close(directory)
        private.unlink(missing_ok=True)
    return answers


def _read_regular(directory: int, name: str) -> bytes:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        raise BadOutbox("A file among the answers cannot be opened.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise BadOutbox("Among the answers is a link or something that is not a file.")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_ANSWER_BYTES + 1)
    if len(data) > MAX_ANSWER_BYTES:
        raise BadOutbox(f"An answer is larger than {MAX_ANSWER_BYTES >> 20} MB.")
    return data


_RAISED_HIDDEN = "the cell ended with an exception before it had an answer. Try other inputs than the visible ones."


def judge(
    test: GradedTest, answers: dict[str, list[Packed]], references: References, raised: bool, said: Collection[str] = ()
) -> str | None:
    """Why a cell with checks earns nothing: of its first check that is wrong; None if all are right.

    Args:
        test: the cell.
        answers: what came from its kernel.
        references: what the answers are compared with.
        raised: the cell ended with an exception, which explains missing answers.
        said: what the exceptions say; if it is a message of the cell's own asserts, that is the explanation.

    Returns:
        The explanation; "" if the exception itself is the explanation. That of a hidden check names no expected value and
        holds no text from the kernel, which has seen the hidden inputs.
    """
    own = next((text for text in said if text in test.messages), "")
    for name in test.checks:
        shown = "a hidden check" if name in test.hidden else name
        came = answers.get(name, [])
        if not came and raised:
            return own or (f"{shown}: {_RAISED_HIDDEN}" if name in test.hidden else "")
        if len(came) != 1:
            return f"{shown}: {'no answer' if not came else 'more than one answer'} came from the cell."
        entry = references.entry(name)
        try:
            text = _explain_hidden(entry, came[0]) if name in test.hidden else entry.explain(came[0])
        except Exception:  # of a forged answer anything can be wrong
            text = "the answer cannot be read."
        if text is not None:
            return f"{shown}: {text}"[:MAX_MESSAGE]
    unknown = answers.keys() - set(test.checks)
    if unknown:
        return "The cell sent an answer that it does not have a check for."
    return own if raised else None


def _explain_hidden(entry: Entry, answer: Packed) -> str | None:
    """The hints of known mistakes, or how many predictions are right; never what was expected or came."""
    text = entry.explain(answer)
    if text is None:
        return None
    if entry.kind == "predictions":
        return text if _SHARE_RIGHT.fullmatch(text) else "one class, an integer, is expected for each example."
    return " Or: ".join(entry.hints(answer)) or "the answer is wrong for other inputs than those of the visible check."


# Outputs: what comes from the kernel is data, and the verdict is written beside it in nbgrader's form


def clean_outputs(outputs: Any, not_shown: list[str] | None = None) -> list[NotebookNode]:
    """Outputs of text and pictures only: no HTML, no script, nothing of a wrong type, no error that only the grader gives.

    Args:
        not_shown: takes why a picture is not among them.
    """
    kept = []
    for output in outputs if isinstance(outputs, list) else []:
        kind = output.get("output_type")
        if kind == "stream":
            name, text = "stderr" if output.get("name") == "stderr" else "stdout", output.get("text")
            # A busy machine cuts what is printed into more pieces than an idle one.
            if kept and kept[-1]["output_type"] == "stream" and kept[-1]["name"] == name:
                text = kept.pop()["text"] + _text(text)
            kept.append({"output_type": "stream", "name": name, "text": _text(text)})
        elif kind == "error":
            name = _text(output.get("ename"))
            name = f"raised {name}" if name in OWN_ERRORS else name
            kept.append(error_output(name, _text(output.get("evalue")), output.get("traceback")))
        elif kind in ("display_data", "execute_result"):
            data = output.get("data") if isinstance(output.get("data"), dict) else {}
            safe = {"text/plain": _text(data["text/plain"])} if "text/plain" in data else {}
            for form in _IMAGES:
                if isinstance(data.get(form), str):
                    why = picture_problem(form, data[form])
                    safe |= {"text/plain": f"[picture not shown: {why}]"} if why else {form: data[form]}
                    if why and not_shown is not None:
                        not_shown.append(why)
            if safe:
                entry = {"output_type": kind, "data": safe, "metadata": {}}
                kept.append(entry | ({"execution_count": None} if kind == "execute_result" else {}))
    return [NotebookNode(json.loads(json.dumps(entry), object_hook=NotebookNode)) for entry in kept]


def error_output(name: str, value: str, traceback: Any = None) -> dict[str, Any]:
    """An output that nbgrader reads as a failed cell."""
    lines = [_text(line) for line in traceback[:100]] if isinstance(traceback, list) else []
    if sum(map(len, lines)) > MAX_TEXT:  # where the error stands is its end
        lines = ["\n".join(lines)[-MAX_TEXT:]]
    shown = lines or [f"{name}: {value}" if value else name]
    return {"output_type": "error", "ename": name, "evalue": value[:MAX_MESSAGE], "traceback": shown}


def _text(value: Any) -> str:
    text = "".join(map(str, value)) if isinstance(value, list) else str(value or "")
    # A lone surrogate is valid JSON but not UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "\n[cut]"


def disown_errors(cell: NotebookNode) -> None:
    """Rename the exceptions of a cell with checks that could be taken for the judge's words, or that carry a text as name.

    Feedback shows a student an AssertionError of such a cell; what a kernel says may hold hidden inputs.
    """
    for output in cell.outputs:
        name = output.get("ename", "")
        own = name in OWN_ERRORS or name.startswith("raised ")
        if output.output_type == "error" and not own and (not is_builtin_error(name) or name == "AssertionError"):
            output.ename = f"raised {name}"


def is_builtin_error(name: str) -> bool:
    """Whether Python itself has an exception of that name."""
    known = getattr(builtins, name, None)
    return isinstance(known, type) and issubclass(known, BaseException)


def write_verdict(cell: NotebookNode, explanation: str | None) -> None:
    """Leave the outputs of a cell with checks so that nbgrader reads the verdict from them, and nothing else."""
    outputs = cell.outputs
    if explanation:  # the exception stays for the instructor, as text
        outputs = [_as_stream(output) if output.output_type == "error" else output for output in outputs]
    elif explanation is None:
        outputs = [output for output in outputs if output.output_type != "error"]
    for output in outputs:
        if output.output_type == "stream":
            output.name = "stdout"  # a warning costs no points
        elif output.output_type == "execute_result":
            output.output_type = "display_data"  # a number would be read as points
            output.pop("execution_count", None)
    if explanation is not None and not any(output.output_type == "error" for output in outputs):
        value = explanation or "The cell ended with an exception that it did not show."
        outputs.append(NotebookNode(error_output("AssertionError", value)))
    cell.outputs = outputs


def _as_stream(error: NotebookNode) -> NotebookNode:
    return NotebookNode(output_type="stream", name="stdout", text="\n".join(error.traceback) + "\n")


def points_of(cell: NotebookNode) -> float | None:
    """The points of a graded cell by nbgrader's own rule from its outputs; None while a person has to grade it."""
    limit = float(cell.metadata["nbgrader"]["points"])
    try:
        points, _ = determine_grade(cell)
    except (ValueError, KeyError, TypeError):  # a number above the cell's points, or an odd result
        cell.outputs = [NotebookNode(error_output("ValueError", f"The cell gave more than its {limit:g} points."))]
        return 0.0
    return points


def fail_all(notebook: Notebook, message: str) -> None:
    """Write into every graded code cell without outputs that it was not run, so that nbgrader gives it no points."""
    for cell in notebook["cells"]:
        if is_test(cell):
            cell["outputs"] = [error_output("DeadKernelError", message)]


def is_graded(cell: NotebookNode) -> bool:
    """Whether a cell carries points."""
    return bool(is_grade(cell))


def explain(outputs: list[dict[str, Any]], timeout: float) -> str:
    """Why a graded cell lost points: the check's own words, or the exception, or what nbgrader minds."""
    # A cell at its limit also shows the KeyboardInterrupt that ended it.
    if any(output.get("ename") == TIMEOUT for output in outputs):
        return f"The cell ran longer than {timeout:g} s."
    for output in outputs:
        if output.get("output_type") == "error":
            name, value = output.get("ename", "error"), output.get("evalue", "")
            if name == "NotImplementedError" and not value:
                return "The answer was left empty (NotImplementedError)."
            if name in ("AssertionError", "DeadKernelError") and value:
                return value
            return f"{name}: {value}" if value else name
    for output in outputs:
        if output.get("output_type") == "stream" and output.get("name") == "stderr":
            return f"The cell wrote to stderr, which costs its points: {_text(output.get('text')).strip()[-200:]}"
    return ""
