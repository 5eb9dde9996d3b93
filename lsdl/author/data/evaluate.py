"""Measure a small checkpoint on held-out cells: `python -m lsdl.author.data.evaluate [clip]` writes `evaluation.json` beside it.

Held-out cells of test concepts only. By style: zero-shot accuracy on the 18 classes (eight templates a class), and how often the
concept's own name is nearest, or among the five nearest, of all concepts' names. Every rate has its count and a 95 % Wilson interval.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.data.captions import CLASS_NAMES, KIND_RATE, PROMPT_TEMPLATES, draw_caption
from lsdl.data.clip import CHECKPOINTS, load_small_clip
from lsdl.data.emoji import STYLES, load_emoji, normalise


def wilson(right: Tensor) -> dict[str, float | int | list[float]]:
    """Rate in percent with its 95 % interval (Wilson 1927); `right` is (n,) bool."""
    n, z = len(right), 1.96
    p = right.double().mean().item()
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {
        "percent": round(100 * p, 1),
        "n": n,
        "interval": [round(100 * (centre - half), 1), round(100 * (centre + half), 1)],
    }


def class_word_rate(kind_rate: float, draws: int = 5000) -> float:
    """Share in percent of captions, drawn as for pretraining, that contain a word of their own class's name."""
    rng = random.Random(0)
    concepts = [c for c in load_emoji().concepts if c.label >= 0]
    names = list(CLASS_NAMES.values())
    hits = 0
    for _ in range(draws):
        concept = rng.choice(concepts)
        words = set(re.findall(r"\w+", names[concept.label])) - {"or", "and"}
        hits += bool(words & set(re.findall(r"\w+", draw_caption(concept, rng, kind_rate))))
    return round(100 * hits / draws, 1)


@torch.no_grad()
def evaluate(name: str) -> dict:
    """The evaluation of a checkpoint with a trained text tower."""
    model, tokenizer = load_small_clip(name)
    data = load_emoji(32)

    def encode(texts: list[str]) -> Tensor:
        return F.normalize(model.encode_text(tokenizer(texts)), dim=1)

    prompts = torch.stack([encode([t.format(c) for t in PROMPT_TEMPLATES]).mean(0) for c in CLASS_NAMES.values()])
    head, names = F.normalize(prompts, dim=1), encode([c.name.lower() for c in data.concepts])
    table = {}
    for style in STYLES:
        cells = data.select(styles=style, part="test", held_out=True)
        image = F.normalize(model.encode_image(normalise(cells.images)), dim=1)
        found = (image @ names.T).topk(5, dim=1).indices == cells.concept[:, None]
        labelled = cells.label >= 0
        table[style] = {
            "zero_shot_18_classes": wilson((image @ head.T).argmax(1)[labelled] == cells.label[labelled]),
            "majority": round(100 * cells.label[labelled].bincount().max().item() / int(labelled.sum()), 1),
            "name_top1": wilson(found[:, 0]),
            "name_top5": wilson(found.any(1)),
        }
    rate = class_word_rate(0.0 if name == "clip-nokind" else KIND_RATE)
    return {"candidates": len(data.concepts), "captions_with_a_class_word_percent": rate, "styles": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="clip")
    name = parser.parse_args().checkpoint
    result = evaluate(name)
    (CHECKPOINTS / name / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    for style, row in result["styles"].items():
        print(
            f"{style:21}",
            *(f"{k} {v['percent']} {v['interval']}" for k, v in row.items() if isinstance(v, dict)),
            sep="  ",
        )
    print("captions with a word of their class:", result["captions_with_a_class_word_percent"], "%")


if __name__ == "__main__":
    main()
