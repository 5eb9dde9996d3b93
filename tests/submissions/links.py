# cell: standardise
# points: standardise_value standardise_constant
import os
import socket

outbox = None


def attempt(what):
    try:
        what()
        print("BREACH")
    except OSError:
        pass


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    outbox = os.environ["LSDL_OUTBOX"]
    for target in ("$HIDDEN", "$SECRET", "/dev/zero"):
        for place in (outbox + "/0001.safetensors", "link", outbox + "/../9", os.environ["HOME"] + "/l"):
            attempt(lambda: os.symlink(target, place))
            attempt(lambda: os.link(target, place))
    attempt(lambda: os.mkfifo(outbox + "/0002.safetensors"))
    attempt(lambda: os.mknod(outbox + "/0003.safetensors", 0o20666, os.makedev(1, 5)))
    attempt(lambda: os.mkdir(outbox + "/0004.safetensors"))
    attempt(lambda: os.rename(outbox, outbox + ".old"))
    attempt(lambda: os.rmdir(outbox))
    attempt(lambda: os.rename(os.environ["HOME"], os.environ["HOME"] + "2"))
    attempt(lambda: os.unlink(os.environ["HOME"] + "/../s/k-1"))
    attempt(lambda: open(os.environ["LSDL_HIDDEN_REFERENCES"], "w"))
    attempt(lambda: os.unlink(os.environ["LSDL_HIDDEN_REFERENCES"]))
    attempt(lambda: open(os.environ["HOME"] + "/../answer", "w"))
    attempt(lambda: os.mkdir(os.environ["HOME"] + "/../new"))
    print("TRIED")
    return x
