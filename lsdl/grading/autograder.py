"""One submission to points and messages, by stock nbgrader: the student's code runs in this account, without a sandbox.

Grade only classes you trust this way. Everything else in lsdl.grading is independent of how a notebook is run, so a
sandboxed autograder replaces this module by one with the same `Autograder`.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsdl.grading.intake import Notebook, grade_id
from lsdl.grading.nbgrader_course import open_course, reason

TIMEOUT = "CellTimeoutError"  # what nbgrader writes into a cell that it stopped
# nbgrader's own argument, and no remark of every kernel about how it talks to its parent.
KERNEL_ARGUMENTS = ["--HistoryManager.hist_file=:memory:", "--IPKernelApp.log_level=40"]


@dataclass
class Verdict:
    """What running one notebook gave.

    Attributes:
        points: of every graded cell by its grade_id; None while a person has to grade it.
        messages: why a cell lost points.
        failure: None, or a sentence that says why there are no points at all.
        timed_out: a cell reached the time limit (the others still count).
    """

    points: dict[str, float | None] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    timed_out: bool = False


class Autograder:
    """Runs the notebooks of one week.

    Args:
        root: the course's repository; gradebook/nbgrader_config.py says where things go.
        week: the name of the week; its release must be in the gradebook.
    """

    def __init__(self, root: Path, week: str) -> None:
        self.root = root
        self.week = week
        # What is graded lies beside what was handed in: nothing under submitted/ is ever written.
        self.intake = root / "gradebook" / "intake"
        settings = {
            "CourseDirectory": {"submitted_directory": str(self.intake)},
            "Execute": {"extra_arguments": KERNEL_ARGUMENTS},
        }
        self.api = open_course(root, settings)

    def grade(self, student: str, notebook: Notebook) -> Verdict:
        """Run one mended notebook, enter its points into nbgrader's gradebook, and return them.

        Never raises because of what a student wrote: then `failure` says what happened.
        """
        folder = self.intake / student / self.week
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "homework.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nbgrader's own, about its database sessions and repeated cell ids
                result = self.api.autograde(self.week, student, force=True, create=True)
        except Exception as error:  # nbgrader lets some errors of a damaged notebook through
            return Verdict(failure=f"nbgrader stopped: {type(error).__name__}: {error}")
        if not result["success"]:
            why = reason(result)
            died = "DeadKernelError" in result.get("log", "") + result.get("error", "")
            return Verdict(failure="The notebook ended its own kernel (memory, or a call of exit)." if died else why)
        autograded = self.root / "gradebook" / "autograded" / student / self.week / "homework.ipynb"
        return self._verdict(student, json.loads(autograded.read_text(encoding="utf-8")))

    def _verdict(self, student: str, executed: Notebook) -> Verdict:
        outputs = {grade_id(cell): cell.get("outputs", []) for cell in executed["cells"]}
        everything = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
        verdict = Verdict(timed_out=any(output.get("ename") == TIMEOUT for output in everything))
        with self.api.gradebook as gradebook:
            for grade in gradebook.find_submission_notebook("homework", self.week, student).grades:
                points = grade.auto_score if grade.manual_score is None else grade.manual_score
                verdict.points[grade.name] = points
                if points is not None and points < grade.max_score:
                    message = explain(outputs.get(grade.name, []), self.api.config.Execute.timeout)
                    verdict.messages[grade.name] = message
        return verdict


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
            return value if name == "AssertionError" and value else f"{name}: {value}" if value else name
    for output in outputs:
        if output.get("output_type") == "stream" and output.get("name") == "stderr":
            text = output.get("text", "")
            text = "".join(text) if isinstance(text, list) else text
            return f"The cell wrote to stderr, which costs its points: {text.strip()[-200:]}"
    return ""
