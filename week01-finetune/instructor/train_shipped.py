"""Train the classifiers behind tasks 4 and 5 and measure what the thresholds of the homework rest on.

`python week01-finetune/instructor/train_shipped.py grid`: the learning rate, chosen by validation only (no test picture is looked at). The rule:
one rate for both methods, since task 3 compares them at the same one; the one with the highest mean, over both methods, both
validation sets (ID style and validation style, which count alike) and the seeds, rounded to 0.1 points; of equal ones the smallest. A rate at an
end of the grid is not accepted before the next one (times or through 3) was tried.

`python week01-finetune/instructor/train_shipped.py seeds`: trains with five seeds by the homework's own functions at the rate of the
notebook's settings, ships the first seed's classifiers as assets/{ft,lipsum_ft}.safetensors (half precision) and writes the accuracies
and score changes of every seed.

Both write their part of instructor/shipped.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from lsdl.author.seminar import digests

WEEK = Path(__file__).resolve().parents[1]
LOG = WEEK / "instructor" / "shipped.json"
RATES, GRID_SEEDS, SEEDS = (1e-4, 3e-4, 1e-3, 3e-3), range(3), range(5)
VALIDATION = ("validation", "validation style")

Row = dict[str, float | str]
Train = Callable[[str, int, float], torch.nn.Module]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["grid", "seeds"])
    what = parser.parse_args().what
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    homework = Homework(WEEK)
    names = homework.namespace()
    with homework.at_home():
        from helpers import TEMPLATES, accuracies, accuracy, load_task

        task, small, settings = load_task("smoke"), names["small"], names["SCALES"]["smoke"]["training"]
        head = names["zero_shot_head"](small, task.classes, TEMPLATES)
        zero_shot = names["build_classifier"](small, head)
        methods = {"ft": names["finetune"], "lipsum_ft": names["lipsum_finetune"]}

        def train(method: str, seed: int, lr: float) -> torch.nn.Module:
            return methods[method](small, head, task.train, seed=seed, **settings | {"lr": lr})[0]

        def validate(classifier: torch.nn.Module) -> Row:
            parts = zip(VALIDATION, (task.val, task.val_ood), strict=True)
            return {name: round(accuracy(classifier, data), 2) for name, data in parts}

        log = json.loads(LOG.read_text(encoding="utf-8")) if LOG.exists() else {}
        log |= {"settings": settings, "torch": torch.__version__, "threads": 1}
        if what == "grid":
            log["grid"] = {"zero-shot": validate(zero_shot), "rows": list(grid(train, validate, tuple(methods)))}
            log["grid"]["chosen"] = choose_rate(log["grid"]["rows"])
        else:
            pictures, tokens = homework.cases["lipsum/score_change"].inputs(torch.Generator().manual_seed(0))

            def scores(classifier: torch.nn.Module) -> torch.Tensor:
                return names["random_text_scores"](classifier, small, pictures / 255, tokens)

            def measure(classifier: torch.nn.Module) -> Row:
                change = (scores(classifier) - scores(zero_shot)).square().mean().item()
                tests = {name: round(value, 2) for name, value in accuracies(classifier, task).items()}
                return tests | validate(classifier) | {"score_change": round(change, 4)}

            log["zero-shot"] = measure(zero_shot)
            for method in methods:
                log[method] = list(seeds(method, train, measure, settings["lr"]))
            log["sha256"] = digests(LOG, *(shipped(method) for method in methods))
    LOG.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def shipped(method: str) -> Path:
    return WEEK / "assets" / f"{method}.safetensors"


def grid(train: Train, validate: Callable[[torch.nn.Module], Row], methods: Sequence[str]) -> Iterator[Row]:
    """Validation accuracies in percent of every rate, method and seed."""
    for lr in RATES:
        for method in methods:
            for seed in GRID_SEEDS:
                row = {"lr": lr, "method": method, "seed": seed} | validate(train(method, seed, lr))
                print(row, flush=True)
                yield row


def choose_rate(rows: Sequence[Row]) -> float:
    """The rate that the rule at the top selects; prints the means that it compares."""
    means = {}
    for lr in sorted({row["lr"] for row in rows}):
        values = [row[name] for row in rows if row["lr"] == lr for name in VALIDATION]
        means[lr] = round(statistics.mean(values), 1)
    best = min(means, key=lambda lr: (-means[lr], lr))
    edge = " (at the end of the grid: try a further rate)" if best in (min(means), max(means)) else ""
    print("mean validation accuracy by rate:", means, f"-> {best:g}{edge}")
    return best


def seeds(method: str, train: Train, measure: Callable[[torch.nn.Module], Row], lr: float) -> Iterator[Row]:
    """What `measure` gives for every seed; the first seed's classifier goes to assets/."""
    for seed in SEEDS:
        started = time.time()
        classifier = train(method, seed, lr)
        row = {"seed": seed, "seconds": round(time.time() - started, 1)} | measure(classifier)
        print(method, row, flush=True)
        if seed == SEEDS[0]:
            half = {k: v.half() if v.is_floating_point() else v for k, v in classifier.state_dict().items()}
            save_file(half, shipped(method))
            shipped(method).chmod(0o644)  # safetensors writes files that only their owner may read
        yield row


if __name__ == "__main__":
    main()
