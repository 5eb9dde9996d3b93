"""The sandbox of a student's kernel: Landlock, seccomp, resource limits, and no root. Linux only; no privilege is needed.

`confine` takes away files, users and resources while the process still has one thread; `seal` takes away system calls
once the kernel has bound its sockets. Both last for the life of the process. What they leave: the existence and size
of files elsewhere (`stat`), threads, and what the allow-list lets it read. `lsdl doctor` shows what `capabilities` tried.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lsdl.grading import GradingError

try:
    import resource
except ImportError:  # Windows, where `capabilities` says that there is no sandbox
    resource = None


class JailError(GradingError):
    """This machine cannot enforce the whole sandbox; the message says in sentences what is missing."""


@dataclass(frozen=True)
class Limits:
    """What one kernel may use; bytes and seconds.

    Attributes:
        memory: private memory (RLIMIT_DATA; torch maps far more than it uses, so address space says nothing).
        cpu: processor time of all threads together.
        file: size of one file.
        files: open files.
        threads: threads beyond those that the user has already.
    """

    memory: int = 4 << 30
    cpu: int = 3600
    file: int = 256 << 20
    files: int = 256
    threads: int = 256


# Landlock: rights on files by bit, and the first ABI that knows them

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # 4, 6: not files; 7: logs only
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # all others are rights on folders

READ = READ_FILE | READ_DIR
KEEP = READ | WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE  # a flat folder of files
OWN = KEEP | MAKE_DIR | REMOVE_DIR | REFER  # a folder to work in; no links, sockets, pipes or devices
_DEVICES = ("/dev/null", "/dev/full")  # not zero: a shared mapping of it is memory that no limit counts

# The folders of the system that libraries read, and no more of /etc and /proc than they need.
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/fonts", "/usr/local/share/fonts"),
    *("/usr/share/zoneinfo", "/usr/share/locale", "/usr/share/fontconfig", "/etc/fonts", "/etc/ld.so.cache"),
    *("/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/dev/random", "/dev/urandom"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems"),
    *("/proc/loadavg", "/proc/uptime", "/proc/vmstat", "/sys/devices/system/cpu", "/sys/devices/system/node"),
    # how many processors and how much memory a container has; of other groups, nothing
    *("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    *("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _system_call(number: int, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def landlock_abi() -> int:
    """The version of Landlock that this kernel has; 0 if none."""
    try:
        return _system_call(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)) if _libc else 0
    except OSError:
        return 0


def ruleset_attributes(abi: int) -> bytes:
    """What a Landlock domain takes away under a version of Landlock, as the system call wants it.

    Raises:
        JailError: there is no version 0.
    """
    if abi < 1:
        raise JailError("This kernel has no Landlock.")
    handled = sum(rights for first, rights in _RIGHTS_BY_ABI.items() if abi >= first)
    network, scopes = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)  # all TCP; abstract sockets and signals
    return struct.pack("QQQ", handled, network, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]


def describe_landlock(abi: int) -> str:
    """A version of Landlock in words, with what the filter of system calls then has to refuse alone."""
    later = {3: "emptying files", 4: "TCP", 5: "commands to devices", 6: "abstract sockets and signals"}
    alone = [what for first, what in later.items() if abi < first]
    return f"ABI {abi}" + (f" (by the filter of system calls alone: {', '.join(alone)})" if alone and abi else "")


def _restrict_files(rules: Mapping[Path | str, int], abi: int) -> Callable[[], None]:
    """Make a Landlock domain that allows `rules` only (paths that do not exist are left out); what comes back enters it."""
    attributes = ruleset_attributes(abi)
    (handled,) = struct.unpack("Q", attributes[:8])
    ruleset = _system_call(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    for path, rights in rules.items():
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        beneath = struct.pack("=Qi", rights & handled, descriptor)
        _system_call(445, ctypes.c_int(ruleset), ctypes.c_int(1), beneath, ctypes.c_uint32(0))
        os.close(descriptor)

    def enter() -> None:
        _system_call(446, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        os.close(ruleset)

    return enter


# seccomp: system calls by name -> number on (x86_64, aarch64); None: not there

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
# Later system calls are refused as unknown, so that a new kernel opens no new door. 462 is mseal, of Linux 6.10.
_LAST_KNOWN = 462

# Refused with EPERM: other processes, users and namespaces, programs, memory that no limit counts, watching files.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    **{"fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281)},
    **{"tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)},
    **{"pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"process_madvise": (440, 440), "process_mrelease": (448, 448), "move_pages": (279, 239)},
    **{"migrate_pages": (256, 238), "setsid": (112, 157), "setpgid": (109, 154)},
    **{"unshare": (272, 97), "setns": (308, 268), "personality": (135, 92)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195)},
    **{"semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192)},
    **{"msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187)},
    **{"mq_open": (240, 180), "mq_unlink": (241, 181), "memfd_create": (319, 279), "memfd_secret": (447, 447)},
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    **{"inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27)},
    **{"fanotify_init": (300, 262), "fanotify_mark": (301, 263)},
    **{"name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "truncate": (76, 45)},
}
# Refused with EACCES: the network, and sockets of other programs. A kernel's own sockets exist before the filter.
# sendmsg and sendmmsg can put descriptors of removed files between two sockets, where nobody can count them.
_NETWORK = {
    **{"socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201)},
    **{"sendmsg": (46, 211), "sendmmsg": (307, 269)},
}
# Refused as unknown, so that libc falls back to the older call, whose arguments the filter can read.
_UNKNOWN = {"clone3": (435, 435), "openat2": (437, 437)}
# Refused as unsupported: it fills a disk faster than anybody can watch; libraries then write, or go on without.
_UNSUPPORTED = {"fallocate": (285, 47)}
# Answered with success without being done: honest libraries call them in passing (shutil.copy, libzmq).
_PRETENDED: dict[str, tuple[int | None, int | None]] = {
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)},
    **{"utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    **{"setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118)},
    **{"sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274)},
}

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_CLONE_THREAD, _CLONE_FILES, _CLONE_NEW = 0x00010000, 0x00000400, 0x7E020000
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_GROWSDOWN = 0x01, 0x20, 0x100
_AF_UNIX, _SOCK_STREAM = 1, 1
_OWNERS_OF_SIGNALS = (8, 10, 15, 1024)  # fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE
_TERMINALS = (0x5412, 0x8901, 0x8902)  # ioctl: TIOCSTI, FIOSETOWN, SIOCSPGRP

_Instruction = tuple[int, int, int, int]


def _load(offset: int) -> _Instruction:
    return 0x20, 0, 0, offset


def _argument(index: int) -> _Instruction:
    return _load(16 + 8 * index)  # the low half: all that is looked at are ints and flags of 32 bits


def _give(value: int) -> _Instruction:
    return 0x06, 0, 0, value


def _refuse(code: int) -> _Instruction:
    return _give(_ERRNO | code)


def _when_equal(value: int, *then: _Instruction) -> list[_Instruction]:
    return [(0x15, 0, len(then), value), *then]


def _when_any_bit(mask: int, *then: _Instruction) -> list[_Instruction]:
    return [(0x45, 0, len(then), mask), *then]


def filter_program(machine: str, pid: int) -> list[_Instruction]:
    """The seccomp filter of a process as (code, jump if true, jump if false, constant).

    Raises:
        JailError: the processor is neither x86_64 nor aarch64.
    """
    if machine not in _ARCHITECTURES:
        raise JailError(f"The filter of system calls knows x86_64 and aarch64, not {machine}.")
    column, architecture = _ARCHITECTURES[machine]
    no, allow = _refuse(errno.EPERM), _give(_ALLOW)
    program = [_load(4), (0x15, 1, 0, architecture), _give(_KILL), _load(0)]
    program += [(0x25, 0, 1, _LAST_KNOWN), _refuse(errno.ENOSYS)]
    refused = ((_DENIED, errno.EPERM), (_NETWORK, errno.EACCES), (_UNKNOWN, errno.ENOSYS), (_PRETENDED, 0))
    for calls, code in (*refused, (_UNSUPPORTED, errno.EOPNOTSUPP)):
        for numbers in calls.values():
            if numbers[column] is not None:
                program += _when_equal(numbers[column], _refuse(code))

    def on(numbers: tuple[int | None, int | None], *body: _Instruction) -> None:
        if numbers[column] is not None:
            program.extend(_when_equal(numbers[column], *body))

    myself = _when_equal(pid, allow)
    on((62, 129), _argument(0), *myself, no)  # kill
    on((234, 131), _argument(0), *myself, no)  # tgkill
    on((302, 261), _argument(0), *myself, *_when_equal(0, allow), no)  # prlimit64
    # clone: threads only, in no new namespace, and with the process's open files, which the grader counts
    thread = _when_any_bit(_CLONE_THREAD, *_when_any_bit(_CLONE_FILES, allow))
    on((56, 220), _argument(0), *_when_any_bit(_CLONE_NEW, no), *thread, no)
    # mmap: shared anonymous memory is counted by no limit, nor is what is called a stack
    anonymous = _when_any_bit(_MAP_ANONYMOUS, no)
    on((9, 222), _argument(3), *_when_any_bit(_MAP_GROWSDOWN, no), *_when_any_bit(_MAP_SHARED, *anonymous), allow)
    # socketpair: streams; a datagram socket could be sent to any path
    stream = [(0x54, 0, 0, 0xF), *_when_equal(_SOCK_STREAM, allow)]
    on((53, 199), _argument(0), *_when_equal(_AF_UNIX, _argument(1), *stream), _refuse(errno.EACCES))
    # open for reading with O_TRUNC empties a file without the right to write; Landlock before ABI 3 lets it pass
    for numbers, index in (((2, None), 1), ((257, 56), 2)):
        reading = [(0x54, 0, 0, os.O_ACCMODE), *_when_equal(os.O_RDONLY, _refuse(errno.EACCES))]
        on(numbers, _argument(index), *_when_any_bit(os.O_TRUNC, *reading), allow)
    # prctl: a process that is not dumpable hides its files from a grader that is an ordinary user
    hiding = (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE)
    on((157, 167), _argument(0), *(i for option in hiding for i in _when_equal(option, no)), allow)
    on((72, 25), _argument(1), *(i for cmd in _OWNERS_OF_SIGNALS for i in _when_equal(cmd, no)), allow)  # fcntl
    on((16, 29), _argument(1), *(i for cmd in _TERMINALS for i in _when_equal(cmd, no)), allow)  # ioctl
    return [*program, allow]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def seal() -> None:
    """Filter the system calls of every thread of this process, for good. `confine` must have come before.

    Raises:
        JailError: the processor is not known to the filter.
        OSError: the kernel has no seccomp.
    """
    program = filter_program(platform.machine(), os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    structure = _Program(len(program), ctypes.cast(code, ctypes.c_void_p))
    number = 277 if platform.machine() == "aarch64" else 317
    # mode 1: a filter; flag 1: of all threads
    if _system_call(number, ctypes.c_uint(1), ctypes.c_uint(1), ctypes.byref(structure)) > 0:
        raise OSError(errno.EBUSY, "a thread could not be filtered")


# Users and resources


# Beyond the numbers that distributions, directories and containers give to users.
_FIRST_OWN_USER = 0x7A000000
_own_user: int | None = None


def take_own_user() -> None:
    """Let `ordinary_user` of this process and its children be a user that no other process has, if root started it.

    The limit of threads counts all of a user: kernels with one user could take each other's.
    """
    global _own_user
    number = _FIRST_OWN_USER + os.getpid()
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()]
    if any(int(first) <= number < int(first) + int(count) for first, _, count in spans):
        _own_user = number  # else this is a container that has no such user


def ordinary_user() -> tuple[int, int] | None:
    """User and group that a process started by root becomes: one of its own after `take_own_user`, else "nobody".

    None for a process that is ordinary already.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _own_user or 65534, 65534
    return _own_user or entry.pw_uid, entry.pw_gid


def others_reach(path: Path | str) -> bool:
    """Whether an ordinary user can walk to a folder and list it, by the mode bits."""
    path = Path(path).resolve()
    try:
        walkable = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
        return walkable and path.stat().st_mode & 0o005 == 0o005
    except OSError:
        return False


def _drop_root() -> None:
    user = ordinary_user()
    if user is None:
        return
    uid, gid = user
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    held = [line for line in lines if line.startswith(("CapPrm", "CapEff", "CapAmb")) and int(line.split()[1], 16)]
    if held or os.geteuid() == 0:
        raise JailError("Privileges of root remained after the change to an ordinary user.")


def _threads_of(uid: int) -> int:
    """Threads of a user on this machine: RLIMIT_NPROC counts them all."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid:
                total += sum(1 for _ in (process / "task").iterdir())
        except OSError:
            continue  # it has ended
    return total


def limit_memory(size: int) -> None:
    """Let this process have so many bytes of private memory at most, for good."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _limit(limits: Limits) -> None:
    uid = (ordinary_user() or (os.geteuid(), 0))[0]
    wanted = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_CPU: limits.cpu,
        resource.RLIMIT_FSIZE: limits.file,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_NPROC: _threads_of(uid) + limits.threads,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 1 << 20,
    }
    for what, value in wanted.items():
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends. A change of user undoes it."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def confine(rules: Mapping[Path | str, int], limits: Limits, *, partly: bool = False, abi: int | None = None) -> None:
    """Leave this process with the files in `rules`, the resources in `limits`, and an ordinary user, for good.

    Call it while there is one thread: threads that exist already stay as they are.

    Args:
        rules: what it may do, `READ`, `KEEP`, `OWN` or a sum of rights, beneath each path; and nothing elsewhere.
        limits: what it may use.
        partly: go on where the machine lacks a part of the sandbox.
        abi: the version of Landlock to use (default: this kernel's).

    Raises:
        JailError, OSError: a part of the sandbox is not there.
    """
    parent = os.getppid()
    with open("/proc/self/oom_score_adj", "w") if not partly else open(os.devnull, "w") as file:
        file.write("1000")  # if memory runs out, the machine takes this process first
    try:
        enter = _restrict_files(
            {**dict.fromkeys(_DEVICES, READ_FILE | WRITE_FILE), **rules}, landlock_abi() if abi is None else abi
        )
    except (OSError, JailError):
        if not partly:
            raise
        enter = None
    _limit(limits)
    _drop_root()  # never left out: as root nothing of a student's runs
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    if _libc:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if enter is not None:
        enter()


# What this machine can enforce: tried, in a process of its own

_SENTENCES = {
    "files": "Landlock is missing: a kernel could read and write every file that its user can (Linux 5.13 has it).",
    "system calls": "The filter of system calls (seccomp) does not work: a kernel could use the network and end processes.",
    "ordinary user": "Root cannot become an ordinary user here: start grading as an ordinary user.",
    "limits": "Limits of memory and file size do not hold.",
}


USE_LINUX = "Grade on Linux, under Windows in WSL."


@lru_cache(maxsize=1)
def capabilities() -> dict[str, bool | str]:
    """What this machine can enforce, by feature; tried once in a process of its own, in a folder of its own.

    Returns:
        "files", "system calls", "ordinary user", "limits": whether it holds; "landlock": the ABI in words; "removed
        files": whether those count that a kernel removed and keeps open (not where root lacks CAP_SYS_PTRACE).
    """
    found: dict[str, bool | str] = dict.fromkeys(_SENTENCES, False)
    if sys.platform != "linux":
        return {"landlock": f"none ({sys.platform})", **found}
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from lsdl.grading import jail; jail._try_all()"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    found |= json.loads(done.stdout) if done.stdout else {}
    return {"landlock": describe_landlock(landlock_abi()), **found}


def missing() -> list[str]:
    """One sentence per missing protection; empty if the sandbox is whole."""
    return [sentence for name, sentence in _SENTENCES.items() if not capabilities()[name]]


def require(*, unsafe: bool = False) -> None:
    """Refuse to run students' code where kernels cannot be forked, or, unless `unsafe`, without the whole sandbox.

    Raises:
        JailError: what is missing, and the way out.
    """
    if sys.platform != "linux":
        raise JailError(f"Students' code runs on Linux only: the grader forks kernels and reads /proc. {USE_LINUX}")
    if not unsafe and missing():
        raise JailError(" ".join([*missing(), "Grade on another machine, or a trusted class with --unsafe."]))


def _refused(call: Callable[[], object], codes: Iterable[int] = (errno.EPERM, errno.EACCES)) -> bool:
    try:
        call()
    except OSError as error:
        return error.errno in codes
    except MemoryError:
        return errno.ENOMEM in codes
    return False


def open_files(pid: int) -> list[os.stat_result]:
    """What another process has open, as far as this one may see it."""
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.stat(f"/proc/{pid}/fd/{name}"))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        pass  # it has ended
    return found


def _try_all() -> None:
    """Enter the sandbox and print as JSON what it refuses."""
    import mmap
    import socket

    found: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        report, write = os.pipe()
        wait, go_on = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(go_on)
                confine({folder: OWN}, Limits(memory=1 << 30), partly=True)
                found["ordinary user"] = os.geteuid() != 0
                found["files"] = _refused(lambda: os.listdir("/")) and _refused(lambda: os.open("/etc/passwd", 0))
                found["limits"] = _refused(lambda: mmap.mmap(-1, 2 << 30, mmap.MAP_PRIVATE), [errno.ENOMEM])
                seal()
                found["system calls"] = (
                    _refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    and _refused(lambda: socket.socket(socket.AF_UNIX))
                    and _refused(lambda: os.kill(os.getppid(), 0))
                    and _refused(os.fork)
                )
            except (OSError, JailError):
                pass  # what was not found is missing
            finally:
                os.write(write, json.dumps(found).encode())
                os.close(write)
                os.read(wait, 1)
                os._exit(0)
        os.close(write)
        with os.fdopen(report, "rb") as file:
            found = json.loads(file.read())
        found["removed files"] = bool(open_files(pid))
        os.close(go_on)
        os.waitpid(pid, 0)
        print(json.dumps(found))
