"""Week 02's functions beside libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. One thread; each time is the best of several runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as TF
from skimage.color import rgb2lab

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    names = Homework(WEEK).namespace()
    images = torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())

    pairs = {
        "rgb_to_lab / skimage.color.rgb2lab": (
            lambda: names["rgb_to_lab"](images),
            lambda: torch.from_numpy(rgb2lab(rows)).permute(0, 3, 1, 2).float(),
        ),
        "rotation_batch / torchvision's rotate": (
            lambda: names["rotation_batch"](images)[0],
            lambda: torch.stack([TF.rotate(images, 90 * k) for k in range(4)], 1).flatten(0, 1),
        ),
    }
    why = {
        "rgb_to_lab / skimage.color.rgb2lab": "both branches of a curve are computed everywhere, skimage fills them in by a mask",
        "rotation_batch / torchvision's rotate": "torch.rot90 also copies the picture that is not turned",
    }
    compare(pairs, why, atol=0.01)


if __name__ == "__main__":
    main()
