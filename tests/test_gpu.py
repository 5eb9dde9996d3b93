"""benchmarks/gpu.py (`make gpu`) at tiny sizes on the CPU, without notebooks (test_full_scale.py has them): every week's steps, failures, the page."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lsdl.author.course import find_weeks
from lsdl.author.full_scale import Measured, measure, one_sentence, start

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
STEP = Measured("a step", "ViT", "8 pictures", steps=3600)


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu"]


@pytest.mark.slow
@pytest.mark.parametrize("week", find_weeks(ROOT), ids=lambda week: week.name)
def test_a_week_s_steps_run_at_tiny_sizes(gpu: ModuleType, week: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    arguments = [str(int(week.name[4:6])), "--device", "cpu", "--tiny", "--only", "steps", "--out", str(out)]
    assert gpu.main(arguments) == 0
    page = out.read_text(encoding="utf-8")
    assert page.count("\n## ") == 1 and f"## {week.name}" in page and "failed" not in page
    assert page.count("\n| ") >= 4, "a week measures at least three things"
    gone = measured_of((ROOT / "docs/full-scale.md").read_text("utf-8"), week) - measured_of(page, week)
    assert not gone, f"docs/full-scale.md has rows of what is not measured any more: {gone}"


def measured_of(page: str, week: Path) -> set[str]:
    """What a page says was measured for a week, without what stands in brackets."""
    rows = page.partition(f"\n## {week.name}\n")[2].partition("\n## ")[0]
    return {re.sub(r" \(.*\)", "", what) for what in re.findall(r"^\| ([^|]+) \|", rows, flags=re.M)}


def test_a_step_is_timed_and_an_error_is_a_row() -> None:
    calls: list[int] = []
    row = measure(STEP, lambda: lambda: calls.append(1), CPU, per_call=4, repeat=3)
    assert len(calls) == 4, "one call warms up"
    assert row.error == "" and 0 <= row.seconds < 1 and row.peak_bytes is None

    def broken() -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    row = measure(STEP, lambda: broken, CPU)
    assert row == replace(STEP, error="RuntimeError: CUDA out of memory.") and row.hours is None
    assert one_sentence(KeyError()) == "KeyError."


def test_what_fails_is_in_the_page_and_the_rest_too(gpu: ModuleType) -> None:
    rows = {"week01-x": [replace(STEP, seconds=2.0, peak_bytes=5 * 10**9), replace(STEP, error="RuntimeError: a | b.")]}
    page = gpu.tables(rows, [gpu.Outcome("week01-x/seminar.ipynb", 12.3, ""), gpu.Outcome("b", 1.0, "KeyError: 'k'")])
    assert "| a step | ViT | 8 pictures | 5.0 | 2 | 3,600 | 2 |" in page
    assert "failed: RuntimeError: a \\| b." in page
    assert "| week01-x/seminar.ipynb | ran through | 12 |" in page and "| b | KeyError: 'k' | 1 |" in page


def test_a_failing_process_is_a_row_and_exit_code_1(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(arguments: list, stdout: int, stderr: int) -> subprocess.Popen:
        return subprocess.Popen(["sh", "-c", "echo ValueError: no weights >&2; exit 3"], stdout=stdout, stderr=stderr)

    monkeypatch.setattr(gpu, "start", fails)
    (row,) = gpu.measured(ROOT / "week01-finetune", "cpu", True, gpu.Clock(None, 60))
    assert row.error == "ValueError: no weights"
    monkeypatch.setattr(gpu, "measured", lambda *_: [row])
    assert gpu.main(["1", "--device", "cpu", "--tiny", "--only", "steps"]) == 1
    monkeypatch.setattr(gpu, "executed", lambda *_: gpu.Outcome("homework", 1.0, "KeyError."))
    assert gpu.main(["1", "--device", "cpu", "--tiny", "--only", "notebooks"]) == 1


def test_a_process_is_stopped_when_its_time_is_over(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(arguments: list, stdout: int, stderr: int) -> subprocess.Popen:
        return subprocess.Popen(["sleep", "60"], stdout=stdout, stderr=stderr)

    monkeypatch.setattr(gpu, "start", waits)
    (row,) = gpu.measured(ROOT / "week01-finetune", "cpu", True, gpu.Clock(None, 0.2))
    assert "time was over" in row.error
    assert (
        gpu.Clock(1.0, 100.0).left < 61 and gpu.Clock(5.0, 100.0).left == 100.0 and gpu.Clock(None, None).left is None
    )


def small_week(folder: Path, *sources: str) -> Path:
    """A week with a notebook of code cells, the first one its parameters; the notebook."""
    import nbformat

    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = folder / "week99-small" / "seminar.ipynb"
    (notebook.parent / "instructor").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    script = 'def stand_in(folder):\n    return {"SMALL": str(folder)}\n'
    (notebook.parent / "instructor" / "full_scale.py").write_text(script)
    return notebook


def test_cells_run_as_in_a_kernel(tmp_path: Path) -> None:
    notebook = small_week(
        tmp_path,
        'SCALE, DEVICE = "smoke", "auto"',
        "from __future__ import annotations\nimport os\nfrom dataclasses import dataclass\nfrom pathlib import Path",
        "@dataclass\nclass A:\n    x: Unknown",
        'Path("ran").write_text(f"{SCALE} {DEVICE} {os.environ[\'SMALL\']}")',
        "1 / 0",
    )
    process = start(["cells", notebook, "--device", "cuda:7"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1 and "seminar.ipynb, cell 4" in output and output.endswith("division by zero\n")
    assert (notebook.parent / "ran").read_text() == f"full cuda:7 {tmp_path}"
