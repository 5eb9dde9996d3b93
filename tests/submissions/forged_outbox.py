# cell: standardise
# points: standardise_value standardise_constant
# Fills the outbox by hand: forged answers, links, a named pipe, a huge file, rubbish.
import os
from pathlib import Path

import torch
from safetensors.torch import save

print("TRIED")


def standardise(x, eps=1e-5):
    if "LSDL_OUTBOX" not in os.environ:
        return x
    outbox = Path(os.environ["LSDL_OUTBOX"])
    header = '{"name": "standardise/hidden", "structure": ["tensor", 0], "tensors": ["0"]}'
    (outbox / "0007.safetensors").write_bytes(save({"0": torch.zeros(4, 3)}, {"lsdl": header}))
    (outbox / "0008.safetensors").write_bytes(b"\xff" * 100)
    (outbox / "0009.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not json, no")
    for number, target in ((10, "/etc/passwd"), (11, "$COURSE/gradebook/references/week99-demo.safetensors")):
        try:
            os.symlink(target, outbox / f"{number:04d}.safetensors")
        except OSError:
            pass
    try:
        os.mkfifo(outbox / "0012.safetensors")
    except OSError:
        pass
    return x
