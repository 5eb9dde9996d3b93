"""Week 06's network, loop, schedules and runs."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lsdl.author.seminar import seminar_names
from lsdl.tables import Names, Tables

if TYPE_CHECKING:
    from lsdl.author.homework import Homework


@pytest.fixture(scope="module")
def train(week: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("week06_train", week / "instructor" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measure(homework: Homework) -> ModuleType:
    with homework.at_home():
        import measure

        return measure


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


def test_a_temperature_is_fitted_on_one_half_and_judged_on_the_other(helpers: ModuleType) -> None:
    generator = torch.Generator().manual_seed(1)
    log_p = (3 * torch.randn(61, 4, generator=generator)).log_softmax(1)
    labels, found = torch.randint(4, (61,), generator=generator), []
    for k in range(5):
        a, b = torch.randperm(61, generator=torch.Generator().manual_seed(k)).chunk(2)
        for fitted, other in ((a, b), (b, a)):
            cold = helpers.cooled(log_p[other], log_p[fitted], labels[fitted])
            found.append(helpers.nll(cold, labels[other]).item())
    assert helpers.calibrated_nll(log_p, labels) == pytest.approx(sum(found) / 10, abs=1e-5)


def test_a_predictor_is_judged_at_home_and_as_a_mean_over_styles(helpers: ModuleType) -> None:
    sure, unsure = torch.tensor([[0.8, 0.2]] * 4).log(), torch.tensor([[0.5, 0.5]] * 4).log()
    labels = {name: torch.tensor([0, 0, 0, 1]) for name in ("val", "here", "a", "b")}
    found = helpers.judged({"val": sure, "here": sure, "a": sure, "b": unsure}, labels, "here", ("a", "b"))
    assert found["accuracy"] == 75.0 and found["raw"] == pytest.approx(-(0.75 * math.log(0.8) + 0.25 * math.log(0.2)))
    assert found["raw OOD"] == pytest.approx((found["raw"] + math.log(2)) / 2)
    assert found["ECE raw"] == pytest.approx(0.05, abs=1e-6) and found["Brier raw"] == pytest.approx(0.38, abs=1e-6)
    assert found["home"] < found["raw"]


def test_corruptions_grow_and_keep_the_white_ground(measure: ModuleType) -> None:
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    images[:, :, 12:20, 8:24] = 40
    for corruption, values in measure.STRENGTHS.items():
        shown = [measure.changed(images, corruption, strength) for strength in range(6)]
        assert len(values) == 5 and all(x.dtype == torch.uint8 and x.shape == images.shape for x in shown)
        assert torch.equal(shown[0], images)
        away = [(x.float() - images).square().mean().item() for x in shown]
        assert away == sorted(away) and away[1] > 0
    assert measure.changed(images, "rotation", 5)[0, 0, 0, 0] == 255


def rows_of(part: str) -> list[dict[str, Any]]:
    """Invented rows of a part: what claims ask for, with a margin of 1 on each side."""
    if part == "paths":
        lines = {"two seeds": 80, "part at 0": 30, "part at 20": 0, "own heads": 5, "probe head": 0}
        return [{"kind": kind, "update": True, "line": line} for kind, line in lines.items()]
    if part == "gains":
        return [
            {"set": name} | {f"{score} {of}": value - (name == "OOD") * (of == "ensemble")
                             for score in ("raw", "home", "ECE raw", "ECE home")
                             for of, value in (("member", 3.0), ("best", 2.0), ("ensemble", 1.0))}
            for name in ("ID", "OOD")
        ]  # fmt: skip
    if part == "scores":
        nlls = {"deep ensemble of 3": 1.0, "SSE": 2.0, "FGE at B 1": 2.0, "SWAG": 2.0, "SSE at B 5": 1.0}
        return [{"method": method, "calibrated": nll} for method, nll in nlls.items()]
    if part == "diversity":
        kinds = {"other seeds": 3, "SSE snapshots": 2, "SWAG samples": 2}
        return [{"kind": kind, "disagreement": value} for kind, value in kinds.items()]
    if part == "averages":
        nlls = {"last iterates": 3.0, "no update": 2.0, "clean update": 2.0, "SWA": 1.0, "cosine run": 2.0}
        rows = [(what, nll, rate) for what, nll in nlls.items() for rate in (0.05, 0.1)]
        return [{"what": what, "rate": rate, "calibrated": nll, "accuracy": 9 - nll} for what, nll, rate in rows]
    if part == "soups":
        nlls = {"mean ingredient": 2.0, "best ingredient": 2.0, "uniform soup": 1.0, "greedy soup": 1.0}
        return [{"what": what, "calibrated": nll, "accuracy": 9 - nll} for what, nll in nlls.items()]
    if part == "star":
        nlls = [
            (method, ratio, base + (ratio != 4))
            for method, base in (("SSE", 2), ("StarSSE", 1))
            for ratio in (1, 4, 16)
        ]
        return [{"method": method, "ratio": ratio, "calibrated": nll, "val": nll} for method, ratio, nll in nlls]
    if part == "samples":
        nlls = {"cSGLD, one": 3.0, "cSGLD, cold": 2.0, "KFAC-Laplace, exact": 2.0}
        return [{"method": method, "calibrated": nll} for method, nll in nlls.items()]
    if part == "optimisers":
        return [
            {"method": m, "calibrated": nll} for m, nll in {"SGD": 2.0, "Lookahead": 1.0, "Lookaround": 1.0}.items()
        ]
    return [{"what": "global", "gain": 2.0}, {"what": "local", "gain": 1.0}]


def test_every_claim_is_the_right_way_round(measure: ModuleType, tmp_path: Path) -> None:
    parts = ("paths", "gains", "scores", "diversity", "averages", "soups", "star", "local", "samples", "optimisers")
    rows = {part: [row | {"seed": seed} for seed in (0, 1) for row in rows_of(part)] for part in parts}
    (tmp_path / "tables.json").write_text(json.dumps(rows))
    tables = Tables(tmp_path / "tables.json", measure, seminar={}, seeds=2)
    claims = measure.claims(tables, {})._claims
    assert {claim.outcome for claim in claims.values()} == {"holds"}
    assert measure.main(tables) == list(measure.MAIN) and len(measure.MAIN) == 10
    assert len(claims) == 35


def test_pairs_of_a_kind_share_no_net(measure: ModuleType) -> None:
    assert measure.ends_of("two seeds", 2) == [("pool", 4), ("pool", 5)]
    assert measure.ends_of("part at 20", 2) == [("pool", 2), ("split-20", 2)]
    assert measure.ends_of("own heads", 1) == [("ft-own", 2), ("ft-own", 3)]
    assert measure.disjoint(range(7), 3) == [[0, 1, 2], [3, 4, 5]]


def test_the_homeworks_pool_has_normalised_predictions(helpers: ModuleType) -> None:
    pool = helpers.load_pool()
    assert set(pool) == {"val", "test", "emojione", "openmoji", "fluent-3d"}
    for log_p, labels in pool.values():
        assert log_p.shape == (12, len(labels), 18) and log_p.dtype == torch.float32 and labels.dtype == torch.int64
        assert (log_p.exp().sum(-1) - 1).abs().max() < 5e-3


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
