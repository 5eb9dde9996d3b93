"""Captions of the embedded pictures: what the small CLIP reads, drawn from names, tags and (partly) the kind of thing."""

from __future__ import annotations

import random

from lsdl.data.emoji import CLASSES, Concept

CAPTION_TEMPLATES = ("{}", "a picture of {}", "an emoji of {}", "a drawing of {}", "{} icon")
KIND_TEMPLATES = ("{}, a kind of {kind}", "{kind}: {}", "{}, {kind} emoji")
# what a zero-shot classifier asks with; the last three were never a caption's template
PROMPT_TEMPLATES = (*CAPTION_TEMPLATES, "a kind of {}", "{} emoji", "a small {}")
# the 18 classes in the words that captions use for kinds of things (emojibase's groups and subgroups); no caption is a class label
CLASS_NAMES = {
    "sign": "symbol",
    "dish": "prepared food",
    "paper": "book or paper",
    "vehicle": "transport",
    "sky": "sky and weather",
    "produce": "fruit or vegetable",
    "device": "phone or computer",
}
CLASS_NAMES = {name: CLASS_NAMES.get(name, name) for name in CLASSES}
KIND_RATE = 0.4


def draw_caption(concept: Concept, rng: random.Random, kind_rate: float = KIND_RATE) -> str:
    """One random caption: the name (60 %) or up to three tags, in a template; with `kind_rate` also the group's words.

    Args:
        concept: whose picture is captioned.
        rng: source of the randomness.
        kind_rate: probability that the words of the Unicode group or subgroup ("animal mammal") are added.
    """
    subject = concept.name.lower()
    if concept.tags and rng.random() < 0.4:
        subject = " ".join(rng.sample(concept.tags, min(len(concept.tags), rng.randint(1, 3))))
    if rng.random() >= kind_rate:
        return rng.choice(CAPTION_TEMPLATES).format(subject)
    kind = rng.choice((concept.group, concept.subgroup, concept.subgroup)).replace("-", " ")
    return rng.choice(KIND_TEMPLATES).format(subject, kind=kind)
