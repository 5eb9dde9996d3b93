"""Captions of the embedded pictures: what the small CLIP reads, drawn from names, tags and (partly) the kind of thing."""

from __future__ import annotations

import random

from lsdl.data.emoji import CLASSES, Concept

CAPTION_TEMPLATES = ("{}", "a picture of {}", "an emoji of {}", "a drawing of {}", "{} icon")
KIND_TEMPLATES = ("{}, a kind of {kind}", "{kind}: {}", "{}, {kind} emoji")
# what a zero-shot classifier asks with; the last three were never a caption's template
PROMPT_TEMPLATES = (*CAPTION_TEMPLATES, "a kind of {}", "{} emoji", "a small {}")
# The 18 classes in the words that captions use for kinds of things (emojibase's groups and subgroups). A class is made of
# subgroups, so some captions contain its words: evaluate.py says how many, and the checkpoint clip-nokind saw none of them.
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
KIND_RATE = 0.4  # of the captions have words for the kind of thing
KIND_ALONE = 0.4  # of those say nothing else: "a picture of animal mammal"


def draw_caption(concept: Concept, rng: random.Random, kind_rate: float = KIND_RATE) -> str:
    """One random caption: the name (60 %) or up to three tags, in a template; with `kind_rate` also, or only, the group's words.

    Args:
        concept: whose picture is captioned.
        rng: source of the randomness.
        kind_rate: probability of words of the Unicode group or subgroup ("animal mammal"); a share KIND_ALONE of these captions
            says only them. People caption what they see coarsely, too; without it the text tower never learns what a kind's word
            means on its own, as a zero-shot prompt uses it.
    """
    subject = concept.name.lower()
    if concept.tags and rng.random() < 0.4:
        subject = " ".join(rng.sample(concept.tags, min(len(concept.tags), rng.randint(1, 3))))
    if rng.random() >= kind_rate:
        return rng.choice(CAPTION_TEMPLATES).format(subject)
    kind = rng.choice((concept.group, concept.subgroup, concept.subgroup)).replace("-", " ")
    if rng.random() < KIND_ALONE:
        return rng.choice(CAPTION_TEMPLATES).format(kind)
    return rng.choice(KIND_TEMPLATES).format(subject, kind=kind)
