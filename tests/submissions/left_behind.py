# cell: standardise
# points:
# Leaves processes behind that outlive the notebook, detached in every way.
import os
import subprocess
import sys

program = "import time; name = 'lsdl-left-behind'; time.sleep(300)"
for options in ({}, {"start_new_session": True}):
    try:
        subprocess.Popen([sys.executable, "-c", program], **options)
    except Exception:
        pass
try:
    if os.fork() == 0:
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", program])
        os._exit(0)
except OSError:
    pass
print("TRIED")


def standardise(x, eps=1e-5):
    mean = x.mean(dim=0)
    return (x - mean) / torch.sqrt(x.var(dim=0, unbiased=False) + eps)
