"""The functions of a seminar outside of its notebook, for long trainings and tests, and the tables that they write."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsdl.cells import source_of, tags
from lsdl.tables import Tables


def seminar_names(
    week: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    scale: str = "smoke",
    device: str = "cpu",
    retrain: bool = False,
) -> dict[str, Any]:
    """Execute the cells tagged `define` of a week's seminar and return the names that they make.

    The cells import the week's `helpers`, so its folder has to stand in `sys.path`.

    Args:
        settings: entries that replace some of the notebook's SETTINGS as soon as it has any, e.g. trainings of two steps.
        scale, device, retrain: SCALE, DEVICE and RETRAIN of the notebook's parameters.
    """
    names: dict[str, Any] = {"SCALE": scale, "SEED": 0, "DEVICE": device, "RETRAIN": retrain, "__name__": "seminar"}
    for cell in json.loads((week / "seminar.ipynb").read_text(encoding="utf-8"))["cells"]:
        if "define" in tags(cell):
            # a notebook has no `from __future__ import annotations` unless it says so
            code = compile(source_of(cell), f"seminar.ipynb, cell {cell['id']}", "exec", dont_inherit=True)
            exec(code, names)
            names.get("SETTINGS", {}).update(settings or {})
    return names


def clocks() -> tuple[float, float]:
    """Wall time and CPU time of this process, in seconds."""
    return time.time(), time.process_time()


def about_run(started: tuple[float, float], packages: tuple[str, ...] = ("torch",), **more: Any) -> dict[str, Any]:
    """What a log says of a run of one thread that began when `clocks()` was `started`: minutes, versions, and `more`."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    wall, cpu = (round((now - begin) / 60, 1) for now, begin in zip(clocks(), started, strict=True))
    return more | {"minutes": wall, "cpu_minutes": cpu, "threads": 1, "versions": versions}


def digests(log: Path, *files: Path) -> dict[str, str]:
    """What a log says of its checkpoints under "sha256", so that a test finds weights that changed without it.

    Args:
        log: the log's own path.
        files: the checkpoints, as they have been written.

    Returns:
        The SHA-256 of each file, by its path from the log's folder.
    """
    return {
        Path(os.path.relpath(file, log.parent)).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def write_log(file: Path, entry: Mapping[str, Any]) -> None:
    """Write the log of a checkpoint beside it, under its name with .json; as a whole or not at all, so that what has a log is ready.

    Args:
        file: the checkpoint, as it has been written.
        entry: what the log says beside the checkpoint's digest; numbers are rounded.
    """
    log, part = file.with_suffix(".json"), file.with_suffix(".part")
    part.write_text(json.dumps(rounded(entry | {"sha256": digests(log, file)})) + "\n", encoding="utf-8")
    part.replace(log)


def write_parts(file: Path, found: Tables, parts: Sequence[str] | None) -> None:
    """Measure parts of a week's tables.json, and write and tell each as soon as it is ready.

    Args:
        found: tables that measure what they are asked for.
        parts: None or none: all of them.
    """
    for part in parts or found.parts:
        started = clocks()
        rows = found[part]
        write_table(file, part, rows, about_run(started))
        print(f"{part}: {len(rows)} rows, {clocks()[1] - started[1]:.0f} CPU s", flush=True)


def write_table(file: Path, part: str, rows: Any, about: Mapping[str, Any]) -> None:
    """Renew one part of a week's tables.json, one line a part; all other parts stay as they are."""
    tables = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tables[part] = rows
    tables.setdefault("about", {})[part] = dict(about)
    lines = [f" {json.dumps(name)}: {json.dumps(rounded(tables[name]))}" for name in sorted(tables)]
    file.parent.mkdir(exist_ok=True)
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """The value with every number in it to four digits after the point; small ones and those that are not finite stay."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) and abs(value) >= 0.01 else value
