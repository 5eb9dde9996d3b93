# cell: standardise
# points:
# As a student could who takes the grader's stand-ins for processes away first.
import importlib
import multiprocessing.popen_fork
import os
import posix
import subprocess
import threading
import time

importlib.reload(subprocess)
for start in (
    os.fork,
    lambda: subprocess.run(["/bin/true"]),
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: multiprocessing.popen_fork.Popen(multiprocessing.Process(target=print)),
    lambda: posix.system("true") and os.fork(),
):
    try:
        start()
        print("BREACH: a process")
    except OSError:
        pass
stop = threading.Event()
threads = 0
try:
    for _ in range(5000):
        threading.Thread(target=stop.wait, daemon=True).start()
        threads += 1
    print("BREACH: 5000 threads")
except (RuntimeError, MemoryError):
    pass
stop.set()
time.sleep(0.2)
print("TRIED")


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
