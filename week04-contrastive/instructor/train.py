"""The longer trainings behind assets/, by the notebooks' own cells: nothing is written twice.

    python week04-contrastive/instructor/train.py pretrain simsiam            one method; assets/simsiam.safetensors and simsiam.json
    python week04-contrastive/instructor/train.py pretrain simsiam --seed 1   other seeds go to runs/ (not committed)
    python week04-contrastive/instructor/train.py pretrain simclr --transductive   all pictures, the tests' without labels, too; to runs/
    python week04-contrastive/instructor/train.py finetune                    the homework's fine-tuned BYOL and MoCo v2; assets/finetuned/
    python week04-contrastive/instructor/train.py tables --only collapse      one part of assets/tables.json, three seeds
    python week04-contrastive/instructor/train.py tables --only methods       evaluates what lies in assets/ and runs/
    python week04-contrastive/instructor/train.py tables --only methods --row BYOL   renews one row of that table

The tables are measure.py's generators on the seminar's cells tagged `define`, with the homework's BYOL and MoCo v2 and its functions for
training with labels beside. The checkpoints of SimCLR, BYOL and MoCo v2 are the homework's, those of MoCo v1, SimSiam, DeepCluster and
SwAV the seminar's. One method trains in about a quarter of an hour of one thread; measure.py says what a part costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, digests, rounded, seminar_names, write_log, write_table
from lsdl.data.emoji import load_emoji
from lsdl.data.few_labels import load_styles, load_task, load_unlabelled, with_moved
from lsdl.features import save_backbone
from lsdl.probes import retrieval
from lsdl.tables import Names, Row, Tables

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
HOMEWORK = ("simclr", "byol", "moco")  # methods whose code is the homework's solution
SEMINAR = {"moco-v1": "MoCoOnDevices", "simsiam": "SimSiam", "deepcluster": "DeepCluster", "swav": "SwAV"}
BATCH_SIZE, STEPS, SEEDS = 256, 3000, 3
PARTS = ("methods", "costs", "colour", "style", "temperature", "batch", "moco", "momentum", "shuffle", "head")
PARTS += ("collapse", "critics", "swav")
# SETTINGS with which a test runs the seminar with RETRAIN = True: a step or two, two seeds
CHEAP = dict(seeds=2, label_seeds=1, live_pictures=256, batch_size=64, epochs=0.02, sweep_epochs=0.02)
CHEAP |= dict(
    collapse_epochs=0.02, temperatures=[0.2, 1.0], batch_sizes=[64, 512], queues=[0, 256], momenta=[0.9, 0.999]
)
CHEAP |= dict(live_queue=256, sweep_queue=256, clusters=20, prototypes=30, swav_queue=256)


def pretrain(method: str, seed: int, steps: int | None, transductive: bool = False) -> None:
    """Train one method and write its backbone with its log; only the first seed is committed."""
    names, started = Homework(WEEK).namespace() if method in HOMEWORK else seminar_names(WEEK), clocks()
    import helpers

    if steps is None:  # every seed of a method gets the same
        log = ASSETS / f"{method}.json"
        steps = json.loads(log.read_text(encoding="utf-8"))["steps"] if log.is_file() else STEPS

    torch.manual_seed(seed)
    learner = names["LEARNERS"][method]() if method in HOMEWORK else names[SEMINAR[method]]()
    if transductive:
        everything = load_emoji(32)
        images, groups = everything.images, everything.style
    else:
        images, groups = load_unlabelled("smoke"), load_styles("smoke")

    def progress(step: int, loss: float) -> None:
        print(f"{step}/{steps} loss {loss:.4f}, {(clocks()[0] - started[0]) / step:.3f} s a step", flush=True)

    settings = {"batch_size": BATCH_SIZE, **learner.recipe, "seed": seed}
    watch = {"probe": retrieval("smoke"), "progress": progress}
    log = helpers.pretrain(learner, images, steps, groups=groups, **watch, **settings)
    folder = RUNS / "transductive" if transductive else RUNS / f"seed{seed}" if seed else ASSETS
    file = folder / f"{method}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(learner.backbone, file)
    notes = {"notes": learner.notes} if hasattr(learner, "notes") else {}
    write_log(file, about_run(started, method=method, steps=steps, **settings) | notes | {"log": log})


def finetune() -> None:
    """Fine-tune the committed BYOL and MoCo v2 by the homework's own function; what the homework loads where it trains SimCLR's live."""
    import helpers

    homework, task, log = Homework(WEEK).namespace(), load_task("smoke"), {}
    file_of = {method: ASSETS / "finetuned" / f"{method}.safetensors" for method in ("byol", "moco")}
    for method, file in file_of.items():
        started = clocks()
        model, losses = homework["train_finetuned"](helpers.load_backbone(method), task.train, len(task.names), seed=0)
        file.parent.mkdir(exist_ok=True)
        save_backbone(model, file)
        scores = homework["accuracies"](helpers.load_finetuned(method), with_moved(task.tests))
        about = about_run(started, seed=0, **homework["FINETUNE"])
        log[method] = about | {"loss": [losses[0], losses[-1]], "accuracies": scores}
        print(method, log[method], flush=True)
    path = ASSETS / "finetuned" / "log.json"
    log["sha256"] = digests(path, *file_of.values())
    path.write_text(json.dumps(rounded(log), indent=1) + "\n", encoding="utf-8")


def all_names() -> dict[str, Any]:
    """The seminar's names with tables that are measured, and what measure.py takes of the homework beside."""
    names, homework = seminar_names(WEEK), Homework(WEEK).namespace()
    import measure

    class TargetIsOnline(homework["BYOL"]):
        """BYOL with tau = 0."""

        def after_step(self, progress: float) -> None:
            homework["update_target"](self.target, self.online, 0.0)

    names |= {name: homework[name] for name in ("BYOL", "MoCoV2", "train_supervised", "train_finetuned", "accuracies")}
    names["BYOL_VARIANTS"] = {
        "BYOL": homework["BYOL"],
        "BYOL, no predictor": lambda: homework["BYOL"](homework["SETTINGS"] | {"predictor": False}),
        "BYOL, tau = 0": TargetIsOnline,
    }
    names["tables"] = Tables(ASSETS / "tables.json", measure, seminar=names, seeds=SEEDS, retrain=True)
    return names


def methods(names: dict[str, Any], wanted: Sequence[str] | None) -> list[Row]:
    """The part "methods" on the backbones in assets/ and runs/; of other rows than the wanted ones the committed numbers."""
    import helpers
    import measure

    s = Names(names)
    for method, file in measure.FILES.items():
        for seed in range(SEEDS):
            path = (RUNS / f"seed{seed}" if seed else ASSETS) / f"{file}.safetensors"
            measure._PRETRAINED[method, seed] = helpers.load_backbone(path), {}
    rows = list(names["tables"].measure("methods"))
    path = RUNS / "transductive" / "simclr.safetensors"
    if path.is_file():
        rows += [
            row | {"method": "SimCLR, transductive"}
            for row in measure.scored(s, "SimCLR", 0, helpers.load_backbone(path))
        ]
    if not wanted:
        return rows
    before = json.loads((ASSETS / "tables.json").read_text(encoding="utf-8"))["methods"]
    if unknown := set(wanted) - {row["method"] for row in rows}:
        raise SystemExit(f"There is no row {', '.join(sorted(unknown))} to measure.")
    kept = [row for row in before if row["method"] not in wanted]
    return kept + [row for row in rows if row["method"] in wanted]


def measure_tables(parts: Sequence[str], rows_wanted: Sequence[str] | None) -> None:
    """Renew parts of assets/tables.json, of "methods" only the wanted rows."""
    names, file = all_names(), ASSETS / "tables.json"
    for part in parts:
        started = clocks()
        rows = methods(names, rows_wanted) if part == "methods" else names["tables"][part]
        about = about_run(started)
        if part == "methods" and rows_wanted:  # what the whole table took
            about = json.loads(file.read_text(encoding="utf-8"))["about"].get(part, about)
        write_table(file, part, rows, about)
        print(f"{part}: {len(rows)} rows, {about['minutes']} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    train = commands.add_parser("pretrain", help="train one method")
    train.add_argument("method", choices=(*HOMEWORK, *SEMINAR))
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, help=f"default: as many as the committed checkpoint had, or {STEPS}")
    train.add_argument("--transductive", action="store_true", help="on all pictures, those of the tests among them")
    commands.add_parser("finetune", help="fine-tune what the homework loads")
    tables = commands.add_parser("tables", help="measure the seminar's tables")
    tables.add_argument("--only", choices=PARTS, action="append", help="default: all of them")
    tables.add_argument("--row", action="append", help='a row of "methods"; default: all of them')
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "pretrain":
        pretrain(args.method, args.seed, args.steps, args.transductive)
    elif args.what == "finetune":
        finetune()
    else:
        measure_tables(args.only or PARTS, args.row)


if __name__ == "__main__":
    main()
