"""The functions of a seminar outside of its notebook, for long trainings and tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat


def seminar_names(week: Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Execute the cells tagged `define` of a week's seminar (scale "smoke", CPU) and return the names that they make.

    The cells import the week's `helpers`, so its folder has to stand in `sys.path`.

    Args:
        settings: entries that replace some of the notebook's SETTINGS as soon as it has any, e.g. trainings of two steps.
    """
    names: dict[str, Any] = {"SCALE": "smoke", "SEED": 0, "DEVICE": "cpu", "RETRAIN": False, "__name__": "seminar"}
    for cell in nbformat.read(week / "seminar.ipynb", nbformat.NO_CONVERT).cells:
        if "define" in cell.metadata.get("tags", []):
            # a notebook has no `from __future__ import annotations` unless it says so
            exec(compile(cell.source, f"seminar.ipynb, cell {cell.id}", "exec", dont_inherit=True), names)
            names.get("SETTINGS", {}).update(settings or {})
    return names
