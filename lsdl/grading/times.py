"""Times as people and nbgrader write them down. What could mean two things is refused: a guess would cost somebody points."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ISO = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d|[A-Za-z_]+(?:/[A-Za-z_+-]+)+)?"
)
EXAMPLE = "2026-10-02 09:30"


def utc(text: str, *, without_zone: str = "local") -> datetime | None:
    """A time in UTC without a zone, as nbgrader stores it; None if it is not written like 2026-10-02 09:30.

    Args:
        text: date and time of day, with seconds or not, then perhaps Z, UTC, +02:00 or Europe/Berlin. Abbreviations of time
            zones are not taken: many stand for several.
        without_zone: what a time without a zone is, "local" or "UTC".
    """
    match = ISO.fullmatch(text.strip())
    if match is None:
        return None
    zone = match["zone"]
    try:
        time = datetime.fromisoformat(match["time"])
        if zone in ("Z", "UTC", "GMT") or (zone is None and without_zone == "UTC"):
            time = time.replace(tzinfo=UTC)
        elif zone and zone[0] in "+-":
            time = datetime.fromisoformat(f"{match['time']}{zone[:3]}:{zone[-2:]}")
        elif zone:
            time = time.replace(tzinfo=ZoneInfo(zone))
        return time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return None
