"""What opens every notebook and is generated: the Colab badge, the setup cell and the parameters cell."""

import re
from pathlib import Path
from typing import Literal

from lsdl import __version__
from lsdl.author.course import repository_of

Kind = Literal["seminar", "homework"]
KINDS: tuple[Kind, ...] = ("seminar", "homework")

SETUP_CELL = """import importlib.util
import os
import subprocess
import sys
import time

WEEK = "{week}"

if not os.path.exists("helpers.py"):  # a notebook on its own, as in Colab: fetch the course
    folder = os.path.join("{folder}", WEEK)
    if not os.path.exists(os.path.join(folder, "helpers.py")):
        if os.path.exists("{folder}"):  # half a clone, or an older edition: kept under another name
            os.rename("{folder}", f"{folder}-{{time.time():.0f}}")
        source = os.environ.get("LSDL_SOURCE", "https://github.com/{repository}")
        clone = ["git", "clone", "-q", "--depth", "1", "--branch", "student-{version}", source, "{folder}"]
        try:
            subprocess.run(clone, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"git could not fetch the course from {{source}}: it needs git and a network.") from error
    os.chdir(folder)
if importlib.util.find_spec("lsdl") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", ".."], check=True)
    importlib.invalidate_caches()
importlib.import_module("lsdl").setup(WEEK)"""

PARAMETERS_CELL = """\
SCALE = "smoke"  # "smoke": minutes on two CPU cores with embedded data; "full": the paper's data and model on one GPU
SEED = 0
DEVICE = "auto"
RETRAIN = False  # True: train the small checkpoints here instead of loading the committed ones"""


def setup_cell(week: str, course: Path | None = None) -> str:
    """Text of the cell tagged `setup` of a week's notebooks.

    Args:
        week: the folder name, "week01-finetune".
        course: a path in the course, whose course.toml names its repository (default: the course around lsdl).
    """
    repository = _repository(course)
    folder = repository.partition("/")[2]
    return SETUP_CELL.format(week=week, version=__version__, repository=repository, folder=folder)


def colab_link(week: str, kind: Kind, course: Path | None = None) -> str:
    """Where Colab opens a notebook: homeworks from the branch without solutions."""
    branch = "student" if kind == "homework" else "main"
    return f"https://colab.research.google.com/github/{_repository(course)}/blob/{branch}/{week}/{kind}.ipynb"


def badge(week: str, kind: Kind, course: Path | None = None) -> str:
    """The line of a notebook's first cell that opens it in Colab."""
    link = colab_link(week, kind, course)
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def _repository(course: Path | None) -> str:
    return repository_of(course or Path(__file__))


def citation_text(root: Path) -> str:
    """CITATION.cff of `root` with the address of the repository as it should be."""
    text = (root / "CITATION.cff").read_text(encoding="utf-8")
    return re.sub(r"(?m)^repository-code: .*$", f"repository-code: https://github.com/{repository_of(root)}", text)
