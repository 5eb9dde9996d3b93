"""The trainings behind assets/, by the functions of homework and seminar: nothing is written twice.

    python week02-pretext/instructor/train.py queue                     trains every run that lacks its file in runs/, in order
    python week02-pretext/instructor/train.py queue --only rotation     one run, all seeds
    python week02-pretext/instructor/train.py tables                    measures the parts of assets/tables.json on what lies in runs/
    python week02-pretext/instructor/train.py tables --only tasks       one part
    python week02-pretext/instructor/train.py commit                    writes the networks that notebooks load and their logs from runs/ into assets/

A run is runs/NAME-SEED.safetensors (half precision) with its log NAME-SEED.json, which says what it took. Files that are there are not trained
again, so a queue that was stopped goes on where it was. SimCLR is written here: its loss is next weeks' homework, and it serves as a line of reference.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, seminar_names, write_log, write_parts
from lsdl.features import view
from lsdl.tables import Names, Tables

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
SEEDS = 3
# SETTINGS with which a test runs the seminar with RETRAIN = True: a step or two, two seeds
CHEAP = dict(pictures=512, short_pictures=512, batch_size=64, many_batch_size=16, classes=64, permutations=8, seeds=2)
CHEAP |= dict(label_seeds=1, epochs=[1], live_steps=2, live_batch=16)
# what the trainings take of the homework
HOMEWORK = (
    "rotation_batch",
    "permutation_set",
    "cut_tiles",
    "shuffle_tiles",
    "rgb_to_lab",
    "soft_targets",
    "rebalanced_loss",
)
HOMEWORK += ("annealed_mean", "inpainting_loss", "context_pairs", "context_draws")
# file in assets/ -> run; more does not fit into a week's 5 MB
COMMITTED = {"competition": "wide-rotation", "colorization": "colorization", "inpainting": "inpainting"}
# of width 20: rotation and the two tasks that are best on validation concepts, for the competition
WIDE = {"wide-rotation": "rotation", "wide-exemplar": "exemplar", "wide-inpainting": "inpainting"}


def queue_order() -> list[tuple[str, int]]:
    """Runs and seeds: one seed of everything first, the competition's network, then the others."""
    import measure

    whole = [run for run in measure.MAKE if not run.startswith("short-")]
    short = [run for run in measure.MAKE if run.startswith("short-")]
    order = [(run, 0) for run in whole] + [("wide-rotation", 0)] + [(run, 0) for run in short]
    order += [(run, seed) for seed in range(1, SEEDS) for run in (*whole, *short)]
    return order + [(run, seed) for run in WIDE for seed in range(SEEDS) if (run, seed) != ("wide-rotation", 0)]


def file_of(run: str, seed: int) -> Path:
    """Where a run's weights lie."""
    return RUNS / f"{run}-{seed}.safetensors"


def train(names: dict[str, Any], run: str, seed: int) -> None:
    """Train one run and write its network with its log; the log last, so that what has a log is whole."""
    import helpers
    import measure

    started, s = clocks(), Names(names)

    def progress(step: int, loss: float) -> None:
        print(
            f"{run} {seed}: {step} loss {loss:.4f}, {(clocks()[1] - started[1]) / step:.3f} CPU s per step", flush=True
        )

    measure._NETS.clear()  # nothing is trained twice in one process
    more = dict(width=20) if run in WIDE else {}
    task, log = measure.trained(s, WIDE.get(run, run), seed, every=100, progress=progress, **more)
    file = file_of(run, seed)
    helpers.save_net(task, file)
    write_log(file, about_run(started) | {"threads": torch.get_num_threads(), "log": log})


def queue(only: list[str] | None, last_first: bool = False, one: bool = False) -> None:
    """Train what is not there, in order; a second process with `last_first` meets the first one in the middle. `one`: a single run."""
    names = all_names()
    for run, seed in reversed(queue_order()) if last_first else queue_order():
        if (not only or run in only) and not file_of(run, seed).with_suffix(".json").is_file():
            train(names, run, seed)
            if one:
                break


def all_names() -> dict[str, Any]:
    """The names of seminar and homework, and SimCLR."""
    names = seminar_names(WEEK)
    homework = Homework(WEEK).namespace()
    names |= {name: homework[name] for name in HOMEWORK}
    names["SimCLR"] = simclr_class()
    return names


def simclr_class() -> type:
    """SimCLR as a task: two views of each picture find each other among all of the batch (Chen et al. 2020, equation 1)."""
    import helpers

    class SimCLR(helpers.Pretext):
        cost = 2.0

        def __init__(self, temperature: float = 0.2, **kwargs) -> None:
            super().__init__(**kwargs)
            self.temperature, self.head = temperature, helpers.mlp(self.dim, 128)

        def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            views = torch.cat([view(images, generator), view(images, generator)])
            z = F.normalize(self.head(helpers.half(self.trunk, views)), dim=1)  # (2B, d)
            scores = (z @ z.T / self.temperature).fill_diagonal_(-torch.inf)
            partner = torch.arange(len(z), device=z.device).roll(len(images))
            return F.cross_entropy(scores, partner), helpers.accuracy(scores, partner)

    return SimCLR


def tables(parts: list[str]) -> None:
    """Measure parts of assets/tables.json on the runs that there are."""
    names = all_names()
    import measure

    measure.stored(RUNS)
    file = ASSETS / "tables.json"
    found = Tables(file, measure, seminar=names, seeds=SEEDS, retrain=True)
    write_parts(file, found, parts)


def commit(files: list[str] | None) -> None:
    """Write networks of seed 0, their matrices in eight bits, and their logs into assets/."""
    names = Names(all_names())
    import helpers
    import measure

    for name in files or COMMITTED:
        run = COMMITTED.get(name, name)
        entry = json.loads(file_of(run, 0).with_suffix(".json").read_text(encoding="utf-8"))
        task = measure.make(names, WIDE.get(run, run), 0, 20 if run in WIDE else 16)
        helpers.load_task_net(file_of(run, 0), task)
        file = ASSETS / f"{name}.safetensors"
        helpers.save_net(task, file, small=True)
        write_log(file, entry)
        print(file.name, file.stat().st_size, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    queued = commands.add_parser("queue", help="train what is not there")
    queued.add_argument("--only", action="append", help="a run; default: all of them")
    queued.add_argument("--last-first", action="store_true", help="from the end, for a second process")
    queued.add_argument("--one", action="store_true", help="one run, then stop")
    measured = commands.add_parser("tables", help="measure the seminar's tables")
    measured.add_argument("--only", action="append", help="a part; default: all of them")
    committed = commands.add_parser("commit", help="write a network into assets/")
    committed.add_argument("--only", action="append", help="a file's name, or a run; default: all that notebooks load")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "queue":
        queue(args.only, args.last_first, args.one)
    elif args.what == "tables":
        tables(args.only)
    else:
        commit(args.only)


if __name__ == "__main__":
    main()
