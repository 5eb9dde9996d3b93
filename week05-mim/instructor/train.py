"""The trainings behind assets/, by the functions of homework and seminar: nothing is written twice.

    python week05-mim/instructor/train.py masks                      draws assets/masks.safetensors by the homework's block_mask
    python week05-mim/instructor/train.py queue                      trains every run that lacks its file in runs/, in order
    python week05-mim/instructor/train.py queue --only mae           one run, all seeds
    python week05-mim/instructor/train.py tune                       prints what settings of fine-tuning reach on validation concepts
    python week05-mim/instructor/train.py judge --only mae           judges stored networks again, after a setting of the judges has changed
    python week05-mim/instructor/train.py tables                     measures the parts of assets/tables.json on what lies in runs/
    python week05-mim/instructor/train.py tables --only methods      one part
    python week05-mim/instructor/train.py commit                     writes the networks that notebooks load and their logs from runs/ into assets/

A run is runs/NAME-SEED.safetensors (half precision) with its log NAME-SEED.json, which says what it took and what its judges said. Files that are
there are not trained again, so a queue that was stopped goes on where it was. SimCLR is written here: its loss is another week's homework, and it
serves as a line of reference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, digests, rounded, seminar_names, write_log, write_parts
from lsdl.features import save_backbone
from lsdl.settings import load_settings
from lsdl.tables import Names, Tables

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
SEEDS = 3
# SETTINGS with which a test runs the seminar with RETRAIN = True: a step or two, two seeds
CHEAP = dict(
    pictures=64,
    short_pictures=64,
    label_pictures=64,
    further_pictures=64,
    queue=16,
    batch_size=32,
    dino_batch_size=16,
    collapse_steps=2,
)
CHEAP |= dict(
    seeds=2,
    label_seeds=1,
    collapse_seeds=2,
    tune_epochs=1,
    short_tune_epochs=1,
    scratch_epochs=1,
    long=1,
    codes=16,
    live_steps=2,
)
# what the trainings take of the homework
HOMEWORK = ("normalise_patches", "random_masking", "restore_tokens", "mae_loss", "dino_loss", "update_centre")
HOMEWORK += ("block_mask", "hog_targets", "supcon", "dense_match", "dense_loss")
COMMITTED = {"mae": "mae", "dino": "dino", "looc": "further-looc"}  # file in assets/ -> run, seed 0
MASKS = {4: (6, 2), 6: (14, 4)}  # grid: hidden patches at most, of a block at least
TUNE_RATES = (1e-3, 3e-3)
RATE_SEED = 9  # not used again
RATES = ("0.001", "0.002", "0.004")
MORE_RATES = {"dino": ("0.0005",)}  # where an end of the grid won


def queue_order() -> list[tuple[str, int]]:
    """Runs and seeds, what is most needed first."""
    import measure

    methods = [*measure.METHODS.values()]
    short = [run for run in measure.MAKE if run.startswith("short-")]
    settings = load_settings("smoke", WEEK / "settings.toml")
    order = [(f"rate-{run}-{rate}", RATE_SEED) for run in methods for rate in (*RATES, *MORE_RATES.get(run, ()))]
    order += [(f"grid-{rate:g}-{epochs}", RATE_SEED) for rate in settings["rates"] for epochs in settings["epochs"]]
    order += [(run, 0) for run in methods]
    order += [(run, seed) for seed in range(5) for run in measure.MAKE if run.startswith("collapse-")]
    order += [("scratch", seed) for seed in range(SEEDS)]
    order += [(run, seed) for seed in range(1, SEEDS) for run in methods]
    order += [(run, seed) for seed in range(SEEDS) for run in short[:4]]
    order += [(run, seed) for seed in range(SEEDS) for run in measure.MAKE if run.startswith("label-")]
    order += [(run, seed) for seed in range(SEEDS) for run in measure.MAKE if run.startswith("further-")]
    order += [(run, seed) for seed in range(SEEDS) for run in short[4:]]
    return order + [("long-mae", seed) for seed in range(SEEDS)]


def file_of(run: str, seed: int) -> Path:
    """Where a run's weights lie."""
    return RUNS / f"{run}-{seed}.safetensors"


def train(names: dict[str, Any], run: str, seed: int) -> None:
    """Train one run and write its network with its log; the log last, so that what has a log is whole."""
    import measure

    started, s = clocks(), Names(names)

    def progress(step: int, loss: float) -> None:
        print(
            f"{run} {seed}: {step} loss {loss:.4f}, {(clocks()[1] - started[1]) / step:.3f} CPU s per step", flush=True
        )

    measure._NETS.clear()  # nothing is trained twice in one process
    learner, log = measure.trained(s, run, seed, every=100, progress=progress)
    file = file_of(run, seed)
    file.parent.mkdir(exist_ok=True)
    save_backbone(learner, file)
    write_log(file, about_run(started) | {"threads": torch.get_num_threads(), "log": log})


def queue(only: list[str] | None, last_first: bool = False, of: int | None = None) -> None:
    """Train what is not there, in order; a second process with `last_first` meets the first one in the middle; `of`: one seed only."""
    names = all_names()
    for run, seed in reversed(queue_order()) if last_first else queue_order():
        wanted = not only or any(run == name or (name.endswith("*") and run.startswith(name[:-1])) for name in only)
        claimed = file_of(run, seed).with_suffix(".taken")
        if (
            wanted
            and of in (None, seed)
            and not file_of(run, seed).with_suffix(".json").is_file()
            and not claimed.exists()
        ):
            RUNS.mkdir(exist_ok=True)
            claimed.touch()
            try:
                train(names, run, seed)
            finally:
                claimed.unlink()


def all_names() -> dict[str, Any]:
    """The names of seminar and homework, and SimCLR."""
    names = seminar_names(WEEK)
    homework = Homework(WEEK).namespace()
    return names | {name: homework[name] for name in HOMEWORK} | {"SimCLR": simclr_class(names), "supcon_in": supcon_in}


def tune(only: list[str] | None) -> None:
    """Print the accuracy on validation concepts that settings of fine-tuning reach with two choices of labels.

    It starts from the run that chose the method's rate, or where that was short from seed 0.
    """
    names = Names(all_names())
    import helpers
    import measure

    for run in only or measure.METHODS.values():
        long = run not in measure.FROZEN
        file = file_of(f"rate-{run}-{names.SETTINGS['lr'][run]:g}", RATE_SEED) if long else file_of(run, 0)
        for epochs in names.SETTINGS["epochs"] if run == "mae" else (names.SETTINGS["tune_epochs"],):
            for lr in TUNE_RATES:
                found = []
                for k in range(2):
                    net = helpers.load_learner(file, measure.make(names, run, 0)).kept
                    net.read = "mean"
                    found.append(helpers.tuned(net, names.SCALE, k, k, part="val", lr=lr, epochs=epochs)["tuned"])
                print(f"{run}, {epochs} epochs, rate {lr:g}: {found}", flush=True)


def judge(only: list[str] | None) -> None:
    """Judge stored networks again, after a setting of the judges has changed."""
    names = Names(all_names())
    import helpers
    import measure

    for run, seed in queue_order():
        file = file_of(run, seed).with_suffix(".json")
        if (not only or run in only) and file.is_file():
            entry = json.loads(file.read_text(encoding="utf-8"))
            learner = helpers.load_learner(file_of(run, seed), measure.make(names, run, seed))
            entry["log"] |= measure.judged(names, run, learner.kept, seed)
            file.write_text(json.dumps(rounded(entry)) + "\n", encoding="utf-8")
            print(run, seed, flush=True)


def supcon_in(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SupCon's L_in: the mean over the positives inside of the logarithm (Khosla et al. 2020, equation 3); every z has a positive."""
    z = F.normalize(z.float(), dim=1)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    p = (z @ z.T / temperature).masked_fill(own, -torch.inf).softmax(1)
    positive = (labels[:, None] == labels) & ~own
    return -((p * positive).sum(1) / positive.sum(1)).log().mean()


def simclr_class(names: dict[str, Any]) -> type:
    """SimCLR: two views of each picture find each other among all of the batch (Chen et al. 2020, equation 1)."""
    import helpers

    class SimCLR(helpers.Learner):
        def __init__(self) -> None:
            super().__init__(helpers.make_vit(names["SETTINGS"]))
            width = names["SETTINGS"]["width"]
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64))

        def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
            views = torch.cat([helpers.view(images, generator, colour=True) for _ in range(2)])
            z = F.normalize(self.head(self.encoder(views)), dim=1)  # (2B, d)
            scores = (z @ z.T / 0.2).fill_diagonal_(-torch.inf)
            return F.cross_entropy(scores, torch.arange(len(z), device=z.device).roll(len(images)))

    return SimCLR


def masks() -> None:
    """Draw a thousand block masks per grid."""
    draw = Homework(WEEK).namespace()["block_mask"]
    found = {}
    for grid, (count, least) in MASKS.items():
        rng = random.Random(0)
        found[f"{grid}x{grid}"] = torch.stack(
            [draw(grid, grid, count, least, rng).flatten().to(torch.uint8) for _ in range(1000)]
        )
    file = ASSETS / "masks.safetensors"
    save_file(found, file)
    log = file.with_suffix(".json")
    log.write_text(json.dumps({"masks": MASKS, "sha256": digests(log, file)}) + "\n", encoding="utf-8")


def tables(parts: list[str] | None) -> None:
    """Measure parts of assets/tables.json on the runs that there are."""
    names = all_names()
    import measure

    measure.stored(RUNS)
    file = ASSETS / "tables.json"
    found = Tables(file, measure, seminar=names, seeds=SEEDS, retrain=True)
    write_parts(file, found, parts)


def commit(files: list[str] | None) -> None:
    """Write networks of seed 0 and their logs into assets/."""
    names = Names(all_names())
    import helpers
    import measure

    for name in files or COMMITTED:
        run = COMMITTED.get(name, name)
        entry = json.loads(file_of(run, 0).with_suffix(".json").read_text(encoding="utf-8"))
        learner = helpers.load_learner(file_of(run, 0), measure.make(names, run, 0))
        file = ASSETS / f"{name}.safetensors"
        save_backbone(learner.kept if run == "dino" else learner, file)
        write_log(file, entry)
        print(file.name, file.stat().st_size, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("masks", help="draw the block masks")
    for name, what in (
        ("tune", "try settings of fine-tuning on validation concepts"),
        ("judge", "judge what is there again"),
    ):
        commands.add_parser(name, help=what).add_argument("--only", action="append", help="a run; default: all")
    queued = commands.add_parser("queue", help="train what is not there")
    queued.add_argument("--only", action="append", help="a run, or the start of its name and *; default: all of them")
    queued.add_argument("--seed", type=int, help="of one seed only")
    queued.add_argument("--last-first", action="store_true", help="from the end, for a second process")
    measured = commands.add_parser("tables", help="measure the seminar's tables")
    measured.add_argument("--only", action="append", help="a part; default: all of them")
    committed = commands.add_parser("commit", help="write a network into assets/")
    committed.add_argument("--only", action="append", help="a file's name, or a run; default: all that notebooks load")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "masks":
        masks()
    elif args.what == "tune":
        tune(args.only)
    elif args.what == "judge":
        judge(args.only)
    elif args.what == "queue":
        queue(args.only, args.last_first, args.seed)
    elif args.what == "tables":
        tables(args.only)
    else:
        commit(args.only)


if __name__ == "__main__":
    main()
