"""What the setup cell of every notebook runs: it completes a student's Python and prints one line of versions.

Nothing outside the standard library is imported at the top, because at this point nothing may be installed yet.
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import invalidate_caches, metadata
from pathlib import Path

# A wrong build of these (CUDA, CPU, Colab's own) costs gigabytes or the GPU, so the choice is the user's.
NEVER_INSTALLED = ("torch", "torchvision", "numpy")

started_in: Path | None = None  # the week's folder, for `check`, whatever the notebook's working folder is later


def setup(week: str) -> None:
    """Prepare the kernel for the notebooks of one week and print the versions in use.

    Only requirements of lsdl and of this week (`requires` in its week.toml) that are absent are installed, with pip; what is present stays as it is.

    Args:
        week: the week's folder name, such as ``"week01-finetune"``.

    Raises:
        RuntimeError: the working folder is not the week's, PyTorch or numpy is absent, or pip failed.
    """
    here = Path.cwd()
    # A folder may be renamed, but not be another week's; graders copy a week to a folder of any name.
    own = here.name == week or (Path("week.toml").exists() and not re.match(r"week\d\d-", here.name))
    if not Path("helpers.py").exists() or not (own or "NBGRADER_EXECUTION" in os.environ):
        raise RuntimeError(f"helpers.py of {week} is not in {here}: open the notebook from its own week's folder.")
    global started_in
    started_in = here
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # Colab's kernel keeps the folder that it started in
    missing = _missing()
    absent = [name for name in NEVER_INSTALLED if name in missing]
    if absent:
        raise RuntimeError(
            f"{' and '.join(absent)} must be installed by you: follow https://pytorch.org/get-started/locally, "
            "restart the kernel and run this cell again."
        )
    if missing:
        _install(list(missing.values()))
    print(f"python {platform.python_version()}, torch {_version('torch')}, lsdl {_version('lsdl')}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _missing() -> dict[str, str]:
    """Requirements of lsdl and of the week in the working folder that are absent here: name -> requirement text."""
    from packaging.requirements import Requirement  # ipykernel requires it, so every kernel has it

    try:
        requirements = metadata.requires("lsdl") or []
    except metadata.PackageNotFoundError:
        requirements = []  # lsdl runs uninstalled
    missing = {}
    for text in [*requirements, *_week_requirements()]:
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and _version(requirement.name) == "not installed":
            missing[requirement.name] = str(requirement).split(";")[0].strip()
    return missing


def _week_requirements() -> list[str]:
    """What the week's week.toml requires: no other week's packages are installed for it."""
    facts = Path("week.toml")
    return tomllib.loads(facts.read_text(encoding="utf-8")).get("requires", []) if facts.is_file() else []


def _install(requirements: list[str]) -> None:
    """pip-install `requirements`; pins keep pip from replacing the packages that we never install."""
    print("installing", ", ".join(requirements))
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("".join(f"{name}=={_version(name)}\n" for name in NEVER_INSTALLED))
        command = [sys.executable, "-m", "pip", "install", "-q", "-c", str(pins), *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"pip could not install {', '.join(requirements)}; install it in a terminal and run this cell again.\n"
            + done.stderr[-2000:]
        )
    invalidate_caches()  # else this process may not see the packages that another one has just written
