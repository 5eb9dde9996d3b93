"""What stands in for DomainNet, ViT-B/16 and timm's models when a test runs this week at SCALE="full"."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from lsdl.data.domainnet import DOMAINS


def stand_in(folder: Path) -> dict[str, str]:
    """Write tiny files in the original formats into `folder`; returns the environment that makes the notebooks use them."""
    tiny_domainnet(folder / "domainnet")
    tiny_vit(folder / "vit")
    tiny_timm(folder / "timm")
    return {
        "DOMAINNET": str(folder / "domainnet"),
        "CLIP_MODEL": f"local-dir:{folder / 'vit'}",
        "OTHER_TOWERS": f"local-dir:{folder / 'timm'}",
    }


def tiny_domainnet(root: Path) -> None:
    """Three classes, a few pictures of each domain and split, and the authors' lists."""
    rng = np.random.default_rng(0)
    classes = ("aircraft_carrier", "bird", "zebra")
    for domain in DOMAINS:
        for split, count in (("train", 12), ("test", 3)):
            lines = []
            for label, name in enumerate(classes):
                (root / domain / name).mkdir(parents=True, exist_ok=True)
                for k in range(count):
                    path = f"{domain}/{name}/{domain}_{label:03d}_{split}{k:06d}.jpg"
                    Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(root / path)
                    lines.append(f"{path} {label}")
            (root / f"{domain}_{split}.txt").write_text("\n".join(lines) + "\n")


def tiny_vit(folder: Path) -> None:
    """A random open_clip model with a ViT tower at 224 px and CLIP's own tokenizer, in open_clip's local-directory layout."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 224, "layers": 1, "width": 32, "head_width": 16, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(config["embed_dim"], dict(config["vision_cfg"]), dict(config["text_cfg"]))
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def tiny_timm(folder: Path) -> None:
    """A random timm model at 224 px, in timm's local-directory layout."""
    model = timm.create_model("test_vit", num_classes=0, img_size=224)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 224, 224]}
    config = {
        "architecture": "test_vit",
        "num_classes": 0,
        "model_args": {"img_size": 224},
        "pretrained_cfg": pretrained,
    }
    (folder / "config.json").write_text(json.dumps(config))
