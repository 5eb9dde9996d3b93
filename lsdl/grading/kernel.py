"""A student's kernel: forked from a warm process, jailed, and talked to through jupyter_client like any other.

Everything below `_kernel_main` runs in the process that later executes a student's code. That process is a copy of the
one that forked it, so nothing that a student must not see may have been read before the fork.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerBase

from lsdl.grading import jail, stand_ins

# The notebook's own way to `check`: the module is loaded anew, so that what a student did to it ends with each test.
FRESH_CHECK = "__import__('lsdl.grading.kernel', fromlist=['_']).fresh_check({outbox!r}, {inputs!r})"
END_CHECK = "__import__('lsdl.grading.kernel', fromlist=['_']).end_check()"

MAX_STREAM = 2 << 20  # characters; more than the grader keeps, so that it still says that output was cut

_package = sys.modules["lsdl"]
_private_folders: dict[str, int] = {}


@dataclass(frozen=True)
class Scratch:
    """The private folder of one submission; the kernel sees `home`, `course`, `outbox`, `inputs` and `sockets` only."""

    root: Path
    week: str

    @property
    def home(self) -> Path:
        """HOME, TMPDIR and all caches."""
        return self.root / "home"

    @property
    def course(self) -> Path:
        """The working folder: a copy of what students have of the week."""
        return self.root / "course" / self.week

    @property
    def outbox(self) -> Path:
        """Answers, in a folder of its own for each test."""
        return self.root / "outbox"

    @property
    def inputs(self) -> Path:
        """Inputs of hidden checks, only while their test runs; the kernel reads them only."""
        return self.root / "inputs"

    @property
    def sockets(self) -> Path:
        """The kernel's sockets; it can add to them but not replace one."""
        return self.root / "s"

    @property
    def log(self) -> Path:
        """What the process wrote before it was a kernel; for the grader's eyes."""
        return self.root / "log"

    def make(self) -> None:
        """Make the folders; the ordinary user that the kernel becomes owns them."""
        self.course.mkdir(parents=True)
        for folder in (self.home, self.outbox, self.inputs, self.sockets):
            folder.mkdir()
        for folder in (self.root, self.home, self.course.parent, self.course, self.outbox, self.inputs, self.sockets):
            self.give(folder)

    def give(self, path: Path) -> None:
        """Let the kernel's user own a path that the grader made."""
        user = jail.ordinary_user()
        if user is not None:
            os.chown(path, *user, follow_symlinks=False)


class ForkProvisioner(KernelProvisionerBase):
    """Starts a kernel by forking this process, which has imported all that a kernel needs and has one thread.

    Set it as `KernelManager.provisioner` before the kernel starts; `parent` is that manager.
    """

    scratch: Scratch
    limits: jail.Limits
    partly = False
    pid: int | None = None
    status: int | None = None

    @property
    def has_process(self) -> bool:
        """Whether a kernel was started and is not known to have ended."""
        return self.pid is not None and self.status is None

    async def poll(self) -> int | None:
        """None while the kernel runs, else its wait status."""
        if self.has_process:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status if self.pid is not None else 0

    async def wait(self) -> int | None:
        """Wait until the kernel has ended."""
        while await self.poll() is None:
            await asyncio.sleep(0.01)
        return self.status

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel alone."""
        if await self.poll() is None:
            os.kill(self.pid, signum)

    async def kill(self, restart: bool = False) -> None:
        """End the kernel and, where the jail is not whole, whatever it started in its group."""
        if await self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        """The same as `kill`: nothing in a kernel is worth saving."""
        await self.kill()

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Write the connection file; the sockets are files of the scratch folder."""
        manager = self.parent
        manager.transport, manager.cache_ports = "ipc", False
        manager.ip = str(self.scratch.sockets / "k")
        manager.connection_file = str(self.scratch.home / "kernel.json")
        manager.write_connection_file()
        self.scratch.give(self.scratch.home / "kernel.json")
        self.connection_info = manager.get_connection_info()
        return await super().pre_launch(cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork the kernel and return how to connect to it."""
        pid = os.fork()
        if pid == 0:
            try:
                _kernel_main(self.scratch, self.limits, self.partly)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)  # the log
            finally:
                os._exit(1)
        self.pid = pid
        return self.connection_info

    async def cleanup(self, restart: bool = False) -> None:
        """Nothing is left but the scratch folder, which has another owner."""


def environment(home: Path) -> dict[str, str]:
    """The whole environment of a kernel; nothing of the grader's own passes through."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    names = ("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "XDG_CACHE_HOME")
    fixed = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    user = {"USER": "student", "LOGNAME": "student", "LOKY_MAX_CPU_COUNT": "1"}
    return fixed | offline | user | dict.fromkeys(threads, "1") | dict.fromkeys(names, str(home))


# Python where an ordinary user cannot walk to it


def open_private_folders() -> None:
    """Let Python find its modules by descriptor where the ordinary user cannot walk to them, say in root's home.

    Neither mode nor owner of a folder is changed. Call it as root before the modules that a kernel needs are imported.
    """
    if jail.ordinary_user() is None:
        return
    package = str(Path(__file__).resolve().parents[1])
    for folder in (package, sys.prefix, sys.base_prefix):
        if jail.others_reach(folder) or folder in _private_folders:
            continue
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        _private_folders[folder] = descriptor
        places = [sys.path] + [
            module.__path__
            for module in list(sys.modules.values())
            if isinstance(getattr(module, "__path__", None), list)
        ]
        for paths in places:
            paths[:] = [path.replace(folder, f"/proc/self/fd/{descriptor}", 1) for path in paths]
    sys.path_importer_cache.clear()


def _python_folders() -> list[str]:
    """What a kernel reads of Python: the standard library, the installed packages, lsdl; never `sys.path`."""
    folders = [f"{prefix}/{lib}" for prefix in (sys.prefix, sys.base_prefix) for lib in ("lib", "lib64")]
    if sys.base_prefix in ("/usr", "/"):
        folders = [folder for folder in folders if folder not in ("/lib", "/usr/lib")]  # already among jail.SYSTEM
    return [*folders, str(Path(__file__).resolve().parents[1])]


# The kernel's process


def _kernel_main(scratch: Scratch, limits: jail.Limits, partly: bool) -> None:
    os.setsid()  # a group of its own, which the grader can end as one
    _close_descriptors(scratch.log)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(asyncio.new_event_loop())

    os.environ.clear()
    os.environ.update(environment(scratch.home))
    os.environ |= {"NBGRADER_EXECUTION": "autograde", "LSDL_WEEK": scratch.week}
    os.environ["LSDL_WEEK_DIR"] = str(scratch.course)
    os.environ["LSDL_HIDDEN_REFERENCES"] = str(scratch.inputs / "none")  # and no search in the folders above
    os.chdir(scratch.course)
    sys.argv = [""]
    _same_random_numbers()

    import tempfile

    tempfile.tempdir = None
    rules = dict.fromkeys([*jail.SYSTEM, *_python_folders()], jail.READ)
    rules |= {scratch.home: jail.OWN, scratch.course: jail.OWN, scratch.outbox: jail.KEEP, scratch.inputs: jail.READ}
    rules[scratch.sockets] = jail.MAKE_SOCK
    jail.confine(rules, limits, partly=partly)

    from ipykernel import kernelapp

    class Pipeless(kernelapp.IOPubThread):
        """Without the TCP port for the output of subprocesses, which cannot exist here."""

        def __init__(self, socket: Any, pipe: bool = False, session: Any = False) -> None:
            super().__init__(socket, pipe=False, session=session)

    kernelapp.IOPubThread = Pipeless
    app = kernelapp.IPKernelApp.instance(connection_file=str(scratch.home / "kernel.json"), parent_handle=0)
    quiet = ["--HistoryManager.hist_file=:memory:", "--IPKernelApp.log_level=40"]
    app.initialize(quiet)
    _bound_output(app.shell)
    stand_ins.install(app.shell, scratch.home)
    try:
        jail.seal()
    except (OSError, jail.JailError):
        if not partly:
            raise
    app.start()


def _bound_output(shell: Any) -> None:
    """Drop what one cell writes beyond `MAX_STREAM`, so that a loop of prints floods nobody; the grader counts, too."""
    written = [0]

    def bounded(write: Callable[[str], int | None]) -> Callable[[str], int | None]:
        def bounded_write(text: str) -> int | None:
            text = text[: max(MAX_STREAM - written[0], 0)] if isinstance(text, str) else text
            written[0] += len(text)
            return write(text)

        return bounded_write

    for stream in (sys.stdout, sys.stderr):
        stream.write = bounded(stream.write)
    shell.events.register("pre_run_cell", lambda _: written.__setitem__(0, 0))


def _close_descriptors(log: Path) -> None:
    """Keep of the grader's open files only the folders that Python reads its modules from."""
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = set(_private_folders.values())
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own


def _same_random_numbers() -> None:
    """The same state of every generator for every student; torch's and numpy's are this process's own copies."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


# Called in the kernel before and after each test


def fresh_check(outbox: str, inputs: str) -> None:
    """Load `check` anew and send what it is told to `outbox`; `check.inputs` finds hidden inputs in the file `inputs`."""
    os.environ["LSDL_OUTBOX"], os.environ["LSDL_HIDDEN_REFERENCES"] = outbox, inputs
    sys.modules["lsdl"] = _package
    for name in ("lsdl.checks", "lsdl.compare", "lsdl.files"):
        sys.modules.pop(name, None)
    from IPython import get_ipython

    from lsdl.checks import check

    get_ipython().user_ns["check"] = check


def end_check() -> None:
    """Between tests `check` compares with the visible references, as at home."""
    os.environ.pop("LSDL_OUTBOX", None)
