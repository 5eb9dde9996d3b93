"""Which key the hidden checks of a class are made with: chosen, and said, before anything runs."""

from __future__ import annotations

from pathlib import Path

from lsdl.author.course import MIN_KEY, WeekPaths
from lsdl.grading import GradingError

MAKE_ONE = '(umask 077; python -c "import secrets; print(secrets.token_hex(32))" > ~/lsdl.key)'


def choose_key(week: WeekPaths, given: Path | None, *, demo: bool = False) -> tuple[Path, str]:
    """The key file that a week is graded with, and a line that says which and what follows.

    Args:
        given: what the instructor named; None takes the key of the last time, then gradebook/demo.key.
        demo: whether the public demo key will do.

    Raises:
        GradingError: the file is gone, its key is too short, or it is the public one and `demo` is not set.
    """
    last = Path(week.key_note.read_text(encoding="utf-8")) if week.key_note.is_file() else None
    path = given or last or week.demo_key
    if not path.is_file():
        raise GradingError(f"The key file {path} does not exist: give the instructor's key with --key FILE.")
    key = path.read_bytes().strip()
    if len(key) < MIN_KEY:
        raise GradingError(f"The key in {path} has {len(key)} characters, at least {MIN_KEY} are needed: {MAKE_ONE}")
    public = week.demo_key.is_file() and key == week.demo_key.read_bytes().strip()
    if public and not demo:
        why = f"{path} holds the public demo key" if given or last else "No key was given, and this week has had none"
        raise GradingError(
            f"{why}: whoever knows that key can compute what the hidden checks expect. Make one with {MAKE_ONE} and pass "
            "--key ~/lsdl.key; to try the grader out, pass --demo."
        )
    said = f"{path}{', public, for trying out only' if public else ''}"
    if last is None or path.resolve() == last.resolve():
        return path, f"{said} ({'as last time' if last else 'for the first time'})"
    return path, (
        f"{said}; last time it was {last}. With another key the hidden checks have other inputs: everybody is run again, "
        "and the points of an answer that is right for some inputs only can change."
    )
