"""The trainings behind assets/, by the functions of seminar and homework: nothing is written twice.

    python week03-architectures/instructor/train.py queue                     trains every run that lacks its file in runs/, in order of importance
    python week03-architectures/instructor/train.py queue --only ViT          one run, all seeds
    python week03-architectures/instructor/train.py tables                    measures the parts of assets/tables.json on what lies in runs/
    python week03-architectures/instructor/train.py tables --only rows        one part
    python week03-architectures/instructor/train.py commit                    writes the networks that the seminar loads and their logs into assets/
    python week03-architectures/instructor/train.py rates                     prints the learning rates chosen, for settings.toml

A run is runs/NAME-SEED.safetensors (half precision) with its log NAME-SEED.json, which says what it took. Files that are there are not trained
again, so a queue that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.author.homework import Homework
from lsdl.author.seminar import about_run, clocks, seminar_names, write_log, write_parts
from lsdl.features import save_backbone
from lsdl.tables import Names, Tables

WEEK = Path(__file__).resolve().parents[1]
ASSETS, RUNS = WEEK / "assets", WEEK / "runs"
SEEDS = 3
# SETTINGS with which a test runs the seminar with RETRAIN = True: a step or two, two seeds
CHEAP = dict(pictures=32, rate_pictures=32, long=2, batch_size=16, seeds=2, live_pictures=32, grid=[1e-3])
COMMITTED = {"vit": "long ViT"}  # file in assets/ -> run, seed 0


@lru_cache
def neighbours(height: int, width: int, kernel: int) -> tuple[Tensor, Tensor]:
    """Which key each query sees, (H W, H W) bool, and the entry of the bias table, (H W, H W)."""
    inside, offset = [], []
    for length in (height, width):
        i = torch.arange(length)
        centre = i.clamp(kernel // 2, length - 1 - kernel // 2)
        inside.append((centre[:, None] - i).abs() <= kernel // 2)
        offset.append((i - i[:, None] + kernel - 1).clamp(0, 2 * kernel - 2))
    grid = lambda rows, columns: (rows[:, None, :, None], columns[None, :, None, :])  # noqa: E731
    (a, b), (r, c) = grid(*inside), grid(*offset)
    n = height * width
    return (a & b).reshape(n, n), (r * (2 * kernel - 1) + c).expand(height, width, height, width).reshape(n, n)


def neighborhood_attention(q: Tensor, k: Tensor, v: Tensor, kernel: int, bias: Tensor) -> Tensor:
    """The homework's function by a mask on all pairs, twice as fast on a CPU: q, k, v (B, heads, H, W, head_dim)."""
    height, width = q.shape[2:4]
    seen, index = neighbours(height, width, kernel)
    mask = bias.flatten(1)[:, index].masked_fill(~seen, -torch.inf)  # (heads, H W, H W)
    y = F.scaled_dot_product_attention(*(x.flatten(2, 3) for x in (q, k, v)), attn_mask=mask)
    return y.unflatten(2, (height, width))


def all_names() -> dict[str, Any]:
    """The names of the seminar, and what the trainings take of the homework's tasks."""
    loss = Homework(WEEK).namespace()["deit_loss"]
    return seminar_names(WEEK) | {"deit_loss": loss, "neighborhood_attention": neighborhood_attention}


def queue_order(names: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Runs and seeds: learning rates, the table, DeiT, the controls, the ladder; what is most needed first."""
    import measure

    settings = names["SETTINGS"]
    seeds, quick = range(SEEDS), [name for name in measure.METHODS if name != "NAT"]

    def rates(method: str) -> Iterator[tuple[str, int]]:
        asked = None
        while (lr := measure.next_rate(tried(method), settings["grid"])) not in (None, asked):
            asked = lr  # asked twice, it was not wanted
            yield f"rate {method} {lr:g}", settings["rate_seed"]

    for method in quick:
        yield from rates(method)
    yield from ((name, seed) for seed in seeds for name in quick)
    yield from ((f"long {name}", 0) for name in measure.PAIR)  # a teacher, and the ViT that the seminar looks into
    yield from ((f"DeiT {mode}", seed) for seed in seeds for mode in measure.MODES)
    yield from rates("NAT")
    yield from (("NAT", seed) for seed in seeds)
    for group in ("long", "plain", "subset", "all"):
        yield from ((f"{group} {name}", seed) for seed in seeds for name in measure.PAIR)
    yield from ((f"micro {name}", seed) for seed in seeds for name in ("BiT", "ResNet"))
    yield from ((f"rung {k}", seed) for seed in seeds for k in range(9))


def tried(method: str) -> dict[float, float]:
    """Validation losses of the learning rates that were tried."""
    logs = [json.loads(file.read_text(encoding="utf-8"))["log"] for file in RUNS.glob(f"rate-{method}-*.json")]
    return {log["lr"]: log["val loss"] for log in logs}


def chosen() -> dict[str, float]:
    """The learning rate of each row with the lowest validation loss."""
    import measure

    found = {method: tried(method) for method in measure.METHODS}
    return {method: min(losses, key=losses.__getitem__) for method, losses in found.items() if losses}


def train(names: dict[str, Any], run: str, seed: int) -> None:
    """Train one run and write its network with its log; the log last, so that what has a log is whole."""
    import measure

    started = clocks()

    def progress(step: int, loss: float) -> None:
        print(f"{run} {seed}: {step} loss {loss:.4f}, {(clocks()[1] - started[1]) / step:.3f} CPU s", flush=True)

    names["SETTINGS"]["lr"] = names["SETTINGS"]["lr"] | chosen()
    net, log = measure.trained(Names(names), run, seed, progress=progress)
    file = measure.file_of(RUNS, run, seed)
    RUNS.mkdir(exist_ok=True)
    save_backbone(net, file)
    write_log(file, about_run(started) | {"threads": torch.get_num_threads(), "log": log})
    print(f"{run} {seed}: test {log['test']:.1f} train {log['train']:.1f} val loss {log['val loss']:.3f}", flush=True)


def queue(only: list[str] | None) -> None:
    """Train what is not there, in order."""
    import measure

    names = all_names()
    measure.stored(RUNS)  # so that a teacher is read, not trained again
    for run, seed in queue_order(names):
        if (not only or run in only) and not measure.file_of(RUNS, run, seed).with_suffix(".json").is_file():
            train(names, run, seed)
            measure._NETS.clear()


def tables(parts: list[str] | None) -> None:
    """Measure parts of assets/tables.json on the runs that there are."""
    names = all_names()
    import measure

    measure.stored(RUNS)
    file = ASSETS / "tables.json"
    found = Tables(file, measure, seminar=names, seeds=SEEDS, retrain=True)
    write_parts(file, found, parts)


def commit(files: list[str] | None) -> None:
    """Write networks of seed 0 in half precision, and their logs, into assets/."""
    names = Names(all_names())
    import measure

    measure.stored(RUNS)
    for name in files or COMMITTED:
        run = COMMITTED[name]
        entry = json.loads(measure.file_of(RUNS, run, 0).with_suffix(".json").read_text(encoding="utf-8"))
        file = ASSETS / f"{name}.safetensors"
        save_backbone(measure.trained(names, run, 0)[0], file)
        write_log(file, entry)
        print(file.name, file.stat().st_size, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, text in (
        ("queue", "train what is not there"),
        ("tables", "measure the seminar's tables"),
        ("commit", "write networks into assets/"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--only", action="append", help="a run, a part or a file's name; default: all of them")
    commands.add_parser("rates", help="print the learning rates chosen")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "rates":
        print(*(f"{name} = {lr:g}" for name, lr in chosen().items()), sep="\n")
    else:
        {"queue": queue, "tables": tables, "commit": commit}[args.what](args.only)


if __name__ == "__main__":
    main()
