"""Embedded data sets and small checkpoints, and loaders of the full-scale data; README.md is the data card."""

from lsdl.data.domainnet import DOMAINS, DomainNet
from lsdl.data.emoji import CLASSES, MAKERS, PARTS, STYLES, Concept, Emoji, load_emoji

__all__ = ["CLASSES", "DOMAINS", "MAKERS", "PARTS", "STYLES", "Concept", "DomainNet", "Emoji", "load_emoji"]
