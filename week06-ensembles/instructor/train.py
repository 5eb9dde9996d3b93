"""The trainings behind assets/, by the functions of homework and seminar: nothing is written twice.

    python week06-ensembles/instructor/train.py queue                      trains every run that lacks its file in runs/, in order
    python week06-ensembles/instructor/train.py queue --core               those that the main claims need, and no other
    python week06-ensembles/instructor/train.py queue --only "ft-*"        some runs
    python week06-ensembles/instructor/train.py list                       what there is and what is not
    python week06-ensembles/instructor/train.py tables [--only PART]       measures assets/tables.json on the runs that there are
    python week06-ensembles/instructor/train.py commit [--only FILE]       writes assets/FILE.safetensors from the runs

A run is runs/NAME-SEED.safetensors with its log NAME-SEED.json. Files that are there are not trained again, so a queue that was stopped goes on where
it was; several processes share a queue (NAME-SEED.taken holds the number of the process), and wait for what another one is training.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, seminar_names, write_log, write_parts
from lsdl.settings import load_settings
from lsdl.tables import Names, Tables

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
# what runs and tables take of the homework
HOMEWORK = ("swag_collect", "swag_sample", "greedy_soup", "deep_ensemble_equivalent", "lookaround_round")
POOL, STYLES = 12, ("emojione", "openmoji", "fluent-3d")  # what the homework's report gets
# SETTINGS with which a test runs the seminar with RETRAIN = True: an epoch or two of two steps, two seeds
CHEAP: dict[str, Any] = dict(
    epochs=2,
    batch_size=305,
    pool=6,
    seeds=2,
    split_epochs=[0, 1],
    grid=3,
    cycles=2,
    long=3,
    average_from=1,
    fge_cycle=1,
    fge_epochs=2,
    swag_samples=2,
    swag_columns=2,
    sgld_cycles=2,
    sgld_noisy=1,
)
CHEAP |= dict(
    pretrain_steps=2,
    pretrain_batch=32,
    towers=2,
    tune_epochs=1,
    tuned=4,
    members=3,
    ratios=[1, 4],
    soup_rates=[0.02],
    soup_epochs=[1],
    live_epochs=1,
    live_average=1,
)


def queue_order(settings: dict[str, Any]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Runs and seeds, what is most needed first: those that the main claims need, and further ones."""
    import further

    seeds, few = range(settings["seeds"]), range(min(settings["few_seeds"], settings["seeds"]))
    order = [("pool", seed) for seed in range(settings["pool"])]
    order += [("tower", 0), ("probe", 0)]
    order += [(f"split-{epoch}", seed) for seed in few for epoch in settings["split_epochs"]]
    order += [(f"swa-{rate:g}", seed) for rate in settings["average_rates"] for seed in seeds]
    order += [(kind, seed) for kind in ("sse", "fge") for seed in seeds]
    order += [(f"ft-{head}", seed) for seed in range(settings["tuned"]) for head in ("probe", "own", "shared")]
    order += [("soup", seed) for seed in few]
    star = [f"{kind}-{ratio:g}" for ratio in settings["ratios"] for kind in ("starsse", "transfersse")]
    order += [(name, seed) for seed in few for name in star]
    towers = range(1, settings["towers"])
    order += [(name, which) for which in towers for name in ("tower", "probe")]
    order += [(f"ft-probe-{which}", seed) for which in towers for seed in seeds]
    order += [("sse-long", seed) for seed in few]
    more = [(f"csgld-{heat}", seed) for seed in few for heat in ("cold", "one")]
    return order, more + further.order(settings)


def all_names(settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names of the seminar, and those of the homework's that runs and tables take."""
    names = seminar_names(WEEK, settings)
    homework = Homework(WEEK).namespace()
    return names | {name: homework[name] for name in HOMEWORK}


def alive(claim: Path) -> bool:
    """Whether the process that took a run still runs."""
    try:
        os.kill(int(claim.read_text() or 0), 0)
    except (OSError, ValueError):
        return False
    return True


def take(claim: Path) -> bool:
    """Claim a run for this process; False where another one has it."""
    if claim.is_file() and not alive(claim):
        claim.unlink(missing_ok=True)
    try:
        with open(claim, "x") as stream:
            stream.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def train(names: dict[str, Any], name: str, seed: int) -> None:
    """Train one run and write it with its log; the log last, so that what has a log is whole."""
    import runs

    started = clocks()
    runs._RUNS.clear()  # a process that trains all of them would keep all of them
    run = runs.make(Names(names), name, seed)
    file = runs.write(run, RUNS, name, seed)
    entry = about_run(started) | {"cpu_seconds": round(clocks()[1] - started[1], 1), "run": name, "seed": seed}
    write_log(file, entry | {"log": run.log})
    print(f"{name} {seed}: {entry['cpu_seconds']} CPU s, training error {run.log.get('train error')}", flush=True)


def queue(only: list[str] | None, core: bool = False, settings: dict[str, Any] | None = None) -> None:
    """Train what is not there, in order; what starts from a run that another process is training waits for it."""
    names = all_names(settings)
    import measure  # noqa: F401  it adds the further runs
    import runs

    RUNS.mkdir(exist_ok=True)
    runs.stored(RUNS)
    first, more = queue_order(names["SETTINGS"])
    wanted = [run for run in (first if core else first + more) if not only or any(fnmatch(run[0], o) for o in only)]
    while True:
        left = [run for run in wanted if not log_of(*run).is_file()]
        busy = progress = False
        for name, seed in left:
            claim = log_of(name, seed).with_suffix(".taken")
            if not take(claim):
                busy = True
                continue
            try:
                if not log_of(name, seed).is_file():  # since the list was made
                    train(names, name, seed)
                    progress = True
            except runs.Missing as error:
                print(f"{name} {seed} waits: {error}", flush=True)
            finally:
                claim.unlink()
        if not left or not (busy or progress):
            break
        if not progress:
            time.sleep(5)


def log_of(name: str, seed: int) -> Path:
    return RUNS / f"{name}-{seed}.json"


def show() -> None:
    """Print how many runs of each name there are, and the CPU minutes that they took."""
    spent = 0.0
    counts: dict[str, list[int]] = {}
    for part in queue_order(load_settings("smoke", WEEK / "settings.toml")):
        for name, seed in part:
            done = log_of(name, seed).is_file()
            spent += json.loads(log_of(name, seed).read_text())["cpu_seconds"] / 60 if done else 0
            counts.setdefault(name, [0, 0])[0] += done
            counts[name][1] += 1
    for name, (done, of) in counts.items():
        print(f"{name:20} {done} of {of}")
    print(f"{spent:.0f} CPU minutes")


def tables(parts: list[str] | None) -> None:
    """Measure parts of assets/tables.json on the runs that there are; each is written when it is ready."""
    names = all_names()
    import measure
    import runs

    runs.stored(RUNS)
    file = ASSETS / "tables.json"
    found = Tables(file, measure, seminar=names, seeds=names["SETTINGS"]["seeds"], retrain=True)
    write_parts(file, found, parts)


def commit(files: list[str] | None) -> None:
    """Write what notebooks load into assets/, in half precision: the pool's log p, nets, a start, a tower with fine-tunings."""
    names = seminar_names(WEEK, retrain=True)
    import helpers
    import measure
    import runs

    runs.stored(RUNS)
    s, task, half = Names(names), names["task"], torch.float16

    def pool() -> tuple[dict[str, Any], list[tuple[str, int]]]:
        """Predictions of some nets on validation, test and three styles."""
        chosen = [("pool", seed) for seed in range(POOL)]
        sets = {"val": "val", "test": task.home} | {style: style for style in STYLES}
        found = [runs.get(s, *run).log_p for run in chosen]
        log_p = {name: torch.cat([one[of] for one in found]) for name, of in sets.items()}
        return {"log_p": log_p, "labels": {name: task.labels[of].to(torch.uint8) for name, of in sets.items()}}, chosen

    def of_shipped(*kinds: str, run: list[tuple[str, int]]) -> tuple[dict[str, Any], list[tuple[str, int]]]:
        return {key: state for kind in kinds for key, state in measure.shipped(kind, names).items()}, run

    makers = {
        "pool": pool,
        "nets": lambda: of_shipped("nets", run=[("pool", seed) for seed in range(3)]),
        "start": lambda: of_shipped("start", run=[("pool", 0)]),
        "tower": lambda: of_shipped(
            "tower", "fine-tunings", run=[("probe", 0), *(("ft-probe", seed) for seed in range(4))]
        ),
    }
    for name in files or makers:
        states, chosen = makers[name]()
        file = ASSETS / f"{name}.safetensors"
        helpers.save_states(states, file, half)
        said = {f"{run}-{seed}": json.loads(log_of(run, seed).read_text(encoding="utf-8")) for run, seed in chosen}
        write_log(file, {"runs": said})
        print(file.name, file.stat().st_size, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    queued = commands.add_parser("queue", help="train what is not there")
    queued.add_argument("--only", action="append", help="a run's name, stars allowed; default: all of them")
    queued.add_argument("--core", action="store_true", help="what the main claims need")
    commands.add_parser("list", help="what there is")
    measured = commands.add_parser("tables", help="measure the seminar's tables")
    measured.add_argument("--only", action="append", help="a part; default: all of them")
    committed = commands.add_parser("commit", help="write what notebooks load into assets/")
    committed.add_argument("--only", action="append", help="a file's name: pool, nets, start or tower; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "queue":
        queue(args.only, args.core)
    elif args.what == "tables":
        tables(args.only)
    elif args.what == "commit":
        commit(args.only)
    else:
        show()


if __name__ == "__main__":
    main()
