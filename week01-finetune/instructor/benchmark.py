"""Week 01 beside the libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. Everything runs with one thread; each time is the best of several runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


SLOWER = {
    "zero-shot head / open_clip.build_zero_shot_classifier": "it encodes 80 texts at a time, which stay in the cache; ours all at once",
    "weight average / torch.optim.swa_utils.AveragedModel": "it lerps in place; ours returns new memory and has exact ends",
}


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    sys.path.insert(0, str(WEEK))
    homework = Homework(WEEK)
    names = homework.namespace()
    with homework.at_home():
        from helpers import TEMPLATES

        from lsdl.author.data.train import clip_loss
        from lsdl.data.captions import CLASS_NAMES

        small, classes = names["small"], list(CLASS_NAMES.values())
    ft = names["build_classifier"](small, names["zero_shot_head"](small, classes, TEMPLATES))
    start, end = ft.state_dict(), {k: v + 1 if v.is_floating_point() else v for k, v in ft.state_dict().items()}
    averaged = torch.optim.swa_utils.AveragedModel(ft, avg_fn=lambda old, new, _: torch.lerp(old, new, 0.3))
    u, v = (F.normalize(torch.randn(256, 128), dim=1) for _ in range(2))
    scale, logits = torch.tensor(20.0), (torch.randn(500, 18), torch.randn(500, 18))
    mixture = torch.distributions.MixtureSameFamily

    def library_ensemble() -> torch.Tensor:
        mix = torch.distributions.Categorical(torch.tensor([0.7, 0.3]).expand(500, 2))
        parts = torch.distributions.Categorical(logits=torch.stack(logits, 1))
        model = mixture(mix, parts, validate_args=False)
        return torch.stack([model.log_prob(torch.full((500,), c)) for c in range(18)], 1)

    def library_average() -> torch.Tensor:
        averaged.load_state_dict({"module." + k: t for k, t in start.items()} | {"n_averaged": torch.tensor(1)})
        averaged.update_parameters(other)
        return torch.nn.utils.parameters_to_vector(averaged.parameters())

    other = names["build_classifier"](small, start["head"])
    other.load_state_dict(end)

    def our_average() -> torch.Tensor:
        other_state = names["interpolate_weights"](start, end, 0.3)
        return torch.cat([other_state[k].flatten() for k, _ in ft.named_parameters()])

    pairs: dict[str, tuple[Callable, Callable]] = {
        "zero-shot head / open_clip.build_zero_shot_classifier": (
            lambda: names["zero_shot_head"](small, classes, TEMPLATES),
            lambda: open_clip.build_zero_shot_classifier(small.model, small.tokenizer, classes, TEMPLATES).T,
        ),
        "contrastive loss / open_clip.loss.ClipLoss": (
            lambda: clip_loss(u, v, scale),
            lambda: open_clip.loss.ClipLoss()(u, v, logit_scale=scale),
        ),
        "weight average / torch.optim.swa_utils.AveragedModel": (our_average, library_average),
        "output ensemble / torch.distributions.MixtureSameFamily": (
            lambda: names["output_ensemble"](*logits, 0.3),
            library_ensemble,
        ),
    }
    compare(pairs, SLOWER, atol=1e-5)


if __name__ == "__main__":
    main()
