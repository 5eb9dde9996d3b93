"""Train the small checkpoints that several weeks use: `python -m lsdl.author.data.train {clip,clip-nokind,supervised,simclr}`.

One image tower (CLIP's ModifiedResNet, 32 px), the same pictures, batches, number of steps and schedule for every method; none
sees a held-out cell or the 18 classes as such. `supervised` learns the concepts' names, `simclr` no names at all. Each run writes
`lsdl/data/checkpoints/NAME/` (open_clip's local-directory layout, half precision) with `log.json`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import platform
import random
import time
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import trange

from lsdl.author.seminar import digests
from lsdl.data.augment import random_affine, random_colour, random_resized_crop
from lsdl.data.captions import KIND_RATE, draw_caption
from lsdl.data.clip import CHECKPOINTS, WEIGHTS, small_tokenizer
from lsdl.data.emoji import IMAGE_MEAN, IMAGE_STD, Emoji, load_emoji, normalise
from lsdl.torch_tools import training_autocast

MODEL_CFG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
    "text_cfg": {"context_length": 20, "vocab_size": 3514, "width": 128, "heads": 4, "layers": 2},
}
MERGES = 3000
STEPS = 4500
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARMUP = 256, 1.5e-3, 0.05, 100
METHODS = ("clip", "clip-nokind", "supervised", "simclr")


def write_merges() -> None:
    """Write the first merges of open_clip's byte-pair vocabulary (deterministic bytes: no time stamp)."""
    text = gzip.decompress(Path(open_clip.tokenizer.default_bpe()).read_bytes()).decode("utf-8")
    CHECKPOINTS.mkdir(exist_ok=True)
    lines = text.split("\n")[: MERGES + 1]
    (CHECKPOINTS / "bpe_3000.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode("utf-8"), mtime=0))


class Batches:
    """Draws BATCH different concepts, each in one random style out of the cells that pretraining may see."""

    def __init__(self, pictures: Emoji, seed: int) -> None:
        self.pictures = pictures
        self.generator = torch.Generator().manual_seed(seed)
        cells = [torch.nonzero(pictures.concept == c)[:, 0] for c in range(len(pictures.concepts))]
        self.count = torch.tensor([len(c) for c in cells])
        self.cells = nn.utils.rnn.pad_sequence(cells, batch_first=True)
        self.queue = torch.empty(0, dtype=torch.int64)

    def next(self) -> tuple[Tensor, Tensor]:
        """Returns (BATCH, 3, 32, 32) float in [0, 1] and (BATCH,) concept indices."""
        if len(self.queue) < BATCH:
            order = torch.randperm(len(self.count), generator=self.generator)
            self.queue = order[self.count[order] > 0]
        concepts, self.queue = self.queue[:BATCH], self.queue[BATCH:]
        pick = (torch.rand(BATCH, generator=self.generator) * self.count[concepts]).long()
        return self.pictures.images[self.cells[concepts, pick]].float() / 255, concepts


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mild augmentation of CLIP and supervised training: geometry and colour, normalised."""
    return normalise(random_colour(random_affine(images, generator=generator), strength=0.3, generator=generator))


def simclr_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Strong augmentation: crops, shifts, grey and hue changes, because colour and alignment are shortcuts on this artwork."""
    images = random_affine(images, degrees=20, scale=(0.7, 1.2), translate=0.15, flip=0.0, generator=generator)
    images = random_resized_crop(images, area=(0.35, 1.0), generator=generator)
    return normalise(random_colour(images, strength=0.6, grey=0.25, swap=0.4, generator=generator))


def clip_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy over the batch (Radford et al. 2021, figure 3); image and text: (batch, dim), unit norm."""
    logits = logit_scale * image @ text.T
    target = torch.arange(len(image))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def simclr_loss(z: Tensor, temperature: float = 0.2) -> Tensor:
    """NT-Xent (Chen et al. 2020, equation 1); z: (2 * batch, dim), unit norm, the two views one after the other."""
    similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    n = len(z) // 2
    return F.cross_entropy(similarity, torch.arange(2 * n).roll(n))


def train(method: str, steps: int, seed: int, out: Path) -> None:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    pictures = load_emoji(32)
    pictures = pictures.select(held_out=False)
    batches, tokenizer = Batches(pictures, seed), small_tokenizer()
    kind_rate = 0.0 if method == "clip-nokind" else KIND_RATE
    towers = dict(MODEL_CFG["vision_cfg"]), dict(MODEL_CFG["text_cfg"])  # open_clip changes what it is given
    model = open_clip.CLIP(MODEL_CFG["embed_dim"], *towers)
    head: nn.Module = nn.Identity()
    if method == "supervised":
        head = nn.Linear(MODEL_CFG["embed_dim"], len(pictures.concepts))
    elif method == "simclr":
        head = nn.Sequential(
            nn.Linear(MODEL_CFG["embed_dim"], 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128)
        )
    model = model.to(memory_format=torch.channels_last)  # a quarter faster with bfloat16 below
    parameters = [*(model.parameters() if method.startswith("clip") else model.visual.parameters()), *head.parameters()]
    decay, plain = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, (k + 1) / WARMUP) * (1 + math.cos(math.pi * k / steps)) / 2
    )
    started, losses, mean = time.time(), [], 0.0
    for step in trange(steps, desc=method, mininterval=10):
        images, concepts = batches.next()
        if method == "simclr":
            images = torch.cat([simclr_view(images, generator), simclr_view(images, generator)])
        else:
            images = augment(images, generator)
        with training_autocast("cpu"):
            image = model.visual(images.contiguous(memory_format=torch.channels_last))
            if method.startswith("clip"):
                captions = [draw_caption(pictures.concepts[c], rng, kind_rate) for c in concepts.tolist()]
                text = model.encode_text(tokenizer(captions))
            else:
                output = head(image)
        # losses in float32
        if method == "simclr":
            loss = simclr_loss(F.normalize(output.float(), dim=1))
        elif method == "supervised":
            loss = F.cross_entropy(output.float(), concepts)
        else:
            image, text = F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)
            loss = clip_loss(image, text, model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))  # section 2.4 of the CLIP paper
        mean += loss.item()
        if (step + 1) % 50 == 0:
            losses.append(round(mean / 50, 4))
            mean = 0.0
        if (step + 1) % 500 == 0 or step + 1 == steps:
            log = {
                "method": method,
                "seed": seed,
                "steps": step + 1,
                "of_steps": steps,
                "batch": BATCH,
                "pictures": len(pictures),
                "minutes": round((time.time() - started) / 60, 1),
                "threads": torch.get_num_threads(),
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "open_clip": open_clip.__version__,
                },
                "loss_every_50_steps": losses,
            }
            save(model, out, log)


def save(model: nn.Module, out: Path, log: dict) -> None:
    """Write open_clip's local-directory layout: config, weights in half precision, and the log."""
    out.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": IMAGE_MEAN, "std": IMAGE_STD, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": preprocess}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
    if not log["method"].startswith("clip"):  # the text tower was never trained: load_small_clip makes it zeros
        half = {k: v for k, v in half.items() if k.startswith("visual.")}
    save_file(half, out / WEIGHTS, metadata={"format": "pt"})
    log |= {"sha256": digests(out / "log.json", out / WEIGHTS)}
    (out / "log.json").write_text(json.dumps(log, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: lsdl/data/checkpoints/METHOD")
    args = parser.parse_args()
    write_merges()
    train(args.method, args.steps, args.seed, args.out or CHECKPOINTS / args.method)


if __name__ == "__main__":
    main()
