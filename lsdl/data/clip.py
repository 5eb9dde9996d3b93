"""The course's small CLIP and its sister checkpoints, and open_clip's ViT-B/16 for full scale.

The small CLIP is an ordinary `open_clip` model in a local directory (`open_clip_config.json`, `open_clip_model.safetensors`),
trained by `python -m lsdl.author.data.train clip` on the embedded pictures and captions (lsdl/data/README.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import open_clip
from torch import nn

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def load_small_clip(name: str = "clip") -> tuple[open_clip.CLIP, open_clip.SimpleTokenizer]:
    """Load a committed small model through open_clip's own API.

    Args:
        name: folder under lsdl/data/checkpoints: "clip", "supervised" or "simclr" (the last two: image tower only is trained).

    Returns:
        The model in float32 and eval mode, and its tokenizer (texts -> (n, context_length) int64).

    Raises:
        FileNotFoundError: no checkpoint of that name.
    """
    folder = CHECKPOINTS / name
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in CHECKPOINTS.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"There is no small checkpoint {name!r}; there are: {known}.")
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))  # open_clip logs every step at INFO
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.float().eval(), small_tokenizer()


def small_tokenizer() -> open_clip.SimpleTokenizer:
    """CLIP's byte-pair tokenizer cut to its first 3,000 merges, context length 20."""
    return open_clip.SimpleTokenizer(bpe_path=str(CHECKPOINTS / "bpe_3000.txt.gz"), context_length=20)


def load_vit_b16(name: str | None = None, pretrained: str | None = None) -> tuple[nn.Module, Callable]:
    """Load the model of the papers, for full scale: open_clip's ViT-B/16 with OpenAI's weights, or another one.

    Args:
        name: an open_clip model, or "local-dir:FOLDER"; default: the environment variable CLIP_MODEL, else ViT-B-16-quickgelu
            (OpenAI's weights were trained with QuickGELU, which open_clip keeps as a model name of its own).
        pretrained: an open_clip tag (fetched from its hub on first use) or a checkpoint file; default: CLIP_PRETRAINED, else "openai".

    Returns:
        The model in eval mode (its `visual.image_size`, `.image_mean` and `.image_std` say how to prepare pictures) and its tokenizer.
    """
    name = name or os.environ.get("CLIP_MODEL", "ViT-B-16-quickgelu")
    local = name.startswith("local-dir:")
    weights = None if local else pretrained or os.environ.get("CLIP_PRETRAINED", "openai")
    model, _, _ = open_clip.create_model_and_transforms(name, pretrained=weights)
    return model.eval(), open_clip.get_tokenizer(name)
