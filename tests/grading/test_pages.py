"""The pages that people use, in a real browser: formgrader, a student's feedback, a released homework in JupyterLab.

`pytest -m browser`. Needs Chromium on the PATH (Debian: apt install chromium) and playwright (pip install playwright).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsdl.grading import jail
from lsdl.grading.feedback import make_feedback
from lsdl.grading.grade import grade
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.release import release

pytestmark = pytest.mark.browser
REPOSITORY = Path(__file__).resolve().parents[2]
UNSAFE = bool(jail.missing())
TOKEN = "only-for-this-test"
PATIENCE = 240_000  # milliseconds; a kernel imports torch on a machine that may be busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        # Its own sandbox refuses to run as root, as containers do; the pages are ours.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page; a test fails if a dialog opens, which only an injected script would do."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()
    assert dialogs == []


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path, Path], str]]:
    """`serve(folder, root)` starts JupyterLab in `folder` with `root` as its files; returns its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, root: Path) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {"port": port, "token": TOKEN, "root_dir": str(root), "open_browser": False, "allow_root": True}
        command = [sys.executable, "-m", "jupyterlab"] + [
            f"--ServerApp.{key}={value}" for key, value in options.items()
        ]
        own = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
        own |= {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "IPYTHONDIR": str(tmp_path / "ipython")}
        own |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        with (tmp_path / "server.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=log, stderr=log))
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=5).close()
                return address
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError((tmp_path / "server.log").read_text())

    yield start
    for server in started:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


SCRIPT = "**because**\n\n<script>alert('text')</script><img src=x onerror=alert('picture')>"


def hostile(notebook: dict) -> None:
    """Wrong on hidden inputs, with scripts in the text and in an output."""
    notebook["cells"][1]["source"] = (
        "from IPython.display import HTML, Javascript, display\n"
        "display(HTML('<script>alert(1)</script>'), Javascript('alert(2)'))\n"
        "def double(x):\n    return abs(2 * x)"
    )
    notebook["cells"][-1]["source"] = SCRIPT


def test_formgrader_lists_the_homeworks_and_takes_a_mark(
    week: Path, submit: Callable[..., Path], page: Any, serve: Callable[[Path, Path], str]
) -> None:
    (week.parent / "docs").mkdir()
    (week.parent / "docs" / "page.ipynb").write_text("{}")
    grade(week, submit("bob", hostile), unsafe=UNSAFE)
    address = serve(week.parent / "gradebook", week.parent)

    page.goto(f"{address}/formgrader/manage_assignments?token={TOKEN}")
    page.wait_for_selector("#main_body tr .name, td.name, tbody a")
    names = page.locator("tbody tr td:first-child").all_inner_texts()
    assert [name.strip() for name in names] == [week.name]

    page.goto(f"{address}/formgrader/gradebook/{week.name}/homework?token={TOKEN}")
    page.locator("tbody a").first.click()
    score = page.locator("input#why")
    score.wait_for()
    assert page.locator("strong", has_text="because").count() == 1
    score.fill("1.5")
    with page.expect_response(lambda answer: "/grade/" in answer.url and answer.request.method == "PUT") as saved:
        score.press("Tab")
    assert saved.value.ok
    with open_course(week.parent).gradebook as book:
        assert book.find_grade("why", "homework", week.name, "bob").manual_score == 1.5
        assert book.find_submission(week.name, "bob").score == 2.5


FORGED = """<div class="nbgrader_cell"><span class="full-credit">open the answer</span><i id="double_value">here</i></div>

# square_value
"""


def forge(notebook: dict) -> None:
    """Wrong, and with a text and tags that look like the graded cells: formgrader's script takes what it finds first."""
    notebook["cells"][1]["source"] = "def double(x):\n    return 0"
    notebook["cells"][3]["source"] = "def square(x):\n    return 0"
    tags = {"tags": ["x nbgrader_cell full-credit"]}
    notebook["cells"].insert(0, {"cell_type": "markdown", "id": "forged", "metadata": tags, "source": FORGED})


def test_a_click_into_a_text_gives_no_points(
    week: Path, submit: Callable[..., Path], page: Any, serve: Callable[[Path, Path], str]
) -> None:
    report = grade(week, submit("eve", forge), unsafe=UNSAFE)
    assert report.rows[0].points == 0 and report.rows[0].status != "failed"
    address = serve(week.parent / "gradebook", week.parent)
    page.goto(f"{address}/formgrader/manage_assignments?token={TOKEN}")  # logs in
    page.wait_for_selector("tbody a")
    page.goto(f"{address}/formgrader/gradebook/{week.name}/homework?token={TOKEN}")
    page.locator("tbody a").first.click()
    page.locator("input#why").wait_for()
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.url) if asked.method == "PUT" else None)
    for text in ("open the answer", "here", "square_value"):
        for place in page.get_by_text(text, exact=True).all():
            place.click()
    page.wait_for_timeout(2000)
    assert not [url for url in sent if "/grade/" in url]
    with open_course(week.parent).gradebook as book:
        assert book.find_submission(week.name, "eve").score == 0


def test_feedback_shows_points_and_hints(week: Path, submit: Callable[..., Path], page: Any) -> None:
    grade(week, submit("bob", hostile), unsafe=UNSAFE)
    (made,) = make_feedback(week)
    page.goto(made.as_uri(), wait_until="domcontentloaded")
    text = page.locator("body").inner_text()
    assert f"{week.name}: 1 of 10 points" in text and "Not graded yet, a person reads it: why." in text
    assert "double of another number is wrong" in text
    assert "HIDDEN" not in text and "-14" not in text
    assert page.locator("strong", has_text="because").count() == 1


def test_a_student_runs_a_released_homework(
    tmp_path: Path, page: Any, serve: Callable[[Path, Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "course"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    student = tmp_path / "student"
    released = release(root / "week99-demo", check=False, to=student)
    notebook = json.loads((released / "homework.ipynb").read_text())
    answer = next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "standardise")
    answer["source"] = "def standardise(x, eps=1e-5):\n    return (x - x.mean(0)) / torch.sqrt(x.var(0) + eps)"
    notebook["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (released / "homework.ipynb").write_text(json.dumps(notebook))

    address = serve(student, student)
    page.goto(f"{address}/lab/tree/week99-demo/homework.ipynb?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(state="attached")
    message = page.locator(".jp-OutputArea-output", has_text="standardise/value: The variance divides by n - 1")
    for _ in range(3):  # a click that comes before the page is ready is lost: then, as a student would, once more
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        try:
            message.first.wait_for(state="attached", timeout=PATIENCE / 3)
            break
        except Exception as error:
            assert "Timeout" in str(error)
            page.keyboard.press("Escape")
    assert "unbiased=False" in message.first.inner_text()
