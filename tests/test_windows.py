"""Windows, as far as another system can show it: without what only Unix has, lsdl imports and its doctor says what grading needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CHILD = """
import importlib, json, os, pkgutil, shutil, signal, socket, sys
from pathlib import Path


def import_all():
    for name in ["lsdl", *(module.name for module in pkgutil.walk_packages(["lsdl"], "lsdl."))]:
        importlib.import_module(name)


import_all()  # other packages look at the system, too: they are loaded as it is
for name in [name for name in sys.modules if name.partition(".")[0] == "lsdl"]:
    del sys.modules[name]

for name in ("fcntl", "grp", "posix", "pwd", "resource", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, "chown fork geteuid getgid getuid killpg mkfifo setgroups setresgid setresuid setsid wait4 waitid "
         "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH"),
    (signal, "SIGALRM SIGCHLD SIGKILL SIGXFSZ alarm"),
    (socket, "AF_UNIX recv_fds send_fds"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "win32"
shutil.which = lambda name, path=None: name  # it would look for alembic.exe
import_all()

from lsdl.grading import jail
from lsdl.grading.examine import examine_machine

try:
    jail.require(unsafe=True)
except jail.JailError as error:
    refused = str(error)
found = [(diagnosis.level, diagnosis.line) for diagnosis in examine_machine(Path.cwd())]
print(json.dumps({"refused": refused, "found": found}))
"""


@pytest.fixture(scope="module")
def said() -> dict:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_doctor_says_where_students_code_can_run(said: dict) -> None:
    problems = [line for level, line in said["found"] if level == "problem"]
    assert problems and all(line.startswith("sandbox: ") for line in problems), problems
    assert all(line.endswith("Grade on Linux, under Windows in WSL.") for line in problems)
    assert ["ok", "sandbox, landlock: none (win32)"] in said["found"]
    assert ["note", "sandbox, system calls: not here"] in said["found"]


def test_grading_refuses_with_one_sentence(said: dict) -> None:
    assert said["refused"] == (
        "Students' code runs on Linux only: the grader forks kernels and reads /proc. Grade on Linux, under Windows in WSL."
    )
