"""Week 05's further sections: LooC's spaces, grounds and mosaics."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_keys_of_the_same_picture_are_negatives_of_their_own_query_only(seminar: SimpleNamespace) -> None:
    q, k, same = unit(3, 8), unit(3, 8, seed=1), unit(3, 2, 8, seed=2)
    expected = [F.cross_entropy(q[b] @ torch.cat([k, same[b]]).T / 0.2, torch.tensor(b)) for b in range(3)]
    torch.testing.assert_close(seminar.own_key(q, k, same), torch.stack(expected).mean())
    torch.testing.assert_close(seminar.own_key(q, k), F.cross_entropy(q @ k.T / 0.2, torch.arange(3)))


def test_views_that_share_a_seed_differ_by_their_turn_only(seminar: SimpleNamespace) -> None:
    x, turn = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    turned, still = seminar.changed(x, turn, 5), seminar.changed(x, 0 * turn, 5)
    expected = torch.stack([image.rot90(k, (1, 2)) for k, image in enumerate(still)])
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    assert (seminar.changed(x, turn, 6) - turned).abs().max() > 0.05


@pytest.mark.parametrize(("spaces", "views"), [(1, 2), (3, 4)])
def test_looc_shows_the_encoder_a_query_and_a_key_per_space(seminar: SimpleNamespace, spaces: int, views: int) -> None:
    learner, seen = seminar.LooC(spaces), []
    learner.encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    learner.loss(images, torch.arange(4), torch.Generator().manual_seed(0)).backward()
    assert seen == [4 * views]
    assert all(p.grad is not None for p in learner.heads.parameters())


def test_a_hole_is_ground_only_if_the_border_reaches_it(seminar: SimpleNamespace) -> None:
    ring = torch.full((2, 3, 5, 5), 255, dtype=torch.uint8)
    ring[..., 1:4, 1:4], ring[..., 2, 2] = 0, 255
    ring[1, :, 1, 2] = 255  # the second ring is open
    assert seminar.white_ground(ring)[:, 2, 2].tolist() == [False, True]
    assert seminar.white_ground(ring)[0].sum() == 16


def test_new_grounds_leave_the_thing_as_it_is(seminar: SimpleNamespace) -> None:
    index, generator = torch.arange(0, 600, 60), torch.Generator().manual_seed(0)
    images = seminar.unlabelled[index]
    new, fixed = seminar.DiLo(), seminar.DiLo(new=False)
    a, b = (new.photographs(images, index, generator) for _ in range(2))
    thing, ground = (new.share[index] == share for share in (0, 1))
    x = images / 255
    assert torch.equal(a[thing.expand_as(a)], x[thing.expand_as(a)])
    assert ((a - b).abs() * ground).mean() > 0.05
    c, d = (fixed.photographs(images, index, generator) for _ in range(2))
    assert torch.equal(c, d)


def test_a_mosaic_is_read_row_by_row(seminar: SimpleNamespace) -> None:
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 2, 2)
    made = seminar.mosaic(images, torch.tensor([[3, 0, 1, 2]]))
    assert made.shape == (1, 3, 4, 4)
    assert made[0, 0, ::2, ::2].tolist() == [[3, 0], [1, 2]]
