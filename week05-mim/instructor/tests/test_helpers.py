"""Week 05's network, masks, loop, runs and classes of the seminar."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from lsdl.tables import Names

if TYPE_CHECKING:
    from lsdl.author.homework import Homework


@pytest.fixture(scope="module")
def measure(homework: Homework) -> ModuleType:
    with homework.at_home():
        import measure

        return measure


@pytest.fixture(scope="module")
def train(week: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("week05_train", week / "instructor" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def names(seminar: SimpleNamespace, train: ModuleType, solutions: dict[str, Any], homework: Homework) -> Names:
    with homework.at_home():
        given = {name: solutions[name] for name in train.HOMEWORK} | {"supcon_in": train.supcon_in}
        given["SimCLR"] = train.simclr_class(vars(seminar))
    return Names(vars(seminar) | given | {"device": torch.device("cpu")})


def test_positions_have_the_numbers_of_transformers_in_another_order(helpers: ModuleType) -> None:
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    expected = build_2d_sinusoidal_position_embedding(5, 4, 32, cls_token=True).float()  # sin h, cos h, sin w, cos w
    expected = expected.unflatten(1, (2, 2, 8)).transpose(1, 2).flatten(1)  # sin h, sin w, cos h, cos w
    torch.testing.assert_close(helpers.sincos(5, 4, 32), expected, atol=1e-5, rtol=0)


def test_fine_tuning_moves_all_weights_of_a_teacher_but_its_positions(
    helpers: ModuleType, seminar: SimpleNamespace
) -> None:
    net = helpers.make_vit(seminar.SETTINGS).requires_grad_(False)  # as DINO keeps it
    before = {name: p.clone() for name, p in net.named_parameters()}
    images, labels = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8), torch.arange(20) % 4
    helpers.fine_tune(net, (images, labels), 4, epochs=2)
    still = {name for name, p in net.named_parameters() if torch.equal(p, before[name])}
    assert still == {"pos_embed"}


def test_both_ways_through_the_network_agree_and_other_sizes_pass(
    helpers: ModuleType, seminar: SimpleNamespace
) -> None:
    net = helpers.make_vit(seminar.SETTINGS).eval()
    x = torch.randn(3, 3, 32, 32)
    tokens = net.encode(net.embed_patches(x) + net.pos_embed[:, 1:])
    torch.testing.assert_close(tokens[:, 1:].mean(1), net(x), atol=1e-5, rtol=1e-5)
    net.read = "class"
    torch.testing.assert_close(tokens[:, 0], net(x), atol=1e-5, rtol=1e-5)
    assert net(F.avg_pool2d(x, 2)).shape == net(F.interpolate(x, 64)).shape == (3, 96)
    assert not net.pos_embed.requires_grad


def test_patches_come_back(helpers: ModuleType) -> None:
    x = torch.randn(2, 3, 32, 32)
    patches = helpers.to_patches(x, 8)
    assert torch.equal(helpers.to_images(patches, 8), x) and patches.shape == (2, 16, 192)
    assert torch.equal(patches[0, 5].view(3, 8, 8), x[0, :, 8:16, 8:16])


def test_masks_are_the_homeworks(helpers: ModuleType, train: ModuleType, solutions: dict[str, Any]) -> None:
    import random

    for grid, (count, least) in train.MASKS.items():
        rng = random.Random(0)
        expected = torch.stack([solutions["block_mask"](grid, grid, count, least, rng).flatten() for _ in range(50)])
        assert torch.equal(helpers.load_masks(grid)[:50], expected.bool())
        assert helpers.load_masks(grid).sum(1).max() <= count


def test_one_mask_for_all_and_one_per_picture_draw_alike(
    seminar: SimpleNamespace, measure: ModuleType, names: Names
) -> None:
    own, shared = measure.mae(names), seminar.MAE()
    shared.load_state_dict(own.state_dict())
    x, keep = torch.randn(4, 3, 32, 32), torch.tensor([9, 2, 14, 3])
    order = torch.cat([keep, torch.tensor([k for k in range(16) if k not in keep])])
    noise = torch.empty(4, 16)
    noise[:, order] = torch.arange(16) / 16
    tokens = own.encoder.embed_patches(x)
    visible, mask, restore = names.random_masking(tokens, noise, 0.75)
    torch.testing.assert_close(visible, tokens[:, keep])
    y = torch.randn(4, 5, names.SETTINGS["decoder_width"])
    torch.testing.assert_close(own.fill(y, restore), shared.fill(y, keep))
    assert mask.sum() == 48 and not mask[:, keep].any()


def test_every_run_takes_a_step_and_the_queue_has_it(
    measure: ModuleType, helpers: ModuleType, train: ModuleType, names: Names, homework: Homework
) -> None:
    images = helpers.load_pictures("smoke")[:32]
    with homework.at_home():
        assert {run for run, _ in train.queue_order() if not run.startswith(("rate-", "grid-"))} == set(measure.MAKE)
        for run in measure.MAKE:
            learner = measure.make(names, run, 0)
            if run == "scratch":
                continue
            before = {name: p.clone() for name, p in learner.encoder.named_parameters() if p.requires_grad}
            log = helpers.pretrain(learner, images, 32, batch_size=16, every=1, warmup=0.5)
            assert len(log["loss"]) == 2 and all(math.isfinite(value) for value in log["loss"]), run
            after = dict(learner.encoder.named_parameters())
            assert any((after[name] != p).any() for name, p in before.items()), run


def test_the_last_layer_of_dino_rests_in_the_first_epoch_and_the_teacher_follows(
    measure: ModuleType, helpers: ModuleType, names: Names
) -> None:
    images, learner = helpers.load_pictures("smoke")[:16], measure.dino(names)
    last = learner.student[1][-1].parametrizations.weight.original1
    before, first = last.clone(), learner.teacher.module[0].blocks[0].mlp.fc1.weight.clone()
    optimizer = torch.optim.SGD(learner.student.parameters(), 0.1)
    for progress in (0.0, 0.5):
        learner.loss(images, torch.arange(16), torch.Generator().manual_seed(0)).backward()
        learner.before_step(progress)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(last, before) == (progress == 0.0)
    learner.after_step(0.0)
    student, teacher = learner.student[0].blocks[0].mlp.fc1.weight, learner.teacher.module[0].blocks[0].mlp.fc1.weight
    torch.testing.assert_close(teacher, 0.98 * first + 0.02 * student)


def test_trivial_losses_are_those_of_the_best_constant(seminar: SimpleNamespace) -> None:
    learner = seminar.MaskedPrediction(seminar.code_target, 4, F.cross_entropy)
    codes = torch.tensor([0, 0, 1, 3])
    assert learner.trivial(codes).item() == pytest.approx(-(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)))
    values = torch.randn(50, 3)
    best = min((values.mean(0) + shift - values).square().mean().item() for shift in (-0.1, 0.0, 0.1))
    assert learner.trivial(values).item() == pytest.approx(best, rel=1e-5)


def test_a_stopped_queue_goes_on_where_it_was(
    homework: Homework, train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def stop_at_third(names: dict, run: str, seed: int) -> None:
        if len(trained) == 2 and not (tmp_path / "resumed").exists():
            raise KeyboardInterrupt
        trained.append((run, seed))
        train.file_of(run, seed).with_suffix(".json").write_text(json.dumps({}))

    monkeypatch.setattr(train, "RUNS", tmp_path)
    monkeypatch.setattr(train, "train", stop_at_third)
    monkeypatch.setattr(train, "all_names", dict)
    with homework.at_home():
        with pytest.raises(KeyboardInterrupt):
            train.queue(None)
        (tmp_path / "resumed").touch()
        train.queue(None)
        assert len(trained) == len(set(trained)) == len(set(train.queue_order()))
