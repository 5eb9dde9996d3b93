"""The longer trainings behind assets/, by the notebooks' own cells: nothing is written twice.

    python week04-contrastive/instructor/train.py pretrain simclr --seed 0    one method; assets/simclr.safetensors and simclr.json
    python week04-contrastive/instructor/train.py pretrain byol --seed 1      other seeds go to runs/ (not committed)
    python week04-contrastive/instructor/train.py tables [--only PART]        assets/tables.json from assets/ and runs/

SimCLR, BYOL and MoCo v2 are the homework's solutions, MoCo v1, SimSiam, DeepCluster and SwAV the seminar's cells tagged `define`.
A method trains in 15 to 30 minutes of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import torch

WEEK = Path(__file__).resolve().parents[1]
RUNS = WEEK / "runs"


def seminar(scale: str = "smoke") -> dict[str, Any]:
    """The names that the seminar's cells tagged `define` make."""
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    namespace: dict[str, Any] = {"SCALE": scale, "SEED": 0, "DEVICE": "auto", "RETRAIN": False, "__name__": "seminar"}
    for cell in nbformat.read(WEEK / "seminar.ipynb", 4).cells:
        if "define" in cell.metadata.get("tags", []):
            exec(compile(cell.source, f"seminar.ipynb, cell {cell.id}", "exec"), namespace)
    return namespace


def homework() -> dict[str, Any]:
    """The names that the solved homework makes."""
    from lsdl.homework import Homework

    return Homework(WEEK).namespace()


def checkpoint(method: str, seed: int) -> Path:
    """Where a trained backbone lies: the first seed is committed."""
    return (WEEK / "assets" if seed == 0 else RUNS / f"seed{seed}") / f"{method}.safetensors"


def pretrain(method: str, seed: int, steps: int) -> None:
    """Train one method and write its backbone with its log."""
    names = homework()
    if method not in names["LEARNERS"]:
        names = seminar()
    import helpers

    torch.manual_seed(seed)
    learner = names["LEARNERS"][method]()
    images, started = helpers.load_unlabelled("smoke"), time.time()

    def progress(step: int, loss: float) -> None:
        print(f"{step}/{steps} loss {loss:.4f} {(time.time() - started) / step:.3f} s a step", flush=True)

    log = helpers.pretrain(learner, images, steps, seed=seed, probe=helpers.retrieval("smoke"), progress=progress)
    file = checkpoint(method, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    helpers.save_backbone(learner.backbone, file)
    about = {
        "method": method,
        "seed": seed,
        "steps": steps,
        "batch_size": helpers.BATCH_SIZE,
        "pictures": len(images),
        "minutes": round((time.time() - started) / 60, 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    about |= {"notes": learner.notes} if hasattr(learner, "notes") else {}
    file.with_suffix(".json").write_text(json.dumps(about | {"log": log}) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pretrain", "tables"])
    parser.add_argument("method", nargs="?", help="a key of the seminar's or the homework's LEARNERS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(args.method, args.seed, args.steps)


if __name__ == "__main__":
    main()
