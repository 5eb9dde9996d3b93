# cell: standardise
# points: standardise_value standardise_constant
# Reads the gradebook, the class's submissions, the solutions, the home folder and the environment.
import os
from pathlib import Path

print("TRIED")


def standardise(x, eps=1e-5):
    for name in (
        "gradebook/gradebook.db",
        "gradebook/demo.key",
        "week99-demo/homework.ipynb",
        "week99-demo/instructor/cases.py",
    ):
        try:
            print("BREACH", name, len(Path("$COURSE", name).read_bytes()))
        except OSError:
            pass
    for folder in (
        "$SUBMISSIONS",
        "$COURSE/gradebook/submitted",
        "/root",
        "/home",
        "/etc/shadow",
    ):
        try:
            print("BREACH", folder, os.listdir(folder))
        except OSError:
            pass
    if "LSDL_TEST_SECRET" in os.environ or "MARK-OF-A-SECRET" in str(os.environ):
        print("BREACH environment")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"MARK-OF-A-SECRET" in (process / "environ").read_bytes():
                print("BREACH", process)
        except OSError:
            pass
    return x
