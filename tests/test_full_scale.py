"""SCALE="full" runs through: every notebook on tiny files in the original formats, tiny random models and a step or two, so that no
typo waits for a GPU. A week says in FULL what stands in for its data and models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import papermill
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from lsdl.course import find_weeks
from lsdl.data.domainnet import DOMAINS
from lsdl.references import write_references

ROOT = Path(__file__).parents[1]


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


def clip_on_domainnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_domainnet(folder / "domainnet")
    tiny_vit(folder / "vit")
    monkeypatch.setenv("DOMAINNET", str(folder / "domainnet"))
    monkeypatch.setenv("CLIP_MODEL", f"local-dir:{folder / 'vit'}")
    tiny_timm(folder / "timm")
    monkeypatch.setenv("OTHER_TOWERS", f"local-dir:{folder / 'timm'}")


def tiny_stl10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STL-10's binary files with two training pictures a class and one test picture, and CIFAR-10's test batch with two."""
    rng = np.random.default_rng(0)

    def write(name: str, values: np.ndarray) -> None:
        (folder / "stl10" / name).parent.mkdir(parents=True, exist_ok=True)
        values.astype(np.uint8).tofile(folder / "stl10" / name)

    for part, count in (("train", 20), ("test", 10), ("unlabeled", 12)):
        write(f"stl10_binary/{part}_X.bin", rng.integers(0, 256, (count, 3, 96, 96)))
        if part != "unlabeled":
            write(f"stl10_binary/{part}_y.bin", np.arange(count) % 10 + 1)  # STL-10 counts from 1
    records = np.concatenate([np.arange(20)[:, None] % 10, rng.integers(0, 256, (20, 3072))], 1)
    write("cifar-10-batches-bin/test_batch.bin", records)
    monkeypatch.setenv("STL10", str(folder / "stl10"))
    monkeypatch.setenv("SEEDS", "1")


def tiny_llama(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random Llama with grouped queries in Hugging Face's format, and two steps for each training."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    shutil.copy(ROOT / "week08-text" / "assets" / "llama" / "tokenizer.json", folder / "llama")
    monkeypatch.setenv("TEXT_MODEL", str(folder / "llama"))
    monkeypatch.setenv("TEXT_STEPS", "2")


FULL: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "week01-finetune": clip_on_domainnet,
    "week04-contrastive": tiny_stl10,
    "week08-text": tiny_llama,
}
NOTEBOOKS = [
    pytest.param(week / f"{name}.ipynb", id=f"{week.name}-{name}")
    for week in find_weeks(ROOT)
    for name in ("seminar", "homework")
]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_runs_at_full_scale(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    week = tmp_path / notebook.parent.name
    shutil.copytree(notebook.parent, week, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "gradebook", tmp_path / "gradebook", ignore=shutil.ignore_patterns("*.db", "references"))
    write_references(week, key=(ROOT / "gradebook" / "demo.key").read_bytes())
    FULL[week.name](tmp_path, monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    papermill.execute_notebook(
        week / notebook.name,
        tmp_path / "out.ipynb",
        parameters={"SCALE": "full", "DEVICE": "cpu"},
        cwd=week,
        progress_bar=False,
        kernel_name="python3",
    )
