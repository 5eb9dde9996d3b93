"""Week 03's workers, sums over workers, loss scale, checkpointing, schedules and int8."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.settings import load_settings

if TYPE_CHECKING:
    from lsdl.author.homework import Homework

DEFINE = ("half-bits", "half-static-define", "allreduce-define", "checkpoint-define", "pipeline-define", "int8-define")


@pytest.fixture(scope="module")
def modules(week: Path) -> dict[str, ModuleType]:
    """The week's workers.py and systems.py, by name."""
    sys.path.insert(0, str(week))
    try:
        return {name: importlib.import_module(name) for name in ("workers", "systems")}
    finally:
        sys.path.remove(str(week))


@pytest.fixture(scope="module")
def workers(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["workers"]


@pytest.fixture(scope="module")
def systems(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["systems"]


@pytest.fixture(scope="module")
def lesson(week: Path, modules: dict[str, ModuleType]) -> dict[str, Any]:
    """What the seminar's cells on systems define."""
    names: dict[str, Any] = dict(torch=torch, F=F, nn=nn, Tensor=Tensor, Callable=Callable, Sequence=Sequence)
    names |= modules | {"device": torch.device("cpu")}
    notebook = json.loads((week / "seminar.ipynb").read_text(encoding="utf-8"))
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}
    for name in DEFINE:
        exec(compile(cells[name], name, "exec", dont_inherit=True), names)
    return names


# Sums over workers


@pytest.mark.parametrize("name", ["naive", "tree", "butterfly"])
def test_an_all_reduce_gives_everybody_the_sum_and_sends_what_the_table_says(
    lesson: dict[str, Any], systems: ModuleType, name: str
) -> None:
    for n in range(2, 10):
        N = 5 * n + 2
        buffers = [torch.randint(-99, 99, (N,)) for _ in range(n)]
        before, wires = [b.clone() for b in buffers], systems.Wires()
        out = lesson[name](buffers, wires)
        assert len(out) == n and all(torch.equal(o, sum(before)) for o in out)
        assert all(torch.equal(b, old) for b, old in zip(buffers, before, strict=True))
        part = max(len(c) for c in buffers[0].tensor_split(n))
        most = {"naive": (n - 1) * N, "tree": (n - 1).bit_length() * N, "butterfly": 2 * (n - 1) * part}[name]
        least = {"butterfly": 2 * N * (n - 1) / n}.get(name, most)
        assert least <= wires.busiest <= most
        assert sum(count for *_, count in wires.log) == 2 * (n - 1) * N  # each way, each number goes to or from n - 1


def test_the_ring_is_counted_by_its_formula(systems: ModuleType) -> None:
    assert systems.ring_sends(4, 100) == 150
    assert systems.ring_sends(4, 3) == 2 * 3 - 1 - 0  # chunks of 1, 1, 1 and 0 numbers
    assert all(systems.ring_sends(n, 1000) < 2000 for n in range(2, 65))


def test_alpha_and_beta_come_back(systems: ModuleType) -> None:
    a, b = systems.alpha_beta({str(n): 3e-5 + 2e-9 * n for n in (256, 4096, 2**20)})
    assert (a, b) == pytest.approx((3e-5, 2e-9))


# Real processes


@pytest.mark.slow
def test_two_processes_train_as_one(workers: ModuleType) -> None:
    facts = workers.run_workers(2)
    ddp, fsdp, pipe, tensor = (facts[name] for name in ("data_parallel", "sharded", "pipeline", "tensor_parallel"))
    count = sum(p.numel() for p in workers.make_net().parameters())
    assert ddp["difference from one process"] < 1e-6 and ddp["workers equal"]
    assert ddp["bytes sent"] == 4 * count and ddp["calls"] == {"allreduce": 1}
    assert fsdp["difference from one process"] < 1e-5  # Adam divides by roots of squares that are rounded
    assert 2 * fsdp["parameters"] == fsdp["all parameters"] == count
    assert 2 * fsdp["Adam numbers"] == fsdp["all Adam numbers"] == 2 * count
    assert fsdp["bytes sent"] == 1.5 * ddp["bytes sent"]
    assert facts["without_sync"] == {"plain": 4, "no_sync": 1}
    assert pipe["difference from one process"] < 1e-6
    assert tensor["difference from one process"] < 1e-6 and tensor["calls"] == {"allreduce": 1}
    assert all(seconds > 0 for seconds in facts["all_reduce_times"].values())


def test_a_failure_shows_the_last_lines(workers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program, start = tmp_path / "program.py", subprocess.Popen
    for code, limit, how in (
        ("sys.exit(3)", 60, "failed, exit code 3"),
        ("time.sleep(60)", 2, "did not end within 2 s"),
    ):
        program.write_text(f"import sys, time\nprint('no room', flush=True)\n{code}\n")
        monkeypatch.setattr(
            workers.subprocess, "Popen", lambda command, **more: start([sys.executable, str(program)], **more)
        )
        with pytest.raises(RuntimeError, match=f"The 2 workers {how}. Their last lines:\nno room"):
            workers.run_workers(2, limit)


def test_one_worker_trains_as_the_loop_does(workers: ModuleType, homework: Homework, tmp_path: Path) -> None:
    with homework.at_home():
        import helpers
        import nets

        dist.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
        try:
            found = workers.train_net("ViT", "smoke", "128")
        finally:
            dist.destroy_process_group()
    torch.manual_seed(0)
    net, data = nets.vit(), helpers.load_data("smoke")
    lr = load_settings("smoke", homework.week / "settings.toml")["lr"]["ViT"]
    log = helpers.train(net, data["train"], 128, lr=lr)
    assert (found["workers"], found["pictures"], found["steps"]) == (1, 128, 2)
    assert found["loss"] == log["loss"] and found["test"] == helpers.scores(net, data)["test"]


# Half precision


@pytest.mark.parametrize("x", [0.1, -3.5, 65504.0, 1e-7, 2.0**-24])
def test_bits_are_those_of_the_number(lesson: dict[str, Any], x: float) -> None:
    half = "".join(lesson["bits"](x, torch.float16))
    assert int(half, 2) == int(np.array(x, np.float16).view(np.uint16))
    whole = "".join(lesson["bits"](x, torch.float32))
    assert int(whole, 2) == int(np.array(x, np.float32).view(np.uint32))
    brain = "".join(lesson["bits"](x, torch.bfloat16))
    rounded = torch.tensor(x).bfloat16().float().item()
    assert int(brain, 2) == int(np.array(rounded, np.float32).view(np.uint32)) >> 16


def test_the_static_step_is_a_scalers_step_where_all_is_finite(lesson: dict[str, Any]) -> None:
    torch.manual_seed(0)
    lesson |= {"x": torch.randn(8, 16), "y": torch.arange(8) % 4}
    weights = []
    for static in (True, False):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for _ in range(3):
            if static:
                lesson["static_step"](net, optimizer, 1024)
                continue
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(net(lesson["x"]), lesson["y"])
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*weights)


# Memory and FLOPs


def test_a_checkpointed_block_keeps_its_input_and_has_the_same_gradients(
    lesson: dict[str, Any], systems: ModuleType
) -> None:
    found = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(*(nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(3)))
        x = torch.randn(5, 8, requires_grad=True)
        out = x * 1.0
        with systems.saved_bytes(net) as saved:
            for block in net:
                out = lesson["Checkpoint"].apply(block, out) if checkpointed else block(out)
        out.square().sum().backward()
        found.append((saved["bytes"], [x.grad, *(p.grad for p in net.parameters())]))
    (plain, g), (kept, h) = found
    assert kept == 3 * 5 * 8 * 4  # the three inputs
    assert plain == 3 * 5 * (8 + 32 + 32) * 4  # input, and GELU's input and output
    assert all(torch.equal(a, b) for a, b in zip(g, h, strict=True))


def test_attention_is_counted(systems: ModuleType) -> None:
    q = torch.randn(2, 3, 10, 4)
    assert systems.flops(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * 2 * (2 * 3 * 10 * 10 * 4)


# Schedules and int8


@pytest.mark.parametrize("order", ["gpipe", "one_f_one_b"])
def test_a_schedule_does_every_job_in_its_order_and_is_idle_as_the_formula_says(
    lesson: dict[str, Any], order: str
) -> None:
    for p in range(1, 5):
        for m in range(p, 8):
            jobs = lesson["simulate"](lesson[order], p, m)
            times = {job[:3]: job[3:] for job in jobs}
            assert len(jobs) == len(times) == 2 * p * m
            for (stage, kind, k), (begin, _) in times.items():
                before = (stage - 1, "F", k) if kind == "F" else (stage + 1, "B", k)
                assert before not in times or times[before][1] <= begin
                assert kind == "F" or times[stage, "F", k][1] <= begin
            end, busy = max(job[4] for job in jobs), sum(job[4] - job[3] for job in jobs)
            assert 1 - busy / (p * end) == pytest.approx((p - 1) / (m + p - 1))


def test_an_int8_layer_multiplies_what_it_rounded(lesson: dict[str, Any]) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(16, 8), torch.randn(2, 5, 16)
    x[0, 0] = 0  # a row without a largest number
    (q, s), (w, t) = (lesson["to_int8"](rows) for rows in (x.flatten(0, 1), linear.weight.detach()))
    wanted = (q.double() * s) @ (w.double() * t).T + linear.bias
    out = lesson["Int8Linear"](linear)(x)
    torch.testing.assert_close(out, wanted.float().view(2, 5, 8), rtol=1e-5, atol=1e-6)
    assert q.abs().max() == 127 and (out - linear(x)).abs().max() < 0.05
