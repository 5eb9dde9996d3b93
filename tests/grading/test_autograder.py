"""Workers, judge and recorder: the same marks as stock nbgrader for honest work, and no state from student to student."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from demo_week import demo_course, released, solved
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from safetensors.torch import save

from lsdl.author.course import WeekPaths
from lsdl.cells import grade_id
from lsdl.checks import Entry, Mistake, ReferenceStore, _send
from lsdl.compare import pack
from lsdl.grading import GradingError, autograder, jail
from lsdl.grading.autograder import GradebookWriter, Job, Result, Verdict, Workers, run_job
from lsdl.grading.demo import load_mistakes, with_mistake
from lsdl.grading.feedback import HideHiddenTests
from lsdl.grading.judge import (
    BadOutbox,
    GradedTest,
    References,
    clean_outputs,
    disown_errors,
    error_output,
    explain,
    judge,
    points_of,
    read_outbox,
    read_tests,
    write_verdict,
)
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.release import release
from lsdl.grading.zygote import Zygote, libraries
from lsdl.intake import Notebook, mend, parse


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    week = demo_course(tmp_path_factory.mktemp("demo") / "course")
    yield week


def marks(api: object, week: str, student: str) -> dict[str, float | None]:
    with api.gradebook as book:
        grades = book.find_submission_notebook("homework", week, student).grades
        return {grade.name: grade.auto_score for grade in grades}


def stock_marks(week: Path, notebooks: dict[str, Notebook]) -> dict[str, dict[str, float | None]]:
    """What nbgrader itself gives, in a copy of the course."""
    root = week.parent.parent / "stock"
    shutil.copytree(week.parent, root)
    api = open_course(root)
    for student, notebook in notebooks.items():
        folder = root / "gradebook" / "submitted" / student / week.name
        folder.mkdir(parents=True)
        (folder / "homework.ipynb").write_text(json.dumps(notebook))
        done = api.autograde(week.name, student, force=True, create=True)
        assert done["success"], done
    return {student: marks(api, week.name, student) for student in notebooks}


def our_marks(week: Path, notebooks: dict[str, Notebook]) -> dict[str, dict[str, float | None]]:
    recorder = GradebookWriter(WeekPaths.at(week))
    for result in Workers(2).run(Job(week, student, notebook) for student, notebook in notebooks.items()):
        recorder.record(result)
        assert marks(recorder.api, week.name, result.student) == result.verdict.points
    return {student: marks(recorder.api, week.name, student) for student in notebooks}


@pytest.mark.slow
@pytest.mark.linux
def test_the_marks_of_stock_nbgrader(tmp_path: Path) -> None:
    week = demo_course(tmp_path / "course")
    notebooks = {"perfect": solved(week), "untouched": released(week)}
    notebooks["raises"] = solved(week, dropout="def dropout(x, p, generator):\n    raise KeyError('p')")
    of_function: dict[tuple[str, ...], list[Mistake]] = {}
    for mistake in load_mistakes(week):
        of_function.setdefault(tuple(mistake.replaces), []).append(mistake)
    # a notebook holds one mistake of each function: no task builds on another's answer, and stock nbgrader takes long
    for number, together in enumerate(zip_longest(*of_function.values())):
        notebook = parse((week / "homework.ipynb").read_bytes())
        for mistake in filter(None, together):
            notebook = with_mistake(notebook, mistake)
        notebooks[f"mistakes{number}"] = mend(notebook, released(week))[0]
    ours = our_marks(week, notebooks)
    assert ours == stock_marks(week, notebooks)
    assert sum(points or 0 for points in ours["perfect"].values()) == 7 and set(ours["untouched"].values()) == {0}


@pytest.mark.slow
@pytest.mark.linux
def test_the_marks_of_stock_nbgrader_for_plain_asserts(week: Path) -> None:
    release(week, check=False)
    notebooks = {"perfect": solved(week), "untouched": released(week)}
    notebooks["half"] = solved(week, double="def double(x):\n    return abs(2 * x)")
    notebooks["raises"] = solved(week, square="def square(x):\n    return 1 / 0")
    ours = our_marks(week, notebooks)
    assert ours == stock_marks(week, notebooks)
    assert ours["half"] == {"double_value": 0, "square_value": 1, "why": None}


STATE = """import os, random, time
import numpy
print(hash("a text"), random.random(), numpy.random.rand(), torch.rand(()), torch.initial_seed(), sorted(os.environ))
time.sleep(0.5)  # as on a busy machine: what is printed then comes in two messages
print(hasattr(torch, "left_by_another"), sorted(os.listdir(".")), os.getcwd().rsplit("/", 1)[1], sorted(os.listdir(os.environ["HOME"])))
random.seed(7), numpy.random.seed(7), torch.manual_seed(7)
torch.left_by_another = True
open("left", "w").close()
def standardise(x, eps=1e-5):
    return x
"""


@pytest.mark.linux
def test_no_state_reaches_another_student(demo: Path) -> None:
    first, second = (run_job(Job(demo, student, solved(demo, standardise=STATE))) for student in ("ada", "bob"))

    def printed(result: Result) -> str:
        return next(c for c in result.executed["cells"] if grade_id(c) == "standardise")["outputs"][0]["text"]

    assert printed(first) == printed(second)
    assert "False" in printed(first) and "helpers.py" in printed(first)
    assert "instructor" not in printed(first) and "homework.ipynb" not in printed(first)
    assert first.verdict == second.verdict and not first.unsafe


@pytest.mark.linux
def test_a_cells_own_assert_is_the_explanation(demo: Path) -> None:
    """Also where it keeps a hidden check from being answered."""
    text = (
        "def standardise(x, eps=1e-5):\n    x -= x.mean(0)\n    return x / torch.sqrt(x.var(0, unbiased=False) + eps)"
    )
    verdict = run_job(Job(demo, "ada", solved(demo, standardise=text))).verdict
    assert verdict.messages["standardise_constant"] == "standardise changed its argument"


@pytest.mark.linux
def test_a_warning_costs_no_points(demo: Path) -> None:
    """Stock nbgrader gives 0 to a cell that writes to stderr; here the values decide."""
    text = "def standardise(x, eps=1e-5):\n    import warnings\n    warnings.warn('careful')\n"
    text += "    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)"
    verdict = run_job(Job(demo, "ada", solved(demo, standardise=text))).verdict
    assert verdict.points["standardise_value"] == 3 and verdict.failure is None


@pytest.mark.linux
def test_pictures_and_text_reach_the_notebook(demo: Path) -> None:
    text = "from matplotlib import pyplot as plt\nplt.plot([1, 2])\nplt.show()\n" + STATE
    result = run_job(Job(demo, "ada", solved(demo, standardise=text)))
    cell = next(c for c in result.executed["cells"] if grade_id(c) == "standardise")
    assert any("image/png" in output.get("data", {}) for output in cell["outputs"])


@pytest.mark.linux
def test_a_table_reads_well_as_text(demo: Path) -> None:
    """HTML of a student is dropped; what a DataFrame (or anything that shows itself both ways) says as text stays as it is."""
    text = "  method  accuracy in %\\n0     LP          61.50\\n1     FT          70.25"
    source = f"class Table:\n    __repr__ = lambda _: '{text}'\n    _repr_html_ = lambda _: '<table></table>'\nTable()"
    result = run_job(Job(demo, "ada", solved(demo, standardise=source)))
    (output,) = next(c for c in result.executed["cells"] if grade_id(c) == "standardise")["outputs"]
    assert output["data"] == {"text/plain": text.replace("\\n", "\n")}
    page, _ = HTMLExporter().from_notebook_node(nbformat.from_dict(result.executed))
    assert "1     FT          70.25" in page  # preformatted: its columns stay below each other


@pytest.mark.linux
def test_a_dead_warm_process_is_replaced(demo: Path) -> None:
    run_job(Job(demo, "ada", solved(demo)))
    (zygote,) = (found for (name, *_), found in autograder._zygotes.items() if name == demo.name)
    os.kill(zygote._process.pid, signal.SIGKILL)
    zygote._process.wait()
    assert run_job(Job(demo, "ada", solved(demo))).verdict.points["standardise_value"] == 3


@pytest.mark.linux
def test_a_dead_worker_is_a_result(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograder, "_zygote", lambda *_: SimpleNamespace(run=lambda _: None, alive=True))
    result = run_job(Job(demo, "ada", solved(demo)))
    assert "died" in (result.verdict.failure or "") and result.verdict.points == {}


@pytest.mark.linux
def test_an_unsafe_machine_is_refused(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "missing", lambda: ["Landlock is missing."])
    with pytest.raises(jail.JailError, match="Landlock"):
        Workers(1)
    with pytest.raises(jail.JailError, match="--unsafe"):
        run_job(Job(demo, "ada", solved(demo)))
    assert run_job(Job(demo, "ada", solved(demo)), unsafe=True).unsafe


@pytest.mark.linux
def test_recording_twice_keeps_what_a_person_gave(demo: Path) -> None:
    result = run_job(Job(demo, "ada", solved(demo)))
    recorder = GradebookWriter(WeekPaths.at(demo))
    recorder.record(result)
    with recorder.api.gradebook as book:
        grade = book.find_grade("dropout_words", "homework", demo.name, "ada")
        grade.manual_score = 2
        book.db.commit()
    recorder.record(result)
    with recorder.api.gradebook as book:
        assert book.find_grade("dropout_words", "homework", demo.name, "ada").manual_score == 2
        assert book.find_submission(demo.name, "ada").score == 7 + 2


def test_a_notebook_that_did_not_run_earns_nothing(demo: Path) -> None:
    recorder = GradebookWriter(WeekPaths.at(demo))
    recorder.record(Result("nil", solved(demo), Verdict(failure="The machine caught fire.")))
    assert {v for k, v in marks(recorder.api, demo.name, "nil").items() if k != "dropout_words"} == {0}


def test_threads_never_parse_at_once(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 may raise a SystemError where one thread is in ast.parse while another one is."""
    inside: list[int] = []
    most: list[int] = []

    def watched(source: str) -> ast.Module:
        inside.append(1)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()
        return ast.parse(source)

    class Started:
        alive = False  # each thread starts one again

        def __init__(self, week: Path, **_: object) -> None:
            libraries(week)

        def close(self) -> None: ...

    monkeypatch.setattr("lsdl.grading.zygote.ast", SimpleNamespace(**vars(ast) | {"parse": watched}))
    monkeypatch.setattr(autograder, "Zygote", Started)
    monkeypatch.setattr(autograder, "_zygotes", {})
    autograder._libraries.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: autograder._zygote(demo, True), range(4)))
    assert len(most) > 4 and max(most) == 1


@pytest.mark.linux
def test_ctrl_c_waits_neither_for_a_start_nor_for_jobs_that_wait(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []

    def never_ready(_: list[str], **options: object) -> subprocess.Popen:
        started.append(subprocess.Popen(["sleep", "300"], **options))
        return started[0]

    monkeypatch.setattr("lsdl.grading.zygote.subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": never_ready}))
    stopping = threading.Event()
    threading.Timer(0.3, stopping.set).start()
    with pytest.raises(GradingError, match="did not start"):
        Zygote(week, partly=True, stopping=stopping)
    assert started[0].returncode == -signal.SIGKILL

    ran: list[int] = []

    def until_stopped(job: int, *, unsafe: bool, stopping: threading.Event) -> None:
        ran.append(job)
        assert stopping.wait(60)

    def jobs() -> Iterator[int]:
        yield from range(3)
        raise KeyboardInterrupt

    monkeypatch.setattr(autograder, "run_job", until_stopped)
    monkeypatch.setattr(autograder, "_zygotes", {})
    with pytest.raises(KeyboardInterrupt):
        list(Workers(1, unsafe=True).run(jobs()))
    assert ran == [0]


def test_libraries_are_those_of_the_week(demo: Path) -> None:
    assert libraries(demo) == ["lsdl.checks", "sklearn.datasets", "torch"]


# The judge


@pytest.fixture
def references(tmp_path: Path) -> References:
    inputs = pack((torch.ones(3),))
    entry = Entry(
        inputs=inputs, accepted=(pack(torch.arange(3.0)),), mistakes=(("Do not negate.", pack(-torch.ones(3))),)
    )
    shown, hidden = tmp_path / "shown.safetensors", tmp_path / "hidden.safetensors"
    ReferenceStore.write(shown, {"f/value": entry})
    labels = pack(torch.tensor([0, 1]))
    classes = Entry(kind="predictions", inputs=inputs, labels=labels, at_least=1.0)
    ReferenceStore.write(hidden, {"f/hidden": entry, "f/classes": classes})
    return References(shown, hidden)


TEST = GradedTest("", ("f/value", "f/hidden"), frozenset({"f/hidden"}), ("f/value", "f/hidden"))
RIGHT, WRONG = pack(torch.arange(3.0)), pack(torch.full((3,), 7.5))


@pytest.mark.parametrize(
    ("answers", "raised", "explanation"),
    [
        ({"f/value": [RIGHT], "f/hidden": [RIGHT]}, False, None),
        ({"f/value": [RIGHT], "f/hidden": [RIGHT]}, True, ""),
        ({}, True, ""),
        ({"f/value": [RIGHT]}, True, "a hidden check: the cell ended with an exception before it had an answer."),
        ({}, False, "f/value: no answer came from the cell."),
        ({"f/value": [RIGHT, RIGHT], "f/hidden": [RIGHT]}, False, "f/value: more than one answer came from the cell."),
        (
            {"f/value": [RIGHT], "f/hidden": [RIGHT], "g": [RIGHT]},
            False,
            "The cell sent an answer that it does not have",
        ),
        ({"f/value": [WRONG], "f/hidden": [RIGHT]}, False, "f/value: 3 of 3 values are wrong"),
        ({"f/value": [RIGHT], "f/hidden": [WRONG]}, False, "a hidden check: the answer is wrong for other inputs"),
        ({"f/value": [RIGHT], "f/hidden": [pack(-torch.ones(3))]}, False, "a hidden check: Do not negate."),
    ],
)
def test_judge(references: References, answers: dict, raised: bool, explanation: str | None) -> None:
    text = judge(TEST, answers, references, raised)
    assert text == explanation if not explanation else text is not None and text.startswith(explanation)
    assert "hidden" not in (text or "") or "expected" not in (text or "")


def test_no_text_of_the_kernel_is_in_the_verdict_of_a_hidden_check(references: References) -> None:
    """Whatever a kernel answers or says, a hidden check's explanation is the judge's own."""
    text = "a hidden check: MARK"
    answers = [
        text,
        ["MARK"],
        {"MARK": torch.ones(3)},
        (text, "50 % of the predictions are right (1 of 2)"),
        type(text),
    ]
    test = GradedTest("", ("f/hidden", "f/classes"), frozenset({"f/hidden", "f/classes"}), (), frozenset({"own words"}))
    for answer in [*map(pack, answers), pack(torch.ones(31, 41)), pack(torch.ones(2))]:
        for given in ({"f/hidden": [answer]}, {"f/hidden": [RIGHT], "f/classes": [answer]}, {"MARK": [answer]}):
            for raised in (True, False):
                said = judge(test, given, references, raised, [text] if raised else [])
                assert said and "MARK" not in said and "31" not in said
    assert "50.0 % of the predictions" in str(
        judge(test, {"f/hidden": [RIGHT], "f/classes": [pack([0, 0])]}, references, False)
    )
    assert judge(test, {}, references, True, ["own words"]) == "own words"


def test_errors_of_a_kernel_are_not_taken_for_the_judges(references: References) -> None:
    words = "a hidden check: MARK"
    for name in (
        "AssertionError",
        "MARK",
        f"AssertionError: {words}",
        "MARKError",
        "KeyError",
        "CellTimeoutError",
        "f/value",
    ):
        cell = graded(error_output(name, words))
        cell.source = 'check("f/value", 1)\n### BEGIN HIDDEN TESTS\ncheck("f/hidden", 2)\n### END HIDDEN TESTS'
        disown_errors(cell)
        write_verdict(cell, "")
        assert points_of(cell) == 0
        assert "MARK" in explain(cell.outputs, 1)  # the instructor may read it
        hidden, _ = HideHiddenTests().preprocess_cell(cell, {}, 0)
        assert hidden.outputs and "MARK" not in json.dumps(hidden.outputs), name


def test_what_is_printed_is_one_output_in_however_many_pieces_it_came() -> None:
    def piece(text: str, name: str = "stdout") -> dict:
        return {"output_type": "stream", "name": name, "text": text}

    picture = {"output_type": "display_data", "data": {"text/plain": "Figure"}, "metadata": {}}
    outputs = clean_outputs([piece("a"), piece("b"), picture, piece("c"), piece("d", "stderr"), piece("e")])
    assert [output.get("text") for output in outputs] == ["ab", None, "c", "d", "e"]


def test_inputs_come_without_answers(references: References, tmp_path: Path) -> None:
    path = tmp_path / "inputs.safetensors"
    references.write_inputs(["f/hidden", "f/classes"], path)
    store = ReferenceStore(path)
    assert torch.equal(store.inputs("f/hidden")[0], torch.ones(3))
    for name in store.names:
        entry = store.entry(name)
        assert not entry.accepted and not entry.mistakes and entry.labels is None and entry.at_least is None
    assert b"negate" not in path.read_bytes()
    assert references.hides("f/hidden") and not references.hides("f/value") and not references.hides("g")


def bad_files(folder: Path) -> dict[str, Callable[[], object]]:
    name = folder / "0000.safetensors"
    return {
        "rubbish": lambda: name.write_bytes(b"\xff" * 100),
        "without a name": lambda: name.write_bytes(save({"0": torch.ones(1)}, {"lsdl": "{}"})),
        "a link": lambda: name.symlink_to("/etc/passwd"),
        "a pipe": lambda: os.mkfifo(name),
        "a folder": lambda: name.mkdir(),
        "two names of one file": lambda: (name.write_bytes(b"x"), os.link(name, folder / "second")),
        "many": lambda: [_send(folder, "f/value", 1.0) for _ in range(100)],
        "too large": lambda: os.truncate(os.open(name, os.O_CREAT | os.O_WRONLY), 100 << 20),
    }


@pytest.mark.parametrize("what", list(bad_files(Path())))
@pytest.mark.linux
def test_an_outbox_is_data_from_a_stranger(tmp_path: Path, what: str) -> None:
    outbox, private = tmp_path / "outbox", tmp_path / "private"
    outbox.mkdir()
    bad_files(outbox)[what]()
    with pytest.raises(BadOutbox):
        read_outbox(outbox, private)
    assert not private.exists()


@pytest.mark.linux
def test_an_outbox_is_read(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    for value in (torch.arange(3.0), 2.5):
        _send(tmp_path / "outbox", "f/value", value)
    answers = read_outbox(tmp_path / "outbox", tmp_path / "private")
    assert [packed.structure for packed in answers["f/value"]] == [["tensor", 0], ["plain", 2.5]]


def test_tests_are_read_from_the_instructors_version(demo: Path) -> None:
    tests = read_tests(parse((demo / "homework.ipynb").read_bytes()))
    assert tests["standardise_constant"].checks == ("standardise/constant", "standardise/constant-hidden")
    assert tests["standardise_constant"].hidden == {"standardise/constant-hidden"}
    assert "dropout_words" not in tests and "standardise" not in tests


def graded(*outputs: dict) -> NotebookNode:
    entry = {"grade": True, "solution": False, "locked": True, "points": 2, "grade_id": "g"}
    cell = {"cell_type": "code", "source": "", "metadata": {"nbgrader": entry}, "outputs": clean_outputs(list(outputs))}
    return NotebookNode(json.loads(json.dumps(cell), object_hook=NotebookNode))


def test_a_verdict_is_what_nbgrader_reads() -> None:
    number = {"output_type": "execute_result", "data": {"text/plain": "1.0"}, "metadata": {}}
    warning = {"output_type": "stream", "name": "stderr", "text": "careful"}
    for explanation, points in ((None, 2), ("wrong", 0), ("", 0)):
        cell = graded(number, warning)
        write_verdict(cell, explanation)
        assert points_of(cell) == points
    cell = graded(error_output("KeyError", "x"))
    write_verdict(cell, None)  # an exception that a kernel made up takes no points
    assert points_of(cell) == 2
    assert points_of(graded({**number, "data": {"text/plain": "100"}})) == 0
    assert points_of(graded(number)) == 1


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        [{}],
        [{"output_type": "stream", "text": [1, None]}],
        [
            {
                "output_type": "display_data",
                "data": {"text/html": "<script>", "image/png": '"><script>', "image/jpeg": 3},
            }
        ],
        [{"output_type": "error", "ename": None, "evalue": ["x"], "traceback": "no list"}],
        [{"output_type": "stream", "text": "\ud800"}],
    ],
)
def test_outputs_are_cleaned(outputs: object) -> None:
    text = json.dumps(clean_outputs(outputs), ensure_ascii=False)
    text.encode()
    assert "<script>" not in text
