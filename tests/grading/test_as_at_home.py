"""What works at home works in the sandbox, or says so: library calls in one notebook, run in the jail and in an ordinary kernel.

Every call gives the same there and here. Those of `LEFT_OUT` also print one line that says what was not run; those of
`REFUSED` cannot work, and their error is followed by a sentence that says that it is the grader.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_week import demo_course, solved
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbformat import NotebookNode, from_dict

from lsdl.cells import grade_id
from lsdl.grading.autograder import Job, run_job
from lsdl.grading.stand_ins import SAID

pytestmark = pytest.mark.linux

PREPARED = """
import os, subprocess, sys, warnings
import multiprocessing as mp
import joblib, numpy as np, torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
warnings.simplefilter("ignore")
X = np.random.default_rng(0).random((40, 3)); Y = (X[:, 0] > 0.5).astype(int)
data = TensorDataset(torch.arange(6))
def square(x): return x * x
def put(queue, value): queue.put(value)
def end(code): sys.exit(code)
def store(shared, key): shared[key] = key
def count(shared):
    with shared.get_lock(): shared.value += 1
"""
ALIKE = {
    # processors, users, the machine
    "cpu_count": "os.cpu_count() == mp.cpu_count() == len(os.sched_getaffinity(0))",
    "joblib.cpu_count": "1 <= joblib.cpu_count() <= os.cpu_count()",
    "physical cores": "1 <= joblib.cpu_count(only_physical_cores=True) <= os.cpu_count()",
    "getpass.getuser": "import getpass; bool(getpass.getuser())",
    "pwd": "import pwd; os.path.isabs(pwd.getpwuid(os.getuid()).pw_dir)",
    "home": "from pathlib import Path; (Path.home() / 'note').write_text('a'), (Path.home() / 'note').unlink()",
    "psutil": "import psutil; psutil.cpu_count() > 0, psutil.virtual_memory().total > 0, psutil.Process().memory_info().rss > 0",
    "loads": "import psutil; len(os.getloadavg()), psutil.swap_memory().total >= 0, psutil.cpu_percent() >= 0",
    "platform": "import platform; platform.system(), platform.python_version(), bool(platform.platform())",
    "temporary files": "import tempfile; f = tempfile.NamedTemporaryFile('w+'); f.write('a'); f.seek(0); f.read()",
    "copies with modes": "import shutil; open('a', 'w').close(); os.chmod('a', 0o600); shutil.copy2('a', 'b'); os.remove('a'), os.remove('b')",
    "program that is not there": "import shutil; shutil.which('no-such-program')",
    # threads and semaphores
    "ThreadPool": "from multiprocessing.pool import ThreadPool\nwith ThreadPool(2) as p: print(p.map(lambda x: x + 1, range(4)))",
    "ThreadPoolExecutor": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as e: print(list(e.map(abs, [-1, 2])))",
    "threads of joblib": "joblib.Parallel(n_jobs=2, prefer='threads')(joblib.delayed(abs)(i) for i in (-1, -2))",
    "threads of torch": "torch.set_num_threads(2); n = torch.get_num_threads(); torch.set_num_threads(1); n, torch.ones(500, 500).mm(torch.ones(500, 500)).sum()",
    "Lock": "lock = mp.Lock()\nwith lock: print(lock.acquire(False))\nlock.acquire(timeout=0.1), lock.release()",
    "RLock": "lock = mp.RLock()\nwith lock, lock: print('in')",
    "Semaphore": "s = mp.Semaphore(2); s.acquire(), s.acquire(), s.acquire(False), s.release()",
    "BoundedSemaphore": "s = mp.BoundedSemaphore(1); s.acquire(); s.release()\ntry: s.release()\nexcept ValueError as error: print(error)",
    "Condition": "c = mp.Condition()\nwith c: print(c.wait(0.01)); c.notify_all()",
    "Event and Barrier": "e = mp.Event(); e.set(); e.wait(1), mp.Barrier(1).wait()",
    "Value and Array": "v, a = mp.Value('i', 3), mp.Array('d', [1, 2])\nwith v.get_lock(): v.value += 1\nv.value, list(a)",
    "Queue": "q = mp.Queue(); q.put({'a': 1}); q.get(timeout=5), q.empty()",
    "Queue of tensors": "q = torch.multiprocessing.SimpleQueue(); q.put(torch.ones(2)); q.get()",
    "Pipe": "a, b = mp.Pipe(); a.send([1]); b.recv()",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\nm = SharedMemory(create=True, size=8); m.buf[0] = 7\nn = SharedMemory(m.name); print(n.buf[0]); n.close(); m.close(); m.unlink()",
    "anonymous memory": "import mmap; m = mmap.mmap(-1, 64); m[:2] = b'ab'; m[:3]",
    "file in memory": "a = np.memmap('m', dtype='f4', mode='w+', shape=4); a[:] = 2; a.flush(); del a; np.load, np.memmap('m', dtype='f4').sum()",
    "joblib.Memory": "m = joblib.Memory('cache', verbose=0); f = m.cache(square); f(3), f(3)",
    "joblib.dump": "joblib.dump(X, 'x'); joblib.load('x', mmap_mode='r').shape",
    # one process instead of many, without a word where nobody asked for more
    "DataLoader": "[batch for batch, in DataLoader(data, 4)]",
    "pin_memory": "len(list(DataLoader(data, 4, pin_memory=True)))",
    "n_jobs=1": "joblib.Parallel(n_jobs=1)(joblib.delayed(abs)(i) for i in (-1, -2))",
    "gradient boosting": "from sklearn.ensemble import HistGradientBoostingClassifier; HistGradientBoostingClassifier(max_iter=2).fit(X, Y).predict(X).shape",
    "torch.jit": "torch.jit.script(torch.nn.ReLU())(torch.ones(1))",
    "profiler": "with torch.profiler.profile() as p: torch.ones(2).sum()\nlen(p.key_averages()) > 0",
    "DataParallel": "torch.nn.DataParallel(torch.nn.ReLU())(torch.ones(1))",
    "sqlite": "import sqlite3; d = sqlite3.connect('d.db'); d.execute('create table t(a)'); d.execute('insert into t values (1)'); d.commit(); d.execute('select * from t').fetchall()",
    "asyncio": "import asyncio; await asyncio.to_thread(lambda: 3)",
    "os.environ": "os.environ['A'] = '1'; os.environ['A']",
    "cd and back": "here = os.getcwd(); os.makedirs('data', exist_ok=True); os.chdir('data'); os.chdir(here); os.path.basename(here) == 'week99-demo'",
}
LEFT_OUT = {
    "forest": "from sklearn.ensemble import RandomForestClassifier; RandomForestClassifier(3, random_state=0, n_jobs=-1).fit(X, Y).score(X, Y)",
    "n_jobs=2": "joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in (-1, -2))",
    "n_jobs=-1": "joblib.Parallel(n_jobs=-1)(joblib.delayed(square)(i) for i in (1, 2))",
    "backend multiprocessing": "joblib.Parallel(n_jobs=2, backend='multiprocessing')(joblib.delayed(abs)(i) for i in (-1, -2))",
    "neighbours": "from sklearn.neighbors import KNeighborsClassifier; KNeighborsClassifier(n_jobs=-1).fit(X, Y).predict(X).tolist()",
    "cross validation": "from sklearn.model_selection import cross_val_score; cross_val_score(KNeighborsClassifier(), X, Y, n_jobs=2)",
    "grid search": "from sklearn.model_selection import GridSearchCV; GridSearchCV(KNeighborsClassifier(), {'n_neighbors': [1, 3]}, n_jobs=2).fit(X, Y).best_params_",
    "num_workers": "[batch for batch, in DataLoader(data, 4, num_workers=2)]",
    "persistent workers": "l = DataLoader(data, 4, num_workers=2, persistent_workers=True, prefetch_factor=3, timeout=60); [len(list(l)), len(list(l)), l.num_workers]",
    "Pool": "with mp.Pool(2) as p: print(p.map(square, range(5)), p.apply(square, (3,)), list(p.imap(square, [2])), p.starmap(max, [(1, 2)]))",
    "Pool copies": "x = [1]\nwith mp.Pool(2) as p: print(p.map(list.clear, [x]), x)",
    "Pool and its errors": "with mp.Pool(2) as p:\n    try: p.map(len, [1])\n    except TypeError as error: print(error)",
    "Pool of a context": "with mp.get_context('fork').Pool() as p: print(p.map_async(abs, [-1]).get())",
    "Process": "q = mp.Queue(); p = mp.Process(target=put, args=(q, 3)); p.start(); value = q.get(); p.join(); value, p.exitcode, p.is_alive()",
    "exit code": "p = mp.Process(target=end, args=(3,)); p.start(); p.join(); p.exitcode",
    "shared Value": "v = mp.Value('i'); ps = [mp.Process(target=count, args=(v,)) for _ in range(3)]; [p.start() for p in ps]; [p.join() for p in ps]; v.value",
    "end a process": "import time; p = mp.Process(target=time.sleep, args=(30,)); p.start(); p.terminate(); p.join(); p.is_alive(), p.exitcode",
    "end a loop": "p = mp.Process(target=exec, args=('while True: pass',)); p.start(); p.kill(); p.join(); p.is_alive(), p.exitcode",
    "loky by name": "with joblib.parallel_config(backend='loky', n_jobs=2): print(joblib.Parallel()(joblib.delayed(abs)(i) for i in (-1, 2)))",
    "iterable data": "class Five(IterableDataset):\n    def __iter__(self): return iter(range(5))\n[batch.tolist() for batch in DataLoader(Five(), 2, num_workers=1)]",
    "shuffled by workers": "[b.tolist() for b, in DataLoader(data, 2, num_workers=2, shuffle=True, generator=torch.Generator().manual_seed(0))]",
    "ProcessPoolExecutor": "from concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(2) as e: print(list(e.map(square, range(4), chunksize=2)), e.submit(square, 3).result())",
    "process_map": "from tqdm.contrib.concurrent import process_map; process_map(square, range(3), max_workers=2, disable=True)",
    "Manager": "with mp.Manager() as m:\n    d = m.dict()\n    with mp.Pool(2) as p: p.starmap(store, [(d, 1), (d, 2)])\n    print(sorted(d.items()))",
    "torch.multiprocessing": "with torch.multiprocessing.Pool(2) as p: print(p.map(torch.sum, [torch.ones(2)]))",
    "share_memory_": "t = torch.ones(2).share_memory_(); t.is_shared(), torch.nn.Linear(1, 1).share_memory().weight.is_shared(), torch.ones(2).is_shared()",
    "torch.compile": "torch.compile(torch.nn.ReLU(), backend='eager')(-torch.ones(2))",
    "compiled function": "@torch.compile(backend='eager')\ndef f(x): return x.sin()\nf(torch.zeros(2))",
    "reusable executor": "from joblib.externals.loky import get_reusable_executor; get_reusable_executor(2).submit(abs, -1).result()",
}
# at home these run programs, whose output is no business of the grader: the cells must go on
PROGRAMS = {
    "!": "!echo a\nprint('on')",
    "pip": "!pip --version\nprint('on')",
    "in a block": "if True:\n    !echo a\nprint('on')",
    "!!": "!!echo a\nprint('on')",
    "captured": "lines = !echo a\nprint('on', type(lines).__name__)",
    "%pip": "%pip --version\nprint('on')",
    "%uv": "%uv --version\nprint('on')",
    "%%bash": "%%bash --out text\necho a",
    "%%sh": "%%sh\nls",
    "%%script": "%%script true\na",
    "%system": "%system echo a",
    "alias": "%ls",
    "os.system": "os.system('echo a >/dev/null')\nprint('on')",
    "subprocess": "subprocess.run([sys.executable, '-m', 'pip', 'install', '--help'], check=True, capture_output=True).returncode",
    "without checks": "subprocess.run('true', shell=True)\nprint('on')",
    "os.popen": "os.popen('true').read()",
}
# here only: at home they work, or need a network
REFUSED = {
    "network": ("import urllib.request; urllib.request.urlopen('http://example.com')", "there is no network"),
    "socket": ("import socket; socket.socket()", "no network"),
    "other packages": ("import a_package_of_nobody", "no packages but those of the course"),
    "files elsewhere": ("open('/tmp/model.pt', 'w')", "no files outside the week's folder"),
    "fork": ("os.fork()", "no other programs"),
    "output of a program": ("subprocess.check_output(['nvidia-smi'])", "no other programs"),
    "memory": ("bytearray(5 << 30)", "a notebook has 4 GB of memory"),
}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield demo_course(tmp_path_factory.mktemp("home") / "course")


def here(week: Path) -> dict[str, list[NotebookNode]]:
    """The outputs of every call in the jailed kernel."""
    calls = ALIKE | LEFT_OUT | PROGRAMS | {name: source for name, (source, _) in REFUSED.items()}
    result = run_job(Job(week, "ada", solved(week, PREPARED, *calls.values())))
    assert sum(points or 0 for points in result.verdict.points.values()) == 7  # nothing is left over from the calls
    cells = [from_dict(cell) for cell in result.executed["cells"] if cell["source"] in calls.values()]
    return dict(zip(calls, [cell.outputs for cell in cells], strict=True))


def at_home(week: Path) -> dict[str, list[NotebookNode]]:
    """The same of an ordinary kernel of this Python."""
    calls = ALIKE | LEFT_OUT | PROGRAMS
    cells = [
        {"cell_type": "code", "source": source, "outputs": [], "metadata": {}} for source in (PREPARED, *calls.values())
    ]
    notebook = from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
    manager = AsyncKernelManager()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python")
    NotebookClient(
        notebook, km=manager, allow_errors=True, timeout=120, resources={"metadata": {"path": str(week)}}
    ).execute()
    return dict(zip(calls, [cell.outputs for cell in notebook.cells[1:]], strict=True))


def told(outputs: list[NotebookNode]) -> list[str]:
    """What a cell gave, without the grader's lines and without warnings."""
    found = [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]
    found += [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    lines = [output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"]
    return [*found, *(line for line in "".join(lines).splitlines() if not line.startswith(SAID))]


def said(outputs: list[NotebookNode]) -> list[str]:
    """The grader's lines."""
    lines = "".join(output.text for output in outputs if output.output_type == "stream").splitlines()
    return [line for line in lines if line.startswith(SAID)]


@pytest.mark.slow
def test_fifty_calls_inside_and_outside(week: Path) -> None:
    inside, outside = here(week), at_home(week)
    same = [*ALIKE, *LEFT_OUT]
    assert len(same) >= 60
    assert {name: told(inside[name]) for name in same} == {name: told(outside[name]) for name in same}
    errors = [name for name in outside for output in outside[name] if output.output_type == "error"]
    assert not errors  # else two equal errors would prove nothing
    assert {name: said(inside[name]) for name in ALIKE if said(inside[name])} == {}
    assert [name for name in LEFT_OUT if len(said(inside[name])) != 1] == ["Manager"]  # a Manager and a Pool
    for name in PROGRAMS:
        assert len(said(inside[name])) == 1, name
        assert not [output for output in inside[name] if output.output_type == "error"], name
        if "'on'" in PROGRAMS[name]:
            assert told(inside[name])[-1].startswith("on"), name
    for name, (_, sentence) in REFUSED.items():
        assert inside[name][0].output_type == "error" or said(inside[name]), name
        assert sentence in said(inside[name])[-1], name


W = "def standardise(x, eps=1e-5):\n    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)\n"
CLASSIFY = "def fit_centroids(x, y):\n    return torch.stack([x[y == label].mean(0) for label in range(int(y.max()) + 1)])\n\n\n"
HONEST = {
    "pip on top": {"standardise": f"!pip install -q einops\n{W}"},
    "%pip on top": {"standardise": f"%pip install -q einops\n{W}"},
    "another program": {
        "dropout": "!nvidia-smi\ndef dropout(x, p, generator):\n    return x * (torch.rand(x.shape, generator=generator) >= p) / (1 - p)"
    },
    "pip of a process": {
        "standardise": f"import subprocess\nsubprocess.run(['pip', 'install', 'einops'], check=True)\n{W}"
    },
    "two workers": {
        "classify": CLASSIFY
        + "def classify(centroids, x):\n    from torch.utils.data import DataLoader, TensorDataset\n"
        + "    loader = DataLoader(TensorDataset(x), batch_size=10, num_workers=2)\n"
        + "    return torch.cat([torch.cdist(part, centroids).argmin(1) for (part,) in loader])"
    },
    "all processors": {
        "classify": CLASSIFY
        + "def classify(centroids, x):\n    from sklearn.metrics import pairwise_distances\n"
        + "    return torch.tensor(pairwise_distances(x.numpy(), centroids.numpy(), n_jobs=-1)).argmin(1)"
    },
    "a compiled answer": {"standardise": W.replace("def ", "@torch.compile\ndef ")},
    "another folder": {"standardise": f"import os\nos.makedirs('data', exist_ok=True)\nos.chdir('data')\n{W}"},
    "%cd": {"standardise": f"%cd ..\n{W}"},
}


# As one notebook each: they change different answers.
TOGETHER = [("pip on top", "another program", "two workers"), ("%pip on top", "all processors")]
TOGETHER += [(name,) for name in HONEST if not any(name in names for names in TOGETHER)]


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_honest_work_earns_all(week: Path, names: tuple[str, ...]) -> None:
    answers = {answer: source for name in names for answer, source in HONEST[name].items()}
    assert len(answers) == len(names)
    result = run_job(Job(week, "ada", solved(week, **answers)))
    assert sum(points or 0 for points in result.verdict.points.values()) == 7, result.verdict
    for answer in answers:  # its own cell, or a test of it, says what was not run
        cells = [cell for cell in result.executed["cells"] if str(grade_id(cell)).startswith(answer)]
        shown = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
        assert (SAID in shown) == (names[0] not in ("another folder", "%cd"))
