"""Write the figures and measured tables of the data card: `python -m lsdl.author.data.card` (about a minute).

Everything between a pair of `<!-- card:NAME -->` and `<!-- /card -->` in README.md is written by this script, so that the
card cannot disagree with the data; the rest is text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import lsdl.data
from lsdl.author.markers import fill
from lsdl.data.clip import CHECKPOINTS
from lsdl.data.emoji import CLASSES, MAKERS, PARTS, STYLES, Emoji, load_emoji

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DATA = Path(lsdl.data.__file__).parent
BINS = 4  # levels a colour channel: 64 colours
SHOWN = ("dog", "octopus", "grinning face", "hot beverage", "pizza", "banana", "hammer", "bicycle", "violin", "church")
SHOWN += ("thumbs up", "t-shirt", "soccer ball", "sunflower", "envelope", "cloud with rain", "laptop", "astronaut")


def colour_histogram(images: torch.Tensor) -> np.ndarray:
    """The share of each of BINS**3 colours, square root taken (so that the white ground does not drown the rest).

    Args:
        images: (n, 3, height, width) uint8.

    Returns:
        (n, BINS**3) float64; the squares of a row sum to 1.
    """
    level = images.long() * BINS // 256
    colour = (level[:, 0] * BINS + level[:, 1]) * BINS + level[:, 2]
    counts = torch.nn.functional.one_hot(colour.flatten(1), BINS**3).sum(1)
    return (counts / counts.sum(1, keepdim=True)).double().sqrt().numpy()


def baseline(data: Emoji) -> str:
    """Table: classes from colours alone, trained on noto's training concepts, tested on held-out cells of each style."""
    fit = data.select(styles=["noto"], part="train", labelled=True)
    tune = data.select(styles=["noto"], part="val", labelled=True)
    x, y = colour_histogram(fit.images), fit.label.numpy()
    x_tune, y_tune = colour_histogram(tune.images), tune.label.numpy()
    models = [LogisticRegression(C=c, max_iter=5000).fit(x, y) for c in (0.1, 1.0, 10.0, 100.0)]
    model = max(models, key=lambda m: m.score(x_tune, y_tune))  # chosen on noto's val part, as a reader would have to
    majority = np.bincount(y).argmax()
    rows = ["| style | test pictures | majority class | colours alone | standard error |", "|---|---|---|---|---|"]
    for style in STYLES:
        test = data.select(styles=[style], part="test", held_out=True, labelled=True)
        label, n = test.label.numpy(), len(test)
        accuracy = model.score(colour_histogram(test.images), label)
        error = (accuracy * (1 - accuracy) / n) ** 0.5
        where = " (in distribution)" if style == "noto" else ""
        rows.append(f"| {style}{where} | {n} | {(label == majority).mean():.1%} | {accuracy:.1%} | {error:.1%} |")
    return "\n".join(rows)


def checkpoints() -> str:
    """Table: the committed checkpoints and their zero-shot accuracy on held-out pictures, from their logs and evaluations."""
    rows = ["| checkpoint | learns from | steps | minutes | zero-shot, noto | other styles | name is nearest, noto |"]
    rows.append("|---" * 7 + "|")
    targets = {
        "clip": "captions",
        "clip-nokind": "captions without kinds",
        "supervised": "names of things as classes",
        "simclr": "two views of a picture",
    }
    for name, target in targets.items():
        if not (CHECKPOINTS / name).is_dir():
            continue
        log = json.loads((CHECKPOINTS / name / "log.json").read_text(encoding="utf-8"))
        cells, evaluation = ["", "", ""], CHECKPOINTS / name / "evaluation.json"
        if evaluation.is_file():
            styles = json.loads(evaluation.read_text(encoding="utf-8"))["styles"]
            noto = styles["noto"]
            others = [row["zero_shot_18_classes"]["percent"] for style, row in styles.items() if style != "noto"]
            cells = [with_interval(noto["zero_shot_18_classes"]), f"{min(others)} to {max(others)} %"]
            cells.append(with_interval(noto["name_top1"]))
        rows.append(f"| {name} | {target} | {log['steps']} | {log['minutes']:.0f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def with_interval(rate: dict) -> str:
    low, high = rate["interval"]
    return f"{rate['percent']} % ({low} to {high})"


def part_of(data: Emoji) -> torch.Tensor:
    """(concepts,) int64: the part of every concept."""
    parts = torch.zeros(len(data.concepts), dtype=torch.int64)
    parts[data.concept] = data.part
    return parts


def totals(data: Emoji) -> str:
    parts, concepts = part_of(data), data.concepts
    families = {c.family for c in concepts}
    largest = sorted((sum(c.family == f for c in concepts) for f in families), reverse=True)[:3]
    seen = int((~data.held_out).sum())
    each = ", ".join(f"{int((parts == p).sum())} {name}" for p, name in enumerate(PARTS))
    return (
        f"{len(data):,} pictures of {len(concepts):,} concepts ({each}; {sum(c.label >= 0 for c in concepts):,} with a class) in "
        f"{len(STYLES)} styles; {seen:,} pictures are visible to pretraining, {len(data) - seen:,} are held out. "
        f"{len(families):,} families, the largest of {largest[0]}, {largest[1]} and {largest[2]} concepts."
    )


def counts_per_style(data: Emoji) -> str:
    rows = [
        "| style | maker | pictures | train | val: visible / held out | test: visible / held out |",
        "|---|---|---|---|---|---|",
    ]
    for style in STYLES:

        def count(part: str, held_out: bool, style: str = style) -> int:
            return len(data.select(styles=[style], part=part, held_out=held_out, labelled=True))

        split = [f"{count(p, False)} / {count(p, True)}" for p in ("val", "test")]
        rows.append(
            f"| {style} | {MAKERS[style]} | {len(data.select(styles=[style]))} | {count('train', False)} | {' | '.join(split)} |"
        )
    return "\n".join(rows)


def counts_per_class(data: Emoji) -> str:
    parts = part_of(data)
    labels = torch.tensor([c.label for c in data.concepts])
    rows = ["| class | train | val | test | all |", "|---|---|---|---|---|"]
    for k, name in [*enumerate(CLASSES), (-1, "(none)")]:
        n = torch.bincount(parts[labels == k], minlength=len(PARTS)).tolist()
        rows.append(f"| {name} | {' | '.join(map(str, n))} | {sum(n)} |")
    return "\n".join(rows)


def montage(data: Emoji) -> None:
    """card/montage.png: concepts down, styles across; a red frame marks a held-out cell."""
    cell, gap = 64, 4
    index = {c.name: i for i, c in enumerate(data.concepts)}
    where = {(int(s), int(c)): k for k, (s, c) in enumerate(zip(data.style, data.concept, strict=True))}
    sheet = np.full((len(SHOWN) * (cell + gap), len(STYLES) * (cell + gap), 3), 255, np.uint8)
    for row, name in enumerate(SHOWN):
        for column in range(len(STYLES)):
            k = where.get((column, index[name]))
            if k is None:
                continue
            y, x = row * (cell + gap), column * (cell + gap)
            if data.held_out[k]:
                sheet[y : y + cell + gap, x : x + cell + gap] = (220, 40, 40)
            sheet[y + 2 : y + 2 + cell, x + 2 : x + 2 + cell] = data.images[k].permute(1, 2, 0)
    figure, axes = plt.subplots(figsize=(8, 14))
    axes.imshow(sheet)
    axes.set_xticks([(cell + gap) * (k + 0.5) for k in range(len(STYLES))], STYLES, rotation=45, ha="left")
    axes.set_yticks([(cell + gap) * (k + 0.5) for k in range(len(SHOWN))], SHOWN)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(figure, "montage.png")


def class_chart(data: Emoji) -> None:
    """card/classes.png: concepts of every class, by part."""
    parts, labels = part_of(data), torch.tensor([c.label for c in data.concepts])
    figure, axes = plt.subplots(figsize=(8, 3.2))
    bottom = np.zeros(len(CLASSES))
    for p, (name, colour) in enumerate(zip(PARTS, ("#4477aa", "#ccbb44", "#ee6677"), strict=True)):
        n = np.array([int(((labels == k) & (parts == p)).sum()) for k in range(len(CLASSES))])
        axes.bar(CLASSES, n, bottom=bottom, label=name, color=colour)
        bottom += n
    axes.set_ylabel("concepts")
    axes.tick_params(axis="x", rotation=60)
    axes.legend(frameon=False)
    save(figure, "classes.png")


def save(figure: plt.Figure, name: str) -> None:
    (DATA / "card").mkdir(exist_ok=True)
    # no version or date in the file: the same data give the same bytes
    figure.savefig(DATA / "card" / name, dpi=80, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def tables(data: Emoji) -> dict[str, str]:
    """What README.md quotes from the data, by name."""
    return {
        "totals": totals(data),
        "styles": counts_per_style(data),
        "classes": counts_per_class(data),
        "baseline": baseline(load_emoji(32)),
        "checkpoints": checkpoints(),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = load_emoji(64)
    path = DATA / "README.md"
    path.write_text(fill(path.read_text(encoding="utf-8"), "card", tables(data)), encoding="utf-8")
    montage(data)
    class_chart(data)
    print(f"{path.name} and {DATA.name}/card are up to date.")


if __name__ == "__main__":
    main()
