"""`lsdl run`: statuses, limits, claims and stored outputs, on weeks that run in seconds."""

import base64
import io
import json
import os
import sys
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest
import small_week
from nbformat.v4 import new_output
from PIL import Image
from rich.console import Console
from small_week import code

from lsdl.author import notebooks
from lsdl.author.notebooks import Run, any_failed, run_digest, run_notebooks, smaller_png, store_outputs
from lsdl.author.times import read_times
from lsdl.claims import read_claims

COURSE = """title = "t"
edition = "2026.1"
parts = [{name = "all", weight = 1, pass_mark = 0.5}]
weeks = {}
[budget]
seminar_seconds = SECONDS
homework_seconds = 75
"""


def run(week: Path, **options: object) -> tuple[list[Run], str]:
    text = StringIO()
    results = run_notebooks([week], console=Console(file=text, width=200), **options)  # type: ignore[arg-type]
    return results, text.getvalue()


def committed_seminar(week: Path) -> nbformat.NotebookNode:
    return nbformat.read(week / "seminar.ipynb", 4)


def test_a_failure_and_a_good_notebook(tmp_path: Path) -> None:
    homework = small_week.homework(
        code("def invert(x):\n    return 1 / x"),
        code("print('before', SCALE)"),
        code("for i in range(3):\n    print('\\r', i, end='', flush=True)\nprint('\\rdone')"),  # as a progress bar does
        code("invert(0)"),
        code("print('after')"),
    )
    seminar = small_week.seminar(
        code("import os\nassert os.environ['OMP_NUM_THREADS'] == '1'\nfrom helpers import ANSWER")
    )
    week = small_week.write_week(tmp_path, seminar, homework)
    results, text = run(week, scale="full", json_file=tmp_path / "o.json")
    good, bad = results
    assert (good.notebook, good.status, good.message) == ("week98-small/seminar.ipynb", "ok", "")
    assert (bad.status, bad.source) == ("failed", "invert(0)")
    assert "ZeroDivisionError" in bad.traceback and "\x1b" not in bad.traceback
    assert good.seconds > 0.5 and good.cpu_seconds > 0.3 and good.peak_mb > 30  # a kernel was alive, and measured
    assert any_failed(results) and not any_failed([good])
    assert text.index("ZeroDivisionError") < text.index("peak MB")
    partial = nbformat.read(tmp_path / "runs" / week.name / "homework.ipynb", 4)
    printed = [output.text for cell in partial.cells for output in cell.get("outputs", []) if "text" in output]
    assert "before full\n" in printed and "done\n" in printed and "after\n" not in printed
    rows = json.loads((tmp_path / "o.json").read_text())
    assert [set(row) for row in rows] == [{"notebook", "status", "seconds", "cpu_seconds", "peak_mb", "scale"}] * 2
    assert [row["status"] for row in rows] == ["ok", "failed"]


def test_a_cell_that_ends_its_kernel_is_named(tmp_path: Path) -> None:
    homework = small_week.homework(
        code("print('before')"), code("import os\nos.kill(os.getpid(), 9)"), code("print('after')")
    )
    week = small_week.write_week(tmp_path, homework_node=homework)
    (result,), text = run(week)
    assert (result.status, result.source) == ("failed", "import os\nos.kill(os.getpid(), 9)")
    assert result.message.startswith(
        "the kernel died in the cell below, most likely for lack of memory (its processes held"
    )
    assert "os.kill" in text and "Traceback" not in text and "papermill failed" not in text


@pytest.mark.slow
def test_a_run_stops_at_its_time_limit_with_its_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_cell = code("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(100)")
    week = small_week.write_week(tmp_path, homework_node=small_week.homework(code_cell))
    limit = 1000

    def clock() -> float:
        """The run's clock jumps to its limit once the cell runs, so that the limit fits a loaded machine and nobody waits."""
        in_cell = (week / "pid").exists() and (week / "pid").read_text()
        return time.monotonic() + (limit + 1 if in_cell else 0)

    monkeypatch.setattr(notebooks, "time", SimpleNamespace(**vars(time) | {"monotonic": clock}))
    (result,), _ = run(week, timeout=limit)
    assert time.time() - (week / "pid").stat().st_mtime < 50  # seconds since the cell began, which would take 100
    assert result.status == "timeout" and "--timeout" in result.message
    assert "time.sleep(100)" in result.source
    pid, deadline = int((week / "pid").read_text()), time.monotonic() + 10

    def runs() -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    while runs() and time.monotonic() < deadline:  # on a loaded machine a killed process takes a moment to go
        time.sleep(0.1)
    assert not runs()


@pytest.mark.slow
def test_update_stores_outputs_then_claims_are_held_and_the_budget_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # somebody may be editing lsdl while the tests run
    monkeypatch.setattr(
        notebooks, "_tree_hash", lambda path, real=notebooks._tree_hash: path.name == "lsdl" or real(path)
    )
    week = small_week.write_week(tmp_path, small_week.seminar())
    (week / "README.md").write_text("# Small\n")
    before = committed_seminar(week)
    (result,), _ = run(week, update=True)
    assert result.status == "ok", result.message
    assert read_times(week) == {"seminar": max(1, round(result.cpu_seconds))}
    stored = committed_seminar(week)
    assert read_claims(stored)["A beats B"]["outcome"] == "holds"
    assert [cell.execution_count for cell in stored.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    for cell in stored.cells:
        cell.pop("outputs", None), cell.pop("execution_count", None)
    for cell in before.cells:
        cell.pop("outputs", None), cell.pop("execution_count", None)
    assert stored == before  # nothing of papermill stays

    (skipped,), _ = run(week, changed=True)
    assert skipped.status == "skipped" and not any_failed([skipped])

    flipped = committed_seminar(week)
    flipped.cells[3].source = flipped.cells[3].source.replace("[2, 3, 4]", "[-2, -3, -4]")
    nbformat.write(flipped, week / "seminar.ipynb")
    (tmp_path / "course.toml").write_text(COURSE.replace("SECONDS", "0.5"))
    (result,), text = run(week, changed=True, timeout=60)
    assert result.status == "failed"
    assert "'A beats B' flipped" in result.message and "-3 ± 0.58" in text
    assert "over twice the budget" in result.message
    assert not (tmp_path / "runs" / week.name / "seminar.fingerprint").exists()

    said = (week / "README.md").read_text()
    (result,), _ = run(week, timeout=60, update=True)
    assert result.status == "failed" and (week / "README.md").read_text() == said  # only a good run's time is stored


def executed_copy(node: nbformat.NotebookNode, *outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """As papermill returns it: an injected cell, its metadata, shifted counts."""
    done = nbformat.from_dict(json.loads(json.dumps(node)))
    done.cells.insert(3, code("SCALE = 'smoke'", "injected-parameters"))
    for count, cell in enumerate(done.cells[1:], start=1):
        cell.execution_count = count
        cell.metadata.papermill = {"status": "completed"}
    done.cells[-1].outputs = list(outputs)
    return done


def test_stderr_and_size_forbid_storing(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.seminar())
    path = week / "seminar.ipynb"
    before = path.read_bytes()
    noisy = executed_copy(committed_seminar(week), new_output("stream", name="stderr", text="UserWarning: old"))
    (problem,) = store_outputs(path, committed_seminar(week), noisy)
    assert "UserWarning: old" in problem and "stderr" in problem
    large = executed_copy(committed_seminar(week), new_output("stream", name="stdout", text="x" * 2_000_000))
    (problem,) = store_outputs(path, committed_seminar(week), large)
    assert "2 MB" in problem
    assert path.read_bytes() == before


def test_stored_counts_leave_out_the_injected_cell(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.seminar())
    result = new_output("execute_result", data={"text/plain": "7"}, execution_count=5)
    node = committed_seminar(week)
    assert store_outputs(week / "seminar.ipynb", node, executed_copy(node, result)) == []
    last = committed_seminar(week).cells[-1]
    assert last.execution_count == 4 and last.outputs[0].execution_count == 4


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_figure_is_stored_with_256_colours(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.seminar())
    generator = np.random.default_rng(0)
    areas = generator.integers(248, size=(8, 8, 4)).repeat(16, axis=0).repeat(16, axis=1)
    pixels = (areas + generator.integers(8, size=areas.shape)).astype(np.uint8)  # 64 colours with noise
    pixels[..., 3] = 255
    data = {"image/png": base64.b64encode(png(pixels)).decode(), "text/plain": "<Figure>"}
    node = committed_seminar(week)
    assert store_outputs(week / "seminar.ipynb", node, executed_copy(node, new_output("display_data", data))) == []
    stored = base64.b64decode(committed_seminar(week).cells[-1].outputs[0].data["image/png"])
    difference = np.asarray(Image.open(io.BytesIO(stored)).convert("RGBA")).astype(int) - pixels
    assert len(stored) < len(png(pixels)) and abs(difference).max() <= 16
    assert smaller_png(stored) == stored


def test_a_transparent_figure_and_one_that_would_grow_stay() -> None:
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 4), dtype=np.uint8)
    for data in (png(noise), png(noise[:2, :2, :3])):
        assert smaller_png(data) == data


def test_fingerprint_depends_on_what_a_run_reads_not_on_outputs(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.seminar())
    path = week / "seminar.ipynb"
    first = run_digest(path, "smoke")
    node = committed_seminar(week)
    node.cells[-1].outputs = [new_output("stream", name="stdout", text="7")]
    nbformat.write(node, path)
    assert run_digest(path, "smoke") == first
    assert run_digest(path, "full") != first
    seen = {first}
    (week / "helpers.py").write_text("ANSWER = 43\n")
    seen.add(run_digest(path, "smoke"))
    (week / "measure.py").write_text("SEEDS = 5\n")
    seen.add(run_digest(path, "smoke"))
    (week / "settings.toml").write_text("[smoke]\n")
    seen.add(run_digest(path, "smoke"))
    (week / "assets").mkdir()
    (week / "assets" / "table.json").write_text("{}")
    seen.add(run_digest(path, "smoke"))
    node.cells[-1].source += "\n# changed"
    nbformat.write(node, path)
    seen.add(run_digest(path, "smoke"))
    assert len(seen) == 6


@pytest.mark.slow
def test_the_environment_decides_neither_the_kernel_nor_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "Another Python", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    draw = code("import sys\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nprint(sys.executable)")
    week = small_week.write_week(tmp_path, small_week.seminar(draw, code(small_week.CLAIM)))
    (result,), _ = run(week, kinds=("seminar",), update=True)
    assert result.status == "ok", result.message
    cell = committed_seminar(week).cells[4]
    assert notebooks.pictures(cell) == 1
    assert any(output.get("text") == f"{sys.executable}\n" for output in cell.outputs)


def test_a_lost_picture_forbids_storing(tmp_path: Path) -> None:
    node = small_week.seminar(code("draw()"))
    node.cells[4].outputs = [new_output("display_data", data={"image/png": "aGk="})]
    path = tmp_path / "seminar.ipynb"
    (problem,) = store_outputs(path, node, executed_copy(node))
    assert "'draw()' has a picture and this run made none" in problem and "clear its outputs" in problem
    assert not path.exists()


def test_a_folder_without_notebooks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no seminar.ipynb and no homework.ipynb"):
        run_notebooks([tmp_path])
    assert os.listdir(tmp_path) == []
