"""The `lsdl` command as a user meets it: help, exit codes, one sentence for a mistake."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rich.markup
import rich.table
import typer
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from lsdl import cli

REPOSITORY = Path(__file__).resolve().parents[1]
COMMANDS = (
    "run",
    "lint",
    "refs",
    "publish",
    "release",
    "grade",
    "feedback",
    "handback",
    "extension",
    "leaderboard",
    "scores",
    "final",
    "doctor",
    "selftest",
    "demo",
)


def lsdl(*arguments: str, cwd: Path = REPOSITORY, **settings: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv[0] = 'lsdl'; from lsdl.cli import main; main()"
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}
    env |= settings
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", timeout=120)


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """`lsdl` in this process, which has imported torch already; any end but an exit code is an error of the test."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["lsdl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), *capsys.readouterr())

    return run


def test_help_lists_every_command_and_the_exit_codes() -> None:
    done = lsdl("--help")
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str) -> None:
    done = CliRunner().invoke(cli.app, [command, "--help"], terminal_width=200)
    assert done.exit_code == 0 and f"Example: lsdl {command}" in done.output


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    command = typer.main.get_command(cli.app)
    texts = [command.help or ""]
    for one in command.commands.values():
        texts += [one.help or "", one.epilog or "", *(getattr(entry, "help", "") or "" for entry in one.params)]
    assert len(texts) > 60
    for text in texts:
        assert rich.markup.render(text).plain == text.replace("\\[", "["), text
    assert "see [grades] in course.toml" in lsdl("final", "--help").stdout


def test_a_name_with_brackets_is_no_markup() -> None:
    table = rich.table.Table("file")
    table.add_row("b [green].csv")
    with cli.console.capture() as told:
        cli.console.print("a [bold].csv")
        cli.console.print(table)
    assert "a [bold].csv" in told.get() and "b [green].csv" in told.get()


def test_help_does_not_wait_for_heavy_packages() -> None:
    code = (
        "import sys, lsdl.cli; print([m for m in ('torch', 'nbgrader', 'papermill', 'nbformat') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grade", "77"), "'77' names no week"),
        (("release", "nothing"), "'nothing' names no week"),
        (("grade", "1", "--key", "absent.key"), "absent.key"),
        (("grade",), "Missing argument"),
        (("grade", "1", "--jobs", "0"), "--jobs"),
        (("grade", "1", "--demo", "--submissions", "nowhere"), "nowhere does not exist"),
        (("grade", "1"), "No key was given"),
        (("feedback", "77"), "'77' names no week"),
        (("final", "--exam", "absent.csv"), "absent.csv"),
        (("scores", "--times"), "--times"),
        (("frobnicate",), "No such command"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments: tuple[str, ...], said: str, here: Here) -> None:
    done = here(*arguments)
    assert done.returncode == 2 and said in done.stderr


def test_outside_the_repository(tmp_path: Path, here: Here) -> None:
    done = here("lint", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("No course.toml in ")
    assert done.stderr.count("\n") == 1


def test_doctor_exits_with_1_where_something_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.ipynb"
    bad.write_text("{")
    done = lsdl("doctor", str(bad))
    assert done.returncode == 1 and "not JSON" in done.stdout


@pytest.mark.slow
def test_refs_are_recorded_compared_and_their_key_remembered(tmp_path: Path, here: Here) -> None:
    root = tmp_path / "course"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    key = root / "gradebook" / "demo.key"
    assert here("refs", "--check", cwd=root).returncode == 0
    done = here("refs", "99", "--key", str(key), cwd=root)
    assert done.returncode == 0 and "hidden checks" in done.stdout
    assert (root / "gradebook" / "references" / "week99-demo.key-file").read_text() == str(key.resolve())
    assert here("refs", "99", "--check", "--key", str(key), cwd=root).returncode == 0
    key.write_text("another key, of the same length or so\n")
    done = here("refs", "99", "--check", "--key", str(key), cwd=root)
    assert done.returncode == 1 and "week99-demo: standardise/hidden: inputs drifted" in done.stdout

    helpers = root / "week99-demo" / "instructor" / "cases.py"
    helpers.write_text(helpers.read_text().replace("dropout/scale", "dropout/scales"))
    done = here("refs", cwd=root)
    assert done.returncode == 2 and done.stderr.startswith("week99-demo: add cases for dropout/scale")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "gradebook"),
            "gradebook cannot be used: it lies on a read-only",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "runs cannot be used: you have no permission"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x cannot be used: the disk is full"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "x cannot be used: file name too long."),
        (
            OperationalError("", None, sqlite3.OperationalError("database or disk is full")),
            "The disk is full: make room",
        ),
        (OperationalError("", None, sqlite3.OperationalError("database is locked")), "Another program is writing"),
        (
            OperationalError("", None, sqlite3.OperationalError("attempt to write a readonly database")),
            "cannot be written",
        ),
        (UnicodeEncodeError("utf-8", "a\udce9", 1, 2, "surrogates not allowed"), "is not UTF-8"),
        (FileNotFoundError("x\x1b[2J does not exist."), "x\\x1b[2J does not exist."),
    ],
)
def test_what_the_system_refuses_is_a_sentence(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr().err
    assert end.value.code == 2 and said in told and "Traceback" not in told and told.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file without room")
def test_what_is_printed_onto_a_full_disk() -> None:
    """`lsdl final > marks.csv`: Python holds back what is printed until the end, and only then the room is missing."""
    code = "from lsdl import cli; cli.app = lambda: print('marks'); cli.main()"
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "the disk is full" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_terminal_that_cannot_show_a_name(tmp_path: Path) -> None:
    name = tmp_path / "g\N{LATIN SMALL LETTER O WITH STROKE}y.ipynb"
    done = lsdl("doctor", str(name), PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and "g\\xf8y.ipynb does not exist" in done.stderr


def test_brackets_in_a_path_are_named(tmp_path: Path, here: Here) -> None:
    root = tmp_path / "Course [2026]"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    done = here("release", "99", cwd=root)
    assert done.returncode == 2 and "rename the folder" in done.stderr and done.stderr.count("\n") == 1
    done = here("doctor", cwd=root)
    assert done.returncode == 1 and "nbgrader finds no notebook below" in done.stdout
