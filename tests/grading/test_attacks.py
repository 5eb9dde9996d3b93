"""Every file of tests/submissions: what the student's process tries, what it earns, and that nothing else changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

from lsdl.cells import grade_id
from lsdl.grading import jail
from lsdl.grading.autograder import close_zygotes
from lsdl.grading.feedback import make_feedback
from lsdl.grading.grade import Row, grade
from lsdl.grading.selftest import header, outputs_of, targets

REPOSITORY = Path(__file__).resolve().parents[2]
ATTACKS = sorted((REPOSITORY / "tests" / "submissions").glob("*.py"))
POINTS = {
    "standardise_value": 3,
    "standardise_constant": 1,
    "dropout_rate": 1,
    "dropout_scale": 1,
    "classify_accuracy": 1,
}
SECRET = "MARK-OF-A-SECRET"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("attacks"),
    pytest.mark.skipif(bool(jail.missing()), reason="; ".join(jail.missing())),
]


@dataclass
class Attacked:
    """What one batch with every attack left behind."""

    rows: dict[str, Row]
    outputs: dict[str, str]
    connections: list[str]
    changed: list[str]
    left: list[str]
    gradebook_mode: int
    pages: dict[str, str]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    base = tmp_path_factory.mktemp("attacks")
    root = base / "course"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    config = root / "gradebook" / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.Execute.timeout = 15\n")
    week = root / "week99-demo"
    folder = base / "submissions"
    targeted = ExitStack()
    names = targeted.enter_context(targets(base, week, folder, other="honest-1"))
    secret, connections = names["SECRET"], names["CONNECTED"]
    secret.write_text(SECRET)
    solved = json.loads((week / "homework.ipynb").read_text())
    for path in ATTACKS:
        text = path.read_text()
        _hand_in(folder, path.stem, week, solved, {header(text, "cell"): Template(text).safe_substitute(names)})
    # the honest ones are graded among the others, and keep a mark that others look for
    for number in (1, 2, 3):
        _hand_in(folder, f"honest-{number}", week, solved, {})
    kept = [secret, *(path for path in (*folder.rglob("*"), *week.rglob("*")) if path.is_file())]
    before = {path: _digest(path) for path in kept}
    os.environ["LSDL_TEST_SECRET"] = SECRET
    # scratch folders of its own: other tests grade at the same time
    scratch = Path(tempfile.mkdtemp(prefix="attacks-", dir="/tmp"))
    scratch.chmod(0o755)
    tempfile.tempdir = str(scratch)
    close_zygotes()  # one that another test started has its scratch elsewhere
    try:
        report = grade(week, folder, jobs=2)
    finally:
        close_zygotes()  # it would wait for the next class; what it leaves behind then is looked for below
        tempfile.tempdir = None
        del os.environ["LSDL_TEST_SECRET"]
        targeted.close()
    rows = {row.student: row for row in report.rows}
    changed = [str(path) for path in kept if not path.is_file() or _digest(path) != before[path]]
    outputs = {student: outputs_of(week, student) for student in rows}
    left = _left_behind(scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    made = make_feedback(week, ["forged_text", "script"])
    pages = {page.parts[-3]: page.read_text(encoding="utf-8").partition("<body")[2] for page in made}
    yield Attacked(rows, outputs, connections, changed, left, names["GRADEBOOK"].stat().st_mode, pages)


def _hand_in(folder: Path, student: str, week: Path, solved: dict, sources: dict[str, str]) -> None:
    notebook = json.loads(json.dumps(solved))
    for cell in notebook["cells"]:
        name = grade_id(cell)
        if name in sources:
            cell["source"] = sources[name]
        if name == "standardise" and not sources:
            cell["source"] = "# MARK-OF-ANOTHER-STUDENT\n" + "".join(cell["source"])
    target = folder / student / week.name
    target.mkdir(parents=True)
    (target / "homework.ipynb").write_text(json.dumps(notebook))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() + oct(path.stat().st_mode)


def _left_behind(scratch: Path) -> list[str]:
    """Files in the scratch folder, and processes that came from a warm process with that folder."""
    found = [str(path) for path in scratch.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # a kernel is a copy of the process that names the folder in its command
            if str(scratch).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("attack", [path.stem for path in ATTACKS])
def test_attack_earns_what_it_should(attacked: Attacked, attack: str) -> None:
    text = (REPOSITORY / "tests" / "submissions" / f"{attack}.py").read_text()
    lost, row = header(text, "points").split(), attacked.rows[attack]
    expected = {name: 0 if name in lost else points for name, points in POINTS.items()}
    assert {name: row.cells[name].points for name in POINTS} == expected, row
    assert row.status == (header(text, "status") or "ok")
    assert all(row.cells[name].message for name in lost)
    assert not row.unsafe


@pytest.mark.parametrize("attack", [path.stem for path in ATTACKS])
def test_attack_reaches_nothing(attacked: Attacked, attack: str) -> None:
    assert "TRIED" in attacked.outputs[attack]  # else the test proves nothing
    assert "BREACH" not in attacked.outputs[attack], attacked.outputs[attack]


def test_others_lose_nothing(attacked: Attacked) -> None:
    for number in (1, 2, 3):
        row = attacked.rows[f"honest-{number}"]
        assert {name: row.cells[name].points for name in POINTS} == POINTS


def test_nothing_outside_the_scratch_changed(attacked: Attacked) -> None:
    assert attacked.connections == []
    assert attacked.changed == []
    assert attacked.left == []
    assert attacked.gradebook_mode & 0o111 == 0  # one of them asked for 0o777
    assert not any(Path(folder, "lsdl-attack").exists() for folder in ("/tmp", "/var/tmp", "/dev/shm"))


def test_outputs_hold_text_and_pictures_only(attacked: Attacked) -> None:
    assert "MARK-OF-A-SCRIPT" not in attacked.outputs["script"]
    assert "PRINTED-SCRIPT" in attacked.outputs["script"]
    assert "<script>" not in attacked.pages["script"] and "&lt;script&gt;document.title" in attacked.pages["script"]
    assert len(attacked.outputs["output_flood"]) < 3_000_000


def test_hidden_values_are_not_named(attacked: Attacked) -> None:
    for row in attacked.rows.values():
        for mark in row.cells.values():
            assert "hidden" not in mark.message or "was expected" not in mark.message


def test_a_forged_text_is_not_told(attacked: Attacked) -> None:
    """Neither the row of the hidden check nor the student's page has a word of the kernel's; the page says what failed."""
    cells = attacked.rows["forged_text"].cells
    assert cells["standardise_value"].message.startswith("a hidden check: the cell ended with an exception")
    assert "MARK-OF-HIDDEN-INPUTS" not in cells["standardise_value"].message
    assert cells["standardise_constant"].message.startswith("raised ")
    page = attacked.pages["forged_text"]
    assert page.count("MARK-OF-HIDDEN-INPUTS") == 1  # in the student's own cell
    assert "the cell ended with an exception" in page and "An exception was raised in this cell" in page


def test_scratch_is_bounded_in_all(attacked: Attacked) -> None:
    for attack in ("full_scratch", "large_scratch"):
        assert "wrote more than 1 GB or 20000 files" in attacked.rows[attack].note
