# cell: standardise
# points: standardise_value standardise_constant
# Looks for open files, sockets and shared memory that the grader left it; the answer is wrong.
import os

print("TRIED")


def standardise(x, eps=1e-5):
    for number in range(3, 256):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if "gradebook" in target or "references" in target or target.endswith(".db"):
            print("BREACH", target)
    return x
