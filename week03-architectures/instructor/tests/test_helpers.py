"""Week 03's pictures, networks, training loop, queue and what the seminar writes out."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from lsdl.author.homework import Homework
from lsdl.settings import load_settings
from lsdl.tables import Names, Tables


@pytest.fixture(scope="module")
def measure(homework: Homework) -> ModuleType:
    with homework.at_home():
        import measure

        return measure


@pytest.fixture(scope="module")
def train(week: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("week03_train", week / "instructor" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def names(seminar: SimpleNamespace, train: ModuleType, solutions: dict[str, Any]) -> Names:
    given = {"neighborhood_attention": train.neighborhood_attention, "deit_loss": solutions["deit_loss"]}
    return Names(vars(seminar) | given)


def test_splits_share_no_concept_and_have_the_sizes_that_the_text_says(helpers: ModuleType) -> None:
    for name, counts in (("A", (610, 102, 343)), ("B", (5217, 549, 1785))):
        splits = helpers.load_data("smoke", name)
        assert tuple(len(y) for _, y in splits.values()) == counts
        assert all(len(x) == len(y) and (y >= 0).all() for x, y in splits.values())
    few = helpers.load_data("smoke", "B", 522)
    assert len(few["train"][1]) == 522 and few["test"][0].shape == splits["test"][0].shape
    pictures = {name: {x.numpy().tobytes() for x in images} for name, (images, _) in helpers.load_data("smoke").items()}
    assert not pictures["train"] & pictures["test"] and not pictures["val"] & pictures["test"]


def test_rows_have_one_size_and_every_run_has_a_network(measure: ModuleType, helpers: ModuleType, names: Names) -> None:
    for method in measure.METHODS:
        row = measure.counts(names, measure.make(names, method, 0))
        assert 200 <= row["thousand parameters"] <= 240 and 15 <= row["MFLOPs"] <= 32, method
    for k in range(9):
        assert 15 <= measure.counts(names, measure.make(names, f"rung {k}", 0))["MFLOPs"] <= 20, k
    assert helpers.flops(nn.Linear(3, 5), torch.zeros(2, 3)) == 2 * 2 * 3 * 5
    assert all(run.net in measure.MAKE for run in measure.RUNS.values())


def test_a_training_repeats_and_accumulates_to_the_same_step(
    helpers: ModuleType, measure: ModuleType, names: Names
) -> None:
    data, states = helpers.load_data("smoke")["train"], []
    for micro in (0, 0, 4):
        net = measure.make(names, "BiT", 0)
        log = helpers.train(net, data, 40, lr=1e-3, batch_size=16, micro=micro, seed=1, every=1)
        assert log["steps"] == 2 and log["pictures"] == 32 and len(log["loss"]) == 2
        states.append((net.state_dict(), log["loss"]))
    assert all(torch.equal(states[0][0][key], states[1][0][key]) for key in states[0][0])
    assert states[2][1] == pytest.approx(states[0][1], rel=1e-3)  # GroupNorm: micro-batches are the large batch
    assert [round(helpers.schedule(k, 20), 3) for k in (0, 1, 2, 11, 19)] == [0.5, 1.0, 1.0, 0.5, 0.008]


def test_decay_is_on_matrices_only(helpers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[dict] = []
    real = torch.optim.AdamW

    def spy(given: list[dict], **more: Any) -> torch.optim.Optimizer:
        groups.extend(given)
        return real(given, **more)

    monkeypatch.setattr(torch.optim, "AdamW", spy)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 18))
    helpers.train(net, helpers.load_data("smoke")["train"], 8, lr=1e-3, batch_size=8)
    assert [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups] == [(0.05, [2]), (0.0, [1])]


def test_the_grid_of_rates_grows_where_an_end_wins(measure: ModuleType) -> None:
    grid = [1.0, 2.0, 4.0]
    assert measure.next_rate({}, grid) == 1.0 and measure.next_rate({1.0: 3, 2.0: 2}, grid) == 4.0
    assert measure.next_rate({1.0: 3, 2.0: 2, 4.0: 3}, grid) is None
    assert measure.next_rate({1.0: 3, 2.0: 2, 4.0: 1}, grid) == 8.0
    assert measure.next_rate({1.0: 1, 2.0: 2, 4.0: 3}, grid) == 0.5
    assert measure.next_rate({1.0: 3, 2.0: 2, 4.0: 1, 8.0: 0, 16.0: -1}, grid) is None


def test_the_settings_have_the_rates_that_were_chosen(week: Path, measure: ModuleType) -> None:
    settings = load_settings("smoke", week / "settings.toml")
    t = Tables(week / "assets" / "tables.json", measure, seminar={}, seeds=settings["seeds"])
    best = {m: t.best("rates", "val loss", "lr", lowest=True, method=m) for m in measure.tuned_here(t)}
    assert best == settings["lr"] and set(best) == set(measure.METHODS)


def test_written_out_blocks_are_timms(seminar: SimpleNamespace) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8)
    theirs, ours = timm.models.mlp_mixer.MixerBlock(8, 6), seminar.MixerBlock(6, 8)
    names = {"across.0": "mlp_tokens.fc1", "across.2": "mlp_tokens.fc2", "within.0": "mlp_channels.fc1"}
    names |= {"within.2": "mlp_channels.fc2", "norm1": "norm1", "norm2": "norm2"}
    for own, name in names.items():
        ours.get_submodule(own).load_state_dict(theirs.get_submodule(name).state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    theirs, ours = timm.models.convnext.ConvNeXtBlock(8, ls_init_value=1e-6), seminar.ConvNeXtBlock(8, gamma=1e-6)
    names = {"around": "conv_dw", "norm": "norm", "up": "mlp.fc1", "down": "mlp.fc2"}
    for own, name in names.items():
        ours.get_submodule(own).load_state_dict(theirs.get_submodule(name).state_dict())
    maps = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(ours(maps) - maps, theirs(maps) - maps, atol=1e-9, rtol=1e-3)
    theirs, ours = timm.layers.StdConv2d(8, 4, 3, eps=1e-8), seminar.StdConv2d(8, 4, 3, padding=1, bias=False)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        ours.weight.mul_(1e-4), theirs.weight.mul_(1e-4)  # where eps counts
    torch.testing.assert_close(ours(maps), theirs(maps), atol=1e-5, rtol=1e-4)


def test_merged_patches_are_timms(seminar: SimpleNamespace) -> None:
    library, x = timm.models.swin_transformer.PatchMerging(4, 8), torch.randn(2, 6, 10, 4)
    torch.testing.assert_close(library.reduction(library.norm(seminar.merge_patches(x))), library(x))


def test_neighbours_of_seminar_training_and_homework_are_the_same(
    seminar: SimpleNamespace, train: ModuleType, solutions: dict[str, Any]
) -> None:
    q, k, v = torch.randn(3, 2, 2, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    bias = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(1))
    wanted = solutions["neighborhood_attention"]
    torch.testing.assert_close(train.neighborhood_attention(q, k, v, 5, bias), wanted(q, k, v, 5, bias))
    torch.testing.assert_close(seminar.near(q, k, v, 5, bias), wanted(q, k, v, 5, None))


def test_maps_are_the_class_tokens_weights(helpers: ModuleType, seminar: SimpleNamespace) -> None:
    net, images = seminar.nets.vit(), helpers.load_data("smoke")["test"][0][:3]
    before = helpers.logits(net, images)
    maps = helpers.attention_maps(net, images)
    assert maps.shape == (3, 4, 8, 8) and net.blocks[-1].attn.fused_attn
    torch.testing.assert_close(helpers.logits(net, images), before)
    with torch.no_grad():
        z = net.blocks[:-1](net._pos_embed(net.patch_embed(seminar.normalise(images))))
        q, k, _ = net.blocks[-1].attn.qkv(net.blocks[-1].norm1(z)).view(3, 65, 3, 4, 16).permute(2, 0, 3, 1, 4)
        weights = (q[:, :, :1] @ k.mT / 4).softmax(-1)[:, :, 0, 1:]
    torch.testing.assert_close(maps.flatten(2), weights)


def test_distillation_reaches_the_second_head_only_through_the_teacher(
    measure: ModuleType, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3072, 18))
    monkeypatch.setattr(measure, "trained", lambda s, name, seed: (teacher, {}))
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    net = measure.make(names, "DeiT hard", 0).train()
    z_cls, z_dist = net(x)
    found = {mode: measure.objective_of(names, measure.RUNS[f"DeiT {mode}"], 0)(net, x, y) for mode in measure.MODES}
    label = (F.cross_entropy(z_cls, y) + F.cross_entropy(z_dist, y)) / 2
    hard = (F.cross_entropy(z_cls, y) + F.cross_entropy(z_dist, teacher(x).argmax(1))) / 2
    torch.testing.assert_close(found["label"], label)
    torch.testing.assert_close(found["hard"], hard)
    found["soft"].backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_a_stopped_queue_goes_on_where_it_was(
    measure: ModuleType, train: ModuleType, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []

    def pretend(given: dict, run: str, seed: int) -> None:
        if len(done) == 5 and not (tmp_path / "resumed").exists():
            raise KeyboardInterrupt
        done.append((run, seed))
        lr = float(run.split()[-1]) if run.startswith("rate ") else 0.0
        log = {"lr": lr, "val loss": abs(lr - 2e-3)}
        measure.file_of(tmp_path, run, seed).with_suffix(".json").write_text(json.dumps({"log": log}))

    monkeypatch.setitem(sys.modules, "measure", measure)
    monkeypatch.setattr(train, "RUNS", tmp_path)
    monkeypatch.setattr(train, "train", pretend)
    monkeypatch.setattr(train, "all_names", lambda: {"SETTINGS": names.SETTINGS})
    with pytest.raises(KeyboardInterrupt):
        train.queue(None)
    (tmp_path / "resumed").touch()
    train.queue(None)
    measure.stored(None)
    assert len(done) == len(set(done)) and train.chosen() == dict.fromkeys(measure.METHODS, 2e-3)
    assert {run for run, _ in done if not run.startswith("rate ")} == set(measure.RUNS)
    first = [run for run, _ in done]
    assert first.index("long ResNet") < first.index("DeiT soft")  # the teacher comes before who learns from it


def test_margins_have_the_sign_of_their_statement(measure: ModuleType, tmp_path: Path) -> None:
    scores = {"ResNet": 50.0, "ViT": 40.0, "Swin": 45.0, "NAT": 44.0, "ConvNeXt": 60.0}
    rows = [{"method": m, "seed": k, "test": v + k} for m, v in scores.items() for k in range(3)]
    axis = [
        {"method": m, "seed": k, "pictures": n, "test": v}
        for (m, n), v in {("ResNet", 5): 30, ("ViT", 5): 10, ("ResNet", 50): 60, ("ViT", 50): 55}.items()
        for k in range(3)
    ]
    plain = [{"method": m, "seed": k, "test": v} for m, v in {"ResNet": 49, "ViT": 20}.items() for k in range(3)]
    deit = [{"mode": m, "seed": k, "test": v} for m, v in {"label": 1, "soft": 3, "hard": 2}.items() for k in range(3)]
    micro = [{"method": m, "seed": k, "test": v} for m, v in {"ResNet": 1, "BiT": 5}.items() for k in range(3)]
    parts = dict(rows=rows, longer=rows, axis=axis, plain=plain, deit=deit, micro=micro)
    (tmp_path / "tables.json").write_text(json.dumps(parts))
    t = Tables(tmp_path / "tables.json", measure, seminar={}, seeds=3)
    found = {c.name: c.mean for c in measure.claims(t, {})._named(measure.claims(t, {})._claims)}
    assert found == {
        "ResNet beats ViT": 10, "Swin beats ViT": 5, "NAT beats Swin": -1, "ConvNeXt beats ResNet": 10,
        "ResNet beats ViT, trained three times as long": 10, "Augmentation gives ViT more than ResNet": 19,
        "More pictures close the gap of ViT": 15,
        "DeiT: hard teacher labels beat labels for the second head": 1, "DeiT: hard teacher labels beat soft ones": -1,
        "BiT beats ResNet at micro-batches of four": 4,
    }  # fmt: skip
    counted = measure.claims(t, {"shift": {"NAT": 0.0, "Swin": 0.5}}, "reach")._named(measure.SHIFT)
    assert [claim.outcome for claim in counted] == ["holds", "holds"]
