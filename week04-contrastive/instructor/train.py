"""The longer trainings behind assets/, by the notebooks' own cells: nothing is written twice.

    python week04-contrastive/instructor/train.py pretrain simsiam            one method; assets/simsiam.safetensors and simsiam.json
    python week04-contrastive/instructor/train.py pretrain simsiam --seed 1   other seeds go to runs/ (not committed)
    python week04-contrastive/instructor/train.py pretrain simclr --transductive   all pictures, the tests' without labels, too; to runs/
    python week04-contrastive/instructor/train.py finetune                    the homework's fine-tuned BYOL and MoCo v2; assets/finetuned/
    python week04-contrastive/instructor/train.py tables --only collapse      one part of assets/tables.json, three seeds
    python week04-contrastive/instructor/train.py tables --only methods       evaluates what lies in assets/ and runs/
    python week04-contrastive/instructor/train.py tables --only methods --row byol   renews one row of that table

SimCLR, BYOL and MoCo v2 are the homework's solutions; MoCo v1, SimSiam, DeepCluster and SwAV are the seminar's cells tagged `define`.
One method trains in about a quarter of an hour of one thread; the seminar's `measure_...` functions say what a part costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import timeit
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, digests, rounded, seminar_names, write_table
from lsdl.data.emoji import load_emoji
from lsdl.data.few_labels import load_kinds, load_styles, load_task, load_unlabelled, with_moved
from lsdl.features import save_backbone
from lsdl.memory import peak_bytes
from lsdl.probes import colours, pixels, retrieval
from lsdl.torch_tools import training_autocast

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
HOMEWORK = ("simclr", "byol", "moco")  # methods whose code is the homework's solution
BATCH_SIZE, STEPS, SEEDS = 256, 3000, 3
PARTS = (
    "methods",
    "costs",
    "colour",
    "style",
    "temperature",
    "batch",
    "moco",
    "momentum",
    "shuffle",
    "head",
    "collapse",
    "critics",
    "swav",
)


def pretrain(method: str, seed: int, steps: int | None, transductive: bool = False) -> None:
    """Train one method and write its backbone with its log; only the first seed is committed."""
    names, started = Homework(WEEK).namespace() if method in HOMEWORK else seminar_names(WEEK), clocks()
    import helpers

    if steps is None:  # every seed of a method gets the same
        log = ASSETS / f"{method}.json"
        steps = json.loads(log.read_text(encoding="utf-8"))["steps"] if log.is_file() else STEPS

    torch.manual_seed(seed)
    learner = names["LEARNERS"][method]()
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
    entry = about_run(started, method=method, steps=steps, **settings) | notes | {"log": log}
    entry["sha256"] = digests(file.with_suffix(".json"), file)
    file.with_suffix(".json").write_text(json.dumps(rounded(entry)) + "\n", encoding="utf-8")


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


def sources(names: dict[str, Any]) -> dict[str, list[Any]]:
    """What is evaluated, by name: fixed features, random networks, and every backbone of assets/ with its other seeds in runs/."""
    import helpers

    found: dict[str, list[Any]] = {"colours": [colours], "pixels": [pixels], "random": []}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        found["random"].append(names["make_backbone"]("smoke"))
    for file in sorted(ASSETS.glob("*.json")):
        if file.with_suffix(".safetensors").is_file():
            files = [file.with_suffix(".safetensors"), *sorted(RUNS.glob(f"seed*/{file.stem}.safetensors"))]
            found[file.stem] = [helpers.load_backbone(f) for f in files]
    for file in sorted(RUNS.glob("transductive/*.safetensors")):
        found[f"{file.stem}, transductive"] = [helpers.load_backbone(file)]
    return found


def step_cost(learner: Any, images: torch.Tensor) -> dict[str, float]:
    """Forward and backward pass on two views of `images`: seconds, best of five, and peak memory beyond the learner itself in MB.

    Not taken from the logs of the trainings: those ran beside different other work.
    """
    generator = torch.Generator().manual_seed(0)
    views = [learner.augment(images, generator) for _ in range(2)]
    learner.before_epoch(images, generator)

    def step() -> None:
        with training_autocast("cpu"):
            loss = learner.loss(views, torch.arange(len(images)))
        loss.backward()

    step()  # allocates the gradients
    seconds = min(timeit.repeat(step, number=1, repeat=5))
    return {"seconds_per_step": round(seconds, 3), "megabytes": round(peak_bytes(step) / 1e6, 1)}


def evaluate_methods(
    names: dict[str, Any], homework: dict[str, Any], wanted: Sequence[str] | None = None
) -> dict[str, dict]:
    """Probe, k-NN and fine-tuning of every source and training from scratch: {name: {way: {test: [[label seeds] per seed]}}}.

    "kinds: probe" and so on are the same on week 01's task with ten labels a class. `wanted` names the rows; default: all.
    """
    tasks = {"": partial(load_task, "smoke"), "kinds: ": partial(load_kinds, 10)}
    found: dict[str, dict] = {}

    def trained(load: Any, train: Any, first_seed: int = 0) -> dict[str, list[float]]:
        """Accuracies of what `train` makes, on every test one for each choice of labels."""
        rows: dict[str, list[float]] = {}
        for labels in range(SEEDS):
            task = load(seed=labels)
            model, _ = train(task.train, len(task.names), seed=first_seed + labels)
            for test, accuracy in homework["accuracies"](model, with_moved(task.tests)).items():
                rows.setdefault(test, []).append(accuracy)
        return rows

    def collect(name: str, way: str, rows: list[dict[str, list[float]]]) -> None:
        found.setdefault(name, {})[way] = {test: [row[test] for row in rows] for test in rows[0]}
        shown = {test: round(sum(map(sum, v)) / sum(map(len, v)), 1) for test, v in found[name][way].items()}
        print(name, way, {test: shown[test] for test in shown if "," not in test or test.startswith("id")}, flush=True)

    everything = {"scratch": []} | sources(names)
    if unknown := set(wanted or ()) - set(everything):
        raise SystemExit(f"There is no row {', '.join(sorted(unknown))}: the rows are {', '.join(everything)}.")
    for name in wanted or everything:
        backbones = everything[name]
        if name == "scratch":
            for kind, load in tasks.items():
                rows = [trained(load, homework["train_supervised"], SEEDS * seed) for seed in range(SEEDS)]
                collect(name, f"{kind}finetune", rows)
            continue
        for kind, load in tasks.items():
            scores = [names["evaluate"](source, load=load) for source in backbones]
            for way in scores[0]:
                collect(name, f"{kind}{way}", [score[way] for score in scores])
            if name not in ("colours", "pixels", "random"):
                rows = [trained(load, partial(homework["train_finetuned"], source)) for source in backbones]
                collect(name, f"{kind}finetune", rows)
    return found


def measure_costs(names: dict[str, Any], homework: dict[str, Any]) -> dict[str, dict]:
    """What a committed training took, {method: {"steps", "batch_size", "seconds_per_step", "megabytes"}}; measured one after the other, on a quiet machine."""
    images, learners = load_unlabelled("smoke")[:BATCH_SIZE], {**names["LEARNERS"], **homework["LEARNERS"]}
    found = {}
    for log in sorted(ASSETS.glob("*.json")):
        if log.stem in learners:
            about = json.loads(log.read_text(encoding="utf-8"))
            steps = {key: about[key] for key in ("steps", "batch_size")}
            found[log.stem] = steps | step_cost(learners[log.stem](), images)
            print(log.stem, found[log.stem], flush=True)
    return found


def measure(parts: Sequence[str], rows_wanted: Sequence[str] | None) -> None:
    """Renew parts of assets/tables.json, of "methods" only the wanted rows; SimCLR and BYOL are the homework's."""
    names, homework, file = seminar_names(WEEK), Homework(WEEK).namespace(), ASSETS / "tables.json"

    def simclr(temperature: float) -> Any:
        return homework["SimCLR"](homework["SETTINGS"] | {"temperature": temperature})

    class TargetIsOnline(homework["BYOL"]):
        """BYOL with tau = 0."""

        def after_step(self, progress: float) -> None:
            homework["update_target"](self.target, self.online, 0.0)

    collapse = names["COLLAPSE"] | {
        "BYOL": homework["BYOL"],
        "BYOL, no predictor": lambda: homework["BYOL"](homework["SETTINGS"] | {"predictor": False}),
        "BYOL, tau = 0": TargetIsOnline,
    }
    for part in parts:
        started = clocks()
        if part == "methods":
            rows = evaluate_methods(names, homework, rows_wanted)
            # read afterwards: other rows may be measured at the same time
            before = json.loads(file.read_text(encoding="utf-8")) if rows_wanted and file.is_file() else {}
            rows = before.get(part, {}) | rows
        elif part == "costs":
            rows = measure_costs(names, homework)
        else:
            rows = names["measure_tables"](range(SEEDS), part, simclr=simclr, collapse=collapse)[part]
        about = about_run(started)
        if part == "methods":
            about = before.get("about", {}).get(part, about)  # what the whole table took
        write_table(file, part, rows, about)
        print(f"{part}: {about['minutes']} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    train = commands.add_parser("pretrain", help="train one method")
    train.add_argument("method", help="a key of the seminar's or the homework's LEARNERS")
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
        measure(args.only or PARTS, args.row)


if __name__ == "__main__":
    main()
