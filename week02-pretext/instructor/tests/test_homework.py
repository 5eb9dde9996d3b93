"""Week 02's solutions beside libraries and definitions on the same inputs, and its cases by hand."""

from __future__ import annotations

import csv
import itertools
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torchvision.transforms.functional as TF
from safetensors.torch import load_file
from skimage.color import rgb2lab

from lsdl.author.homework import Namespace
from lsdl.features import NarrowResNet, embed, make_backbone


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_rotations_equal_torchvisions(solutions: Namespace) -> None:
    images = draw(3, 2, 5, 5)
    turned, labels = solutions["rotation_batch"](images)
    for k, copy in zip(labels.tolist(), turned, strict=True):
        assert any(torch.equal(copy, TF.rotate(image, 90.0 * k)) for image in images)


def test_lab_equals_skimages(solutions: Namespace) -> None:
    levels = torch.linspace(0, 1, 12)
    images = torch.cartesian_prod(levels, levels, levels).T.reshape(
        1, 3, 12, 144
    )  # a cube of colours, both knees in it
    expected = torch.from_numpy(rgb2lab(images.permute(0, 2, 3, 1).double().numpy())).permute(0, 3, 1, 2)
    torch.testing.assert_close(solutions["rgb_to_lab"](images).double(), expected, atol=0.01, rtol=0)


def test_64_permutations_of_nine_lie_seven_apart_and_use_the_slots_nearly_evenly(solutions: Namespace) -> None:
    chosen = solutions["permutation_set"](9, 64)
    apart = [(a != b).sum().item() for a, b in itertools.combinations(chosen, 2)]
    assert min(apart) == 7
    counts = torch.stack([(chosen == tile).sum(0) for tile in range(9)])
    assert set(counts.flatten().tolist()) == {6, 7, 8}


@pytest.mark.parametrize("tiles", [3, 4])
def test_the_permutations_follow_the_rules_word_by_word(solutions: Namespace, tiles: int) -> None:
    every = list(itertools.permutations(range(tiles)))

    def key(candidate: tuple, chosen: list) -> tuple:
        distances = [sum(x != y for x, y in zip(candidate, other, strict=True)) for other in chosen]
        return min(distances), sum(distances)

    chosen = every[:1]
    while len(chosen) < len(every):
        chosen.append(
            max((p for p in every if p not in chosen), key=lambda p: key(p, chosen))
        )  # max: the first of equals
    assert solutions["permutation_set"](tiles, len(every)).tolist() == [list(p) for p in chosen]


def test_context_draws_give_tiles_that_need_no_clamping(solutions: Namespace) -> None:
    generator = torch.Generator().manual_seed(0)
    corners, places, jitters = solutions["context_draws"](500, 21, 5, 2, 0, generator)
    rows, columns = torch.arange(21.0).view(1, 1, 21, 1), torch.arange(21.0).view(1, 1, 1, 21)
    where = torch.cat([rows.expand(500, 1, 21, 21), columns.expand(500, 1, 21, 21)], 1)  # a pixel holds its own place
    first, second = solutions["context_pairs"](where, corners, places, jitters, 5, 2)
    way = (second - first)[:, :, 0, 0]
    assert set(map(tuple, way.tolist())) == {(i, j) for i in (-7, 0, 7) for j in (-7, 0, 7) if (i, j) != (0, 0)}
    assert corners.unique().tolist() == [7, 8, 9]


def test_the_competitions_model_has_the_names_and_shapes_that_the_grader_wants(
    solutions: Namespace, helpers: ModuleType
) -> None:
    for scale, classes, trunk in (
        ("smoke", 100, lambda: NarrowResNet(20)),
        ("full", 10, lambda: make_backbone("full")),
    ):
        pretrained = {f"trunk.{name}": value for name, value in trunk().state_dict().items()}
        made = solutions["competition_model"](pretrained, classes, trunk).state_dict()
        wanted = helpers.competition_model(scale).state_dict()
        assert {name: x.shape for name, x in made.items()} == {name: x.shape for name, x in wanted.items()}


def test_the_entry_names_a_class_for_each_picture(
    solutions: Namespace, picture_file: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "competition"
    given.mkdir()
    monkeypatch.chdir(tmp_path)
    images, names = (255 * draw(5, 3, 32, 32)).byte(), ["a, b", "c", "d"]
    (given / "test.safetensors").write_bytes(
        picture_file(images, names, "smoke")
    )  # as `lsdl leaderboard --make` writes it
    (given / "sample_submission.csv").write_text("id,class\n" + "".join(f"p{k},c\n" for k in range(5)))
    model = NarrowResNet(2)
    model.fc = torch.nn.Linear(16, 3)
    solutions["write_entry"](model, Path("competition"))
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [names[k] for k in embed(model, images).argmax(1).tolist()]
    assert rows == [{"id": f"p{k}", "class": name} for k, name in enumerate(expected)]
    again = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_the_cases_by_hand(solutions: Namespace) -> None:
    turned, labels = solutions["rotation_batch"](torch.tensor([[[[1, 2], [3, 4]]]]))
    assert turned[1, 0].tolist() == [[2, 4], [1, 3]] and labels.tolist() == [0, 1, 2, 3]
    assert solutions["permutation_set"](3, 3).tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    image, offsets = torch.arange(144.0).view(1, 1, 12, 12), torch.zeros(1, 9, 2, dtype=torch.int64)
    offsets[0, 5] = torch.tensor([1, 0])
    tile = image[0, 0, 5:8, 8:11]
    expected = (tile - tile.mean()) / tile.std(correction=0)
    torch.testing.assert_close(solutions["cut_tiles"](image, offsets, 4, 3)[0, 5, 0], expected)
    shuffled = solutions["shuffle_tiles"](torch.tensor([[1, 2, 3]]), torch.tensor([[2, 0, 1]]), torch.tensor([0]))
    assert shuffled.tolist() == [[3, 1, 2]]
    white = solutions["rgb_to_lab"](torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([100.0, 0, 0]), atol=0.01, rtol=0)
    centres = torch.tensor([[0.0, 0], [10, 0], [20, 0]])
    shares = solutions["soft_targets"](torch.zeros(1, 2), centres, 2, 5.0)[0]
    assert shares.tolist() == pytest.approx([0.881, 0.119, 0], abs=5e-4)
    p, target = torch.tensor([0.9, 0.1, 0]), torch.eye(3)
    losses = [solutions["rebalanced_loss"](torch.zeros(1, 3), target[[k]], p).item() / math.log(3) for k in range(3)]
    assert losses == pytest.approx([0.882, 2.059, 0], abs=5e-4)
    logits, centres = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0], [10, 0]])
    found = [solutions["annealed_mean"](logits, centres, t)[0, 0].item() for t in (1.0, 0.5, 0.0)]
    assert found == pytest.approx([7.5, 9, 10])
    hole = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    hole[0, 0, 2, 2] = True
    assert solutions["inpainting_loss"](torch.ones(1, 1, 5, 5), torch.zeros(1, 1, 5, 5), hole).item() == 9
    pixels = torch.arange(400.0).view(1, 1, 20, 20)
    moves = torch.tensor([[[0, 0], [1, -1]]])
    _, second = solutions["context_pairs"](pixels, torch.tensor([[6, 7]]), torch.tensor([4]), moves, 4, 2)
    assert second[0, 0, 0, 0] == 7 * 20 + 12
    corners, _, _ = solutions["context_draws"](100, 17, 4, 2, 1, torch.Generator().manual_seed(0))
    assert corners.unique().tolist() == [6, 7]


def test_the_text_names_the_points_of_the_competition(week: Path) -> None:
    rules = tomllib.loads((week / "leaderboard.toml").read_text(encoding="utf-8"))["smoke"]
    first, second = rules["thresholds"]
    said = f"{first[0]} earns {first[1]} point, {second[0]} earns {second[1]} more"
    text = (week / "homework.ipynb").read_text(encoding="utf-8")
    assert said in text and f"up to {rules['place']} more" in text
