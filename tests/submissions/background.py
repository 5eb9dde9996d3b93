# cell: standardise
# points: standardise_value standardise_constant
# Threads, and processes detached in every way, that would outlive the cell and the notebook.
import importlib
import os
import subprocess
import sys
import threading
import time

importlib.reload(subprocess)  # without what the grader puts in place of programs


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    print("TRIED")
    return x


def fork_twice():
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)


program = [sys.executable, "-c", "import time; time.sleep(600)"]
for start in (
    os.fork,
    fork_twice,
    lambda: subprocess.Popen(program),
    lambda: subprocess.Popen(program, start_new_session=True),
    lambda: os.execv(sys.executable, program),
):
    try:
        start()
        print("BREACH: a process")
    except OSError:
        pass
thread = threading.Thread(target=time.sleep, args=(600,))
thread.start()
