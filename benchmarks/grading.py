"""Grading a class: stock `nbgrader autograde` against `lsdl grade --jobs 2`, one after the other on the same submissions.

    python benchmarks/grading.py                 # 40 of a small homework, then 6 of week 01
    python benchmarks/grading.py --small 12 --large 0

Of every ten submissions six are right, three have a known mistake and one does not run. The ratio in the last line is
that of the small homework, where starting Python, torch and nbgrader is most of what stock nbgrader does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lsdl.author.course import find_week
from lsdl.author.references import prepare_hidden_references
from lsdl.cells import grade_id
from lsdl.grading.demo import load_mistakes, with_mistake
from lsdl.grading.release import release
from lsdl.intake import Notebook, parse

ROOT = Path(__file__).resolve().parents[1]
SMALL = ROOT / "tests" / "fixtures" / "course"
BIN = Path(sys.executable).parent


def course_of(source: Path, week: str, root: Path) -> Path:
    """A course of one week in `root`, released, with its hidden references; returns the week."""
    shutil.copytree(source / week, root / week, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "course.toml", root)
    (root / "gradebook").mkdir()
    for name in ("nbgrader_config.py", "demo.key"):
        shutil.copy(ROOT / "gradebook" / name, root / "gradebook")
    prepare_hidden_references(root / week)
    release(root / week, check=False)
    return root / week


def hand_in(week: Path, count: int) -> None:
    """Write `count` submissions into gradebook/submitted: six of ten right, three with a mistake, one broken."""
    solved = parse((week / "homework.ipynb").read_bytes())
    mistakes = [m for m in load_mistakes(week) if all(hasattr(f, "__code__") for f in m.replaces.values())]
    for number in range(count):
        notebook: Notebook = json.loads(json.dumps(solved))
        if number % 10 in (2, 5, 8):
            notebook = with_mistake(solved, mistakes[number % len(mistakes)])
        elif number % 10 == 9:
            answers = [cell for cell in notebook["cells"] if grade_id(cell) and cell["cell_type"] == "code"]
            answers[0]["source"] = "raise RuntimeError('does not run')"
        folder = week.parent / "gradebook" / "submitted" / f"student{number:02d}" / week.name
        folder.mkdir(parents=True)
        (folder / "homework.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def timed(command: list[str], folder: Path) -> float:
    """Seconds that a command takes; its words are shown if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return time.monotonic() - start


def compare(source: Path, name: str, count: int, scratch: Path) -> float:
    """Grade `count` submissions both ways, print what it took, and return the ratio of the times."""
    week = course_of(source, name, scratch / f"stock-{name}")
    hand_in(week, count)
    other = scratch / f"lsdl-{name}"
    shutil.copytree(week.parent, other)
    stock = timed([str(BIN / "nbgrader"), "autograde", name], week.parent / "gradebook")
    report = scratch / f"{name}.json"
    ours = timed([str(BIN / "lsdl"), "grade", name, "--demo", "--jobs", "2", "--json", str(report)], other)
    if not report.is_file():
        sys.exit("lsdl grade wrote no marks, see above: nothing was compared.")
    for what, seconds in (("nbgrader autograde", stock), ("lsdl grade --jobs 2", ours)):
        print(f"{name}, {count} submissions, {what}: {seconds:.1f} s, {60 * count / seconds:.1f} a minute")
    return stock / ours


def start_up() -> None:
    """Print what importing takes, which stock nbgrader pays for every kernel and lsdl once."""
    for module in ("nbgrader.apps.api", "torch"):
        seconds = timed([sys.executable, "-c", f"import {module}"], ROOT)
        print(f"where the time goes: importing {module} takes {seconds:.1f} s")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=40, help="submissions of the small homework")
    parser.add_argument("--large", type=int, default=6, help="submissions of week 01; 0: none")
    options = parser.parse_args()
    start_up()
    with tempfile.TemporaryDirectory(prefix="lsdl-benchmark-") as folder:
        small = compare(SMALL, "week99-demo", options.small, Path(folder))
        if options.large:
            large = compare(ROOT, find_week("1", ROOT).name, options.large, Path(folder))
            print(f"ratio to stock nbgrader on week 01: {large:.2f}")
    print(f"ratio to stock nbgrader: {small:.2f}")


if __name__ == "__main__":
    main()
