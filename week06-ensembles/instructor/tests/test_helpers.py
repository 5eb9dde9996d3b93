"""Week 06's network, loop, schedules and runs."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from lsdl.author.seminar import seminar_names
from lsdl.tables import Names

if TYPE_CHECKING:
    from lsdl.author.homework import Homework


@pytest.fixture(scope="module")
def train(week: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("week06_train", week / "instructor" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def names(week: Path, train: ModuleType, homework: Homework) -> Names:
    with homework.at_home():
        return Names(seminar_names(week, train.CHEAP))


def test_the_network_and_the_task_have_their_sizes(helpers: ModuleType) -> None:
    assert sum(p.numel() for p in helpers.SmallResNet(18).parameters()) == 78_562
    task = helpers.load_task("smoke")
    assert [len(task.train[0]), len(task.val[0]), len(task.tests["noto"][0])] == [610, 102, 343]
    assert task.home == "noto"


def test_pretraining_sees_1389_things_and_no_test_picture(names: Names, homework: Homework) -> None:
    with homework.at_home():
        import runs

        images, labels = runs.names_task()
        tests = {picture.numpy().tobytes() for pictures, _ in names.task.tests.values() for picture in pictures}
        tests |= {picture.numpy().tobytes() for picture in names.task.val[0]}
    assert int(labels.max()) + 1 == 1389
    seen = {picture.numpy().tobytes() for picture in images}
    assert not seen & tests


def test_a_training_goes_on_as_if_it_had_not_been_interrupted(helpers: ModuleType) -> None:
    data = tuple(x[:64] for x in helpers.load_task("smoke").train)
    rates, kept = helpers.cosine(6, 0.1), {}

    def keep(done: int, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if done == 3:
            kept.update(state=helpers.state_of(net), momentum=helpers.momentum_of(net, optimizer))

    whole, half = helpers.make_net("smoke", 18, 0), helpers.make_net("smoke", 18, 1)
    helpers.train(whole, data, rates, seed=5, size=32, on_step=keep)
    half.load_state_dict(kept["state"])
    helpers.train(half, data, rates[3:], seed=5, size=32, momentum=kept["momentum"], start=3)
    for name, value in helpers.state_of(whole).items():
        torch.testing.assert_close(helpers.state_of(half)[name], value, atol=1e-5, rtol=1e-4)


def test_torchs_schedules_are_the_papers(names: Names) -> None:
    found = names.sse_rates(10, 3, 0.1)
    expected = [0.05 * (math.cos(math.pi * (t % 4) / 4) + 1) for t in range(10)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-15, rtol=0)
    found, high, low = names.fge_rates(20, 8, 0.05, 5e-4), 0.05, 5e-4
    u = torch.arange(20, dtype=torch.float64) % 8 / 8
    expected = torch.where(u < 0.5, (1 - 2 * u) * high + 2 * u * low, (2 * u - 1) * high + (2 - 2 * u) * low)
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=0)


def test_an_update_takes_the_plain_mean_over_batches_and_leaves_the_momentum(helpers: ModuleType) -> None:
    data, net = helpers.load_task("smoke").train, helpers.make_net("smoke", 18, 0)
    batches = data[0].split(64)[:9]  # without the short one
    with torch.no_grad():
        outputs = [net.conv1((x.float() / 255 - net.mean) / net.std) for x in batches]
    helpers.update(net, data, augmented=False)
    mean, var = (torch.stack([f(x, (0, 2, 3)) for x in outputs]).mean(0) for f in (torch.mean, torch.var))
    torch.testing.assert_close(net.bn1.running_mean, mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.bn1.running_var, var, atol=1e-5, rtol=1e-4)
    assert net.bn1.momentum == 0.1 and not net.training


def test_calibration_repairs_overconfidence(helpers: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    honest = helpers.nll(logits.log_softmax(1), labels).item()
    loud = (4 * logits).log_softmax(1)
    assert helpers.nll(loud, labels) > honest + 0.5
    assert helpers.calibrated_nll(loud, labels) == pytest.approx(honest, abs=0.03)
    assert helpers.brier(torch.eye(2).log(), torch.tensor([1, 0])) == 2.0


def test_a_run_comes_back_from_its_file(
    names: Names, train: ModuleType, homework: Homework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with homework.at_home():
        import runs

        monkeypatch.setattr(train, "RUNS", tmp_path)
        run = runs.Run({"val": torch.zeros(2, 3, 4)}, {"0": {"fc.bias": torch.ones(2)}}, {"train error": [1.0]})
        monkeypatch.setitem(runs.MAKE, "toy", lambda s, seed, word: run)
        train.train(vars(SimpleNamespace()), "toy-word", 3)
        back = runs.read(tmp_path, "toy-word", 3)
        with pytest.raises(runs.Missing):
            runs.read(tmp_path, "toy-word", 4)
    assert back.log == run.log
    assert torch.equal(back.states["0"]["fc.bias"], torch.ones(2)) and back.log_p["val"].shape == (2, 3, 4)
