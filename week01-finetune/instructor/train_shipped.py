"""Train the classifiers behind tasks 4 and 5 and measure what the thresholds of the homework rest on.

`python week01-finetune/instructor/train_shipped.py [grid|seeds]`: `grid` tries learning rates on the validation part; `seeds` trains
with five seeds by the homework's own functions, ships the first seed's classifiers as assets/{ft,lipsum_ft}.safetensors (half
precision) and writes instructor/shipped.json: accuracies and score changes of every seed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

WEEK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(WEEK))


def main() -> None:
    from lsdl.homework import Homework

    torch.set_num_threads(1)
    homework = Homework(WEEK)
    names, cases = homework.namespace(), homework.cases
    with homework.at_home():
        from helpers import TEMPLATES, accuracies, accuracy, load_task

        task, small = load_task("smoke"), names["small"]
        head = names["zero_shot_head"](small, task.classes, TEMPLATES)
        images, tokens = cases["lipsum/score_change"].inputs(torch.Generator().manual_seed(0))
        before = names["random_text_scores"](names["build_classifier"](small, head), small, images / 255, tokens)

        def measure(classifier: torch.nn.Module) -> dict[str, float]:
            after = names["random_text_scores"](classifier, small, images / 255, tokens)
            row = accuracies(classifier, task)
            row |= {
                "validation": accuracy(classifier, task.val),
                "validation style": accuracy(classifier, task.val_ood),
            }
            return {k: round(v, 2) for k, v in row.items()} | {"score_change": (after - before).square().mean().item()}

        methods = {"ft": names["finetune"], "lipsum_ft": names["lipsum_finetune"]}
        settings = names["SMOKE"]
        if sys.argv[1:] == ["grid"]:
            print("zero-shot", measure(names["build_classifier"](small, head)))
            for lr in (1e-4, 3e-4, 1e-3, 3e-3):
                for name, method in methods.items():
                    row = measure(method(small, head, task.train, **settings | {"lr": lr})[0])
                    print(
                        lr, name, {k: row[k] for k in ("noto", "OOD", "validation", "validation style", "score_change")}
                    )
            return
        log: dict = {"settings": settings, "torch": torch.__version__, "threads": 1}
        log["zero-shot"] = measure(names["build_classifier"](small, head))
        for name, method in methods.items():
            log[name] = []
            for seed in range(5):
                started = time.time()
                classifier, _ = method(small, head, task.train, seed=seed, **settings)
                log[name].append({"seed": seed, "seconds": round(time.time() - started, 1)} | measure(classifier))
                print(name, log[name][-1], flush=True)
                if seed == 0:
                    state = classifier.state_dict()
                    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
                    save_file(half, WEEK / "assets" / f"{name}.safetensors")
    (WEEK / "instructor" / "shipped.json").write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
