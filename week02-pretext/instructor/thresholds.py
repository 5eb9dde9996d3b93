"""What the thresholds of the competition rest on: `python week02-pretext/instructor/thresholds.py`, about 40 minutes of one thread.

On the competition's pictures of five keys, with the 300 labels: (a) the model from scratch by three recipes, five seeds; (b) probes of a random trunk
and of pixels; (c) the networks runs/wide-*.safetensors of `train.py queue`, fine-tuned by the first recipe. Writes instructor/thresholds.json, row by
row, so that a stopped run goes on, and prints what leaderboard.toml should say:

    T1   the best recipe's mean over seeds + 2 standard deviations, up to the next 0.01; from scratch it is hardly ever reached
    T2   the mean of the best task, at least T1 + 0.02
    if no task's mean - 2 standard deviations is over T1, T1 is the best task's mean - 2 standard deviations: then scratch is a rival
"""

from __future__ import annotations

import json
import math
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lsdl.data.few_labels import load_task
from lsdl.features import embed, view
from lsdl.probes import linear_probe, pixels

WEEK = Path(__file__).resolve().parents[1]
TABLE, RUNS = WEEK / "instructor" / "thresholds.json", WEEK / "runs"
KEYS, SEEDS = 5, 5
RECIPES = {"scratch": {}, "scratch, twice as long": {"epochs": 160}, "scratch, stronger views": {"augment": view}}
TASKS = ("rotation", "exemplar", "inpainting")


def measure() -> dict[str, list[float]]:
    """Accuracies in [0, 1], the mean over keys, by what was measured: one per seed."""
    import helpers

    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.is_file() else {}
    task = load_task("smoke")
    draws = [helpers.competition_tests("smoke", torch.Generator().manual_seed(key)) for key in range(KEYS)]

    def note(name: str, seed: int, accuracy) -> None:
        """Append what `accuracy()` gives unless it is there."""
        if len(table.setdefault(name, [])) == seed:
            table[name].append(round(float(accuracy()), 4))
            TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
            print(name, seed, table[name][-1], flush=True)

    def tuned(trunk: torch.nn.Module, seed: int, **recipe) -> float:
        model = helpers.fine_tune(trunk, task.train, len(task.names), seed=seed, **recipe)
        return np.mean([(embed(model, x).argmax(1) == y).float().mean().item() for x, y, _ in draws])

    def probed(source) -> float:
        tests = {str(key): (source(x), y) for key, (x, y, _) in enumerate(draws)}
        right = linear_probe((source(task.train[0]), task.train[1]), tests)
        return np.mean([hits.float().mean().item() for hits in right.values()])

    def fresh(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return helpers.make_trunk(20)

    note("pixels, probe", 0, lambda: probed(pixels))
    for seed in range(SEEDS):
        note("random trunk, probe", seed, lambda seed=seed: probed(partial(embed, fresh(seed))))
        for name, recipe in RECIPES.items():
            note(name, seed, lambda seed=seed, recipe=recipe: tuned(fresh(seed), seed, **recipe))
    for run in TASKS:
        for seed in range(3):
            file = RUNS / f"wide-{run}-{seed}.safetensors"
            if file.is_file():
                note(run, seed, lambda seed=seed, file=file: tuned(helpers.load_task_net(file).trunk, seed))
    return table


def advise(table: dict[str, list[float]]) -> None:
    """Print mean and standard deviation of each row, and the thresholds."""
    found = {
        name: (np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0) for name, values in table.items()
    }
    for name, (mean, sd) in found.items():
        print(f"{name:28} {mean:.3f} ± {sd:.3f} ({len(table[name])} seeds)")
    t1 = max(found[name][0] + 2 * found[name][1] for name in RECIPES)
    t1 = math.ceil(round(100 * t1, 6)) / 100
    tasks = {name: found[name] for name in TASKS if name in found}
    if not tasks:
        raise SystemExit(
            "There are no runs/wide-*.safetensors: python week02-pretext/instructor/train.py queue trains them."
        )
    best = max(tasks, key=lambda name: tasks[name][0])
    mean, sd = tasks[best]
    if mean - 2 * sd > t1:
        print(f"T1 = {t1:.2f}, T2 = {max(round(mean, 2), t1 + 0.02):.2f} ({best})")
    else:
        t1 = math.floor(100 * (mean - 2 * sd)) / 100
        print(f"No task passes: T1 = {t1:.2f}, T2 = {max(round(mean, 2), t1 + 0.02):.2f} ({best}); scratch is a rival")


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    advise(measure())
