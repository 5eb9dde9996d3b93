"""What stands in for DomainNet, ViT-B/16 and timm's models when this week runs at SCALE="full" without them, and what a step costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import TensorDataset

from lsdl.author.full_scale import Measured, measure
from lsdl.author.homework import Homework
from lsdl.data.domainnet import DOMAINS

WEEK = Path(__file__).resolve().parents[1]
CLASSES = 345
TRAINING_PICTURES = 108_815  # nine of ten of DomainNet's list real_train.txt
# Trainings of the seminar in epochs: three seeds of FT (3 rates, 10 epochs), LP-FT (3, 5) and FT from the zero-shot head (3, 10);
# two other towers, three seeds (2 rates, 10 epochs); from scratch 32 epochs on all, half and a quarter of the pictures.
SEMINAR_EPOCHS = 3 * (30 + 15 + 30) + 2 * 3 * 20 + 32 + 16 + 8


FEWER = {"seeds": 2, "probe_rates": [1e-3], "tune_rates": [3e-6, 1e-5], "second_rates": [1e-6], "other_rates": [1e-5]}
FEWER |= {"alphas": [0.0, 0.5, 1.0], "shots": [4, 16], "draws": 2, "scratch": [[1.0, [1, 2]]]}


def shorten(helpers: ModuleType) -> None:
    """Two epochs of every training instead of ten: what they reach is judged at smoke."""
    train = helpers.train
    helpers.train = lambda *given, epochs, **more: train(*given, epochs=min(epochs, 2), **more)


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


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The homework's trainings of ViT-B/16 (random weights) in the week's own loop, augmentation on the CPU included, on random pictures."""
    import helpers

    names = Homework(WEEK).namespace()
    full = names["SCALES"]["full"]["training"]
    size, classes = (4, 3) if tiny else (full["batch_size"], CLASSES)
    clip, model = (helpers.load_clip("full", device), "stand-in") if tiny else (random_vit_b16(device), "ViT-B/16")
    class_names = [f"class {k}" for k in range(classes)]
    row = partial(Measured, model=model, batch=f"{size} pictures, 224 px")
    batches = 2
    pictures = TensorDataset(torch.rand(batches * size, 3, 224, 224), torch.arange(batches * size) % classes)
    settings = dict(lr=full["lr"], epochs=1, batch_size=size)
    per_epoch = math.ceil(TRAINING_PICTURES / size)

    def head() -> Tensor:
        return names["zero_shot_head"](clip, class_names, helpers.TEMPLATES)

    texts = f"{classes * len(helpers.TEMPLATES)} texts"
    yield measure(row("zero-shot head", batch=texts), lambda: head, device)
    rows = head()
    trainings: dict[str, Callable[[], Any]] = {
        "fine-tuning, homework": lambda: names["finetune"](clip, rows, pictures, **settings),
        "Lipsum-FT, homework": lambda: names["lipsum_finetune"](clip, rows, pictures, **settings),
    }
    for what, call in trainings.items():
        found = measure(row(what, steps=full["epochs"] * per_epoch), lambda c=call: c, device, per_call=batches)
        yield found
        if what.startswith("fine-tuning"):
            yield replace(found, what="fine-tuning, all of the seminar", steps=SEMINAR_EPOCHS * per_epoch)

    def record_features() -> Callable[[], Any]:
        frozen = names["build_classifier"](clip, rows).requires_grad_(False)

        def step(images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
            optimizer.step()  # changes nothing: there are no gradients
            return frozen.tower(images)

        return lambda: helpers.train(step, frozen, pictures, seed=0, **settings | {"lr": 0.0})

    probe = row("features for linear probes, per seed of the seminar", steps=full["epochs"] * per_epoch)
    yield measure(probe, record_features, device, per_call=batches)
    alone = row("of each of these: augmentation on the CPU", steps=full["epochs"] * per_epoch)
    yield replace(measure(alone, lambda: partial(helpers.augment, pictures.tensors[0][:size]), device), peak_bytes=None)


def random_vit_b16(device: torch.device) -> Any:
    """The week's Clip with open_clip's ViT-B/16, random weights."""
    import helpers

    name = "ViT-B-16-quickgelu"
    model = open_clip.create_model(name, pretrained=None).to(device).eval()
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return helpers.Clip(
        model, helpers.ImageTower(model.visual, mean, std).to(device).eval(), open_clip.get_tokenizer(name)
    )
