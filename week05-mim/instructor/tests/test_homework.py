"""Week 05's solutions beside transformers, lightly, scikit-image and plain loops on the same inputs, and its cases by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.utils import random_block_mask_image
from skimage.feature import hog
from timm.layers import resample_abs_pos_embed
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from lsdl.author.homework import Homework, Namespace

SEMINAR_SHARE = 0.25


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def checking(homework: Homework) -> ModuleType:
    with homework.at_home():
        import checking

        return checking


# Tasks 1 to 3


@pytest.fixture(scope="module")
def vitmae() -> ViTMAEForPreTraining:
    """A tiny MAE on pictures of 12 px with random numbers everywhere."""
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    decoder = {f"decoder_{name}": value for name, value in sizes.items()}
    config = ViTMAEConfig(image_size=12, patch_size=3, mask_ratio=0.5, norm_pix_loss=True, **sizes, **decoder)
    model = ViTMAEForPreTraining(config).eval()
    for k, parameter in enumerate(model.parameters()):
        parameter.data += 0.3 * draw(*parameter.shape, seed=k)
    return model


def test_patches_are_those_of_transformers(solutions: Namespace, vitmae: ViTMAEForPreTraining) -> None:
    images = draw(2, 3, 12, 12)
    patches = solutions["patchify"](images, 3)
    assert torch.equal(patches, vitmae.patchify(images))
    wide = draw(2, 20, 27, seed=1)
    assert torch.equal(solutions["unpatchify"](wide, 3, 4, 5), vitmae.unpatchify(wide, (12, 15)))
    assert torch.equal(solutions["unpatchify"](patches, 3, 4, 4), images)


def test_mae_is_transformers_from_noise_to_loss(solutions: Namespace, vitmae: ViTMAEForPreTraining) -> None:
    images, noise = draw(3, 3, 12, 12), torch.rand(3, 16, generator=torch.Generator().manual_seed(1))
    expected = vitmae(images, noise=noise)
    tokens = draw(3, 16, 8, seed=2)
    kept, mask, restore = solutions["random_masking"](tokens, noise, 0.5)
    for found, theirs in zip((kept, mask, restore), vitmae.vit.embeddings.random_masking(tokens, noise), strict=True):
        assert torch.equal(found, theirs)
    assert torch.equal(mask, expected.mask)
    seen: list[torch.Tensor] = []
    decoder = vitmae.decoder
    hook = decoder.decoder_layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    embedded = draw(3, 9, 8, seed=3)
    decoder(embedded, restore)
    hook.remove()
    ours = solutions["restore_tokens"](
        decoder.decoder_embed(embedded), restore, decoder.mask_token[0, 0], decoder.decoder_pos_embed[0]
    )
    torch.testing.assert_close(ours, seen[0])
    target = solutions["normalise_patches"](solutions["patchify"](images, 3))
    torch.testing.assert_close(solutions["mae_loss"](expected.logits, target, mask), expected.loss)


# Task 4


@pytest.mark.parametrize("local", [0, 3])
def test_dino_is_lightlys(solutions: Namespace, local: int) -> None:
    theirs, centre = DINOLoss(7, warmup_teacher_temp_epochs=0), draw(7, seed=9)
    theirs.center.copy_(centre.expand_as(theirs.center))
    for step in range(3):
        teacher = [draw(4, 7, seed=10 * step + k) for k in range(2)]
        student = [draw(4, 7, seed=10 * step + 2 + k) for k in range(2 + local)]
        torch.testing.assert_close(solutions["dino_loss"](student, teacher, centre), theirs(teacher, student))
        centre = solutions["update_centre"](centre, teacher)
        torch.testing.assert_close(centre, theirs.center.flatten())


def test_a_step_trains_with_the_solutions_own_loss(
    solutions: Namespace, checking: ModuleType, homework: Homework
) -> None:
    """On one batch, again and again, loss falls, and the teacher follows by the shares that were asked for."""
    states, (views, *_), _, _ = homework.cases["dino_step/value"].inputs(torch.Generator().manual_seed(0))
    student, teacher = (checking.Tiny(state) for state in states)
    optimizer, centre, losses = torch.optim.SGD(student.parameters(), lr=0.05), torch.zeros(3), []
    for _ in range(20):
        before = [p.clone() for p in teacher.parameters()]
        given = student, teacher, optimizer, views, centre, 0.99
        loss, centre = solutions["dino_step"](*given, solutions["dino_loss"], solutions["update_centre"])
        losses.append(loss.item())
        for old, slow, fast in zip(before, teacher.parameters(), student.parameters(), strict=True):
            torch.testing.assert_close(slow, 0.99 * old + 0.01 * fast)
    assert losses[-1] < losses[0] and not loss.requires_grad


# Task 5


@pytest.mark.parametrize(
    "rows, columns, count, least", [(14, 14, 75, 16), (4, 4, 6, 2), (6, 6, 14, 4), (5, 9, 20, 3), (3, 10, 22, 8)]
)
def test_block_masks_are_lightlys(
    solutions: Namespace, monkeypatch: pytest.MonkeyPatch, rows: int, columns: int, count: int, least: int
) -> None:
    for seed in range(100):
        rng = random.Random(seed)
        ours = solutions["block_mask"](rows, columns, count, least, rng)
        with monkeypatch.context() as patch:
            theirs = random.Random(seed)
            patch.setattr("lightly.models.utils.random", theirs)
            assert torch.equal(ours, random_block_mask_image((rows, columns), count, least))
        assert rng.random() == theirs.random()  # nothing more was drawn


# Task 6


@pytest.mark.parametrize("size, patch, cell", [((32, 32), 8, 4), ((12, 18), 6, 3), ((16, 32), 16, 8)])
@pytest.mark.parametrize("kind", ["levels", "drawing"])
def test_histograms_are_skimages(solutions: Namespace, size: tuple, patch: int, cell: int, kind: str) -> None:
    images = torch.randint(0, 257, (2, 3, *size), generator=torch.Generator().manual_seed(0)) / 256
    if kind == "drawing":  # white ground, a few levels only, so many gradients of 0 and 180 degrees
        images = torch.where(F.interpolate(images, scale_factor=2)[..., : size[0], : size[1]] < 0.3, 0.25, 1.0)
    found = solutions["hog_targets"](images, patch, cell)
    settings = dict(
        orientations=9,
        pixels_per_cell=(cell, cell),
        cells_per_block=(1, 1),
        block_norm="L2",
        feature_vector=False,
    )
    cells = np.array([[hog(channel.double().numpy(), **settings)[:, :, 0, 0] for channel in x] for x in images])
    side = patch // cell
    for k, (i, j) in enumerate((i, j) for i in range(size[0] // patch) for j in range(size[1] // patch)):
        own = cells[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]  # (B, C, side, side, 9)
        expected = torch.from_numpy(own).permute(0, 1, 4, 2, 3).flatten(1)
        torch.testing.assert_close(found[:, k].double(), expected, atol=2e-6, rtol=0)


# Task 7


def test_supcon_of_pairs_is_lightlys_nt_xent(solutions: Namespace) -> None:
    z = draw(16, 5)
    pairs = solutions["supcon"](z, torch.arange(8).repeat(2), 0.2)
    torch.testing.assert_close(pairs, NTXentLoss(0.2)(*z.chunk(2)))


def test_supcon_is_the_mean_of_its_pairs(solutions: Namespace) -> None:
    """Equation 2 word by word: lightly has no supervised contrastive loss."""
    z, labels = 3 * draw(9, 4), torch.tensor([0, 1, 2, 0, 3, 1, 0, 3, 3])
    units, anchors = [row / row.norm() for row in z], []
    for i, label in enumerate(labels):
        others = [k for k in range(9) if k != i]
        below = sum(math.exp(units[i] @ units[k] / 0.3) for k in others)
        terms = [-math.log(math.exp(units[i] @ units[k] / 0.3) / below) for k in others if labels[k] == label]
        anchors += [sum(terms) / len(terms)] if terms else []
    assert solutions["supcon"](z, labels, 0.3).item() == pytest.approx(sum(anchors) / len(anchors), rel=1e-5)
    assert len(anchors) == 8


def test_l_in_is_never_above_l_out(solutions: Namespace, homework: Homework) -> None:
    inside = homework.instructor("mistakes").contrasted(inside=True)
    for seed in range(20):
        z, labels = draw(12, 4, seed=seed), torch.arange(12) % 3
        assert inside(z, labels, 0.2) <= solutions["supcon"](z, labels, 0.2)


# Bonus


def test_a_moved_picture_is_matched_cell_by_cell(solutions: Namespace) -> None:
    cells = draw(2, 9, 4)
    places = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(k)) for k in range(2)])
    moved = 3 * cells.take_along_dim(places[..., None], 1)
    match = solutions["dense_match"](cells, moved)
    assert torch.equal(places.gather(1, match), torch.arange(9).expand(2, 9))
    loss, _ = solutions["dense_loss"](cells, moved, match, F.normalize(draw(5, 4, seed=1), dim=1), 0.01)
    assert (
        loss < solutions["dense_loss"](cells, moved, match.roll(1, 1), F.normalize(draw(5, 4, seed=1), dim=1), 0.01)[0]
    )


def test_libraries_pasted_into_the_stubs_earn_at_most_a_quarter_of_a_task(homework: Homework) -> None:
    def by_fold(patches: torch.Tensor, p: int, rows: int, columns: int) -> torch.Tensor:
        return F.fold(patches.mT, (rows * p, columns * p), p, stride=p)

    pasted: dict[str, Callable] = {
        "patchify": lambda images, p: F.unfold(images, p, stride=p).mT,
        "unpatchify": by_fold,
        "normalise_patches": lambda patches, eps=1e-6: F.layer_norm(patches, patches.shape[-1:], eps=eps),
        "random_masking": lambda x, noise, ratio: resample_abs_pos_embed(x, [1, 1]),
        "mae_loss": lambda predicted, target, mask: F.mse_loss(predicted, target),
        "dino_loss": lambda student, teacher, centre, *_: DINOLoss(centre.numel())(teacher, student),
        "block_mask": lambda rows, columns, count, least, rng: random_block_mask_image((rows, columns), count, least),
        "supcon": lambda z, labels, temperature: NTXentLoss(temperature)(*z.chunk(2)),
    }
    stubs = homework.namespace(stubs=True)
    with homework.replaced(stubs, pasted):
        for task in homework.tasks:
            cells = [cell for cell in task.graded if cell in homework.unit_cells]
            earned = sum(cell.points for cell in cells if homework.run_cell(cell, stubs, hidden=False) is None)
            assert earned <= SEMINAR_SHARE * task.points, task.title


def near(found: torch.Tensor, expected: list) -> None:
    torch.testing.assert_close(found.flatten().double(), torch.tensor(expected).flatten().double(), atol=6e-4, rtol=0)


def test_the_cases_by_hand(solutions: Namespace) -> None:
    picture = torch.arange(1.0, 9.0).view(1, 1, 2, 4)
    near(solutions["patchify"](picture, 2), [1, 2, 5, 6, 3, 4, 7, 8])
    two = solutions["patchify"](torch.cat([picture, 10 * picture], 1), 2)
    near(two[0, 0], [1, 10, 2, 20, 5, 50, 6, 60])
    near(solutions["unpatchify"](torch.arange(1.0, 7).view(1, 6, 1), 1, 2, 3)[0, 0, 1], [4, 5, 6])
    near(solutions["normalise_patches"](torch.tensor([[[0.0, 0, 0, 4]]])), [-0.5, -0.5, -0.5, 1.5])
    assert not solutions["normalise_patches"](torch.ones(1, 1, 192)).any()
    tokens, noise = torch.arange(4.0).view(1, 4, 1), torch.tensor([[0.4, 0.2, 0.9, 0.1]])
    kept, mask, restore = solutions["random_masking"](tokens, noise, 0.5)
    near(kept, [3, 1])
    near(mask, [1, 0, 1, 0])
    assert restore.tolist() == [[2, 1, 3, 0]]
    y, positions = torch.tensor([[[9.0], [30], [10]]]), torch.arange(5.0).view(5, 1) / 10
    near(solutions["restore_tokens"](y, restore, torch.tensor([5.0]), positions), [9, 5.1, 10.2, 5.3, 30.4])
    errors = torch.tensor([[[1.0], [3]], [[5], [7]]]).sqrt()
    near(solutions["mae_loss"](errors, torch.zeros(2, 2, 1), torch.tensor([[1.0, 0], [1, 1]])), [13 / 3])
    outputs = [torch.tensor([[0, math.log(3)]]), torch.zeros(1, 2)]
    near(solutions["dino_loss"](outputs, outputs, torch.zeros(2), 1.0, 1.0), [0.765])
    near(solutions["update_centre"](torch.ones(1), [torch.tensor([[3.0]]), torch.tensor([[7.0]])]), [1.4])
    ramp = (0.2 * torch.arange(4.0)[:, None] + 0.1 * torch.arange(4.0))[None, None]
    near(solutions["hog_targets"](ramp, 4, 4), [0.316, 0, 0, 0.707, 0.632, 0, 0, 0, 0])
    z = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-1, 0]])
    near(solutions["supcon"](z, torch.tensor([0, 0, 0, 1]), 1.0), [0.971])
    keys = torch.tensor([[[9.0, 0], [1, 2]]])
    assert solutions["dense_match"](torch.ones(1, 1, 2), keys).tolist() == [[1]]
    one, match = torch.tensor([[[1.0, 0]]]), torch.tensor([[0]])
    loss, entry = solutions["dense_loss"](one, 2 * one, match, torch.tensor([[0.0, 1]]), 1.0)
    near(loss, [0.313])
    near(entry, [1, 0])


def test_a_step_by_hand(solutions: Namespace, checking: ModuleType) -> None:
    """A step makes the student's 2 a 4, so the teacher's 0 becomes 2."""
    student, teacher = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    student.weight.data.fill_(2.0)
    teacher.weight.data.fill_(0.0)
    student.last = torch.nn.Identity()
    optimizer, views = torch.optim.SGD(student.parameters(), lr=1.0), [torch.ones(1, 1)] * 2
    fall = lambda s, t, c: -sum(x.sum() for x in s)  # noqa: E731
    loss, centre = solutions["dino_step"](
        student, teacher, optimizer, views, torch.zeros(1), 0.5, fall, checking.halfway
    )
    assert (loss.item(), student.weight.item(), teacher.weight.item(), centre.item()) == (-4, 4, 2, 0)
