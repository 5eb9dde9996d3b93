"""How features are judged: probes, nearest neighbours, what colours and pixels alone can tell, and the error of a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from lsdl.data.few_labels import Labelled, load_task, moved
from lsdl.features import embed


def linear_probe(train: Labelled, tests: Mapping[str, Labelled], c: float = 0.1) -> dict[str, Tensor]:
    """scikit-learn's logistic regression on standardised features.

    Args:
        train: features (n, d) and classes.
        tests: the same by name.
        c: inverse strength of the penalty.

    Returns:
        For each test which pictures are right, (n,) bool.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
    model.fit(train[0].numpy(), train[1].numpy())
    return {name: torch.from_numpy(model.predict(x.numpy())) == y for name, (x, y) in tests.items()}


def nearest_neighbours(train: Labelled, tests: Mapping[str, Labelled], k: int = 1) -> dict[str, Tensor]:
    """k nearest neighbours by cosine of centred features, votes weighted by exp(cosine / 0.1) (Wu et al. 2018, section 3.4); as `linear_probe`."""
    mean, classes = train[0].mean(0), int(train[1].max()) + 1
    base = F.normalize(train[0] - mean, dim=1)
    right = {}
    for name, (x, y) in tests.items():
        cosine, index = (F.normalize(x - mean, dim=1) @ base.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes).scatter_add_(1, train[1][index], (cosine / 0.1).exp())
        right[name] = votes.argmax(1) == y
    return right


def frozen_row(source: Callable[[Tensor], Tensor], train: Labelled, tests: Mapping[str, Labelled]) -> dict[str, float]:
    """Linear probe and nearest neighbour of fixed features: accuracies in percent.

    Args:
        source: features (n, d) of pictures (n, 3, size, size) uint8.

    Returns:
        such as {"probe": 17.0, "probe ID": ..., "1-NN": ..., ...}; the column without a test is the mean over the tests.
    """
    known, asked = (source(train[0]), train[1]), {name: (source(x), y) for name, (x, y) in tests.items()}
    row: dict[str, float] = {}
    for way, right in (("probe", linear_probe(known, asked)), ("1-NN", nearest_neighbours(known, asked))):
        row |= with_mean(way, {name: 100 * hits.float().mean().item() for name, hits in right.items()})
    return row


def with_mean(way: str, by_test: Mapping[str, float]) -> dict[str, float]:
    """Columns of a row: "WAY", the mean over the tests, and "WAY TEST"."""
    return {way: sum(by_test.values()) / len(by_test)} | {f"{way} {name}": value for name, value in by_test.items()}


def retrieval(scale: str) -> Callable[[nn.Module], float]:
    """A quick score of a backbone for training curves: the share of validation pictures whose nearest other picture, moved, is of their class."""
    task = load_task(scale, "val")
    images, labels = (torch.cat([a, b])[:2000] for a, b in zip(task.train, task.tests["id"], strict=True))
    queries = moved(images)

    def score(backbone: nn.Module) -> float:
        keys, asked = embed(backbone, images), embed(backbone, queries)
        mean = keys.mean(0)
        cosine = F.normalize(asked - mean, dim=1) @ F.normalize(keys - mean, dim=1).T
        nearest = cosine.fill_diagonal_(-1).argmax(1)  # not the picture itself
        return round(float((labels[nearest] == labels).float().mean()), 4)

    return score


def colours(images: Tensor) -> Tensor:
    """Histogram of 64 colours, (n, 64) square roots of shares: what colour alone can tell."""
    level = (images // 64).long()
    index = level[:, 0] * 16 + level[:, 1] * 4 + level[:, 2]
    return F.one_hot(index.flatten(1), 64).float().mean(1).sqrt()


def pixels(images: Tensor) -> Tensor:
    """Pixels at half the resolution minus the picture's mean, (n, 3 (size/2)^2): what aligned shapes alone can tell."""
    x = F.avg_pool2d(images.float() / 255, 2).flatten(1)
    return x - x.mean(1, keepdim=True)


def clustered_error(right_a: Tensor, right_b: Tensor, cluster: Tensor) -> float:
    """Standard error, in percentage points, of the difference of two accuracies on the same pictures when pictures of one cluster are alike.

    The deviations of the paired differences from their mean are summed within each cluster, and the clusters' sums vary independently (Liang and Zeger 1986);
    with a cluster of its own for each picture it is the error of the paired difference.

    Args:
        right_a, right_b: (n,) bool, which pictures either model gets right; or shares in [0, 1].
        cluster: (n,) int64.
    """
    difference = right_a.double() - right_b.double()
    index = cluster.unique(return_inverse=True)[1]
    sums = torch.zeros(len(index), dtype=torch.float64).index_add_(0, index, difference - difference.mean())
    return 100 * sums.norm().item() / len(difference)
