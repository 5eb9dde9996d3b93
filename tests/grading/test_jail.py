"""The sandbox alone: each thing it refuses works outside it, so that no refusal is an accident of this machine."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsdl.grading import jail

fcntl = pytest.importorskip("fcntl", reason="the sandbox is Linux's")
resource = pytest.importorskip("resource", reason="the sandbox is Linux's")
pytestmark = pytest.mark.skipif(bool(jail.missing()), reason="; ".join(jail.missing()))

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with `own` (to be worked in) and `secret.txt`, which every user could reach but for the sandbox."""
    with tempfile.TemporaryDirectory(prefix="lsdl-jail-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        own = folder / "own"
        own.mkdir()
        own.chmod(0o777)
        (folder / "secret.txt").write_text("secret")
        (folder / "secret.txt").chmod(0o666)
        yield folder


def run(place: Path, action: Callable[[], Any], *, jailed: bool = True, limits: jail.Limits | None = None) -> Any:
    """What `action` returns in a process of its own, or the name of the error that it ended with."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer: Any = "nothing"
        try:
            # what the tests before have open, such as the sockets of warm processes, counts against the limits
            os.closerange(3, write)
            os.closerange(write + 1, 4096)
            os.setpgid(0, 0)
            signal.alarm(60)
            if jailed:
                jail.confine({place / "own": jail.OWN, "/proc/self": jail.READ}, limits or jail.Limits())
                jail.seal()
            answer = action()
        except OSError as error:
            answer = errno.errorcode[error.errno]
        except MemoryError:
            answer = "MemoryError"
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(write, json.dumps(answer, default=str).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else "died"


def call(number: int, *arguments: int) -> int:
    """A system call by its number on x86_64."""
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return 0


def quietly(action: Callable[[], Any]) -> Callable[[], str]:
    """`action` without its result, which may not be JSON, and without keeping what it opened."""

    def act() -> str:
        result = action()
        if hasattr(result, "close"):
            result.close()
        return "done"

    return act


def forks() -> None:
    """A child that ends at once."""
    if os.fork() == 0:
        os._exit(0)


def send_descriptor(one: socket.socket, other: socket.socket) -> None:
    """Put an open file between two sockets, where no process has it."""
    with one, other:
        socket.send_fds(one, [b"x"], [1])


def outside(place: Path, parent: int) -> dict[str, Callable[[], Any]]:
    """Things that work without the sandbox and do no harm."""
    secret, own = place / "secret.txt", place / "own"
    return {
        "read": secret.read_bytes,
        "list": lambda: os.listdir(place),
        "write": lambda: os.open(secret, os.O_WRONLY),
        "empty": lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
        "truncate": lambda: os.truncate(secret, 1),
        "create": lambda: open(place / "new", "w"),
        "make a folder": lambda: os.mkdir(place / "folder"),
        "rename": lambda: os.rename(secret, place / "other"),
        "move in": lambda: os.rename(secret, own / "stolen"),
        "link in": lambda: os.link(secret, own / "linked"),
        "symbolic link": lambda: os.symlink(secret, own / "link"),
        "remove": lambda: os.remove(secret),
        "named pipe": lambda: os.mkfifo(own / "pipe"),
        "through a descriptor of the root": lambda: os.open("/proc/self/root/etc/passwd", os.O_RDONLY),
        "TCP": lambda: socket.socket(socket.AF_INET),
        "UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "IPv6": lambda: socket.socket(socket.AF_INET6),
        "unix stream": lambda: socket.socket(socket.AF_UNIX),
        "unix datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "socket pair of datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0],
        "fork": forks,
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "signal to the parent": lambda: os.kill(parent, 0),
        "thread signal to the parent": lambda: call(234, parent, parent, 0),
        "descriptor of the parent": lambda: os.close(os.pidfd_open(parent)),
        "limits of the parent": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
        "owner of signals": lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getpid()),
        "shared anonymous memory": lambda: mmap.mmap(-1, 4096),
        "shared memory of zeros": lambda: mmap.mmap(os.open("/dev/zero", os.O_RDWR), 4096),
        "memory called a stack": lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100),
        "memory file": lambda: os.close(os.memfd_create("x")),
        "System V shared memory": lambda: call(29, 0, 4096, 0o1600),
        "watching files": lambda: call(294, 0),
        "user namespace": lambda: call(272, 0x10000000),
        "outliving the parent": lambda: call(157, 1, 0),
        "hiding files from the grader": lambda: call(157, 4, 0),
        "a file in flight": lambda: send_descriptor(*socket.socketpair()),
    }


NAMES = list(outside(Path("/"), 1))


@pytest.mark.parametrize("name", NAMES)
def test_refused_inside_and_possible_outside(place: Path, name: str) -> None:
    action = outside(place, os.getpid())[name]
    assert run(place, quietly(action)) in ("EPERM", "EACCES", "EXDEV")
    assert (place / "secret.txt").read_text() == "secret"
    if name != "user namespace" or os.geteuid() == 0:
        assert run(place, quietly(action), jailed=False) == "done"


@pytest.mark.parametrize(
    ("name", "action"),
    {
        "every process": lambda: os.kill(-1, 0),
        "the own group": lambda: os.kill(0, 0),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "tkill": lambda: call(200, os.getpid(), 0),
        "ptrace": lambda: call(101, 16, os.getppid(), 0, 0),
        "memory of the parent": lambda: call(310, os.getppid(), 0, 0, 0, 0, 0),
        "io_uring": lambda: call(425, 1, 0),
        "a session": os.setsid,
        "keys": lambda: call(250, 0, 0),
        "bpf": lambda: call(321, 0, 0, 0),
        "handles": lambda: call(304, 0, 0, 0),
        "message queues": lambda: call(68, 0, 0o1600),
        "root again": lambda: os.setresuid(0, 0, 0),
    }.items(),
)
def test_refused(place: Path, name: str, action: Callable[[], Any]) -> None:
    if name == "root again" and os.geteuid() != 0:
        action = lambda: os.setuid(os.geteuid() + 1)  # noqa: E731
    assert run(place, action) == "EPERM"


def test_unknown_calls_do_not_exist(place: Path) -> None:
    for number in (463, 470, 1000, 0x40000000 + 39, 435, 437):
        assert run(place, lambda number=number: call(number, 0, 0, 0)) == "ENOSYS", number


def test_blocks_are_not_reserved_and_libraries_do_without(place: Path) -> None:
    def reserve() -> list[Any]:
        with open(place / "own" / "file", "wb") as file:
            refused = libc.fallocate(file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(8192))
            code = errno.errorcode[ctypes.get_errno()]
            os.posix_fallocate(file.fileno(), 0, 8192)
            return [refused, code, os.fstat(file.fileno()).st_size]

    assert run(place, reserve) == [-1, "ENOTSUP", 8192]


def test_pretended_calls_change_nothing(place: Path) -> None:
    secret = place / "secret.txt"
    before = secret.stat()

    def change() -> str:
        os.chmod(secret, 0o777)
        os.utime(secret, (0, 0))
        os.chown(secret, os.getuid(), os.getgid())
        os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)
        return "done"

    priority = os.getpriority(os.PRIO_PROCESS, 0)
    assert run(place, change) == "done"
    after = secret.stat()
    assert (before.st_mode, before.st_mtime, before.st_uid) == (after.st_mode, after.st_mtime, after.st_uid)
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority


def test_what_an_honest_kernel_needs(place: Path) -> None:
    def work() -> list[Any]:
        os.chdir(place / "own")
        os.makedirs("a/b")
        with open("a/text", "w") as file:
            file.write("text")
        os.replace("a/text", "a/other")
        thread = threading.Thread(target=lambda: os.mkdir("c"))
        thread.start()
        thread.join()
        one, other = socket.socketpair()
        one.send(b"x")
        os.kill(os.getpid(), 0)
        signal.raise_signal(signal.SIGWINCH)
        private = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
        private[:1] = b"x"
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return [sorted(os.listdir(".")), open("a/other").read(), other.recv(1).decode()]

    assert run(place, work) == [["a", "c"], "text", "x"]


def test_threads_are_jailed_that_run_already(place: Path) -> None:
    """A kernel has threads when its system calls are filtered."""
    seen: list[str] = []

    def try_socket(start: threading.Event) -> None:
        start.wait()
        try:
            socket.socket()
            seen.append("a socket")
        except OSError as error:
            seen.append(errno.errorcode[error.errno])

    def inside() -> list[str]:
        start = threading.Event()
        thread = threading.Thread(target=try_socket, args=(start,))
        thread.start()
        jail.seal()
        start.set()
        thread.join()
        return seen

    def outer() -> list[str]:
        jail.confine({place / "own": jail.OWN}, jail.Limits())
        return inside()

    assert run(place, outer, jailed=False) == ["EACCES"]


def test_nothing_of_root_is_left(place: Path) -> None:
    def look() -> list[Any]:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        fields = dict(line.split(":", 1) for line in text.splitlines())
        return [os.getresuid(), os.getgroups(), int(fields["CapEff"], 16), int(fields["CapPrm"], 16)]

    users, groups, effective, permitted = run(place, look)
    assert 0 not in users and (groups == [] or os.geteuid() != 0) and effective == permitted == 0


def test_limits(place: Path) -> None:
    limits = jail.Limits(file=1 << 20, files=20, threads=30)
    path = place / "own" / "file"

    def big_file() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open(path, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 18))

    def sparse_file() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, 10 << 30)
        return "a file of 10 GB"

    def many_threads() -> int:
        stop = threading.Event()
        count = 0
        try:
            for _ in range(1000):
                threading.Thread(target=stop.wait, daemon=True).start()
                count += 1
        except RuntimeError:
            pass
        stop.set()
        return count

    assert run(place, lambda: len(bytearray(5 << 30)), limits=limits) == "MemoryError"
    assert run(place, lambda: len(bytearray(1 << 20)), limits=limits) == 1 << 20
    assert run(place, big_file, limits=limits) == "EFBIG"
    assert path.stat().st_size <= 1 << 20
    assert run(place, sparse_file, limits=limits) == "EFBIG"
    assert run(place, lambda: [os.open("/dev/null", 0) for _ in range(30)], limits=limits) == "EMFILE"
    assert run(place, many_threads, limits=limits) <= 60


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each kernel a user of its own")
def test_one_kernel_takes_no_threads_of_another(place: Path) -> None:
    """While the first has started all the threads that it may, the second still has its own."""

    def start_all() -> int:
        count = 0
        try:
            while True:
                threading.Thread(target=signal.pause, daemon=True).start()
                count += 1
        except RuntimeError:
            return count

    def kernel(then: Callable[[int], Any]) -> Callable[[], Any]:
        def act() -> Any:
            jail.take_own_user()
            jail.confine({place / "own": jail.OWN}, jail.Limits(threads=20))
            return then(start_all())

        return act

    ready, started = os.pipe()
    pid = os.fork()
    if pid == 0:
        kernel(lambda count: (os.write(started, bytes([count])), signal.pause()))()
    try:
        first = os.read(ready, 1)[0]
        second = run(place, kernel(lambda count: [count, os.getuid()]), jailed=False)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert 10 <= first <= 20 and second[0] == first and second[1] != 0


def test_ends_with_its_parent(place: Path) -> None:
    def start_and_end() -> int:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            jail.confine({place / "own": jail.OWN}, jail.Limits())
            jail.seal()
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)
        return pid

    pid = run(place, start_and_end, jailed=False)
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        if "State:\tZ" in state:
            return
        threading.Event().wait(0.02)
    raise AssertionError("it still runs")


# The filter itself, on both processors, in an interpreter of its language


def judged(machine: str, number: int, *arguments: int, architecture: int | None = None) -> str:
    """What the filter answers to a system call of the process 1234."""
    column, own = jail._ARCHITECTURES[machine]
    words = {0: number, 4: own if architecture is None else architecture}
    words |= {16 + 8 * index: value & 0xFFFFFFFF for index, value in enumerate(arguments)}
    program, at, value = jail.filter_program(machine, 1234), 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        if code == 0x20:
            value = words.get(constant, 0)
        elif code == 0x54:
            value &= constant
        elif code == 0x06:
            action, data = constant & 0xFFFF0000, constant & 0xFFFF
            if action == 0x7FFF0000:
                return "allow"
            return "kill" if action == 0x80000000 else errno.errorcode.get(data, "pretend")
        else:
            test = {0x15: value == constant, 0x25: value > constant, 0x45: bool(value & constant)}[code]
            at += yes if test else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter(machine: str) -> None:
    column = jail._ARCHITECTURES[machine][0]
    refused = ((jail._DENIED, "EPERM"), (jail._NETWORK, "EACCES"), (jail._UNKNOWN, "ENOSYS"))
    for calls, answer in (*refused, (jail._UNSUPPORTED, "ENOTSUP")):
        for name, numbers in calls.items():
            if numbers[column] is not None:
                assert judged(machine, numbers[column]) == answer, name
    for name, numbers in jail._PRETENDED.items():
        if numbers[column] is not None:
            assert judged(machine, numbers[column]) == "pretend", name

    kill, tgkill, prlimit, clone, prctl = [(62, 129), (234, 131), (302, 261), (56, 220), (157, 167)]
    mmap_, pair, openat, fcntl_ = [(9, 222), (53, 199), (257, 56), (72, 25)]
    for numbers in (kill, tgkill):
        assert judged(machine, numbers[column], 1234) == "allow"
        assert judged(machine, numbers[column], 1) == judged(machine, numbers[column], -1) == "EPERM"
        assert judged(machine, numbers[column], 0) == "EPERM"
    assert judged(machine, prlimit[column], 0) == judged(machine, prlimit[column], 1234) == "allow"
    assert judged(machine, prlimit[column], 1) == "EPERM"
    assert judged(machine, clone[column], 0x3D0F00) == "allow"  # what pthread_create asks for
    assert judged(machine, clone[column], 17) == "EPERM"
    assert judged(machine, clone[column], 0x3D0B00) == "EPERM"  # a thread with open files of its own
    assert judged(machine, clone[column], 0x10000 | 0x10000000) == "EPERM"
    assert judged(machine, mmap_[column], 0, 1, 3, 0x22) == judged(machine, mmap_[column], 0, 1, 3, 0x01) == "allow"
    assert judged(machine, mmap_[column], 0, 1, 3, 0x21) == "EPERM"
    assert judged(machine, pair[column], 1, 1 | 0o2000000) == "allow"
    assert judged(machine, pair[column], 1, 2) == judged(machine, pair[column], 2, 1) == "EACCES"
    assert judged(machine, openat[column], -100, 0, os.O_RDONLY | os.O_TRUNC) == "EACCES"
    assert judged(machine, openat[column], -100, 0, os.O_WRONLY | os.O_TRUNC) == "allow"
    assert judged(machine, fcntl_[column], 3, 8) == "EPERM" and judged(machine, fcntl_[column], 3, 2) == "allow"
    assert [judged(machine, prctl[column], option) for option in (1, 4, 15, 38)] == ["EPERM", "EPERM", "allow", "allow"]
    assert judged(machine, 500) == judged(machine, 0x40000000 + 1) == "ENOSYS"
    assert judged(machine, 0, architecture=0x40000003) == "kill"  # the calls of 32-bit programs

    for kind in (0x02, 0x22):  # private, and called a stack: RLIMIT_DATA would not count it
        assert judged(machine, mmap_[column], 0, 1, 3, kind | 0x100) == "EPERM"


@pytest.mark.parametrize("abi", range(1, 8))
def test_an_older_landlock(place: Path, abi: int) -> None:
    """Whatever the version of Landlock, nothing passes that is refused with the newest; what it lacks is said."""
    attributes = jail.ruleset_attributes(abi)
    handled, *rest = struct.unpack(f"{len(attributes) // 8}Q", attributes)
    assert handled == {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}.get(abi, 0xFFFF)
    assert rest == ([] if abi < 4 else [3] if abi < 6 else [3, 3])
    words = jail.describe_landlock(abi)
    assert words.startswith(f"ABI {abi}") and ("TCP" in words) == (abi < 4) and ("signals" in words) == (abi < 6)
    if abi > jail.landlock_abi():
        return  # this kernel cannot try it
    names = [name for name in NAMES if name != "user namespace"]
    actions = outside(place, os.getpid())

    def attempt() -> dict[str, str]:
        found = {}
        for name in names:
            try:
                found[name] = quietly(actions[name])()
            except OSError as error:
                found[name] = errno.errorcode[error.errno]
        return found

    def jailed() -> dict[str, str]:
        jail.confine({place / "own": jail.OWN, "/proc/self": jail.READ}, jail.Limits(), abi=abi)
        jail.seal()
        return attempt()

    found = run(place, jailed, jailed=False)
    assert {name: code for name, code in found.items() if code not in ("EPERM", "EACCES", "EXDEV")} == {}
    assert (place / "secret.txt").read_text() == "secret"


def test_without_landlock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no whole sandbox: refused, but for --unsafe, where the rest still holds."""

    def confined(partly: bool) -> Callable[[], str]:
        def confine() -> str:
            jail.confine({place / "own": jail.OWN}, jail.Limits(), partly=partly, abi=0)
            jail.seal()
            return Path("/etc/hostname").exists() and "open" or "closed"

        return confine

    assert "no Landlock" in run(place, confined(False), jailed=False)
    assert run(place, confined(True), jailed=False) in ("open", "closed")
    assert jail.describe_landlock(0) == "ABI 0"


def test_no_other_processor() -> None:
    with pytest.raises(jail.JailError, match="riscv64"):
        jail.filter_program("riscv64", 1)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jail.capabilities()["files"] is True and jail.missing() == []
    jail.require()
    monkeypatch.setattr(jail, "capabilities", lambda: {name: name != "files" for name in jail._SENTENCES})
    assert len(jail.missing()) == 1 and "Landlock" in jail.missing()[0]
    with pytest.raises(jail.JailError, match="Landlock.*--unsafe"):
        jail.require()


def test_others_reach(place: Path) -> None:
    assert jail.others_reach(place / "own")
    closed = place / "closed"
    closed.mkdir(mode=stat.S_IRWXU)
    (closed / "inner").mkdir(mode=0o755)
    assert not jail.others_reach(closed) and not jail.others_reach(closed / "inner")
