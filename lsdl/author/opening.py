"""What opens every notebook and is generated: the Colab badge, the setup cell and the parameters cell."""

from typing import Literal

from lsdl import __version__

COURSE_REPOSITORY = "isadrtdinov/lsdl-cub"
Kind = Literal["seminar", "homework"]
KINDS: tuple[Kind, ...] = ("seminar", "homework")

SETUP_CELL = """import importlib.util
import os
import subprocess
import sys
import time

WEEK = "{week}"

if not os.path.exists("helpers.py"):  # a notebook on its own, as in Colab: fetch the course
    folder = os.path.join("lsdl-cub", WEEK)
    if not os.path.exists(os.path.join(folder, "helpers.py")):
        if os.path.exists("lsdl-cub"):  # half a clone, or an older edition: kept under another name
            os.rename("lsdl-cub", f"lsdl-cub-{{time.time():.0f}}")
        source = os.environ.get("LSDL_SOURCE", "https://github.com/isadrtdinov/lsdl-cub")
        clone = ["git", "clone", "-q", "--depth", "1", "--branch", "student-{version}", source, "lsdl-cub"]
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


def setup_cell(week: str) -> str:
    """Text of the cell tagged `setup` of a week's notebooks, `week` being the folder name ("week01-finetune")."""
    return SETUP_CELL.format(week=week, version=__version__)


def colab_link(week: str, kind: Kind) -> str:
    """Where Colab opens a notebook: homeworks from the branch without solutions."""
    branch = "student" if kind == "homework" else "main"
    return f"https://colab.research.google.com/github/{COURSE_REPOSITORY}/blob/{branch}/{week}/{kind}.ipynb"


def badge(week: str, kind: Kind) -> str:
    """The line of a notebook's first cell that opens it in Colab."""
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_link(week, kind)})"
