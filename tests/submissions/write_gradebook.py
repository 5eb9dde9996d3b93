# cell: standardise
# points:
import os
import shutil
import sqlite3

for place in ("$GRADEBOOK", "$SECRET", "$OTHER", "$SOLUTIONS"):
    for change in (
        lambda: open(place, "a").close(),
        lambda: open(place, "r+").close(),
        lambda: os.remove(place),
        lambda: os.rename(place, place + ".old"),
        lambda: os.truncate(place, 0),
        lambda: shutil.move("helpers.py", place),
        lambda: open(place + ".new", "w").close(),
        lambda: os.mkdir(place + ".folder"),
        lambda: sqlite3.connect(place).execute("create table x (y)"),
    ):
        try:
            change()
            print("BREACH: changed", place)
        except (OSError, sqlite3.Error):
            pass
    os.chmod(place, 0o777)  # pretended
    os.utime(place, (0, 0))
for place in ("/tmp/lsdl-attack", "/var/tmp/lsdl-attack", "/dev/shm/lsdl-attack", "$COURSE/lsdl-attack"):
    try:
        open(place, "w").close()
        print("BREACH: wrote", place)
    except OSError:
        pass
print("TRIED")


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
