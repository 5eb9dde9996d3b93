# cell: standardise
# points:
# Reads solutions, references, other submissions, the gradebook, the home folder, open files and the environment: in the
# answer's own cell, and again while its tests run and the hidden inputs are there.
import glob
import os
from pathlib import Path

from safetensors import safe_open

parent = os.getppid()
places = ["$HIDDEN", "$SECRET", "$GRADEBOOK", "$OTHER", "$SOLUTIONS", "$CASES", "/etc/passwd", "/etc/shadow"]
places += ["$COURSE/gradebook/demo.key", "/proc/1/environ", "/proc/self/root/etc/passwd", "/dev/mem", "/dev/sda"]
places += [f"/proc/{parent}/{name}" for name in ("environ", "mem", "maps", "cmdline", "fd/0", "root/etc/passwd")]
places += ["/proc/self/cwd/../../../log"]
folders = ["/", "/tmp", "/root", "/home", "/work", "$COURSE", "$SUBMISSIONS", "$COURSE/gradebook/submitted", "/proc"]
folders += [os.path.expanduser("~root"), f"/proc/{parent}/fd"]


def read_all():
    for place in places:
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            try:
                os.close(os.open(place, flags))
                print("BREACH: read", place)
            except OSError:
                pass
    for folder in folders:
        try:
            os.listdir(folder)
            print("BREACH: listed", folder)
        except OSError:
            pass
    for folder in glob.glob("/proc/self/fd/*"):
        try:
            target = os.readlink(folder)
        except OSError:
            target = ""
        if "gradebook" in target or "references" in target or target.endswith(".db"):
            print("BREACH: open", target)
        for above in ("", "/..", "/../..", "/../../.."):
            for name in ("/.bashrc", "/etc/passwd", "/.ssh"):
                try:
                    os.close(os.open(folder + above + name, os.O_RDONLY))
                    print("BREACH: read", folder + above + name)
                except OSError:
                    pass
    for top in ("$COURSE", ".", "..", "/proc/1/root$COURSE"):
        try:
            found = [*Path(top).glob("**/*.safetensors")]
        except OSError:
            found = []
        for path in [*found, Path(os.environ["LSDL_HIDDEN_REFERENCES"])]:
            try:
                with safe_open(path, framework="pt") as file:
                    text = str(file.metadata())
                if "standardise/hidden" in text and '"accepted": [{' in text:
                    print("BREACH: hidden references in", path)
            except Exception:
                pass
    environment = str(os.environ)
    for process in Path("/proc").glob("*/environ"):
        try:
            environment += process.read_text()
        except OSError:
            pass
    if "MARK-OF-A-SECRET" in environment:
        print("BREACH: a secret of the environment")
    if os.getuid() == 0 or os.geteuid() == 0:
        print("BREACH: root")


read_all()


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    read_all()
    print("TRIED")
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
