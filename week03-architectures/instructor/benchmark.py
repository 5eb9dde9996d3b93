"""Week 03's functions beside libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. One thread; each time is the best of several runs.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.models import swin_transformer
from torch import Tensor, nn

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    names, g = Homework(WEEK).namespace(), torch.Generator().manual_seed(0)
    vit = timm.models.VisionTransformer(img_size=32, patch_size=4, embed_dim=64, depth=4, num_heads=4, num_classes=18)
    state, images = vit.eval().state_dict(), torch.randn(64, 3, 32, 32, generator=g)
    given = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], state["cls_token"][0, 0]
    maps, window, shift = torch.randn(64, 16, 16, 32, generator=g), (4, 4), (2, 2)
    q, k, v = torch.randn(3, 8, 2, 16, 16, 16, generator=g)
    place, start = torch.arange(16), (torch.arange(16) - 2).clamp(0, 11)
    near = (place >= start[:, None]) & (place < start[:, None] + 5)  # of one axis
    near = (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)
    logits, y = torch.randn(3, 256, 100, generator=g), torch.arange(256) % 100
    values = torch.randn(10, 1000, generator=g)

    def our_vit() -> Tensor:
        return names["vit"](names["embed"](images, *given, state["pos_embed"][0], (8, 8)), state, 4)[0]

    def their_windows() -> Tensor:
        cut = swin_transformer.window_partition(maps.roll((-2, -2), (1, 2)), window)
        return swin_transformer.window_reverse(cut, window, 16, 16).roll((2, 2), (1, 2))

    def our_windows() -> Tensor:
        return names["from_windows"](names["to_windows"](maps, window, shift), (16, 16), window, shift)

    def their_loss() -> Tensor:
        p, q = (logits[2] / 3).softmax(1), (logits[1] / 3).log_softmax(1)
        return 0.9 * F.cross_entropy(logits[0], y) + 0.9 * nn.KLDivLoss(reduction="batchmean")(q, p)

    def unscaled(scaler: object) -> Tensor:
        parameters = [nn.Parameter(x.clone()) for x in values]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        scaler.scale(torch.ones(()))
        for p in parameters:
            p.grad = p.detach().clone()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return parameters[-1].detach()

    pairs = {
        "embed and vit / timm": (our_vit, lambda: vit(images)),
        "windows and back / timm": (our_windows, their_windows),
        "relative_index / timm": (
            lambda: names["relative_index"]((7, 7)),
            lambda: swin_transformer.get_relative_position_index(7, 7),
        ),
        "neighborhood_attention / masked scaled_dot_product_attention": (
            lambda: names["neighborhood_attention"](q, k, v, 5),
            lambda: F.scaled_dot_product_attention(
                *(x.flatten(2, 3).contiguous() for x in (q, k, v)), attn_mask=near
            ).unflatten(2, (16, 16)),
        ),
        "deit_loss / KLDivLoss": (lambda: names["deit_loss"](*logits, y, "soft"), their_loss),
        "LossScaler / torch.amp.GradScaler": (
            lambda: unscaled(names["LossScaler"]()),
            lambda: unscaled(torch.amp.GradScaler("cpu")),
        ),
    }
    why = {
        "embed and vit / timm": "timm's attention is fused; ours keeps the probabilities for the class row",
        "neighborhood_attention / masked scaled_dot_product_attention": "keys are gathered, 25 copies of each; on this small map the library's fused dense attention costs less",
        "windows and back / timm": "ours also looks for padding",
        "LossScaler / torch.amp.GradScaler": "torch looks for inf and nan and divides in one call for all gradients, ours in two per gradient",
    }
    compare(pairs, why, atol=1e-4)


if __name__ == "__main__":
    main()
