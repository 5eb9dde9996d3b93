# cell: standardise
# points: standardise_value standardise_constant
# Files that only look like answers, and answers that only look like values.
import json
import os
import pathlib
import struct

from safetensors.torch import save

step = [0]


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    outbox = pathlib.Path(os.environ["LSDL_OUTBOX"])
    step[0] += 1
    if step[0] == 1:
        (outbox / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{" * 1000)
        (outbox / "b.safetensors").write_bytes(b"")
        (outbox / "c" * 50).write_bytes(b"[" * 1_000_000)
    else:
        deep = ["plain", 1]
        for _ in range(900):
            deep = ["list", [deep]]
        for number, structure in enumerate((deep, ["tensor", 99], ["tensor", "x"], [], {}, ["dict", [[[], 1]]], None)):
            answer = {"name": "standardise/constant", "structure": structure, "tensors": ["0"]}
            (outbox / f"{number}.safetensors").write_bytes(save({"0": x}, {"lsdl": json.dumps(answer)}))
    print("TRIED")
    return x
