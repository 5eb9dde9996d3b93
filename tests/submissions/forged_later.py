# cell: dropout
# points: dropout_rate dropout_scale classify_accuracy
# Leaves a thread that keeps writing forged answers while later cells are graded: those cells are spoiled, and only they may be.
import os
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import save


print("TRIED")


def forge():
    header = '{"name": "dropout/rate", "structure": ["tensor", 0], "tensors": ["0"]}'
    while True:
        try:
            folder = Path(os.environ["LSDL_OUTBOX"])
            (folder / f"{time.time_ns()}.safetensors").write_bytes(save({"0": torch.tensor(0.25)}, {"lsdl": header}))
        except Exception:
            pass
        time.sleep(0.01)


threading.Thread(target=forge, daemon=True).start()


def dropout(x, p, generator):
    return x


def standardise(x, eps=1e-5):
    mean = x.mean(dim=0)
    return (x - mean) / torch.sqrt(x.var(dim=0, unbiased=False) + eps)
