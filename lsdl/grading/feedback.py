"""What a student gets back, and what of a student's notebook may reach a browser.

nbgrader makes the pages; its templates put Markdown and outputs into them as they are. Three parts mend that, all set in
gradebook/nbgrader_config.py, so that formgrader and nbgrader's own commands have them, too:

- `SafeOutputs`, `safe_markdown`, `clean_html`: no script, no foreign frame or picture, no path of this machine, and nothing by
  which a page's own script or style could take a student's text for a part of the page (`id`, `class`, `name`, `style`, `data-*`).
  A text whose rendering takes long is shown as it was typed.
- `HideHiddenTests` (feedback only): of a hidden check the text, its values and its message are left out. A student reads the
  hint of a well-known mistake, or that a hidden check failed. In a cell with hidden tests nothing else that the student's code
  printed is shown either, as it may hold the hidden inputs.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import bleach
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import ClearHiddenTests
from nbgrader.utils import is_grade, is_solution
from pygments.token import STANDARD_TYPES

from lsdl.author.course import WeekPaths
from lsdl.cells import named_in
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.journal import CollectedHandIns, Unread
from lsdl.grading.judge import is_builtin_error
from lsdl.grading.nbgrader_course import make_private, only_the_notebook, open_course, reason
from lsdl.grading.points import Scale, plain
from lsdl.grading.scores import HomeworkMark, all_marks
from lsdl.pictures import FORMATS, picture_problem
from lsdl.printable import printable

A_HIDDEN_CHECK = "A hidden check of this cell failed: it calls your code with other inputs than the visible ones."
TAGS = {
    *bleach.ALLOWED_TAGS,
    *(
        "br",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "img",
        "ins",
        "p",
        "pre",
    ),
    *("s", "span", "sub", "summary", "sup", "caption", "table", "tbody", "td", "tfoot", "th", "thead", "tr"),
}
HIGHLIGHTED = {"highlight", "hl-ipython3", "hl-python", *STANDARD_TYPES.values()}  # classes that colour code
PICTURE = re.compile(r"data:(image/(?:png|jpeg|gif));base64,([A-Za-z0-9+/=\s]*)")
TEXT_SECONDS = 2.0  # to render one text; a homework's own take some milliseconds
HURRIED_SECONDS = 0.02  # the same, once MANY texts were given up within a minute
MANY = 10
PAGE_SECONDS = 180.0  # for a whole page; one takes seconds
OLDER_ATTEMPT = (
    "This page is about an earlier attempt of yours: the notebook that you handed in last could not be read."
)
JUDGED = "a hidden check: "
MAX_ERRORS = 2  # of one cell: a time limit shows two; a cell that sends many may be guessing
OWN_WORDS = {
    "CellTimeoutError": "The cell ran longer than its time limit.",
    "DeadKernelError": "The notebook ended before this cell.",
    "NotImplementedError": "The answer was left empty (NotImplementedError).",
}
CHECK_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)+): ")


def make_feedback(
    week: Path, students: Collection[str] = (), *, progress: Callable[[str, int, int], None] | None = None
) -> list[Path]:
    """Write the feedback pages of a week by nbgrader, gradebook/feedback/STUDENT/WEEK/homework.html.

    Args:
        week: the week's folder.
        students: only these (default: all that were graded).
        progress: called after each student with the page or why there is none, its number (from 1) and the number of students.

    Returns:
        The pages, sorted.

    Raises:
        GradingError: nobody was graded, somebody was not, or nbgrader could not write a page.
    """
    paths = WeekPaths.at(week)
    open_course(paths.root)  # says what is missing before the first page
    make_private(paths)
    names = sorted(path.parts[-3] for path in paths.autograded.glob(f"*/{paths.name}/homework.ipynb"))
    if not names or set(students) - set(names):
        who = ", ".join(sorted(set(students) - set(names))) or "Nobody"
        raise GradingError(f"{who}: no graded homework of {paths.name}; run `lsdl grade {paths.name}` first.")
    pages, refused = [], []
    told = Told(paths)
    wanted = [name for name in names if not students or name in students]
    for number, student in enumerate(wanted, 1):
        why = _in_time(_write_page, paths.root, paths.name, student)
        if not why:
            pages.append(paths.feedback(student))
            html = pages[-1].read_text(encoding="utf-8")
            write_whole(pages[-1], told.on_page(html, student), private=True)
        else:
            refused.append(f"{student} ({why})")
        if progress:
            progress(refused[-1] if why else str(pages[-1]), number, len(wanted))
    if refused:
        raise GradingError(f"{len(pages)} pages were written; nbgrader could not write those of {', '.join(refused)}.")
    return pages


def _write_page(root: Path, week: str, student: str) -> str:
    """Have nbgrader write a page; why it could not, or nothing."""
    result = open_course(root, only_the_notebook(WeekPaths(root, week))).generate_feedback(week, student, force=True)
    return "" if result["success"] else reason(result)


def _in_time(work: Callable[..., str], *args: Any, seconds: float = PAGE_SECONDS) -> str:
    """What `work` returns, run in a process of its own: no text of a student can stop the pages of the others."""
    form = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(form)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, work, *args))
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            return f"it takes over {seconds:g} s: look at the notebook, a cell of it may be made to take long"
        return here.recv()
    except EOFError:
        return "its process was killed, perhaps for memory"
    finally:
        process.kill()
        process.join()
        here.close()


def _answer(pipe: Any, work: Callable[..., str], *args: Any) -> None:
    try:
        pipe.send(work(*args))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


class Told:
    """What a page says of a homework as a whole, which nbgrader does not know: the marks after the rules, and the repairs.

    Args:
        week: graded, so that the gradebook has marks.
    """

    def __init__(self, week: WeekPaths) -> None:
        self.week = week
        self.unread, self.hand_ins = Unread(week.unread).students, CollectedHandIns(week.hand_ins).of
        self.marks = {entry.student: entry.homeworks[week.name] for entry in all_marks(week.root)}

    def on_page(self, html: str, student: str) -> str:
        """nbgrader's page with a box at its top, points on the course's scale, and every hint unfolded."""
        mark = self.marks[student]
        head, body, rest = html.partition("<body")
        rest = rest.replace("<details>", "<details open>")
        rest = _TOTAL.sub(lambda _: f"<h4>{escape(self.week.name)}: {self._points(mark)}</h4>", rest, count=1)
        waiting = {name for name, points in mark.cells.items() if points is None}
        contents, notebook, cells = rest.partition('id="notebook"')  # before it nothing is a student's
        contents = _LISTED.sub(
            lambda found: f"{found['before']}{found['name']}</a> ({_score_of(found, waiting)})", contents
        )
        cells = _HEADED.sub(lambda found: f"{found['before']}{_score_of(found, waiting)}", cells)
        rest = contents + notebook + cells
        return head + body + rest.replace(">", f">{self._box(student, mark)}", 1)

    def is_current(self, html: str, student: str) -> bool:
        """Whether a page begins with what `on_page` would say now."""
        return student in self.marks and self._box(student, self.marks[student]) in html

    def _box(self, student: str, mark: HomeworkMark) -> str:
        lines = []
        if student in self.unread:
            lines.append(f"<p>{escape(f'{OLDER_ATTEMPT} {self.unread[student]}')}</p>")
        lines.append(f"<p><b>{self._points(mark)}.</b></p>")
        if waiting := [name for name, points in mark.cells.items() if points is None]:
            lines.append(
                f"<p>Not graded yet, a person reads it: {escape(', '.join(waiting))}. Points can still be added.</p>"
            )
        lines += [f"<p>{escape(text)}.</p>" for text in mark.for_student]
        repairs = self.hand_ins[student].repairs if student in self.hand_ins else ()
        if repairs:
            told = "".join(
                f"<li>{escape(printable(f'{problem}: {remedy}. Next time: {advice}.'))}</li>"
                for problem, remedy, advice in repairs
            )
            lines.append(f"<p>Your notebook was repaired before it was graded:</p><ul>{told}</ul>")
        color = "#fff3cd" if student in self.unread or repairs or mark.for_student else "#eef4fb"
        return f'<div role="note" style="margin: 1em; padding: 1em; background: {color}">{"".join(lines)}</div>'

    @staticmethod
    def _points(mark: HomeworkMark) -> str:
        return f"{Scale(mark.most, mark.bonus).told(mark.points)} points"


# In nbgrader's page: its title, its list of graded cells, and their headings, which a student's text cannot imitate (no `name`).
_TOTAL = re.compile(r"<h4>[^<]*\(Score: [^)<]*\)</h4>")
_LISTED = re.compile(
    r'(?P<before><li><a href="#(?P<name>[^"]+)">)[^<]*</a> \(Score: (?P<got>[\d.]+) / (?P<most>[\d.]+)\)'
)
_HEADED = re.compile(
    r'(?P<before><a name="(?P<name>[^"]+)"></a>\s*<div class="panel-heading">(?:(?!</div>).){0,400}?)'
    r"Score: (?P<got>[\d.]+) / (?P<most>[\d.]+)",
    re.DOTALL,
)


def _score_of(found: re.Match[str], waiting: Collection[str]) -> str:
    got, most = plain(float(found["got"])), plain(float(found["most"]))
    return f"not graded yet, at most {most}" if found["name"] in waiting else f"{got} of {most}"


class HideHiddenTests(ClearHiddenTests):
    """nbgrader's own preprocessor clears the source only; this one also what a hidden test left in the outputs."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], cell_index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Take the hidden tests out of a cell, with all that they said or made the student's code say."""
        if not is_grade(cell) or is_solution(cell):
            return cell, resources  # a student may write the marks of hidden tests, which nbgrader would refuse
        source = cell.source
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if self.begin_test_delimeter in source and cell.cell_type == "code":
            visible = check_names(cell.source)
            errors = _verdicts(cell.get("outputs", []))[:MAX_ERRORS]
            told = [for_student(text, source, visible) for text in errors]
            cell.outputs = [
                new_output("stream", name="stdout", text=f"{text}\n") for text in dict.fromkeys(filter(None, told))
            ]
        return cell, resources


def for_student(text: str, source: str, visible: Collection[str]) -> str:
    """What a student may read of the message of a graded cell that has hidden tests.

    Args:
        text: an error, "Type: message", or a verdict, "name of the check: explanation".
        source: the cell as the instructor has it, hidden tests included.
        visible: the names of its visible checks.
    """
    kind, _, message = text.partition(": ")
    message = message.strip()
    if kind in ("AssertionError", "raised AssertionError") and message and message in source:
        return message  # the instructor's own words in a plain assert
    said = message if kind == "AssertionError" else text
    if kind in OWN_WORDS:
        return OWN_WORDS[kind]
    if said.startswith(JUDGED) and kind == "AssertionError" and check_names(source):
        return f"A hidden check: {said.removeprefix(JUDGED)}"  # the judge's words, with a hint but no expected value
    named = CHECK_NAME.match(said)
    if named and named["name"] in visible:
        return said
    if named and named["name"] in check_names(source):
        hint = said[named.end() :].rpartition("\n")[0]  # hints stand above the values, which are the last line
        return f"{hint}\n{A_HIDDEN_CHECK}" if hint else A_HIDDEN_CHECK
    if kind == "AssertionError":
        return A_HIDDEN_CHECK
    # The name of an exception of the student's own could be any text.
    raised = kind if is_builtin_error(kind) else "An exception"
    return (
        f"{raised} was raised in this cell. If it passes on your machine, it was in a hidden check: try other inputs."
    )


def check_names(source: str) -> set[str]:
    """The names of the checks that a cell calls; none if it is not Python."""
    try:
        return set(named_in(source, "check"))
    except SyntaxError:
        return set()


def _verdicts(outputs: list[NotebookNode]) -> list[str]:
    return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]


class SafeOutputs(Preprocessor):
    """Leaves of an output what a browser may show: text, checked pictures, and HTML that is cleaned when it is rendered."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], cell_index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Drop scripts, vector graphics, widgets and whatever claims to be a picture; shorten paths."""
        if "tags" in cell.metadata:  # they become classes of the cell, and one with a blank would be two
            cell.metadata.tags = [tag for tag in cell.metadata.tags if re.fullmatch(r"[\w-]+", str(tag))]
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = without_paths(output.text)
            elif output.output_type == "error":
                output.ename, output.evalue = without_paths(output.ename), without_paths(output.evalue)
                output.traceback = [without_paths(line) for line in output.traceback]
            else:
                output.metadata = NotebookNode()
                output.data = NotebookNode({kind: data for kind, data in map(_safe_data, output.data.items()) if data})
        return cell, resources


def _safe_data(item: tuple[str, Any]) -> tuple[str, str]:
    kind, data = item
    text = "".join(data) if isinstance(data, list) else data
    if not isinstance(text, str):
        return kind, ""
    if kind in ("image/png", "image/jpeg"):
        why = picture_problem(kind, text)
        return ("text/plain", f"[picture not shown: {why}]") if why else (kind, text)
    return kind, without_paths(text) if kind in ("text/plain", "text/html") else ""


def without_paths(text: str) -> str:
    """The text with absolute paths of this machine cut to their last part; addresses of the web stay."""
    return _machine_paths().sub(lambda match: "…/" + match[0].rstrip("/").rpartition("/")[2], text)


def _machine_paths() -> re.Pattern[str]:
    tops = "|".join(re.escape(name) for name in sorted(os.listdir("/"), key=len, reverse=True) if name != "")
    return re.compile(rf"(?<![\w:/.…])/(?:{tops or 'home'})(?:/[^\s/'\"<>:,;)\]]+)+/?")


@pass_context
def safe_markdown(context: Context, source: str) -> str:
    """nbconvert's filter `markdown2html` for text of strangers."""
    attachments = context.get("cell", {}).get("attachments", {})
    # MathJax makes links of \href{javascript:...}.
    source = re.sub(r"(?i)javascript\s*:", "javascript :", without_paths(source))

    def render() -> str:
        renderer = PatientRenderer(escape=False, attachments=attachments)
        return _cleaned(MarkdownWithMath(renderer=renderer).render(source))

    return _or_as_typed(render, source)


def clean_html(element: str | bytes) -> str:
    """nbconvert's filter of that name, which knows more tags, and pictures that are part of the page."""
    text = element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
    return _or_as_typed(lambda: _cleaned(text), text)


class PatientRenderer(IPythonRenderer):
    """nbconvert's own, but a picture that was not handed in is named instead of ending the page."""

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """The tag of a picture, or in its place why there is none."""
        name = url.removeprefix("attachment:")
        if name != url:
            kinds = {k: data for k, data in self.attachments.get(name, {}).items() if isinstance(data, str)}
            if not any(kind in FORMATS for kind in kinds):
                return f"<em>[picture missing: {escape(name)}]</em>"
            why = next(
                (why for kind, data in kinds.items() if kind in FORMATS and (why := picture_problem(kind, data))), ""
            )
            if why:
                return f"<em>[picture {escape(name)} not shown: {escape(why)}]</em>"
        return str(super().image(text, url, title))


def _cleaned(text: str) -> str:
    return bleach.clean(text, tags=TAGS, attributes=_allowed, protocols={"http", "https", "mailto", "data"})


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        picture = PICTURE.fullmatch(value) if tag == "img" else None
        return picture is not None and not picture_problem(*picture.groups())
    if name == "href":
        return tag == "a" and not value.strip().lower().startswith("data:")
    # Not `id`, `name`, `style`, `data-*`: formgrader's script finds its cells, scores and comments by them and by classes.
    if name == "class":
        return tag in ("div", "span") and set(value.split()) <= HIGHLIGHTED
    return name in ("alt", "colspan", "open", "rowspan", "start", "title")


_given_up: deque[float] = deque(maxlen=MANY)  # when


def _or_as_typed(render: Callable[[], str], text: str) -> str:
    """What `render` makes, or the text as it was typed where that takes too long or fails."""
    hurried = len(_given_up) == MANY and time.monotonic() - _given_up[0] < 60
    try:
        with _limit(HURRIED_SECONDS if hurried else TEXT_SECONDS):
            return render()
    except TookTooLong:
        _given_up.append(time.monotonic())
        why = "Shown as it was typed: it takes too long to format."
    except Exception as error:  # of a renderer that did not expect such a text; the page goes on
        why = f"Shown as it was typed: it cannot be formatted ({type(error).__name__})."
    return f"<p><em>{escape(why)}</em></p><pre>{escape(text)}</pre>"


class TookTooLong(BaseException):
    """Not an Exception, so that no library takes it for one of its own."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raises TookTooLong after so many seconds, where the system has a timer and this is the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield  # the limit of the whole page still holds
        return

    def stop(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
