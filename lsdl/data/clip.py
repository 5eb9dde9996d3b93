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
import torch
from safetensors.torch import load_file
from torch import nn

CHECKPOINTS = Path(__file__).parent / "checkpoints"
WEIGHTS = "open_clip_model.safetensors"


def load_small_clip(name: str = "clip") -> tuple[open_clip.CLIP, open_clip.SimpleTokenizer]:
    """Load a committed small model.

    Args:
        name: folder under lsdl/data/checkpoints: "clip", "supervised" or "simclr". The last two have a trained image tower only:
            their text tower is all zeros.

    Returns:
        The model in float32 and eval mode, and its tokenizer (texts -> (n, context_length) int64).

    Raises:
        FileNotFoundError: no checkpoint of that name.
    """
    folder = CHECKPOINTS / name
    if not (folder / WEIGHTS).is_file():
        known = ", ".join(sorted(p.parent.name for p in CHECKPOINTS.glob(f"*/{WEIGHTS}")))
        raise FileNotFoundError(f"There is no small checkpoint {name!r}; there are: {known}.")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # open_clip logs every step and warns that it loads no weights: we do
    try:
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    finally:
        logging.disable(before)
    state = load_file(folder / WEIGHTS)
    if all(key.startswith("visual.") for key in state):  # zeros are not worth their room in the file
        state |= {k: torch.zeros_like(v) for k, v in model.state_dict().items() if not k.startswith("visual.")}
    model.load_state_dict(state)
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
