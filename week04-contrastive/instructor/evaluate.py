"""Linear probe, k-NN and fine-tuning on the few-label task, against random features, colours, raw pixels and training from scratch.

    python evaluate.py features NAME [MODEL.safetensors]     NAME: random, colours, pixels or a name for the checkpoint
    python evaluate.py finetune NAME [MODEL.safetensors]     without a file: from scratch
    python evaluate.py table                                 all of results/
    python evaluate.py compare FIRST SECOND --method probe   names of files in results/, e.g. simclr-seed0-features random-features; "NAME:METHOD" for another method

Hyperparameters are chosen on the validation concepts (in-distribution test, mean of two label seeds), results are on the test concepts.
A seed draws which of the four pictures of a concept is the test, the initial weights (random, scratch, head) and the augmentation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from methods import view
from model import NarrowResNet
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from task import FewLabels, classes_18, few_labels
from torch import Tensor, nn

from lsdl.data import load_emoji
from lsdl.data.augment import random_affine, random_colour
from lsdl.data.clip import normalise

SEEDS, CHOICE_SEEDS = (0, 1, 2), (100, 101)
PROBE_C = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
KNN_K = (1, 3, 5)
EPOCHS, BATCH = 100, 100
BACKBONE_RATES = (
    1e-3,
    3e-3,
    1e-2,
)  # for training from scratch; fine-tuning adds a smaller one and leaves out the largest
RESULTS = Path(__file__).parent / "results"
WIDTH, STEM_STRIDE = 16, 2


def backbone(seed: int, file: Path | None, width: int = WIDTH, stem_stride: int = STEM_STRIDE) -> NarrowResNet:
    """Fresh (file None) or pretrained backbone."""
    torch.manual_seed(seed)
    model = NarrowResNet(width, stem_stride)
    if file is not None:
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()})
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def embed(model: nn.Module, images: Tensor) -> Tensor:
    """(n, 3, 32, 32) uint8 -> (n, d) float32, BatchNorm in eval mode."""
    model.eval()
    return torch.cat([model(normalise(x).contiguous(memory_format=torch.channels_last)) for x in images.split(500)])


def colours(images: Tensor) -> Tensor:
    """Histogram of 64 colours, (n, 64) square roots of shares."""
    level = (images // 64).long()
    index = level[:, 0] * 16 + level[:, 1] * 4 + level[:, 2]
    return F.one_hot(index.flatten(1), 64).float().mean(1).sqrt()


def pixels(images: Tensor) -> Tensor:
    """16 x 16 pixels minus the picture's mean, (n, 768)."""
    x = F.avg_pool2d(images.float() / 255, 2).flatten(1)
    return x - x.mean(1, keepdim=True)


def shifted(images: Tensor) -> Tensor:
    """The same pictures moved, turned and scaled at random (fixed seed): breaks the alignment, which raw pixels live on."""
    generator = torch.Generator().manual_seed(0)
    return (random_affine(images.float() / 255, flip=0.0, generator=generator) * 255).round().to(torch.uint8)


def with_shifted(task: FewLabels) -> FewLabels:
    extra = {f"{k}, moved": (shifted(x), y) for k, (x, y) in task.tests.items()}
    return FewLabels(task.names, task.train, task.tests | extra)


def probe(train: tuple[Tensor, Tensor], tests: dict[str, tuple[Tensor, Tensor]], c: float) -> dict[str, Tensor]:
    """Logistic regression on standardised frozen features; for each test which pictures are right, (n,) bool."""
    mean, std = train[0].mean(0), train[0].std(0) + 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = LogisticRegression(C=c, max_iter=300).fit(((train[0] - mean) / std).numpy(), train[1].numpy())
    return {k: torch.from_numpy(head.predict(((x - mean) / std).numpy())) == y for k, (x, y) in tests.items()}


def knn(train: tuple[Tensor, Tensor], tests: dict[str, tuple[Tensor, Tensor]], k: int) -> dict[str, Tensor]:
    """k nearest by cosine of centred features, votes weighted exp(similarity / 0.1)."""
    mean, classes = train[0].mean(0), int(train[1].max()) + 1
    base = F.normalize(train[0] - mean, dim=1)
    result = {}
    for name, (x, y) in tests.items():
        value, index = (F.normalize(x - mean, dim=1) @ base.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes).scatter_add_(1, train[1][index], (value / 0.1).exp())
        result[name] = votes.argmax(1) == y
    return result


def mild_view(images: Tensor, generator: torch.Generator) -> Tensor:
    images = random_affine(images, flip=0.5, generator=generator)
    return normalise(random_colour(images, strength=0.3, grey=0.1, generator=generator))


def finetune(
    file: Path | None,
    task: FewLabels,
    rate: float,
    strong: bool,
    seed: int,
    epochs: int = EPOCHS,
) -> dict[str, float]:
    """Train backbone and a fresh linear head on the few labels; AdamW, cosine, bfloat16. `rate` is the backbone's; the head's is at least 3e-3."""
    model = backbone(seed, file)
    head = nn.Linear(model.dim, len(task.names))
    groups = [
        {"params": list(model.parameters()), "start": rate},
        {"params": list(head.parameters()), "start": max(rate, 3e-3)},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    images, labels = task.train
    per_epoch = math.ceil(len(images) / BATCH)
    steps, augment = epochs * per_epoch, view if strong else mild_view
    model.train()
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(images), generator=generator).chunk(per_epoch)
        pick = order[step % per_epoch]
        x = augment(images[pick].float() / 255, generator).contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = group["start"] * min(1, (step + 1) / 30) * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(model(x))
        loss = F.cross_entropy(logits.float(), labels[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return {k: head(embed(model, x)).argmax(1) == y for k, (x, y) in task.tests.items()}


def id_accuracy(rows: list[dict[str, Tensor]]) -> float:
    return round(100 * float(torch.cat([r["id"] for r in rows]).float().mean()), 2)


def as_text(rows: list[dict[str, Tensor]]) -> list[dict[str, str]]:
    """Right (1) and wrong (0), one character a picture; on the 100-concept task in the order of the concepts."""
    return [{k: "".join(str(int(v)) for v in right) for k, right in row.items()} for row in rows]


def percent(text: str) -> float:
    return 100 * text.count("1") / len(text)


def measure_features(name: str, file: Path | None) -> dict:
    """Probe and k-NN of frozen features: choose on validation concepts, test with three label seeds; also the 18 classes."""
    data = load_emoji(32)

    def featuriser(seed: int) -> Callable[[Tensor], Tensor]:
        if name in ("colours", "pixels"):
            return {"colours": colours, "pixels": pixels}[name]
        model = backbone(seed, file)
        return lambda images: embed(model, images)

    def prepared(task: FewLabels, seed: int) -> tuple[tuple[Tensor, Tensor], dict[str, tuple[Tensor, Tensor]]]:
        f = featuriser(seed)
        return (f(task.train[0]), task.train[1]), {k: (f(x), y) for k, (x, y) in task.tests.items()}

    validation = [prepared(few_labels(data, "val", s), s) for s in CHOICE_SEEDS]
    test = [prepared(with_shifted(few_labels(data, "test", s)), s) for s in SEEDS]
    result: dict = {"name": name}
    for method, function, grid in (("probe", probe, PROBE_C), ("knn", knn, KNN_K)):
        scores = {v: id_accuracy([function(*t, v) for t in validation]) for v in grid}
        best = max(scores, key=scores.get)
        result[method] = {
            "choice": best,
            "validation": scores,
            "seeds": as_text([function(*t, best) for t in test]),
        }
    for per_class in (10, None):
        scores = {}
        tasks = [prepared(classes_18(data, per_class, s), s) for s in (SEEDS if per_class else SEEDS[:1])]
        # strength chosen on noto's held-out validation concepts
        held = data.select(styles="noto", part="val", held_out=True, labelled=True)
        check = {"id": (featuriser(0)(held.images), held.label)}
        for c in PROBE_C:
            scores[c] = id_accuracy([probe(tasks[0][0], check, c)])
        best = max(scores, key=scores.get)
        key = f"probe 18 classes, {per_class or 'all'} a class"
        result[key] = {
            "choice": best,
            "validation": scores,
            "seeds": as_text([probe(*t, best) for t in tasks]),
        }
    return result


def measure_finetune(name: str, file: Path | None, epochs: int, choose: bool) -> dict:
    data = load_emoji(32)
    rates = BACKBONE_RATES if file is None else (3e-4, *BACKBONE_RATES[:2])
    chosen_file = RESULTS / f"choice-{'scratch' if file is None else 'finetune'}.json"
    if choose:
        scores = {}
        for rate, strong in itertools.product(rates, (False, True)):
            rows = [finetune(file, few_labels(data, "val", s), rate, strong, s, epochs) for s in CHOICE_SEEDS]
            scores[f"{rate:g} {'strong' if strong else 'mild'}"] = id_accuracy(rows)
            print(rate, strong, id_accuracy(rows), flush=True)
        chosen_file.write_text(json.dumps(scores, indent=1))
    scores = json.loads(chosen_file.read_text())
    best = max(scores, key=scores.get)
    rate, strong = float(best.split()[0]), best.endswith("strong")
    started, rows = time.process_time(), []
    for seed in SEEDS:
        rows.append(
            finetune(
                file,
                with_shifted(few_labels(data, "test", seed)),
                rate,
                strong,
                seed,
                epochs,
            )
        )
        print(seed, {k: round(100 * float(v.float().mean()), 1) for k, v in rows[-1].items()}, flush=True)
    seconds = round((time.process_time() - started) / len(SEEDS), 1)
    return {
        "name": name,
        "finetune": {
            "choice": best,
            "validation": scores,
            "seeds": as_text(rows),
            "epochs": epochs,
            "cpu_seconds": seconds,
        },
    }


def table() -> None:
    for file in sorted(RESULTS.glob("[!c]*.json")) + sorted(RESULTS.glob("c[!h]*.json")):
        result = json.loads(file.read_text())
        for method, r in result.items():
            if isinstance(r, dict):
                cells = []
                for key in r["seeds"][0]:
                    v = torch.tensor([percent(row[key]) for row in r["seeds"]])
                    cells.append(f"{key} {v.mean():.1f}±{v.std(correction=1) if len(v) > 1 else 0:.1f}")
                print(f"{result['name']:22} {method:26} [{r['choice']}] " + "  ".join(cells))


def compare(first: str, second: str, method: str) -> None:
    """Difference in percent (first - second) on each test, mean over seeds, with a 95 % bootstrap interval over the concepts."""
    runs = []
    for name in (first, second):
        name, _, other = name.partition(":")
        file = RESULTS / f"{name}.json"
        rows = json.loads(file.read_text())[other or method]["seeds"]
        runs.append({k: torch.tensor([[int(c) for c in row[k]] for row in rows]).float().mean(0) for k in rows[0]})
    for key in runs[0]:
        gap = 100 * (runs[0][key] - runs[1][key])
        index = torch.randint(len(gap), (10000, len(gap)), generator=torch.Generator().manual_seed(0))
        low, high = gap[index].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
        print(f"{first} - {second}, {method}, {key}: {gap.mean():+.1f} [{low:+.1f}, {high:+.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("features", "finetune", "table", "compare"))
    parser.add_argument("name", nargs="?")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument(
        "--keep-choice",
        action="store_true",
        help="use the rate and augmentation chosen before",
    )
    parser.add_argument("--method", default="probe", help="compare: probe, knn or finetune")
    a = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if a.what == "table":
        table()
    elif a.what == "compare":
        compare(a.name, str(a.file), a.method)
    else:
        if a.what == "features":
            result = measure_features(a.name, a.file)
        else:
            result = measure_finetune(a.name, a.file, a.epochs, not a.keep_choice)
        suffix = "" if a.epochs == EPOCHS else f"-{a.epochs}"
        (RESULTS / f"{a.name}-{a.what}{suffix}.json").write_text(json.dumps(result, indent=1) + "\n")
