"""The cause and not the symptom: what a row says of a NameError, of an ended kernel, of what the grader does not have."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from demo_week import demo_course, solved
from nbformat.v4 import new_notebook

from lsdl.cells import called, grade_id
from lsdl.grading import execute
from lsdl.grading.autograder import Job, Result, run_job
from lsdl.grading.causes import Causes, how_it_ended, lacking
from lsdl.grading.jail import Limits
from lsdl.grading.kernel import Scratch

RIGHT = "def standardise(x, eps=1e-5):\n    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)\n"


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    week = demo_course(tmp_path_factory.mktemp("causes") / "course")
    config = week.parent / "gradebook" / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.Execute.timeout = 4\n")
    yield week


def run(week: Path, *before: str, **sources: str) -> Result:
    return run_job(Job(week, "ada", solved(week, *before, **sources)))


@pytest.mark.linux
@pytest.mark.parametrize(
    "ended",
    [
        {
            "standardise": (
                f"from helpers import column_mean\n{RIGHT}",
                "ended with ImportError: cannot import name 'column_mean' from 'helpers' (helpers.py).",
            ),
            "dropout": (
                "from google.colab import drive\ndef dropout(x, p, generator):\n    return x\n",
                "ended with ModuleNotFoundError: No module named 'google'. "
                "In the grader there are no packages but those of the course, and pip installs none.",
            ),
            "classify": (
                "def classify(c, x):\n    return x\n    )",
                "ended with SyntaxError: unmatched ')' (line 3).",
            ),
        },
        {
            "standardise": (f"import time\ntime.sleep(60)\n{RIGHT}", "ran longer than 4 s."),
            "dropout": (
                "load('data')\ndef dropout(x, p, generator):\n    return x\n",
                "ended with NameError: name 'load' is not defined.",
            ),
        },
    ],
    ids=["own helper, Colab, syntax", "time, another name"],
)
def test_a_name_error_quotes_the_error_of_the_answer(week: Path, ended: dict[str, tuple[str, str]]) -> None:
    messages = run(week, **{name: source for name, (source, _) in ended.items()}).verdict.messages
    for name, (_, cause) in ended.items():
        found = [text for cell, text in messages.items() if cell.startswith(f"{name}_")]
        assert found[0] == f"NameError: name '{name}' is not defined. The cause: the cell {name} {cause}"
        assert all(text.endswith(cause) for text in found)


@pytest.mark.linux
def test_the_cause_is_found_behind_other_cells(week: Path) -> None:
    """The given cell between answer and test fails, too: the answer's own error is named."""
    verdict = run(week, classify="1 / 0\ndef fit_centroids(x, y):\n    return x\n").verdict
    assert verdict.messages == {
        "classify_accuracy": "NameError: name 'classify' is not defined. "
        "The cause: the cell classify ended with ZeroDivisionError: division by zero."
    }


@pytest.mark.linux
def test_what_is_refused_is_said_to_be_the_graders(week: Path) -> None:
    answer = "def standardise(x, eps=1e-5):\n    open('/tmp/model.pt', 'w')\n"
    result = run(week, standardise=answer)
    message = result.verdict.messages["standardise_value"]
    assert message.startswith("PermissionError: [Errno 13] Permission denied: '/tmp/model.pt'. ")
    assert message.endswith(
        "In the grader there are no other programs, no network, and no files outside the week's folder."
    )
    test = next(cell for cell in result.executed["cells"] if grade_id(cell) == "standardise_value")
    assert any("not run in the grader: there are no other" in output.get("text", "") for output in test["outputs"])


@pytest.mark.linux
@pytest.mark.parametrize(
    ("end", "cause", "in_an_answer"),
    [
        ("os._exit(3)", "os._exit or a similar call ended it (exit code 3)", True),
        ("os.kill(os.getpid(), 9)", "it was killed, most likely because the machine had no memory left", False),
        ("import ctypes; ctypes.string_at(0)", "a library crashed (SIGSEGV)", True),
        ("os.abort()", "a library gave up (SIGABRT), most likely for lack of memory", False),
    ],
    ids=["exit", "killed", "crash", "abort"],
)
def test_an_ended_kernel_names_cell_source_and_cause(week: Path, end: str, cause: str, in_an_answer: bool) -> None:
    source = f"import os\n{end}"
    verdict = (run(week, dropout=source) if in_an_answer else run(week, source)).verdict
    where = "dropout" if in_an_answer else "that begins with `import os`"
    assert verdict.failure == f"The notebook ended its own kernel in the cell {where}: {cause}."
    assert verdict.points["standardise_value"] == (3 if in_an_answer else 0)


def test_processor_time_and_other_processors_are_causes(week: Path) -> None:
    killed = signal.SIGKILL.value
    assert how_it_ended(killed, 3600, Limits()) == "it had used its 3600 s of processor time"
    assert how_it_ended(signal.SIGXCPU.value, 0, Limits()) == "it had used its 3600 s of processor time"
    assert "another processor" in how_it_ended(signal.SIGSYS.value, 0, Limits())
    assert how_it_ended(signal.SIGTERM.value, 0, Limits()) == "it was ended by SIGTERM"
    assert how_it_ended(None, 0, Limits()) == "for no reason that it gave"


def test_names_lead_back_and_never_in_a_circle() -> None:
    def cell(source: str, name: str = "") -> dict:
        entry = {"nbgrader": {"grade_id": name, "solution": True}} if name else {}
        return {"cell_type": "code", "source": source, "metadata": entry}

    cells = [cell("a = b"), cell("b = a"), cell("c = b"), cell("\n\nprint(c)"), cell("")]
    causes = Causes(cells, [cell("a = 1", "x")], 30)
    for index, unknown in enumerate("babc"):
        causes.note(index, {"ename": "NameError", "evalue": f"name '{unknown}' is not defined", "traceback": []})
    assert (
        causes.behind(3)
        == "The cause: the cell that begins with `a = b` ended with NameError: name 'b' is not defined."
    )
    assert causes.behind(4) == "" and called(cells[3]) == "the cell that begins with `print(c)`"


def test_only_what_the_grader_lacks_is_said() -> None:
    def error(name: str, value: str, *lines: str) -> dict:
        return {"ename": name, "evalue": value, "traceback": [*lines, f"{name}: {value}"]}

    assert lacking(error("ValueError", "a shape", "---> raise PermissionError")) is None
    assert lacking(None) is None
    assert "no network" in str(lacking(error("URLError", "<urlopen error [Errno -3] name resolution>")))
    assert "GB of memory" in str(
        lacking(error("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried"))
    )


# Limits of a whole notebook


@pytest.mark.slow
@pytest.mark.linux
def test_the_outputs_of_all_cells_together_are_limited(week: Path) -> None:
    """Twenty cells of a megabyte of text, pictures or errors each: eight are kept."""
    cells = {
        "text": "print('x' * 1_000_000)",
        "display": "from IPython.display import display\ndisplay({'text/plain': 'x' * 1_000_000}, raw=True)",
        "error": "raise ValueError('x' * 1_000_000)",
        "many errors": "for _ in range(20):\n    try: raise ValueError('x' * 100_000)\n    except ValueError: get_ipython().showtraceback()",
    }
    for name, source in cells.items():
        result = run(week, *[source] * 20)
        assert len(json.dumps(result.executed)) < 10 << 20, name
        assert sum(points or 0 for points in result.verdict.points.values()) == 7, name
    assert "a notebook may show 8 MB in all" in json.dumps(result.executed)


@pytest.mark.linux
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSTOP)",
            "stopped its own kernel (SIGSTOP or the like) in the cell that begins with",
        ),
        ("threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGSTOP)).start()", "stopped its own kernel"),
        ("get_ipython().kernel.do_execute = None\nget_ipython().kernel.shell_stream.close()", ""),
    ],
    ids=["stops", "stops later", "deaf"],
)
def test_a_kernel_that_stands_still_costs_seconds(week: Path, source: str, said: str) -> None:
    started = time.monotonic()
    verdict = run(week, f"import os, signal, threading\n{source}").verdict
    assert verdict.failure and said in verdict.failure, verdict
    assert time.monotonic() - started < 20


def test_the_limits_hold_for_the_sockets_that_are_read(tmp_path: Path) -> None:
    options = {
        zmq.MAXMSGSIZE: execute.MAX_MESSAGE,
        zmq.RCVHWM: execute.MAX_WAITING,
        zmq.RECONNECT_IVL: execute.RECONNECT,
    }

    async def connected() -> list[dict[int, int]]:
        manager = execute._start_manager(Scratch(tmp_path, "week99-demo"), Limits(), partly=True)
        manager.transport, manager.ip, manager.connection_file = "ipc", str(tmp_path / "k"), str(tmp_path / "k.json")
        client = execute._Client(new_notebook(), km=manager, startup_timeout=0)
        with pytest.raises(RuntimeError, match="did not answer"):
            await client.async_start_new_kernel_client()
        sockets = [channel.socket for channel in (client.kc.shell_channel, client.kc.iopub_channel)]
        found = [{option: socket.getsockopt(option) for option in options} for socket in sockets]
        client.kc.context.destroy(linger=0)
        return found

    assert asyncio.run(connected()) == [options] * 2


@pytest.mark.linux
def test_an_output_that_is_too_long_costs_no_mark(week: Path) -> None:
    send = "display({'text/plain': 'x' * 40_000_000}, raw=True)"
    source = f"from IPython.display import display\n{send}\n{send}"
    started = time.monotonic()
    verdict = run(week, source, "print('next')").verdict
    assert verdict.notes == [
        "An output over 32 MB is not shown: the cell that begins with `from IPython.display import display`."
    ]
    assert sum(points or 0 for points in verdict.points.values()) == 7 and verdict.failure is None
    assert time.monotonic() - started < 40  # of the eleven cells at most one waits for the lost word that it has ended


@pytest.mark.linux
@pytest.mark.parametrize(
    "source",
    [
        "raise ValueError('x' * 40_000_000)",
        # the cell reaches its limit of 4 s before the kernel is ended: what is sent next has nowhere to go
        "import time\nk = get_ipython().kernel\ntime.sleep(3)\n"
        "k.shell_stream.socket.send_multipart([*k._parent_ident['shell'], b'x' * 40_000_000])\ntime.sleep(60)",
    ],
    ids=["a traceback", "before the limit"],
)
def test_a_reply_that_is_too_long_is_not_waited_for(week: Path, source: str) -> None:
    verdict = run(week, dropout=source).verdict
    assert verdict.failure == (
        "The kernel sent more than 32 MB in one reply, or closed its connection, in the cell dropout."
    )
    assert verdict.points["standardise_value"] == 3 and not verdict.points["dropout_rate"] and not verdict.timed_out


@pytest.mark.linux
@pytest.mark.parametrize(
    "source",
    [
        "from pathlib import Path\n[Path(os.environ['LSDL_WEEK_DIR'], '../../outbox', str(n)).touch() for n in range(30)]",
        "s = get_ipython().kernel.iopub_socket\nfor n in range(3): s.send_multipart([b'x', b'<IDS|MSG>', b'', b'{', b'}', b'', b'x'])",
    ],
    ids=["planted answers", "forged messages"],
)
def test_no_raw_error_reaches_a_row(week: Path, source: str) -> None:
    verdict = run(week, f"import os\n{source}").verdict
    assert verdict.failure is None or not any(
        word in verdict.failure for word in ("FileExistsError", "Errno", "Duplicate Signature", "Expecting value")
    ), verdict.failure
