# cell: dropout
# points: dropout_rate dropout_scale classify_accuracy
# status: failed
# Fills its folders with many files, each under the limit of one file: by reserving blocks (refused), by writing, and with
# files that are removed while they are open, so that no folder shows them.
import ctypes
import os
import time

size = 200 << 20


def dropout(x: Tensor, p: float, generator: Generator) -> Tensor:
    reserved = os.open("reserved", os.O_CREAT | os.O_RDWR)
    if ctypes.CDLL(None, use_errno=True).fallocate(reserved, 0, ctypes.c_long(0), ctypes.c_long(size)) == 0:
        print("BREACH: blocks were reserved")
    block, kept = bytes(1 << 20), []
    for number in range(64):
        kept.append(open(f"part{number}", "wb", buffering=0))
        os.remove(f"part{number}") if number % 2 else None
        for _ in range(size >> 20):
            kept[-1].write(block)
    time.sleep(60)
    print("BREACH: 12 GB were written")


print("TRIED")
