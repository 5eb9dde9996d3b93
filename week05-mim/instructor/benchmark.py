"""Week 05's functions beside libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. One thread; each time is the best of several runs.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.utils import random_block_mask_image
from skimage.feature import hog
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    names, g = Homework(WEEK).namespace(), torch.Generator().manual_seed(0)
    images = torch.rand(128, 3, 32, 32, generator=g)
    sizes = dict(hidden_size=96, num_hidden_layers=1, num_attention_heads=3, intermediate_size=96)
    config = ViTMAEConfig(image_size=32, patch_size=8, norm_pix_loss=True, mask_ratio=0.75, **sizes)
    mae = ViTMAEForPreTraining(config)
    tokens, noise = torch.randn(128, 16, 96, generator=g), torch.rand(128, 16, generator=g)
    patches = torch.randn(128, 16, 192, generator=g)
    outputs = torch.randn(6, 64, 256, generator=g)
    z, labels = torch.randn(512, 64, generator=g), torch.arange(256).repeat(2)

    def their_masks() -> Tensor:
        random.seed(0)
        return torch.stack([random_block_mask_image((14, 14), 75, 16) for _ in range(20)])

    def our_masks() -> Tensor:
        rng = random.Random(0)
        return torch.stack([names["block_mask"](14, 14, 75, 16, rng) for _ in range(20)])

    def their_histograms() -> Tensor:
        cells = [[hog(c, 9, (4, 4), (1, 1), "L2", feature_vector=False)[:, :, 0, 0] for c in x] for x in images.numpy()]
        cells = torch.from_numpy(np.array(cells)).float().unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        return cells.permute(0, 2, 4, 1, 6, 3, 5).flatten(3).flatten(1, 2)

    def our_dino() -> Tensor:
        return names["dino_loss"](list(outputs[:4]), list(outputs[4:]), torch.zeros(256))

    masking = "random_masking / transformers' ViTMAE"
    pairs = {
        masking: (
            lambda: names["random_masking"](tokens, noise, 0.75)[0],
            lambda: mae.vit.embeddings.random_masking(tokens, noise)[0],
        ),
        "patchify / transformers' ViTMAE": (lambda: names["patchify"](images, 8), lambda: mae.patchify(images)),
        "unpatchify / transformers' ViTMAE": (
            lambda: names["unpatchify"](patches, 8, 4, 4),
            lambda: mae.unpatchify(patches),
        ),
        "dino_loss / lightly's DINOLoss": (
            our_dino,
            lambda: DINOLoss(256, warmup_teacher_temp_epochs=0)(list(outputs[4:]), list(outputs[:4])),
        ),
        "block_mask / lightly's random_block_mask_image": (our_masks, their_masks),
        "hog_targets / scikit-image's hog": (lambda: names["hog_targets"](images), their_histograms),
        "supcon of pairs / lightly's NTXentLoss": (
            lambda: names["supcon"](z, labels, 0.1),
            lambda: NTXentLoss(0.1)(*z.chunk(2)),
        ),
    }
    why = {
        "block_mask / lightly's random_block_mask_image": "hidden patches are counted again for each block, theirs are added up",
        "supcon of pairs / lightly's NTXentLoss": "a mean over any number of positives",
        masking: "a stable sort, where ties count",
        "dino_loss / lightly's DINOLoss": "a loop over pairs of views, theirs is one einsum",
    }
    compare(pairs, why, atol=1e-4)


if __name__ == "__main__":
    main()
