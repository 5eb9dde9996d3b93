"""The numbers of a week by scale, from its settings.toml: `[smoke]` has all of them, `[full]` those that differ."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A mistake in settings.toml; the message is one sentence that names the key."""


def load_settings(scale: str, file: Path | str = "settings.toml") -> dict[str, Any]:
    """The settings of a scale.

    Args:
        scale: "smoke" or "full".
        file: the week's settings.toml.

    Raises:
        SettingsError: the file is no TOML or lacks `[smoke]`, `scale` is another one, or `[full]` has a key of a name or kind
            that `[smoke]` does not know.
    """
    path = Path(file)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path.name} is not in {path.resolve().parent}: open the notebook from its week's folder."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path.name} is not valid TOML: {error}.") from None
    if "smoke" not in tables:
        raise SettingsError(f"{path.name} has no table [smoke].")
    if scale not in ("smoke", "full"):
        raise SettingsError(f'SCALE is "smoke" or "full", not {scale!r}.')
    smoke, full = tables["smoke"], tables.get("full", {})
    for key, value in full.items():
        if key not in smoke:
            raise SettingsError(f"{path.name}: [full] has {key}, which [smoke] does not have.")
        if _kind(value) is not _kind(smoke[key]):
            raise SettingsError(
                f"{path.name}: {key} is {_kind(smoke[key]).__name__} in [smoke] and {_kind(value).__name__} in [full]."
            )
    return smoke | full if scale == "full" else dict(smoke)


def _kind(value: Any) -> type:
    return float if type(value) in (int, float) else type(value)
