"""SimCLR, MoCo v2, BYOL and SimSiam on the unlabelled pictures: losses, one step of each, and the training loop.

    python methods.py simclr --steps 4000 --seed 0 --out runs/simclr-seed0        (goes on from state.pt where there is one)

Writes under --out: model.safetensors (backbone, half precision; every 500 steps also under steps/), log.json, state.pt (to go on).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from model import NarrowResNet, mlp
from safetensors.torch import save_file
from task import unlabelled
from torch import Tensor, nn

from lsdl.data import load_emoji
from lsdl.data.augment import random_affine, random_colour, random_resized_crop
from lsdl.data.clip import normalise

BATCH, WARMUP = 256, 100
PROJECTION_HIDDEN, PROJECTION = 256, 128
SETTINGS = {
    "simclr": {"lr": 1.5e-3, "weight_decay": 0.05, "temperature": 0.2},
    "moco": {
        "lr": 1.5e-3,
        "weight_decay": 0.05,
        "temperature": 0.2,
        "momentum": 0.99,
        "queue": 2048,
    },
    "byol": {"lr": 1.5e-3, "weight_decay": 0.05, "momentum": 0.99},
    "simsiam": {"lr": 1.5e-3, "weight_decay": 0.05},
}


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """SimCLR, equation 1, mean over the 2N anchors. z1, z2: (N, d), not normalised."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z)).roll(len(z1)))


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo, equation 1: the key is the positive, the queue (K, d, unit norm) the negatives. query, key: (N, d), not normalised."""
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


def byol_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """BYOL, equation 2, both directions summed, batch mean. p: online predictions, z: target projections, all (N, d)."""
    return 4 - 2 * (F.cosine_similarity(p1, z2.detach()).mean() + F.cosine_similarity(p2, z1.detach()).mean())


def target_momentum(start: float, step: int, steps: int) -> float:
    """BYOL's tau of step k: 1 - (1 - tau_0) (cos(pi k / K) + 1) / 2."""
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """One strong random view, normalised. Shift, scale, turn, crop: alignment is a shortcut; channel swaps, grey: so is colour."""
    images = random_affine(
        images,
        degrees=20,
        scale=(0.7, 1.2),
        translate=0.15,
        flip=0.5,
        generator=generator,
    )
    images = random_resized_crop(images, area=(0.35, 1.0), flip=0.0, generator=generator)
    images = random_colour(images, strength=0.6, grey=0.25, swap=0.4, generator=generator)
    return normalise(images).contiguous(memory_format=torch.channels_last)


class Learner(nn.Module):
    """Backbone, heads and, where the method has them, target network and queue; `loss` is one forward pass."""

    def __init__(self, method: str, width: int, stem_stride: int) -> None:
        super().__init__()
        self.method, self.settings = method, SETTINGS[method]
        backbone = NarrowResNet(width, stem_stride)
        projector = mlp(
            backbone.dim,
            PROJECTION_HIDDEN,
            PROJECTION,
            3 if method == "simsiam" else 2,
            last_norm=method == "simsiam",
        )
        self.online = nn.Sequential(backbone, projector)
        if method in ("byol", "simsiam"):
            self.predictor = mlp(PROJECTION, 64 if method == "simsiam" else PROJECTION_HIDDEN, PROJECTION)
        if method in ("byol", "moco"):
            self.target = copy.deepcopy(self.online).requires_grad_(False)
        if method == "moco":
            self.register_buffer(
                "queue",
                F.normalize(torch.randn(self.settings["queue"], PROJECTION), dim=1),
            )
            self.head = 0

    def loss(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and the projections (N, d) float32 of the first view, for watching collapse."""
        z1, z2 = self.online(x1).float(), self.online(x2).float()
        if self.method == "simclr":
            return nt_xent(z1, z2, self.settings["temperature"]), z1
        if self.method == "simsiam":
            return byol_loss(self.predictor(z1).float(), self.predictor(z2).float(), z1, z2) / 4 - 1, z1
        with torch.no_grad():
            # keys in an order of their own would matter with several devices; one BatchNorm over the batch leaks as in the paper's figure A.1
            t1, t2 = self.target(x1).float(), self.target(x2).float()
        if self.method == "byol":
            return byol_loss(self.predictor(z1).float(), self.predictor(z2).float(), t1, t2), z1
        temperature = self.settings["temperature"]
        loss = (info_nce(z1, t2, self.queue, temperature) + info_nce(z2, t1, self.queue, temperature)) / 2
        self.new_keys = F.normalize(t1, dim=1)
        return loss, z1

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Move the target towards the online network (parameters; BatchNorm's statistics are its own) and fill the queue."""
        if self.method in ("byol", "moco"):
            momentum = self.settings["momentum"]
            if self.method == "byol":
                momentum = target_momentum(momentum, step, steps)
            for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)
        if self.method == "moco":
            index = torch.arange(self.head, self.head + len(self.new_keys)) % len(self.queue)
            self.queue[index] = self.new_keys
            self.head = (self.head + len(self.new_keys)) % len(self.queue)


def spread(z: Tensor) -> float:
    """Mean over channels of the standard deviation of z/|z|, times sqrt(d): about 1 when spread out, 0 when collapsed."""
    return float(F.normalize(z.detach(), dim=1).std(0).mean() * z.shape[1] ** 0.5)


def rate(step: int, steps: int) -> float:
    return min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2


def train(
    method: str,
    steps: int,
    seed: int,
    out: Path,
    width: int,
    stem_stride: int,
    stop: int | None = None,
) -> None:
    """Train for `steps` (the schedule's length), or only up to `stop`; goes on from `out`/state.pt."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = unlabelled(load_emoji(32)).images
    learner = Learner(method, width, stem_stride).to(memory_format=torch.channels_last)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    decay, plain = (
        [p for p in parameters if p.ndim > 1],
        [p for p in parameters if p.ndim <= 1],
    )
    weight_decay = learner.settings["weight_decay"]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
    )
    first, log = (
        0,
        {
            "loss_every_50_steps": [],
            "spread_every_50_steps": [],
            "seconds": 0.0,
            "cpu_seconds": 0.0,
        },
    )
    order = torch.empty(0, dtype=torch.int64)
    if (out / "state.pt").exists():
        state = torch.load(out / "state.pt", weights_only=True)
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        first, log, order = state["step"], json.loads(state["log"]), state["order"]
        learner.head = state["head"]
    wall, cpu = time.time() - log["seconds"], time.process_time() - log["cpu_seconds"]
    losses, spreads = [], []
    for step in range(first, stop or steps):
        if len(order) < BATCH:
            order = torch.randperm(len(images), generator=generator)
        pick, order = order[:BATCH], order[BATCH:]
        batch = images[pick].float() / 255
        x1, x2 = view(batch, generator), view(batch, generator)
        for group in optimizer.param_groups:
            group["lr"] = learner.settings["lr"] * rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss, z = learner.loss(x1, x2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step(step, steps)
        losses.append(loss.item())
        spreads.append(spread(z))
        if (step + 1) % 50 == 0:
            log["loss_every_50_steps"].append(round(sum(losses) / len(losses), 4))
            log["spread_every_50_steps"].append(round(sum(spreads) / len(spreads), 3))
            losses, spreads = [], []
            print(
                f"{step + 1} loss {log['loss_every_50_steps'][-1]} spread {log['spread_every_50_steps'][-1]} "
                f"{(time.time() - wall) / (step + 1):.3f} s/step, cpu {(time.process_time() - cpu) / (step + 1):.3f}",
                flush=True,
            )
        if (step + 1) % 500 == 0 or step + 1 in (steps, stop):
            log |= {
                "method": method,
                "seed": seed,
                "steps": step + 1,
                "of_steps": steps,
                "batch": BATCH,
                "pictures": len(images),
                "width": width,
                "stem_stride": stem_stride,
                "settings": learner.settings,
                "seconds": round(time.time() - wall, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "threads": torch.get_num_threads(),
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                },
            }
            (out / "steps").mkdir(parents=True, exist_ok=True)
            (out / "log.json").write_text(json.dumps(log, indent=1) + "\n")
            save_backbone(learner.online[0], out / "model.safetensors")
            save_backbone(learner.online[0], out / "steps" / f"{step + 1:05d}.safetensors")
            state = {
                "learner": learner.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "step": step + 1,
                "log": json.dumps(log),
                "order": order,
                "head": getattr(learner, "head", 0),
            }
            torch.save(state, out / "state.tmp")
            (out / "state.tmp").rename(out / "state.pt")


def save_backbone(backbone: nn.Module, path: Path) -> None:
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in backbone.state_dict().items()}
    save_file(half, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=SETTINGS)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--stem-stride", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    train(a.method, a.steps, a.seed, a.out, a.width, a.stem_stride, a.stop)
