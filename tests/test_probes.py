"""Ways to judge features: probes, retrieval, what colours and pixels tell, and the error of a difference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lsdl.data.few_labels import load_unlabelled
from lsdl.probes import clustered_error, colours, linear_probe, nearest_neighbours, pixels, retrieval


def test_probes_find_a_copy() -> None:
    x, y = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20)
    assert nearest_neighbours((x, y), {"same": (x, y)})["same"].all()
    assert linear_probe((x, y), {"same": (x, y)}, 10.0)["same"].all()


def test_nearest_neighbours_vote_by_similarity() -> None:
    base = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.9, -0.1], [-1.4, 2.0], [-1.4, -2.0]])  # its mean is 0
    train, x = (base, torch.tensor([0, 1, 1, 2, 2])), torch.tensor([[1.0, 0.0]])
    for k, winner in (
        (1, 0),
        (3, 1),
        (5, 1),
    ):  # two neighbours of cosine 0.99 win over one of cosine 1, far ones hardly count
        assert nearest_neighbours(train, {"x": (x, torch.tensor([winner]))}, k)["x"].all()


class Means(nn.Module):
    """The mean colour as features."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_retrieval_is_a_share_over_chance_for_mean_colours() -> None:
    assert 0.01 < retrieval("smoke")(Means()) < 0.5


def test_colours_do_not_see_shapes_and_pixels_do_not_see_brightness() -> None:
    images = load_unlabelled("smoke")[:3]
    histogram = colours(images)
    assert histogram.shape == (3, 64) and torch.allclose(histogram.square().sum(1), torch.ones(3))
    assert torch.allclose(histogram, colours(images.flip(3)))
    assert pixels(images).shape == (3, 3 * 16 * 16)
    dark = images // 2
    assert torch.allclose(pixels(dark), pixels(dark + 100), atol=1e-5)


def test_the_clustered_error_is_the_paired_one_without_clusters_and_grows_with_copies() -> None:
    right_a, right_b = torch.arange(100) < 12, (torch.arange(100) >= 12) & (torch.arange(100) < 16)
    alone = clustered_error(right_a, right_b, torch.arange(100))
    assert alone == pytest.approx(math.sqrt(15.36))  # the case by hand of week 04's homework
    copies = clustered_error(right_a.repeat(4), right_b.repeat(4), torch.arange(100).repeat(4))
    assert copies == pytest.approx(alone)
