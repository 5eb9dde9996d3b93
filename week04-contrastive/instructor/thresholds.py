"""What the thresholds of the homework rest on: `python week04-contrastive/instructor/thresholds.py [SEEDS]`.

Trains the baseline, the short SimCLR and the fine-tuning as the notebook does, with several seeds, and prints the worst and best accuracy on six
draws of each check's pictures and what is needed, beside the baselines that a threshold has to exclude. Writes instructor/thresholds.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from lsdl.data.few_labels import load_task, load_unlabelled
from lsdl.features import embed, make_backbone

WEEK = Path(__file__).resolve().parents[1]


def main(seeds: int) -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    homework = Homework(WEEK)
    names = homework.namespace()
    with homework.at_home():
        from helpers import load_backbone

        task, unlabelled, settings = load_task("smoke"), load_unlabelled("smoke"), names["SCALES"]["smoke"]
        classes = len(task.names)

        def measure(check: str, predict) -> dict[str, list[float]]:
            rows = {}
            for part in ("visible", "hidden"):
                case = homework.cases[f"{check}/{part}"]
                found = []
                for draw in range(6):
                    pictures = case.inputs(torch.Generator().manual_seed(draw))[0]
                    labels = case.labels(torch.Generator().manual_seed(draw))
                    found.append(100 * (predict(pictures) == labels).float().mean().item())
                rows[part] = [
                    round(min(found), 1),
                    round(max(found), 1),
                    round(100 * case.at_least, 1),
                ]  # worst, best, needed
            return rows

        def probed(backbone):
            return lambda pictures: names["probe_predictions"](backbone, task.train, pictures)

        table: dict[str, list[dict]] = {}

        def note(name: str, row: dict) -> None:
            table.setdefault(name, []).append(row)
            print(name, row, flush=True)

        for seed in range(seeds):
            baseline, _ = names["train_supervised"](task.train, classes, seed=seed)
            note("baseline", measure("baseline", lambda x, model=baseline: embed(model, x).argmax(1)))
            torch.manual_seed(seed)
            note("random backbone, probe", measure("simclr", probed(make_backbone("smoke"))))
            names["SEED"] = seed  # train_learner reads it
            learner, _ = names["train_learner"]("simclr", unlabelled, names["SHORT"]["simclr"], batch_size=64, size=24)
            note("short SimCLR, probe", measure("simclr", probed(learner.backbone)))
            model, _ = names["train_finetuned"](load_backbone("simclr"), task.train, classes, seed=seed)
            note("fine-tuned SimCLR", measure("finetune", lambda x, model=model: embed(model, x).argmax(1)))
            note("baseline on the fine-tuning check", measure("finetune", lambda x, m=baseline: embed(m, x).argmax(1)))
        probe = names["probe_of"](load_backbone("simclr"), task.train, classes, settings["probe_decay"])
        note("SimCLR probe", measure("probe", lambda x: embed(probe, x).argmax(1)))
    (WEEK / "instructor" / "thresholds.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
