"""A warm process that has imported torch and the week's libraries once and forks a supervisor for each submission.

It never reads a submission, a solution or a reference: every kernel is a copy of it.
"""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from lsdl.grading import GradingError, jail

START_SECONDS, CLOSE_SECONDS, LOOK_SECONDS = 300, 5, 0.2
_MAX_SOCKET_PATH = 107


class Zygote:
    """The warm process of one week, as the grader sees it; `close` ends it with all its kernels.

    Args:
        week: the week's folder.
        partly: go on where the machine lacks a part of the sandbox.
        stopping: once it is set, a start is broken off.

    Raises:
        GradingError: it did not start; its own last words are in the message.
    """

    def __init__(self, week: Path, *, partly: bool = False, stopping: threading.Event | None = None) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="lsdl-", dir=_scratch_parent()))
        self.base.chmod(0o711)
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = {"base": str(self.base), "week": week.name, "modules": libraries(week), "partly": partly}
        root = str(Path(__file__).resolve().parents[2])
        code = f"import sys; sys.path.insert(0, {root!r}); import lsdl.grading.zygote as z; sys.path.pop(0); z.main()"
        command = [sys.executable, "-P", "-c", code, str(theirs.fileno()), json.dumps(options)]
        home = self.base / "zygote"
        home.mkdir()
        from lsdl.grading.kernel import environment

        with open(self.base / "log", "wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment(home),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        self._control = ours
        if not self._is_ready(stopping):
            words = (self.base / "log").read_text(errors="replace")[-1000:]
            self._process.kill()  # it has no children yet, and hears nothing while it imports
            self.close()
            raise GradingError(f"The process that runs the notebooks did not start: {words}")

    def _is_ready(self, stopping: threading.Event | None) -> bool:
        end = time.monotonic() + START_SECONDS
        self._control.settimeout(LOOK_SECONDS)
        while time.monotonic() < end and not (stopping is not None and stopping.is_set()):
            try:
                ready = bool(self._control.recv(1))
            except TimeoutError:
                continue
            self._control.settimeout(None)
            return ready
        return False

    @property
    def alive(self) -> bool:
        """Whether it still takes requests."""
        return self._process.poll() is None

    def run(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """What `execute.supervise` answers to a request; None if that process died. Threads may call it at once."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                socket.send_fds(self._control, [b"j"], [theirs.fileno()])
            theirs.close()
            with ours, ours.makefile("rb") as file:
                ours.sendall(json.dumps(request).encode())
                ours.shutdown(socket.SHUT_WR)
                return json.loads(file.read())
        except (OSError, ValueError):
            return None
        finally:
            theirs.close()
            ours.close()

    def close(self) -> None:
        """End the process, its supervisors and their kernels, and remove their folders."""
        self._control.close()
        try:
            self._process.wait(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.base, ignore_errors=True)


def libraries(week: Path) -> list[str]:
    """The installed modules that a week's helpers and homework import at their top, by name."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(week.glob("*.py"))]
    homework = json.loads((week / "homework.ipynb").read_text(encoding="utf-8"))
    for cell in homework["cells"]:
        if cell["cell_type"] == "code" and "define" in cell["metadata"].get("tags", []):
            sources.append("".join(cell["source"]))
    own = {path.stem for path in week.glob("*.py")}
    names = {"torch", "lsdl.checks"}
    for source in sources:
        try:
            body = ast.parse(source).body
        except SyntaxError:
            continue  # magics
        for node in body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return sorted(name for name in names if name.partition(".")[0] not in own | {"__future__"})


def _scratch_parent() -> str:
    """A folder for scratch that the kernel's user can walk to, with a name short enough for a socket's path."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        short = len(folder) + len("/lsdl-xxxxxxxx/1234567/s/k-1") < _MAX_SOCKET_PATH
        if short and (jail.ordinary_user() is None or jail.others_reach(folder)):
            return folder
    raise GradingError("There is no folder for temporary files that an ordinary user can reach: set TMPDIR to one.")


# The process itself


def main() -> None:
    """Import what kernels need, then fork a supervisor for every socket that comes through the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    running: set[int] = set()
    try:
        _warm_up(options["modules"])
        control.send(b"r")
        _serve(control, options, running)
    except BrokenPipeError:
        pass  # the grader ended before this process was ready
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is no other process
            os.waitpid(pid, 0)
        shutil.rmtree(options["base"], ignore_errors=True)


def _warm_up(modules: list[str]) -> None:
    from lsdl.grading.kernel import open_private_folders
    from lsdl.grading.stand_ins import IMPORTED

    open_private_folders()
    for name in ("lsdl.grading.execute", "ipykernel.ipkernel", "ipykernel.kernelapp", *IMPORTED, *modules):
        try:
            importlib.import_module(name)
        except Exception as error:  # the notebook will say what it lacks
            if name.startswith(("lsdl.grading", "ipykernel")):
                raise
            print(f"{name} was not imported ahead: {error}", file=sys.stderr)
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    if threads > 1:
        sys.exit(f"A library of this week starts threads when it is imported ({threads} run): it cannot be forked.")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grader, which closes the control socket
    gc.collect()
    gc.freeze()  # else the first collection in a kernel copies all memory that it shares with this process


def _serve(control: socket.socket, options: dict[str, Any], running: set[int]) -> None:
    """Fork until the grader closes the control socket; `running` holds the processes that may still run."""
    from lsdl.grading.execute import supervise

    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            try:
                control.close()
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with socket.socket(fileno=descriptors[0]) as connection:
                    base = Path(options["base"])
                    supervise(connection, base, options["week"], jail.Limits(), partly=options["partly"])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(descriptors[0])
        running.add(pid)
        running.difference_update([pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]])
