"""What a jailed kernel does in place of other processes and programs, so that what works at home does not end a cell.

Each stand-in works in this one process and prints one line per cell, "not run in the grader: ...". None of them protects
anybody: a student can undo them all, and the sandbox then refuses what they stand in for. `IMPORTED` is what they change;
the warm process has imported it already.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import io
import itertools
import mmap
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

SAID = "not run in the grader: "
NOT_FOUND = 127  # what a shell answers for a program that is not there
IMPORTED = (
    *("multiprocessing.dummy", "multiprocessing.managers", "multiprocessing.shared_memory", "multiprocessing.heap"),
    *("multiprocessing.synchronize", "concurrent.futures.process", "torch.utils.data", "torch.multiprocessing"),
    *("joblib", "joblib.externals.loky.backend.context"),
)
_INSTALLS = re.compile(r"\b(pip3?|conda|mamba|micromamba|uv|apt|apt-get)\b.*\b(install|add|update)\b")
_MAX_SHOWN = 80

_said: set[str] = set()
_write: Callable[[str], Any] = print
_user_names: dict[str, Any] = {}


def install(shell: Any, home: Path) -> None:
    """Put all stand-ins in place in this process, whose IPython is `shell` and whose HOME is `home`."""
    global _write, _user_names
    _write, _user_names = sys.stdout.write, shell.user_ns
    shell.events.register("pre_run_cell", lambda _: _said.clear())
    _of_ipython(shell)
    subprocess.Popen._execute_child = _execute_child(subprocess.Popen._execute_child)
    os.system = _system(os.system)
    for change in (functools.partial(_of_multiprocessing, home), _of_joblib, _of_torch):
        try:
            change()
        except (AttributeError, KeyError, ImportError):
            # another version of a library: the sandbox refuses, as it does without us
            traceback.print_exc(file=sys.__stderr__)
    import pwd  # of Linux, as what runs here; the module itself is imported everywhere

    known = pwd.getpwuid
    me = pwd.struct_passwd((os.environ["USER"], "x", os.getuid(), os.getgid(), "", str(home), "/bin/sh"))
    pwd.getpwuid = lambda uid: me if uid == me.pw_uid else known(uid)
    mmap.mmap = _Memory


def _say(text: str) -> None:
    """Tell the student what was left out, once per cell."""
    if text not in _said:
        _said.add(text)
        _write(f"{SAID}{text}\n")


# Programs


def _left_out(command: Any) -> int:
    """Say that a program was not run, and what it would have answered: installing what is there already is no error."""
    if isinstance(command, str):
        words = command
    else:
        program, *arguments = [os.fsdecode(part) for part in command]
        words = " ".join([os.path.basename(program), *arguments])
    first = (words.strip().splitlines() or [""])[0]
    _say(f"{first[:_MAX_SHOWN]} (there are no other programs)")
    return 0 if _INSTALLS.search(words) else NOT_FOUND


def _called_by_the_notebook() -> bool:
    """Whether a cell, and no library, asked for a program: libraries know what to do without it."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in ("os", "subprocess", __name__):
        frame = frame.f_back
    return frame is not None and frame.f_globals is _user_names


def _execute_child(original: Callable[..., None]) -> Callable[..., None]:
    def execute_child(self: subprocess.Popen, args: Any, *rest: Any) -> None:
        if not _called_by_the_notebook():
            return original(self, args, *rest)
        self._close_pipe_fds(*rest[9:15])  # from p2cread to errwrite
        self._child_created, self.pid, self.returncode = True, next(_numbers), _left_out(args)
        return None

    return execute_child


def _system(original: Callable[[str], int]) -> Callable[[str], int]:
    return lambda command: _left_out(command) << 8 if _called_by_the_notebook() else original(command)


def _packages(magic: str, line: str) -> None:
    _left_out(f"%{magic} {line}")


def _of_ipython(shell: Any) -> None:
    def system(command: str) -> None:
        shell.user_ns["_exit_code"] = _left_out(f"!{command}")

    def output(command: str, split: bool = True, depth: int = 0) -> Any:
        from IPython.utils.text import SList

        system(command)
        return SList([]) if split else ""

    def script(line: str, cell: str) -> None:
        options, program = scripts.shebang.parser.parse_known_args(line.split())
        for name in filter(None, (options.out, options.err)):
            shell.user_ns[name] = ""
        _left_out(f"%%{' '.join(program)}")

    scripts = shell.magics_manager.registry["ScriptMagics"]
    for name in ("system", "system_raw", "system_piped"):
        setattr(shell, name, system)
    shell.getoutput = output
    script.parser = scripts.shebang.parser
    scripts.shebang = shell.magics_manager.magics["cell"]["script"] = script
    for name in ("pip", "conda", "mamba", "micromamba", "uv"):
        shell.register_magic_function(functools.partial(_packages, name), "line", name)


# Processes


_numbers = itertools.count(1 << 22)  # above the numbers that Linux gives to processes
_shared: dict[int, Any] = {}  # what a Manager made: not copied on its way into a "process"


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> int | None:
        return id(obj) if id(obj) in _shared else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, number: int) -> Any:
        return _shared[number]


def _copy(value: Any) -> Any:
    """A value as another process would get it."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    file.seek(0)
    return _Unpickler(file).load()


def _call(parts: tuple[Callable[..., Any], tuple, dict[str, Any]]) -> Any:
    function, arguments, options = parts
    return _copy(function(*arguments, **options))


class _CopyingQueue:
    """What lies between a Pool and its one worker."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self.get = self._queue.get

    def put(self, item: Any) -> None:
        self._queue.put(_copy(item))


class _Pool(ThreadPool):
    """`multiprocessing.Pool` with one thread for all its processes."""

    def __init__(self, processes: int | None = None, initializer: Any = None, initargs: Any = (), *_: Any, **__: Any):
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        _say("the processes of a Pool (their tasks run one after the other)")
        super().__init__(1, initializer, initargs)

    def _setup_queues(self) -> None:
        self._inqueue, self._outqueue = _CopyingQueue(), _CopyingQueue()
        self._quick_put, self._quick_get = self._inqueue.put, self._outqueue.get


class _Executor(ThreadPoolExecutor):
    """`ProcessPoolExecutor` with one thread for all its processes."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Any = None,
        initargs: tuple = (),
        **_: Any,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError("max_workers must be greater than 0")
        _say("the processes of a ProcessPoolExecutor (their tasks run one after the other)")
        super().__init__(1, initializer=initializer, initargs=initargs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        try:
            parts = _copy((fn, args, kwargs))
        except Exception as error:  # what cannot be sent to a process is the future's error
            failed: Future = Future()
            failed.set_exception(error)
            return failed
        return super().submit(_call, parts)


class _Manager:
    """`multiprocessing.Manager()`: plain objects, which every "process" shares."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _say("the process of a Manager (its objects are plain ones)")

    def start(self, *_: Any, **__: Any) -> None:
        """There is nothing to start, nor to end."""

    shutdown = join = connect = start

    def __enter__(self) -> _Manager:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        make = getattr(importlib.import_module("multiprocessing.dummy"), name)

        def made(*arguments: Any, **options: Any) -> Any:
            result = make(*arguments, **options)
            _shared[id(result)] = result
            return result

        return made


class _Popen:
    """A `multiprocessing.Process` as a thread; it has the parent's memory, and a long call in it outlives its end."""

    method = "thread"

    def __init__(self, process: Any) -> None:
        _say("a process of its own (it runs as a thread)")
        self.pid, self.returncode, self.finalizer = next(_numbers), None, None
        self.sentinel, self._end = os.pipe()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(process,), daemon=True, name=process.name)
        self._thread.start()

    def _run(self, process: Any) -> None:
        code = 1
        try:
            process.run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            self._finish(code)

    def _finish(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            os.close(self._end)
            self._ended.set()

    def poll(self, flag: int = 0) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        self._ended.wait(timeout)
        return self.returncode

    def _stop(self, number: int) -> None:
        if self.returncode is None:
            self._finish(-number)
            thread, error = ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)

    def terminate(self) -> None:
        self._stop(signal.SIGTERM)

    def kill(self) -> None:
        self._stop(signal.SIGKILL)

    interrupt = terminate

    def close(self) -> None:
        os.close(self.sentinel)


class _Semaphore:
    """`_multiprocessing.SemLock` between the threads of one process."""

    SEM_VALUE_MAX = 2**31 - 1
    _RECURSIVE = 0

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool = True) -> None:
        self.kind, self.maxvalue, self.name, self.handle = kind, maxvalue, None, 0
        self._value, self._held, self._owner, self._free = value, 0, 0, threading.Condition()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        me = threading.get_ident()
        with self._free:
            if self.kind == self._RECURSIVE and self._is_mine():
                self._held += 1
                return True
            patience = 0 if not block else None if timeout is None else max(timeout, 0)
            if not self._free.wait_for(lambda: self._value > 0, patience):
                return False
            self._value, self._held, self._owner = self._value - 1, self._held + 1, me
            return True

    __enter__ = acquire

    def release(self) -> None:
        with self._free:
            if self.kind == self._RECURSIVE:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._held > 1:
                    self._held -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._value, self._held = self._value + 1, self._held - 1
            self._free.notify()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _count(self) -> int:
        return self._held

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        pass


class _Memory(mmap.mmap):
    """Memory that is shared with other processes is private here, where there are none."""

    def __new__(cls, fileno: int, length: int, *args: Any, **options: Any) -> _Memory:
        if fileno == -1 and not args and not options.keys() & {"flags"}:
            options["flags"] = mmap.MAP_PRIVATE
        return super().__new__(cls, fileno, length, *args, **options)


class _SharedMemoryFiles:
    """`_posixshmem` with ordinary files of the kernel's own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shm_open(self, name: str, flags: int, mode: int = 0o600) -> int:
        self._folder.mkdir(exist_ok=True)
        return os.open(self._folder / name.strip("/"), flags, mode)

    def shm_unlink(self, name: str) -> None:
        os.unlink(self._folder / name.strip("/"))


def _of_multiprocessing(home: Path) -> None:
    import _multiprocessing
    from concurrent.futures import process
    from multiprocessing import context, heap, managers, pool, resource_tracker, shared_memory

    _multiprocessing.SemLock = _Semaphore
    # ThreadPool is a Pool, so the name of the class must stay
    pool.Pool.__new__ = lambda cls, *_, **__: object.__new__(_Pool if cls is pool.Pool else cls)
    managers.SyncManager = _Manager
    concurrent = sys.modules["concurrent.futures"]
    concurrent.ProcessPoolExecutor = process.ProcessPoolExecutor = _Executor
    for kind in (context.ForkProcess, context.SpawnProcess, context.ForkServerProcess):
        kind._Popen = staticmethod(_Popen)
    heap.Arena._dir_candidates = []  # not /dev/shm
    shared_memory._posixshmem = _SharedMemoryFiles(home / "shared_memory")
    for name in ("ensure_running", "_send"):  # a process that removes what others left
        setattr(resource_tracker.ResourceTracker, name, lambda *_: None)


def _of_joblib() -> None:
    backends = sys.modules.get("joblib._parallel_backends")
    if backends is None:
        return  # not installed
    sys.modules["joblib.externals.loky.backend.context"].physical_cores_cache = os.cpu_count()

    def one(original: Callable[[Any, int], int]) -> Callable[[Any, int], int]:
        def effective_n_jobs(self: Any, n_jobs: int) -> int:
            if original(self, n_jobs) > 1 or n_jobs not in (None, 1):
                _say(f"n_jobs={n_jobs} (one process does the work)")
            return 1

        return effective_n_jobs

    loky = sys.modules["joblib.externals.loky"]
    loky.ProcessPoolExecutor = loky.get_reusable_executor = _Executor
    for backend in (backends.LokyBackend, backends.MultiprocessingBackend):
        backend.effective_n_jobs = one(backend.effective_n_jobs)


def _of_torch() -> None:
    from multiprocessing.reduction import ForkingPickler

    import torch
    from torch.utils.data import DataLoader, dataloader

    given = DataLoader._get_iterator

    def iterator(self: DataLoader) -> Any:
        if self.num_workers == 0:
            return given(self)
        _say(f"num_workers={self.num_workers} (one process loads the data)")
        alone = object.__new__(type(self))
        alone.__dict__.update(self.__dict__ | {"num_workers": 0, "timeout": 0, "persistent_workers": False})
        return dataloader._SingleProcessDataLoaderIter(alone)

    def each_time(self: DataLoader) -> Any:
        return self._get_iterator() if self.num_workers else iterate(self)

    iterate = DataLoader.__iter__
    DataLoader._get_iterator, DataLoader.__iter__ = iterator, each_time

    @functools.wraps(torch.compile)
    def compile_nothing(model: Any = None, **_: Any) -> Any:
        _say("torch.compile (the function runs as it is)")
        return (lambda function: function) if model is None else model

    torch.compile = compile_nothing
    shared: set[int] = set()

    def share(self: Any) -> Any:
        _say("share_memory_ (there is one process)")
        shared.add(self.data_ptr())
        return self

    known = torch.Tensor.is_shared
    torch.Tensor.share_memory_ = torch.UntypedStorage.share_memory_ = torch.TypedStorage.share_memory_ = share
    torch.Tensor.is_shared = lambda self: self.data_ptr() in shared or known(self)
    sys.modules["torch.multiprocessing.spawn"]._prctl_pr_set_pdeathsig = lambda _: None
    reducers = ForkingPickler._extra_reducers
    for kind in [kind for kind in reducers if kind.__module__.partition(".")[0] == "torch"]:
        del reducers[kind]  # they put tensors into shared memory
