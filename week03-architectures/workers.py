"""Training with several workers: what the processes of one `torchrun` do, and `run_workers`, which starts them from a notebook.

    torchrun --nproc-per-node 2 workers.py FILE

with two or three workers runs every function of FACTS once in each process and writes what worker 0 found as JSON.

    torchrun --nproc-per-node 8 workers.py train FILE ViT

trains a network of full scale on all GPUs of a machine and writes its log. Workers talk by nccl where each has a GPU of its own, else
by gloo.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

BATCH, MICRO, STEPS, CLASSES = 24, 4, 5, 10  # pictures of all workers together, micro-batches, training steps
SHARES = {
    "allreduce": 2,
    "allgather": 1,
    "reduce_scatter": 1,
}  # times (n - 1) / n of the numbers: what a worker sends at least
LIMIT = 300  # seconds


def run_workers(count: int = 2, limit: float = LIMIT) -> dict[str, Any]:
    """Start `count` processes of this file with torchrun, one thread each, and return what they found, about 20 CPU seconds.

    Raises:
        RuntimeError: a process failed or the limit in seconds passed; the message ends with the last lines that were printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "facts.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        # else gloo looks for the host's name, which may lead nowhere
        local = "lo0" if platform.system() == "Darwin" else "lo"
        command += [str(Path(__file__).resolve()), str(file)]
        code, said = _run(command, {"GLOO_SOCKET_IFNAME": local} | os.environ | {"OMP_NUM_THREADS": "1"}, limit)
        if code != 0 or not file.is_file():
            last = "\n".join(said.splitlines()[-45:])  # torchrun's own summary takes about 25
            how = f"did not end within {limit:g} s" if code is None else f"failed, exit code {code}"
            raise RuntimeError(f"The {count} workers {how}. Their last lines:\n{last}")
        return json.loads(file.read_text(encoding="utf-8"))


def _run(command: list[str], env: dict[str, str], limit: float) -> tuple[int | None, str]:
    """Exit code, None if the limit passed, and what was printed: torchrun writes to stderr."""
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    with subprocess.Popen(command, env=env, **output) as process:
        try:
            said = process.communicate(timeout=limit)[0]
            return process.returncode, said
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun then ends its workers, which a kill would leave alone
            return None, process.communicate()[0]
        finally:
            if process.poll() is None:  # the notebook was interrupted
                process.terminate()


# What every worker has


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of four groups: it sees one picture at a time, so that a share of a batch is treated as in the batch."""
    return nn.GroupNorm(4, channels)


def make_net(norm: Callable[[int], nn.Module] = group_norm) -> nn.Sequential:
    """Three parts with 6,474 parameters, the same in every process: (B, 3, 8, 8) -> (B, 10)."""
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), norm(b), nn.GELU()) for a, b in ((3, 16), (16, 32))]
    return nn.Sequential(*parts, nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(128, CLASSES)))


def batches(steps: int = STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all workers together: (24, 3, 8, 8) float32 of noise, (24,) int64."""
    g = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield torch.randn(BATCH, 3, 8, 8, generator=g), torch.randint(CLASSES, (BATCH,), generator=g)


def mine(batch: Tensor) -> Tensor:
    """This worker's share of a batch."""
    return batch.chunk(dist.get_world_size())[dist.get_rank()].to(device())


def device() -> torch.device:
    """This worker's GPU if the workers talk by nccl, else the CPU."""
    return torch.device("cuda", dist.get_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")


class Traffic(TorchDispatchMode):
    """Counts the collective calls inside of it and the bytes that each worker sends for them at least.

    An all-reduce of M bytes among n workers costs 2 M (n - 1) / n, an all-gather or reduce-scatter half of it (Patarasuk and Yuan 2009).
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}
        self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.__name__.replace("_", "") if "c10d" in func.namespace else ""
        for kind, share in SHARES.items():
            if kind.replace("_", "") in name:
                whole = max(t.numel() * t.element_size() for t in _tensors(args))  # the gathered or unreduced one
                self.calls[kind] = self.calls.get(kind, 0) + 1
                self.bytes += share * whole * (dist.get_world_size() - 1) / dist.get_world_size()
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, share: Callable[[Tensor], Tensor]) -> Traffic:
    """Five steps on `share` of each batch; returns the traffic of the last step."""
    for images, labels in batches():
        optimizer.zero_grad()
        with Traffic() as traffic:
            F.cross_entropy(model(share(images)), share(labels)).backward()
        optimizer.step()
    return traffic


def alone(make: Callable[..., torch.optim.Optimizer], lr: float) -> nn.Module:
    """The net that one process gets from the whole batches."""
    model = make_net().to(device())
    train(model, make(model.parameters(), lr), lambda batch: batch.to(device()))
    return model


def difference(model: nn.Module, other: nn.Module) -> float:
    """The largest difference of two nets' parameters; sharded ones are gathered."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max((whole(p) - whole(q)).abs().max().item() for p, q in pairs)


def whole(p: Tensor) -> Tensor:
    """A parameter as one tensor."""
    return p.full_tensor().detach() if hasattr(p, "full_tensor") else p.detach()


# What is found out


def data_parallel() -> dict[str, Any]:
    """DDP: each worker has the whole net and a share of the batch; gradients are averaged."""
    model = DistributedDataParallel(make_net().to(device()))
    traffic = train(model, torch.optim.SGD(model.parameters(), lr=0.1), mine)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    others = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(others, flat)
    return {
        "difference from one process": difference(model, alone(torch.optim.SGD, lr=0.1)),
        "workers equal": all(torch.equal(flat, other) for other in others),
        "parameters": len(flat),
        "bytes sent": traffic.bytes,
        "calls": traffic.calls,
    }


def without_sync() -> dict[str, Any]:
    """DDP that accumulates four micro-batches: the all-reduces of a step with and without `no_sync`."""
    calls, (images, labels) = {}, next(batches())
    micro = list(zip(mine(images).chunk(MICRO), mine(labels).chunk(MICRO), strict=True))
    for name in ("plain", "no_sync"):
        model = DistributedDataParallel(make_net().to(device()))
        with Traffic() as traffic:
            for k, (x, y) in enumerate(micro, 1):
                with model.no_sync() if name == "no_sync" and k < MICRO else nullcontext():
                    (F.cross_entropy(model(x), y) / MICRO).backward()
        calls[name] = traffic.calls["allreduce"]
    return calls


def sharded() -> dict[str, Any]:
    """FSDP2: each worker keeps a share of every parameter, gradient and Adam number, and gathers a part when it is its turn."""
    model = make_net().to(device())
    for part in (*model, model):
        fully_shard(part)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    traffic = train(model, optimizer, mine)
    states = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    return {
        "difference from one process": difference(model, alone(torch.optim.AdamW, lr=1e-2)),
        "parameters": sum(p.to_local().numel() for p in model.parameters()),
        "all parameters": sum(p.numel() for p in model.parameters()),
        "Adam numbers": sum(v.to_local().numel() for v in states),
        "all Adam numbers": sum(v.numel() for v in states),
        "bytes sent": traffic.bytes,
        "calls": traffic.calls,
    }


def pipeline() -> dict[str, Any]:
    """GPipe: each worker has a stage of the net, and four micro-batches go through; the gradients of one process come out."""
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    count, rank = dist.get_world_size(), dist.get_rank()
    images, labels = (t.to(device()) for t in next(batches()))
    cut = slice(rank, rank + 1 if rank < count - 1 else None)  # the last worker has the rest
    stage = make_net()[cut].to(device())
    schedule = ScheduleGPipe(PipelineStage(stage, rank, count, device()), MICRO, loss_fn=F.cross_entropy)
    if rank == 0:
        schedule.step(images)
    else:
        schedule.step(target=labels) if rank == count - 1 else schedule.step()
    one = make_net().to(device())
    F.cross_entropy(one(images), labels).backward()
    pairs = zip(stage.parameters(), one[cut].parameters(), strict=True)
    worst = torch.tensor(max((p.grad - q.grad).abs().max().item() for p, q in pairs), device=device())
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    return {"difference from one process": worst.item(), "micro-batches": MICRO}


def tensor_parallel() -> dict[str, Any]:
    """Tensor parallel MLP: the first matrix by columns of its product, the second by rows, one all-reduce per pass."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)).to(device())
    x = torch.randn(8, 16).to(device())
    mesh = init_device_mesh(device().type, (dist.get_world_size(),))
    model = parallelize_module(copy.deepcopy(one), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    with Traffic() as traffic:
        y = model(x)
    return {
        "difference from one process": (y - one(x)).abs().max().item(),
        "parameters": sum(p.to_local().numel() for p in model.parameters()),
        "all parameters": sum(p.numel() for p in model.parameters()),
        "calls": traffic.calls,
    }


def all_reduce_times(repeats: int = 9) -> dict[str, float]:
    """Seconds of `dist.all_reduce` by how many float32 numbers are summed: the best of a few tries."""
    found = {}
    dist.all_reduce(torch.ones(2**16, device=device()))  # the first one opens connections
    for power in range(8, 23, 2):
        numbers, times = torch.ones(2**power, device=device()), []
        for _ in range(repeats):
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(numbers)
            numbers[:1].tolist()  # a GPU's work is over when its result can be read
            times.append(time.perf_counter() - begin)
        found[str(2**power)] = min(times)
    return found


FACTS = (data_parallel, without_sync, sharded, pipeline, tensor_parallel, all_reduce_times)


def find_out() -> dict[str, Any]:
    """What all of FACTS return, by the function's name."""
    return {"workers": dist.get_world_size()} | {fact.__name__: fact() for fact in FACTS}


# A long training


def train_net(name: str, scale: str = "full", pictures: str = "") -> dict[str, Any]:
    """Train a network of the table with DDP: its log and scores. Workers draw their own pictures, so that a batch is as large as with one.

    Args:
        name: a key of `measure.MAKE`; at smoke one that needs no block of the seminar.
        pictures: how many all workers see together; default: as settings.toml says.
    """
    import helpers
    import measure

    from lsdl.settings import load_settings

    count, rank = dist.get_world_size(), dist.get_rank()
    settings = load_settings(scale, Path(__file__).with_name("settings.toml"))
    net = measure.make(SimpleNamespace(SCALE=scale, SETTINGS=settings), name, 0)
    shared = DistributedDataParallel(net.to(device(), memory_format=torch.channels_last))
    data = helpers.load_data(scale)
    log = helpers.train(
        net,
        data["train"],
        int(pictures or settings["pictures"]) // count,
        lr=settings["lr"][name],
        batch_size=settings["batch_size"] // count,
        seed=rank,
        objective=lambda _, x, y: F.cross_entropy(shared(x), y),
        device=device(),
        progress=lambda step, loss: (
            print(f"step {step}, loss of worker 0: {loss:.3f}", flush=True) if rank == 0 else None
        ),
    )
    log |= {"workers": count, "pictures": count * log["pictures"]}
    return log | (helpers.scores(net, data) if rank == 0 else {})


def main(work: Callable[[], dict[str, Any]], file: str) -> None:
    """Do the work in this process, one of several, and let worker 0 write what it found."""
    count, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    gpus = torch.cuda.device_count() >= count
    if gpus:
        torch.cuda.set_device(local)
    torch.set_num_threads(1)
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        found = work()
        if dist.get_rank() == 0:
            Path(file).write_text(json.dumps(found), encoding="utf-8")
        dist.barrier()  # nobody leaves while another one still computes
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    if sys.argv[1] == "train":
        main(partial(train_net, *sys.argv[3:]), sys.argv[2])
    else:
        main(find_out, sys.argv[1])
    # All is written. Gloo's threads may still hold tensors, and one that is freed while Python shuts down aborts the process
    # (pytorch/pytorch#179291), which torchrun reports as a failure of the work: so leave without the shutdown.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
