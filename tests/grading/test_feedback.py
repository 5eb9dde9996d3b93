"""What students get back: points and hints; no hidden test, no hidden value, no script, no path."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from PIL import Image

from lsdl.grading import GradingError, feedback, jail
from lsdl.grading.feedback import (
    A_HIDDEN_CHECK,
    HideHiddenTests,
    SafeOutputs,
    check_names,
    clean_html,
    for_student,
    make_feedback,
    safe_markdown,
    without_paths,
)
from lsdl.grading.grade import grade

REPOSITORY = Path(__file__).resolve().parents[2]
UNSAFE = bool(jail.missing())
CELL = """check("f/value", f(1))
### BEGIN HIDDEN TESTS
check("f/hidden", f(SECRET))
assert f(2) == 4, 'f(2) is not 4'
### END HIDDEN TESTS"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("AssertionError: f/value: expected 3.0, got 4.0.", "f/value: expected 3.0, got 4.0."),
        ("AssertionError: f/hidden: expected 71.5, got 4.0.", A_HIDDEN_CHECK),
        (
            "AssertionError: f/hidden: Is the root missing?\nexpected 71.5, got 4.0.",
            f"Is the root missing?\n{A_HIDDEN_CHECK}",
        ),
        ("f/hidden: expected 71.5, got 4.0.", A_HIDDEN_CHECK),
        ("f/value: expected 3.0, got 4.0.", "f/value: expected 3.0, got 4.0."),
        ("AssertionError: f(2) is not 4", "f(2) is not 4"),
        ("AssertionError: 71.5 is what I was called with", A_HIDDEN_CHECK),
        ("AssertionError: ", A_HIDDEN_CHECK),
        ("AssertionError: a hidden check: Is the root missing?", "A hidden check: Is the root missing?"),
        ("CellTimeoutError: 71.5", "The cell ran longer than its time limit."),
    ],
)
def test_what_is_told_of_a_message(text: str, told: str) -> None:
    assert for_student(text, CELL, {"f/value"}) == told


@pytest.mark.parametrize("kind", ["MarkOf71Error", "raised AssertionError", "raised AssertionError: f/value", "71.5"])
def test_the_name_of_an_exception_is_not_told_either(kind: str) -> None:
    assert "71" not in for_student(f"{kind}: a hidden check: 71.5", CELL, {"f/value"})


def test_words_of_the_judge_in_a_cell_that_nobody_judged() -> None:
    plain = "### BEGIN HIDDEN TESTS\nassert f(2) == 4\n### END HIDDEN TESTS"
    assert for_student("AssertionError: a hidden check: 71.5", plain, set()) == A_HIDDEN_CHECK


def test_an_exception_is_named_without_what_it_says() -> None:
    told = for_student("ValueError: called with 71.5", CELL, {"f/value"})
    assert "ValueError" in told and "71.5" not in told


def test_prints_in_a_cell_with_hidden_tests_are_left_out() -> None:
    error = new_output("error", ename="AssertionError", evalue="f/hidden: expected 71.5, got 4.0.", traceback=["71.5"])
    shown = new_output("display_data", data={"text/plain": "71.5", "text/html": "71.5"})
    graded = {
        "nbgrader": {
            "schema_version": 3,
            "grade_id": "f",
            "grade": True,
            "locked": True,
            "solution": False,
            "points": 1,
        }
    }
    cell = new_code_cell(
        CELL, metadata=graded, outputs=[new_output("stream", name="stdout", text="71.5"), shown, error]
    )
    hidden, _ = HideHiddenTests().preprocess_cell(cell, {}, 0)
    assert "71.5" not in json.dumps(hidden) and "SECRET" not in hidden.source and "f/hidden" not in json.dumps(hidden)
    assert A_HIDDEN_CHECK in hidden.outputs[0].text


def test_marks_of_hidden_tests_in_a_students_own_cell() -> None:
    cell = new_code_cell("### BEGIN HIDDEN TESTS\nmine")
    assert HideHiddenTests().preprocess_cell(cell, {}, 0)[0].source == "### BEGIN HIDDEN TESTS\nmine"


def test_names_of_checks() -> None:
    assert check_names(CELL) == {"f/value", "f/hidden"}
    assert check_names("check(name) +") == set()


def test_paths_are_cut_and_addresses_stay() -> None:
    place = Path(sys.prefix) / "lib" / "x.py"
    text = f'File "{place}", line 3; see https://example.org/usr/bin and 1/2/3 or /usr/lib/python3/y.py:12'
    assert without_paths(text) == 'File "…/x.py", line 3; see https://example.org/usr/bin and 1/2/3 or …/y.py:12'


class _Elements(HTMLParser):
    found: list[tuple[str, dict[str, str | None]]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of a page with their attributes, as a browser would see them."""
    parser = _Elements()
    parser.found = []
    parser.feed(html)
    return parser.found


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<img src='https://example.org/spy.png'>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<iframe src='//example.org'></iframe>",
        "<svg onload=alert(1)></svg>",
        "<div style='background:url(https://example.org)'>x</div>",
        "<form action='/formgrader'><input></form>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    ],
)
def test_html_of_strangers_is_harmless(html: str) -> None:
    for tag, attributes in elements(clean_html(html)):
        assert tag in ("a", "div", "img", "table"), clean_html(html)
        assert not attributes, clean_html(html)


def png(width: int, height: int) -> str:
    """A picture of one colour, base64."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_html_that_is_wanted_stays() -> None:
    table = "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
    assert clean_html(table) == table
    picture = f'<img alt="p" src="data:image/png;base64,{png(3, 2)}">'
    assert clean_html(picture) == picture
    code = '<div class="highlight hl-ipython3"><pre><span class="k">def</span></pre></div>'
    assert clean_html(code) == code


@pytest.mark.parametrize("attribute", ["id", "class", "name", "style", "data-score", "onclick"])
def test_a_text_does_not_pass_for_a_part_of_the_page(attribute: str) -> None:
    """formgrader's script ties itself to elements by id and class: a forged cell would score with one click."""
    for value in ("nbgrader_cell", "score", "k score", "btn btn-default full-credit"):
        html = f'<div {attribute}="{value}">x</div>'
        for made in (clean_html(html), markdown(html), markdown(f"> {html}")):
            assert attribute not in made and "x" in made


def markdown(source: str, attachments: dict | None = None) -> str:
    """As a page shows a text cell."""
    template = Environment().from_string("{{ f(source) }}")
    return template.render(f=safe_markdown, source=source, cell={"attachments": attachments or {}})


def test_a_tag_is_one_class() -> None:
    cell = new_markdown_cell("text", metadata={"tags": ["further", "x nbgrader_cell full-credit", "a\tb"]})
    assert SafeOutputs().preprocess_cell(cell, {}, 0)[0].metadata.tags == ["further"]


def test_code_in_a_text_keeps_its_colours() -> None:
    assert 'class="k"' in markdown("```python\ndef f(): ...\n```")


@pytest.mark.parametrize(
    ("attachments", "said"),
    [
        ({}, "[picture missing: a.png]"),
        ({"a.png": {}}, "[picture missing: a.png]"),
        ({"a.png": {"image/webp": "aGk="}}, "[picture missing: a.png]"),
        ({"a.png": {"image/png": "aGk="}}, "[picture a.png not shown: it is no PNG file]"),
        ({"a.png": {"image/png": png(30_000, 30_000)}}, "it has over 25,000,000 pixels"),
        ({"a.png": {"image/png": png(6_000, 5_000)}}, "it has 6,000 x 5,000 pixels, more than 25,000,000"),
        ({"a.png": {"image/png": png(3, 2)}}, "<img"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_named(attachments: dict, said: str) -> None:
    assert said in markdown("before ![](attachment:a.png) after", attachments)


@pytest.mark.parametrize(
    "text",
    [
        "<" * 50_000,
        "\\begin{x}" * 10_000,
        "[" * 50_000,
        "<a " * 40_000,
        "`" * 30_001 + "x",
        "> " * 20_000,
        "*a" * 30_000,
    ],
)
def test_no_text_keeps_the_pages_waiting(text: str) -> None:
    begin = time.monotonic()
    made = markdown(text)
    assert time.monotonic() - begin < feedback.TEXT_SECONDS + 5, "a busy machine has five seconds more"
    assert escape(text[:10]) in made or "it takes too long" not in made


def test_many_slow_texts_wait_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "TEXT_SECONDS", 0.2)
    monkeypatch.setattr(feedback, "_given_up", deque(maxlen=feedback.MANY))
    begin = time.monotonic()
    for _ in range(3 * feedback.MANY):
        assert "as it was typed" in feedback._or_as_typed(lambda: time.sleep(60) or "", "text")
    assert time.monotonic() - begin < 10


def test_a_page_has_a_limit() -> None:
    assert feedback._in_time(lambda: "said") == "said"
    assert "ZeroDivisionError" in feedback._in_time(lambda: str(1 / 0))
    assert "takes over 0.1 s" in feedback._in_time(lambda: time.sleep(60) or "", seconds=0.1)
    assert "killed" in feedback._in_time(lambda: os._exit(9))


def test_outputs_that_are_no_pictures() -> None:
    data = {
        "image/png": '"><script>alert(1)</script>',
        "image/svg+xml": "<svg onload=alert(1)/>",
        "application/javascript": "alert(1)",
        "text/latex": "<script>alert(1)</script>",
        "text/plain": "kept",
    }
    cell = new_code_cell("", outputs=[new_output("display_data", data=data, metadata={"image/png": {"alt": '">'}})])
    safe, _ = SafeOutputs().preprocess_cell(cell, {}, 0)
    assert safe.outputs[0].data == {"text/plain": "kept"} and safe.outputs[0].metadata == {}


SPY = """
from IPython.display import HTML, Javascript, display
import os
display(HTML("<script>alert('html')</script><img src=x onerror=alert(2)><b>bold</b>"), Javascript("alert('js')"))
print("<script>alert('print')</script>", os.getcwd(), os.__file__)
def double(x):
    print("called with", x)
    return abs(2 * x)
"""


@pytest.mark.slow
@pytest.mark.linux
def test_pages_of_a_class(week: Path, submit: Callable[..., Path]) -> None:
    def spy(notebook: dict) -> None:
        notebook["cells"][1]["source"] = SPY
        notebook["cells"][-1]["source"] = "**because**\n\n<script>alert('text')</script>"

    folder = submit("spy", spy)
    (folder / "bad.ipynb").write_text("{")
    grade(week, folder, unsafe=UNSAFE)
    pages = make_feedback(week)
    assert [page.parts[-3] for page in pages] == ["spy"]
    page = pages[0].read_text(encoding="utf-8")
    assert "double of another number is wrong" in page and "<strong>because</strong>" in page
    assert "<b>bold</b>" not in page  # of outputs only text and pictures are kept
    body = page.partition("<body>")[2]
    for tag, attributes in elements(body):
        assert tag not in ("script", "iframe", "svg", "style") and "onerror" not in attributes, (tag, attributes)
        assert not (attributes.get("href") or "").startswith("javascript"), attributes
    assert "application/javascript" not in body
    for hidden in ("HIDDEN TESTS", "-7", "-14", "called with -7", "called with 3"):
        assert hidden not in body, hidden
    for place in (str(week.parent), str(Path.home()) + "/", sys.prefix, tempfile.gettempdir() + "/"):
        assert place not in page, place
    with pytest.raises(GradingError, match="bad: no graded homework"):
        make_feedback(week, ["bad"])


@pytest.mark.slow
@pytest.mark.linux
def test_hints_without_hidden_values(tmp_path: Path) -> None:
    """The demonstration week: a known mistake is answered by its hint, the hidden reference stays hidden."""
    from lsdl.grading.demo import load_mistakes, with_mistake
    from lsdl.intake import parse

    root = tmp_path / "course"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    week = root / "week99-demo"
    solved = parse((week / "homework.ipynb").read_bytes())
    mistake = load_mistakes(week)[0]
    folder = root / "in"
    folder.mkdir()
    (folder / "mia.ipynb").write_text(json.dumps(with_mistake(solved, mistake)))
    report = grade(week, folder, unsafe=UNSAFE)
    lost = {name: mark.message for name, mark in report.rows[0].cells.items() if mark.message}
    assert set(lost) == set(mistake.fails)
    page = make_feedback(week)[0].read_text(encoding="utf-8")
    assert "HIDDEN TESTS" not in page
    names = {name for c in solved["cells"] for name in check_names(c["source"])}
    hidden = {name for name in names if name.endswith("hidden")}
    assert hidden and not [name for name in hidden if f"{name}:" in page or f'"{name}"' in page]
    assert mistake.hint.split(".")[0] in page.replace("&#39;", "'")
