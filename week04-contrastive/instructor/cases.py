"""The inputs of every check of week 04, and why each tolerance is what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from checking import TinyNet, TinyResNet, tiny_encoder, tiny_predictor
from torch import Generator, Tensor, nn

from lsdl.checks import Case
from lsdl.data.augment import random_affine
from lsdl.data.few_labels import load_task

FEW = "a formula over at most a few hundred float32 numbers"
TINY = "a few hundred float32 numbers and up to three steps: rounding stays under 1e-4 of the values"
HALF = "inputs of half precision are exact in float32; computing in half precision is wrong in the third digit"
EXACT = "a rule without rounding"
BASELINE = "training from scratch reached 35-44 % on six draws of such pictures with three seeds, twice; chance is 1 %"
SIMCLR = "200 steps of 64, views of 24 pixels, reached 17-24 % on six draws of such pictures with three seeds, random backbones 8-15 %"
PROBE = "the committed checkpoint's probe has 39-42 % on draws of such pictures, random backbones 8-15 %"
FINETUNED = (
    "fine-tuning reached 46-52 % on six draws of such pictures with three seeds, twice, training from scratch 35-44 %"
)


def integer(low: int, high: int, g: Generator) -> int:
    return int(torch.randint(low, high, (), generator=g))


def randomised(module: nn.Module, g: Generator) -> dict[str, Tensor]:
    """Parameters and buffers of a tiny module; the running statistics are far from those of the batches."""
    state = {}
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=g)
        elif value.ndim == 1 and name.endswith("weight"):
            state[name] = 0.7 + 0.6 * torch.rand(value.shape, generator=g)
        else:
            state[name] = 0.5 * torch.randn(value.shape, generator=g)
    return state


def images(g: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, 3, 8, 8, generator=g)


def projections(g: Generator) -> tuple:
    """Two views' projections that resemble each other, and a temperature."""
    z1 = 2 * torch.randn(5, 6, generator=g)
    return z1, z1 + 1.5 * torch.randn(5, 6, generator=g), round(0.2 + 0.5 * torch.rand((), generator=g).item(), 3)


def half_projections(g: Generator) -> tuple:
    """Half precision with norms over 65504, its largest number."""
    z1, z2, _ = projections(g)
    return tuple((30000 * z / z.abs().amax(1, keepdim=True) * 2).half() for z in (z1, z2)) + (0.1,)


def encoder_steps(g: Generator) -> tuple:
    """Encoder, and for two steps two views of six pictures."""
    return randomised(tiny_encoder(), g), images(g, 2, 2, 6)


def four(g: Generator) -> tuple:
    return tuple(2 * torch.randn(5, 6, generator=g) for _ in range(4))


def large_halves(g: Generator) -> tuple:
    """The same in half precision, with norms over 65504, its largest number."""
    return tuple((60000 * z / z.abs().amax(1, keepdim=True)).half() for z in four(g))


def two_encoders(g: Generator) -> tuple:
    tau = round(0.55 + 0.4 * torch.rand((), generator=g).item(), 3)
    return randomised(tiny_encoder(), g), randomised(tiny_encoder(), g), tau


def byol_steps(g: Generator) -> tuple:
    """Online network, predictor, target, and for three steps two views of six pictures."""
    nets = (randomised(tiny_encoder(), g), randomised(tiny_predictor(), g), randomised(tiny_encoder(), g))
    return *nets, images(g, 3, 2, 6)


def spread_and_collapsed(g: Generator) -> tuple:
    """Directions spread out, at very different lengths; nearly one point; one channel only."""
    z = torch.randn(40, 6, generator=g)
    lengths = 10 * torch.rand(40, 1, generator=g)
    one = torch.zeros(8, 5)
    one[:, 2] = 1 + torch.rand(8, generator=g)
    return z * lengths, z.mean(0) + 0.01 * z, one


def features_of(g: Generator) -> tuple:
    return randomised(TinyResNet(), g), images(g, 10)


def probe_steps(g: Generator) -> tuple:
    return randomised(TinyNet(), g), images(g, 2, 6), torch.randint(4, (2, 6), generator=g)


def to_finetune(g: Generator, blocks: int = 1) -> tuple:
    return randomised(TinyNet(blocks), g), images(g, 2)


def tiny_head(g: Generator) -> tuple[Tensor, Tensor]:
    return 0.5 * torch.randn(4, 6, generator=g), 0.5 * torch.randn(4, generator=g)


def to_group(g: Generator, blocks: int = 1) -> tuple:
    rate = round(0.001 + 0.01 * torch.rand((), generator=g).item(), 4)
    return randomised(TinyNet(blocks), g), *tiny_head(g), (rate, 5 * rate, 0.05)


def deeper(inputs: Callable[[Generator, int], tuple]) -> Callable[[Generator], tuple]:
    """The same inputs for a backbone of two to four blocks: its parameters have other names than in the visible check."""
    return lambda g: inputs(g, integer(2, 5, g))


def finetune_steps(g: Generator) -> tuple:
    return randomised(TinyNet(), g), *tiny_head(g), images(g, 2, 6), torch.randint(4, (2, 6), generator=g)


def judged_logits(g: Generator) -> tuple:
    """Logits for our six classes; their six: 2 has no partner, our 4 has none, and is often the largest logit."""
    mapping = torch.tensor([3, 0, -1, 5, 1, 2])
    labels = torch.randint(6, (40,), generator=g)
    logits = torch.randn(40, 6, generator=g)
    logits[torch.arange(40), mapping[labels]] += 2.0
    logits[:, 4] += 1.0
    return logits, labels, mapping


def nothing_left(g: Generator) -> tuple:
    return torch.randn(3, 4, generator=g), torch.tensor([1, 1, 1]), torch.tensor([0, -1, 2])


def two_masks(g: Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(60, generator=g) < 0.7, torch.rand(60, generator=g) < 0.4


def ring(g: Generator) -> tuple:
    """A queue of seven rows, batches that do not divide it, one larger than the queue."""
    queue = torch.randn(7, 3, generator=g)
    return queue, integer(2, 6, g), [torch.randn(n, 3, generator=g) for n in (3, 3, 2, 9, 4)]


def queued(g: Generator) -> tuple:
    """Queries, keys and a queue of which three rows were never written, one of them between others; a written row has a 0, one no positive number."""
    queue = torch.randn(8, 6, generator=g)
    queue[0, 0], queue[1] = 0, -queue[1].abs()
    queue = nn.functional.normalize(queue, dim=1)
    queue[[2, 6, 7]] = 0
    q, k, temperature = projections(g)
    return q, k, queue, temperature


def queued_half(g: Generator) -> tuple:
    """Queries and keys of half precision."""
    _, _, queue, _ = queued(g)
    return *half_projections(g)[:2], queue, 0.1


def moco_steps(g: Generator) -> tuple:
    """Query and key encoder, a queue with a row never written, three batches of two views."""
    queue = nn.functional.normalize(torch.randn(8, 5, generator=g), dim=1)
    queue[7] = 0
    return randomised(tiny_encoder(), g), randomised(tiny_encoder(), g), queue, images(g, 3, 2, 6)


def moved_pictures() -> Callable[[Generator], tuple[Tensor, Tensor]]:
    """All 300 test pictures in random order, shifted, turned and scaled; uint8, and their classes."""

    def draw(g: Generator) -> tuple[Tensor, Tensor]:
        tests = load_task("smoke").tests.values()
        pictures, labels = (torch.cat([test[i] for test in tests]) for i in (0, 1))
        chosen = torch.randperm(len(labels), generator=g)
        pictures = random_affine(pictures[chosen].float() / 255, flip=0.0, generator=g)
        return (pictures * 255).round().to(torch.uint8), labels[chosen]

    return draw


def predictions(at_least: float, reason: str, draw_of: str | None = None) -> Case:
    draw = moved_pictures()
    return Case(
        lambda g: (draw(g)[0],),
        kind="predictions",
        labels=lambda g: draw(g)[1],
        at_least=at_least,
        reason=reason,
        draw_of=draw_of,
    )


def value(inputs: Callable[[Generator], tuple], reason: str, rtol: float = 1e-4, atol: float = 1e-5) -> Case:
    return Case(inputs, reason=reason, rtol=rtol, atol=atol)


def tiny(inputs: Callable[[Generator], tuple]) -> Case:
    return value(inputs, TINY, 1e-3, 1e-4)


def exact_type(inputs: Callable[[Generator], tuple]) -> Case:
    return Case(inputs, reason=HALF, rtol=1e-4, atol=1e-4, dtype="exact")


CASES = {
    "baseline/visible": predictions(0.34, BASELINE),
    "baseline/hidden": predictions(0.34, BASELINE),
    "nt_xent/value": value(projections, FEW),
    "nt_xent/swapped": value(projections, FEW),
    "nt_xent/two": value(projections, FEW),
    "nt_xent/one": value(projections, FEW),
    "nt_xent/hidden": value(projections, FEW),
    "nt_xent/gradient": value(projections, FEW),
    "nt_xent/hidden_gradient": value(projections, FEW),
    "nt_xent/half": exact_type(half_projections),
    "nt_xent/hidden_half": exact_type(half_projections),
    "simclr_loss/value": tiny(encoder_steps),
    "simclr_loss/hidden": tiny(encoder_steps),
    "simclr/visible": predictions(0.165, SIMCLR, draw_of="baseline/visible"),
    "simclr/hidden": predictions(0.165, SIMCLR),
    "byol_loss/value": value(four, FEW),
    "byol_loss/hidden": value(four, FEW),
    "byol_loss/half": exact_type(large_halves),
    "byol_loss/gradient": value(four, FEW),
    "byol_loss/hidden_gradient": value(four, FEW),
    "update_target/value": value(two_encoders, FEW),
    "update_target/hidden": value(two_encoders, FEW),
    "byol_views_loss/value": tiny(byol_steps),
    "byol_views_loss/hidden": tiny(byol_steps),
    "std_of_z/value": value(spread_and_collapsed, FEW),
    "std_of_z/hidden": value(spread_and_collapsed, FEW),
    "inputs_of/value": value(features_of, FEW),
    "inputs_of/hidden": value(features_of, FEW),
    "linear_probe/value": tiny(probe_steps),
    "linear_probe/hidden": tiny(probe_steps),
    "probe/visible": predictions(0.34, PROBE, draw_of="baseline/visible"),
    "probe/hidden": predictions(0.34, PROBE),
    "build_finetuner/value": value(to_finetune, FEW),
    "build_finetuner/hidden": value(deeper(to_finetune), FEW),
    "parameter_groups/value": value(to_group, EXACT),
    "parameter_groups/hidden": value(deeper(to_group), EXACT),
    "finetune_step/gradients": tiny(finetune_steps),
    "finetune_step/hidden_gradients": tiny(finetune_steps),
    "finetune_step/parameters": tiny(finetune_steps),
    "finetune_step/hidden": tiny(finetune_steps),
    "finetune/visible": predictions(0.45, FINETUNED, draw_of="baseline/visible"),
    "finetune/hidden": predictions(0.45, FINETUNED),
    "mapped_accuracy/value": value(judged_logits, FEW),
    "mapped_accuracy/nothing_left": value(nothing_left, EXACT),
    "mapped_accuracy/hidden": value(judged_logits, FEW),
    "paired_difference/value": value(two_masks, FEW),
    "paired_difference/hidden": value(two_masks, FEW),
    "enqueue_keys/value": value(ring, EXACT),
    "enqueue_keys/hidden": value(ring, EXACT),
    "moco_v2_loss/value": value(queued, FEW),
    "moco_v2_loss/half": exact_type(queued_half),
    "moco_v2_loss/gradient": value(queued, FEW),
    "moco_v2_loss/hidden": value(queued, FEW),
    "moco_steps/value": tiny(moco_steps),
    "moco_steps/hidden": tiny(moco_steps),
}
