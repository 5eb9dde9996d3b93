"""nbgrader's API on this course: one configuration (gradebook/nbgrader_config.py), no subprocesses."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsdl.author.course import CoursePaths, WeekPaths
from lsdl.grading import GradingError

if TYPE_CHECKING:
    from nbgrader.apps.api import NbGraderAPI
    from traitlets.config import Config

BRACKETS = re.compile(r"[][*?]")  # nbgrader looks for files by patterns


def read_config(root: Path) -> Config:
    """The settings in gradebook/nbgrader_config.py of the course in `root`.

    Raises:
        GradingError: nbgrader is not installed, or the file is missing.
    """
    file = CoursePaths(root).config
    if not file.is_file():
        raise GradingError(f"{file} is missing: restore it from the repository.")
    try:
        import nbgrader.apps.api  # noqa: F401 (the file itself imports it)
        from traitlets.config.loader import PyFileConfigLoader
    except ImportError as error:
        raise GradingError(f"{error.name} is not installed: run pip install -r requirements.txt.") from None
    return PyFileConfigLoader(file.name, path=str(file.parent)).load_config()


def open_course(root: Path, settings: dict[str, dict[str, Any]] | None = None) -> NbGraderAPI:
    """nbgrader's API for the course in `root`.

    Args:
        root: the repository; its gradebook/nbgrader_config.py is read.
        settings: {class name: {trait: value}} that override that file.

    Raises:
        GradingError: nbgrader is not installed, or the configuration is missing.
    """
    if BRACKETS.search(str(root)):
        raise GradingError(
            f"nbgrader finds no notebook in {root}: rename the folder so that its path has none of [ ] * ?."
        )
    config = read_config(root)
    import nbgrader.api
    from nbgrader.apps.api import NbGraderAPI
    from traitlets.config import Config

    nbgrader.api.get_alembic_version = _tables_version  # nbgrader's own starts a process: seconds for each new database
    config.merge(Config(settings or {}))
    # Its log is captured call by call; what is left are remarks about an exchange folder that nobody uses here.
    logging.getLogger("traitlets").propagate = False
    return NbGraderAPI(config=config, log_level=logging.WARNING)


@lru_cache(maxsize=1)
def _tables_version() -> str:
    """The version of the database's tables that this nbgrader works with, read in this process."""
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    return ScriptDirectory(ALEMBIC_DIR).get_current_head()


def make_private(paths: CoursePaths) -> None:
    """Make what will hold data of the class so that only this user can read it; what is there already stays as it is."""
    for name in ("autograded", "feedback", "handback", "intake", "journal", "references", "reports"):
        (paths.gradebook / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.database.touch(0o600)


@contextmanager
def one_writer(paths: CoursePaths) -> Iterator[None]:
    """While it is entered, no other command of lsdl grades in this course. The system frees the lock of a process that died.

    Raises:
        GradingError: another one is grading.
    """
    from filelock import FileLock, Timeout

    paths.grading_lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(paths.grading_lock, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise GradingError(
            "Another lsdl grade works in this gradebook: run the same command again when it has ended."
        ) from None
    except NotImplementedError:  # a disk without locks
        pass
    try:
        yield
    finally:
        lock.release()


def only_the_notebook(week: WeekPaths) -> dict[str, dict[str, Any]]:
    """Settings with which nbgrader copies no file of a week (helpers, pictures, a model) beside every student's notebook."""
    ignored = list(read_config(week.root).CourseDirectory.get("ignore", []))
    own = [glob.escape(path.name) for path in week.folder.iterdir() if path.name != "homework.ipynb"]
    return {"CourseDirectory": {"ignore": ignored + sorted(own)}}


def require_success(result: dict[str, Any], what: str) -> None:
    """Turn the result of an nbgrader call into an exception if it failed.

    Raises:
        GradingError: `what`, followed by the last meaningful line of nbgrader's log.
    """
    if not result["success"]:
        raise GradingError(f"{what}: {reason(result)}")


def reason(result: dict[str, Any]) -> str:
    """The line of a failed nbgrader call that says why: the deepest exception, not nbgrader's "see above"."""
    text = "\n".join([result.get("log", ""), result.get("error", "")])
    lines = [line.strip() for line in text.splitlines()]
    raised = [line for line in lines if line.partition(":")[0].rpartition(".")[2].endswith(("Error", "Exception"))]
    useful = [line for line in raised if "NbGraderException" not in line]
    return (useful or raised or [line for line in lines if line] or ["nbgrader gave no reason"])[-1]
