"""Week 02's tasks, budget, zoom, checkpoints and meter."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from lsdl.features import NarrowResNet, save_backbone
from lsdl.probes import pixels

if TYPE_CHECKING:
    from lsdl.author.homework import Homework


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def turns(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All four turns of each picture."""
    turned = torch.stack([torch.rot90(images, k, (-2, -1)) for k in range(4)], 1)
    return turned.flatten(0, 1), torch.arange(4).repeat(len(images))


def centre(count: int, size: int, tile: int, gap: int, jitter: int, generator: torch.Generator) -> tuple:
    """The first tile in the middle, the second at the right."""
    return torch.full((count, 2), (size - tile) // 2), torch.full((count,), 4), torch.zeros(count, 2, 2).long()


def two_tiles(images: torch.Tensor, corners: torch.Tensor, places: Any, jitters: Any, tile: int, gap: int) -> tuple:
    y, x = corners[0].tolist()
    cut = images[:, :, y : y + tile]
    return cut[..., x : x + tile], cut[..., x + tile + gap : x + 2 * tile + gap]


@pytest.fixture(scope="module")
def makers(helpers: ModuleType) -> dict[str, Any]:
    """Each task with simple functions around it and a trunk of width 4."""

    def trunk() -> torch.nn.Module:
        torch.manual_seed(0)
        return helpers.make_trunk(4)

    def lab(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([100 * images[:, :1], 100 * (images[:, 1:] - images[:, :1])], 1)

    def one_hot(ab: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        return F.one_hot(torch.cdist(ab, centres).argmin(1), len(centres)).float()

    centres, p = helpers.colour_bins(helpers.load_pictures("smoke")[:500], lab, 50)
    order = torch.stack([torch.arange(9), torch.arange(8, -1, -1)])
    return {
        "rotation": lambda: helpers.Rotation(turns, trunk=trunk()),
        "context": lambda: helpers.Context(centre, two_tiles, gap=2, trunk=trunk()),
        "jigsaw": lambda: helpers.Jigsaw(
            order,
            lambda x, offsets, cell, tile: helpers.nine_tiles((255 * x).byte(), cell, tile),
            lambda tiles, permutations, labels: tiles[torch.arange(len(tiles))[:, None], permutations[labels]],
            trunk=trunk(),
        ),
        "colorization": lambda: helpers.Colorization(
            lab, one_hot, lambda logits, targets, p: F.cross_entropy(logits, targets), centres, p, trunk=trunk()
        ),
        "inpainting": lambda: helpers.Inpainting(lambda y, x, hole: ((y - x) ** 2 * hole).mean(), trunk=trunk()),
    }


@pytest.mark.parametrize("name", ["rotation", "context", "jigsaw", "colorization", "inpainting"])
def test_a_task_trains_within_its_budget_and_repeats(helpers: ModuleType, makers: dict[str, Any], name: str) -> None:
    runs = []
    for _ in range(2):
        task = makers[name]()
        images = helpers.load_pictures("smoke", task.size)[:200]
        log = helpers.pretrain(task, images, 160 * task.cost, batch_size=16, seed=3, every=5, probe=lambda net: 1.0)
        runs.append((task.state_dict(), log["loss"], log["correct"]))
    assert all(torch.equal(runs[0][0][k], runs[1][0][k]) for k in runs[0][0])
    assert log["steps"] == 10 and log["shown"] == 160 and log["pictures"] == round(160 * task.cost)
    assert log["step"] == [5, 10] and log["probe_step"] == [0, 3, 5, 8, 10]
    assert name != "context" or log["loss"][-1] < log["loss"][0]  # its label is always the same here
    assert (name == "inpainting") == all(c != c for c in log["correct"])  # nan: it has no accuracy
    if name == "rotation":
        other = helpers.pretrain(makers[name](), images, 160 * task.cost, batch_size=16, seed=4, every=5)
        assert other["loss"] != log["loss"]


def test_costs_are_multiply_adds_of_the_trunk_counted(helpers: ModuleType, makers: dict[str, Any]) -> None:
    # by hand, per stage: side^2 over that at 32 px, every stage of a ResNet costs about the same; 18 px: 9, 9, 5, 3, 2 a side
    cost = helpers.relative_cost(helpers.make_trunk(), 18)
    assert 0.53 < cost < 0.58 and helpers.relative_cost(helpers.make_trunk(), 64) == pytest.approx(4)
    tasks = {name: make() for name, make in makers.items()}
    ratio = helpers.relative_cost(tasks["jigsaw"].trunk, 18)
    expected = {"rotation": 4, "context": 2 * ratio, "jigsaw": 9 * ratio, "colorization": 1, "inpainting": 1}
    assert {name: task.cost for name, task in tasks.items()} == pytest.approx(expected)


def test_only_pictures_with_colour_are_wanted(helpers: ModuleType, makers: dict[str, Any]) -> None:
    images = helpers.load_pictures("smoke")[:50].clone()
    images[::2] = helpers.grey(images[::2])
    wanted = makers["colorization"]().wanted(images)
    assert set(wanted.tolist()) <= set(range(1, 50, 2)) and len(wanted) > 10


def test_zoom_takes_a_quarter_to_45_percent_of_the_area(helpers: ModuleType, generator: torch.Generator) -> None:
    columns = torch.linspace(0, 1, 64).expand(64, 64)
    ramp = torch.stack([columns, columns.T, columns]).expand(200, 3, 64, 64)
    zoomed = helpers.zoom_in(ramp, generator)
    width = zoomed[:, 0].amax((1, 2)) - zoomed[:, 0].amin((1, 2))
    height = zoomed[:, 1].amax((1, 2)) - zoomed[:, 1].amin((1, 2))
    area = width * height
    assert 0.23 < area.min() < 0.27 and 0.42 < area.max() < 0.47


def test_the_middles_of_nine_cells_are_standardised(helpers: ModuleType) -> None:
    images = torch.arange(64).repeat(64, 1).add(100 * (torch.arange(64) > 20)[:, None]).byte().expand(2, 3, 64, 64)
    tiles = helpers.nine_tiles(images)
    assert tiles.shape == (2, 9, 3, 18, 18)
    torch.testing.assert_close(tiles.mean((-2, -1)), torch.zeros(2, 9, 3), atol=1e-5, rtol=0)
    row = helpers.standardise(
        (torch.arange(22, 40) / 255.0).expand(1, 18, 18)
    )  # columns 1 + 21 ... 18 of the second cell
    torch.testing.assert_close(tiles[0, 4, :1], row, atol=1e-4, rtol=0)


def test_holes_are_squares_of_half_the_side(helpers: ModuleType, generator: torch.Generator) -> None:
    holes = helpers.square_holes(3000, 32, generator)
    assert holes.shape == (3000, 1, 32, 32) and (holes.sum((1, 2, 3)) == 256).all()
    assert holes.any(0).all() and not torch.equal(holes[0], holes[1])  # anywhere, up to the border


def test_networks_come_back_from_disk(helpers: ModuleType, makers: dict[str, Any], tmp_path: Path) -> None:
    for name, small in (("rotation", False), ("colorization", True)):
        task, other = makers[name](), makers[name]()
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1)
        helpers.save_net(task, tmp_path / "net.safetensors", small=small)
        helpers.load_task_net(tmp_path / "net.safetensors", other)
        for key, value in task.state_dict().items():
            scale = value.float().abs().max().item() if value.numel() else 0
            torch.testing.assert_close(other.state_dict()[key], value, atol=scale / 127, rtol=0)
        assert not other.training
        alone = helpers.load_task_net(tmp_path / "net.safetensors").trunk
        assert torch.equal(alone.conv1.weight, other.trunk.conv1.weight)
    save_backbone(task, tmp_path / "half.safetensors")
    assert (tmp_path / "net.safetensors").stat().st_size < 0.6 * (tmp_path / "half.safetensors").stat().st_size
    with pytest.raises(FileNotFoundError, match="There is no checkpoint 'none' in assets"):
        helpers.load_state("none")


def test_the_main_number_is_the_mean_of_three_moved_tests(helpers: ModuleType) -> None:
    (images, labels), tests = helpers.few_labels("smoke", 0)
    assert images.shape == (300, 3, 32, 32) and set(tests) == {"ID", "emojione", "noto-v1"}
    assert len(helpers.few_labels("smoke", 0, "val")[1]) == 1
    large = helpers.few_labels("smoke", 0, size=64)
    assert torch.equal(large[0][1], labels) and large[1]["ID"][0].shape == (100, 3, 64, 64)
    shrunk = F.avg_pool2d(large[1]["ID"][0].float(), 2)
    assert (shrunk - tests["ID"][0]).abs().mean() < 3  # the same pictures, moved alike
    (row,) = helpers.evaluate(pixels, "smoke", [0])
    assert row["1-NN"] == pytest.approx(sum(row[f"1-NN {name}"] for name in tests) / 3)
    assert 20 < row["1-NN"] < 40


def test_stages_are_pooled_alike(helpers: ModuleType) -> None:
    images = helpers.load_pictures("smoke")[:5]
    assert [tuple(x.shape) for x in helpers.stage_features(helpers.make_trunk(), images)] == [
        (5, 64), (5, 128), (5, 256), (5, 512),
    ]  # fmt: skip


def test_the_competition_has_four_moved_copies_of_each_drawing(helpers: ModuleType, generator: torch.Generator) -> None:
    images, labels, drawings = helpers.competition_tests("smoke", generator)
    assert images.shape == (1200, 3, 32, 32) and images.dtype == torch.uint8
    assert (drawings.bincount() == 4).all() and (labels.bincount() == 12).all()
    assert not torch.equal(images[0], images[1])
    model = helpers.competition_model("smoke")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100) and isinstance(model, NarrowResNet)
    assert len(helpers.competition_classes("smoke")) == 100


def test_a_stopped_queue_goes_on_where_it_was(week: Path, homework: Homework, tmp_path: Path, monkeypatch: Any) -> None:
    spec = importlib.util.spec_from_file_location("week02_train", week / "instructor" / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
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
