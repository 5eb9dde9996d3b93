"""The longer trainings behind assets/, by the notebooks' own cells: nothing is written twice.

    python week04-contrastive/instructor/train.py pretrain simsiam            one method; assets/simsiam.safetensors and simsiam.json
    python week04-contrastive/instructor/train.py pretrain simsiam --seed 1   other seeds go to runs/ (not committed)
    python week04-contrastive/instructor/train.py tables --only collapse      one part of assets/tables.json, three seeds
    python week04-contrastive/instructor/train.py tables --only methods       evaluates what lies in assets/ and runs/

SimCLR, BYOL and MoCo v2 are the homework's solutions; MoCo v1, SimSiam, DeepCluster and SwAV are the seminar's cells tagged `define`.
One method trains in about a quarter of an hour of one thread; the seminar's `measure_...` functions say what a part costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lsdl.homework import Homework
from lsdl.seminar import seminar_names

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
HOMEWORK = ("simclr", "byol", "moco")  # methods whose code is the homework's solution
BATCH_SIZE, SEEDS = 256, 3
PARTS = (
    "methods",
    "colour",
    "style",
    "temperature",
    "batch",
    "moco",
    "momentum",
    "shuffle",
    "collapse",
    "critics",
    "swav",
)


def about(started: float, **more: Any) -> dict[str, Any]:
    """What a log says of the run."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return more | {"minutes": round((time.time() - started) / 60, 1), "threads": 1, "versions": versions}


def pretrain(method: str, seed: int, steps: int) -> None:
    """Train one method and write its backbone with its log; only the first seed is committed."""
    names, started = Homework(WEEK).namespace() if method in HOMEWORK else seminar_names(WEEK), time.time()
    import helpers

    torch.manual_seed(seed)
    learner, images = names["LEARNERS"][method](), helpers.load_unlabelled("smoke")

    def progress(step: int, loss: float) -> None:
        print(f"{step}/{steps} loss {loss:.4f}, {(time.time() - started) / step:.3f} s a step", flush=True)

    settings = {"batch_size": BATCH_SIZE, "seed": seed}
    watch = {"probe": helpers.retrieval("smoke"), "progress": progress}
    log = helpers.pretrain(learner, images, steps, groups=helpers.load_styles("smoke"), **watch, **settings)
    file = (RUNS / f"seed{seed}" if seed else ASSETS) / f"{method}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    helpers.save_backbone(learner.backbone, file)
    notes = {"notes": learner.notes} if hasattr(learner, "notes") else {}
    text = json.dumps(about(started, method=method, steps=steps, **settings) | notes | {"log": log})
    file.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def evaluate_methods(names: dict[str, Any]) -> dict[str, dict]:
    """Probe and k-NN of every backbone of assets/ and runs/, and of the baselines: {name: {way: {test: [[label seeds] per seed]}}}."""
    import helpers

    sources: dict[str, list[Any]] = {"colours": [helpers.colours], "pixels": [helpers.pixels], "random": []}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        sources["random"].append(names["make_backbone"]("smoke"))
    for file in sorted(ASSETS.glob("*.json")):
        if file.with_suffix(".safetensors").is_file():
            files = [file.with_suffix(".safetensors"), *sorted(RUNS.glob(f"seed*/{file.stem}.safetensors"))]
            sources[file.stem] = [helpers.load_backbone(f) for f in files]
    found = {}
    for name, backbones in sources.items():
        scores = [names["evaluate"](source) for source in backbones]
        found[name] = {way: {t: [s[way][t] for s in scores] for t in by_test} for way, by_test in scores[0].items()}
        log = ASSETS / f"{name}.json"
        if log.is_file():
            found[name]["seconds_per_step"] = json.loads(log.read_text(encoding="utf-8"))["log"]["seconds"]
        print(name, {test: round(sum(map(sum, v)) / sum(map(len, v)), 1) for test, v in found[name]["probe"].items()})
    return found


def measure(parts: Sequence[str]) -> None:
    """Renew parts of assets/tables.json."""
    names, file = seminar_names(WEEK), ASSETS / "tables.json"
    for part in parts:
        started = time.time()
        rows = evaluate_methods(names) if part == "methods" else names["measure_tables"](range(SEEDS), part)[part]
        tables = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        tables[part] = rows
        tables.setdefault("about", {})[part] = about(started)
        lines = [f" {json.dumps(name)}: {json.dumps(rounded(tables[name]))}" for name in sorted(tables)]
        file.parent.mkdir(exist_ok=True)
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{part}: {tables['about'][part]['minutes']} minutes", flush=True)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    train = commands.add_parser("pretrain", help="train one method")
    train.add_argument("method", help="a key of the seminar's or the homework's LEARNERS")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, default=3000)
    tables = commands.add_parser("tables", help="measure the seminar's tables")
    tables.add_argument("--only", choices=PARTS, action="append", help="default: all of them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "pretrain":
        pretrain(args.method, args.seed, args.steps)
    else:
        measure(args.only or PARTS)


if __name__ == "__main__":
    main()
