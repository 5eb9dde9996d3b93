"""The functions of week 04's seminar against lightly, scikit-learn and what is known in closed form; every learner trains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal, Normal


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def unit(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def test_info_nce_is_the_mean_log_probability_of_the_partner(seminar, generator) -> None:
    scores = torch.randn(5, 5, generator=generator)
    expected = [-math.log(math.exp(row[i]) / sum(math.exp(s) for s in row)) for i, row in enumerate(scores.tolist())]
    torch.testing.assert_close(seminar.info_nce(scores), torch.tensor(expected).mean())


def test_the_closed_form_critic_is_the_log_ratio_of_the_densities(seminar, generator) -> None:
    x, y, rho = seminar.correlated(3.0, 6, generator)
    assert math.isclose(-seminar.D / 2 * math.log(1 - rho**2), 3.0, rel_tol=1e-9)
    joint = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, rho], [rho, 1.0]]))
    pairs = torch.stack([x[:, None].expand(6, 6, -1), y[None].expand(6, 6, -1)], -1)  # (6, 6, D, 2)
    alone = Normal(0.0, 1.0).log_prob(pairs).sum(-1)
    expected = (joint.log_prob(pairs) - alone).sum(-1)
    torch.testing.assert_close(seminar.log_ratio(x, y, rho), expected, atol=1e-3, rtol=1e-3)


def estimates(seminar, information: float, K: int, repeats: int, generator: torch.Generator) -> np.ndarray:
    """InfoNCE and NWJ with the closed-form critic on fresh batches of K pairs, (repeats, 2)."""
    found = []
    for _ in range(repeats):
        scores = seminar.log_ratio(*seminar.correlated(information, K, generator))
        found.append((math.log(K) - float(seminar.info_nce(scores)), seminar.nwj(1 + scores)))
    return np.array(found)


def test_info_nce_stays_under_log_k_and_nwj_does_not(seminar, generator) -> None:
    found = estimates(seminar, 8.0, 16, 40, generator)
    assert found[:, 0].max() <= math.log(16) < found[:, 1].max()
    low = estimates(seminar, 1.0, 256, 40, generator)
    error = low.std(0) / 40**0.5
    assert (abs(low.mean(0) - 1.0) < 5 * error + 0.02).all()  # both are right where the truth is small


def test_negative_cosine_equals_lightly(seminar, generator) -> None:
    p, z = torch.randn(2, 8, 16, generator=generator)
    torch.testing.assert_close(seminar.negative_cosine(p, z), NegativeCosineSimilarity()(p, z))


def test_the_losses_are_float32_inside_of_autocast(seminar, generator) -> None:
    p, z = torch.randn(2, 64, 128, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        inside = seminar.negative_cosine(p, z), seminar.MoCo(queue=32).compare(p, z)[0]
        assert (p @ z.T).dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for value in inside)
    assert torch.equal(inside[0], seminar.negative_cosine(p, z))


def test_simsiams_loss_equals_lightly(seminar, generator) -> None:
    learner = seminar.SimSiam()
    views = list(torch.randn(2, 8, 3, 32, 32, generator=generator))
    z1, z2 = (learner.projector(learner.backbone(x)) for x in views)
    cosine = NegativeCosineSimilarity()
    expected = (cosine(learner.h(z1), z2) + cosine(learner.h(z2), z1)) / 2
    torch.testing.assert_close(learner.loss(views, torch.arange(8)), expected)


def test_without_predictor_the_stop_gradient_halves_the_gradient(seminar, generator) -> None:
    views, gradients = list(torch.randn(2, 8, 3, 32, 32, generator=generator)), []
    for stop in (True, False):
        learner = seminar.measure.seeded(0, lambda stop=stop: seminar.SimSiam(stop_gradient=stop, predictor=False))
        learner.loss(views, torch.arange(8)).backward()
        gradients.append(learner.backbone.conv1.weight.grad)
    torch.testing.assert_close(2 * gradients[0], gradients[1], atol=1e-6, rtol=1e-3)


def test_mocos_loss_equals_lightly(seminar, generator) -> None:
    learner = seminar.MoCo(queue=24)
    views = list(torch.randn(2, 8, 3, 32, 32, generator=generator))
    q, k, old = learner.f_q(views[0]), learner.keys(views[1]), learner.queue.clone()
    lightly = NTXentLoss(temperature=0.07, memory_bank_size=(24, 128))
    lightly.memory_bank.bank = old.clone()
    loss = learner.loss(views, torch.arange(8))
    torch.testing.assert_close(loss, lightly(q, k), atol=1e-4, rtol=1e-4)
    assert torch.equal(learner.queue, torch.cat([k, old])[:24])
    assert torch.equal(learner.shown, torch.cat([torch.arange(8), torch.full((16,), -1)]))


def test_moco_without_a_queue_takes_the_other_keys_of_the_batch(seminar, generator) -> None:
    learner = seminar.MoCo(queue=0)
    views = list(torch.randn(2, 8, 3, 32, 32, generator=generator))
    q, k = F.normalize(learner.f_q(views[0]), dim=1), learner.keys(views[1])
    loss = learner.loss(views, torch.arange(8))
    torch.testing.assert_close(loss, seminar.info_nce(q @ k.T / 0.07))
    assert len(learner.queue) == len(learner.shown) == 0


def test_mocos_keys_get_no_gradient_and_follow_slowly(seminar, generator) -> None:
    learner = seminar.MoCoOnDevices(queue=16, momentum=0.9, groups=2)
    learner.loss(list(torch.randn(2, 8, 3, 32, 32, generator=generator)), torch.arange(8)).backward()
    assert all(p.grad is None for p in learner.f_k.parameters()) and learner.backbone.conv1.weight.grad is not None
    with torch.no_grad():
        learner.backbone.conv1.weight.add_(1.0)
    before = learner.f_k[0].conv1.weight.clone()
    learner.after_step(0.5)
    torch.testing.assert_close(learner.f_k[0].conv1.weight - before, torch.full_like(before, 0.1), atol=1e-5, rtol=0)


def test_groups_have_their_own_statistics_and_an_order_only_says_who_shares_them(seminar, generator) -> None:
    x, norm = torch.randn(8, 4, generator=generator), torch.nn.BatchNorm1d(4, affine=False)
    apart = seminar.in_groups(norm, x, 2)
    torch.testing.assert_close(apart[:4], F.batch_norm(x[:4], None, None, training=True))
    order = torch.tensor([7, 0, 5, 2, 1, 6, 3, 4])
    mixed = seminar.in_groups(norm, x, 2, order)
    torch.testing.assert_close(mixed[order[:4]], F.batch_norm(x[order[:4]], None, None, training=True))
    assert torch.equal(seminar.in_groups(torch.nn.Identity(), x, 4, order), x)


def test_the_device_is_told_by_its_mean_unless_keys_are_shuffled(seminar) -> None:
    """A network whose features are its device's mean gives the device away; shuffling leaves the guess of one in eight."""

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).mean(0).expand(len(x), -1)

    told = {}
    for shuffle in (True, False):
        torch.manual_seed(0)
        learner = seminar.MoCoOnDevices(queue=0, shuffle=shuffle)
        learner.f_q = learner.f_k = Mean()
        told[shuffle] = seminar.device_told(learner, seminar.mirrored)
    assert told[False] > 80 and told[True] < 30


@pytest.mark.parametrize("shape", [(4, 2), (64, 300), (300, 16)])
def test_sinkhorn_equals_lightly(seminar, generator, shape: tuple[int, int]) -> None:
    scores = 2 * torch.rand(shape, generator=generator) - 1
    for iterations in (1, 3):
        ours = seminar.sinkhorn(scores, 0.05, iterations)
        torch.testing.assert_close(ours, lightly_sinkhorn(scores, iterations, 0.05), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.sum(1), torch.ones(shape[0]))
    balanced = seminar.sinkhorn(scores, 1.0, 100).sum(0)
    torch.testing.assert_close(balanced, torch.full((shape[1],), shape[0] / shape[1]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("queued", [0, 8])
def test_swavs_loss_equals_lightly(seminar, generator, queued: int) -> None:
    learner = seminar.SwAV(prototypes=10, queue=queued)
    learner.queue = unit(2, queued, 128, generator=generator)
    z = unit(4, 6, 128, generator=generator)  # two full-size views and two small ones
    scores = [v @ learner.prototypes.T for v in z]
    old = [v @ learner.prototypes.T for v in learner.queue] if queued else None
    torch.testing.assert_close(
        learner.swapped(list(z)), SwaVLoss(sinkhorn_epsilon=seminar.SETTINGS["epsilon"])(scores[:2], scores[2:], old)[0]
    )
    assert learner.queue.shape == (2, queued, 128)


def test_prototypes_are_frozen_at_first_and_stay_of_unit_length(seminar, generator) -> None:
    learner, z = seminar.SwAV(prototypes=10), [*unit(2, 6, 128, generator=generator).requires_grad_()]
    learner.swapped(z).backward()
    assert learner.prototypes.grad is None
    learner.steps = seminar.SETTINGS["frozen_steps"]
    learner.swapped(z).backward()
    assert learner.prototypes.grad is not None
    with torch.no_grad():
        learner.prototypes.mul_(3)
    learner.after_step(0.5)
    torch.testing.assert_close(learner.prototypes.norm(dim=1), torch.ones(10))


def test_whitening_equals_scikit_learn(seminar, generator) -> None:
    x = torch.randn(50, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    theirs = F.normalize(torch.tensor(PCA(5, whiten=True).fit_transform(x.numpy())), dim=1)
    ours = seminar.whiten(x, 5)
    torch.testing.assert_close(ours @ ours.T, theirs @ theirs.T, atol=1e-4, rtol=1e-3)  # directions have no sign


def test_k_means_equals_scikit_learn_from_the_same_start(seminar, generator) -> None:
    x = torch.randn(240, 3, generator=generator)
    for seed in range(5):
        start = x[torch.randint(len(x), (6,), generator=torch.Generator().manual_seed(seed))]
        theirs = KMeans(6, init=start.numpy(), n_init=1, max_iter=100, tol=0, algorithm="lloyd").fit(x.numpy())
        ours, refilled = seminar.k_means(x, 6, torch.Generator().manual_seed(seed), iterations=100)
        assert not refilled
        assert torch.equal(ours, torch.from_numpy(theirs.labels_).long())


def test_k_means_refills_empty_clusters(seminar) -> None:
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    results = [seminar.k_means(points, 3, torch.Generator().manual_seed(seed), 20) for seed in range(20)]
    assert any(refilled for _, refilled in results)  # the same point was drawn twice
    assert all(len(cluster.unique()) == 3 for cluster, _ in results)


def test_deepclusters_weights_are_a_uniform_choice_of_the_cluster(seminar, generator) -> None:
    learner = seminar.DeepCluster(clusters=3)
    learner.cluster = torch.tensor([0, 0, 0, 0, 1, 2])
    learner.weight = 1 / learner.cluster.bincount(minlength=3)
    views = [torch.randn(6, 3, 32, 32, generator=generator)]
    learner.eval()
    each = F.cross_entropy(learner.head(learner.backbone(views[0])), learner.cluster, reduction="none")
    expected = torch.stack([each[learner.cluster == c].mean() for c in range(3)]).mean()
    torch.testing.assert_close(learner.loss(views, torch.arange(6)), expected)


def test_deepcluster_clusters_anew_with_a_new_head(seminar, generator) -> None:
    learner, images = seminar.DeepCluster(clusters=5, recluster=2), seminar.unlabelled[:60]
    heads = []
    for _ in range(4):
        learner.before_epoch(images, generator)
        heads.append(learner.head.weight.detach().clone())
    assert torch.equal(heads[0], heads[1]) and torch.equal(heads[2], heads[3]) and not torch.equal(heads[0], heads[2])
    assert len(learner.notes["used"]) == 2 and len(learner.notes["nmi"]) == 1 and learner.backbone.training


def test_the_joint_critic_sees_every_pair(seminar, generator) -> None:
    h, other = torch.randn(2, 4, 8, generator=generator)
    critic = seminar.measure.Joint(8, 16)
    scores, _ = critic(h, other)
    one = critic.rest(critic.first(h[2]) + critic.second(other[3]))
    torch.testing.assert_close(scores[2, 3], one[0])


def test_the_seminars_simclr_trains_as_the_homeworks(seminar, solutions) -> None:
    """The tables were measured with the homework's SimCLR: the same start and the same losses, up to the order of sums."""
    logs = []
    for make in (seminar.SimCLR, lambda: solutions["SimCLR"](solutions["SETTINGS"])):
        learner = seminar.measure.seeded(0, make)
        logs.append(seminar.helpers.pretrain(learner, seminar.unlabelled[:64], 3, batch_size=32, every=1))
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=0.02)


@pytest.mark.parametrize(
    "name", ["SimCLR", "MoCo", "MoCoOnDevices", "SimSiam", "DeepCluster", "SwAV", "in-batch", "multi-crop"]
)
def test_every_learner_trains(seminar, name: str) -> None:
    makers = {"in-batch": lambda: seminar.measure.InBatch(seminar), "multi-crop": seminar.SwAV}
    views = seminar.multi_crop if "multi" in name else seminar.helpers.two_views
    learner = seminar.measure.seeded(0, makers.get(name) or getattr(seminar, name))
    before = learner.backbone.conv1.weight.detach().clone()
    log = seminar.helpers.pretrain(learner, seminar.unlabelled[:64], 3, batch_size=32, views=views, every=1)
    assert log["step"] == [1, 2, 3] and all(map(math.isfinite, log["loss"] + log["spread"] + log["rank"]))
    assert not torch.equal(before, learner.backbone.conv1.weight)
    assert learner.z.shape[0] == 32 and not learner.z.isnan().any()
