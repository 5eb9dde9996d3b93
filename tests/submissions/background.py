# cell: standardise
# points: standardise_value standardise_constant
# Threads that outlive the cell and answer for the cells that follow.
import os
import pathlib
import shutil
import threading
import time


def forever():
    while True:
        outbox = os.environ.get("LSDL_OUTBOX")
        if outbox:
            for path in pathlib.Path(outbox).parent.glob("*/*.safetensors"):
                try:
                    shutil.copyfile(path, path.with_name("9999.safetensors"))
                except OSError:
                    pass
        time.sleep(0.001)


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    print("TRIED")
    return x


try:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    print("BREACH: a process")
except OSError:
    pass
thread = threading.Thread(target=time.sleep, args=(600,))
thread.start()
