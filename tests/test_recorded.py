"""A week is recorded once: the second call reads what the first wrote, for the same sources and key only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lsdl.author import references
from lsdl.author.course import WeekPaths
from lsdl.author.homework import Homework
from lsdl.author.references import CACHE, recorded
from lsdl.checks import ReferenceStore

COURSE = Path(__file__).parent / "fixtures" / "course"


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(COURSE, tmp_path / "course")
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "course" / "week99-demo"


def test_a_week_is_recorded_once(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, calls = references.record, []
    monkeypatch.setattr(references, "record", lambda *given: calls.append(given) or record(*given))
    homework = Homework(week)
    first = recorded(homework, b"a key, of 32 characters or even more")
    again, visible = recorded(Homework(week), b"a key, of 32 characters or even more"), recorded(homework)
    assert len(calls) == 1 and homework.hidden_names
    assert again.keys() == first.keys() and visible.keys() == first.keys() - homework.hidden_names
    for name, entry in first.items():
        assert entry.explain(again[name].accepted[0]) is None if entry.accepted else True
        assert [hint for hint, _ in again[name].mistakes] == [hint for hint, _ in entry.mistakes]

    recorded(homework, b"another key, of 32 characters or more")
    assert len(calls) == 2
    helpers = week / "helpers.py"
    helpers.write_text(helpers.read_text() + "\n# changed\n")
    recorded(Homework(week), b"a key, of 32 characters or even more")
    assert len(calls) == 3


def test_a_recording_without_the_stored_draws_is_another(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a processor that rounds otherwise finds in the cache what it drew anew, and calls it a drift."""
    homework, asked = Homework(week), []
    stored = ReferenceStore(WeekPaths.at(week).visible_references)
    entries = {name: stored.entry(name) for name in stored.names}
    monkeypatch.setattr(references, "record", lambda week, key, stored: asked.append(bool(stored)) or entries)
    for given in (None, entries, None, entries):
        assert recorded(homework, None, given).keys() == entries.keys()
    assert asked == [False, True]


def test_without_a_folder_nothing_is_kept(week: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE)
    recorded(Homework(week))
    assert not (tmp_path / "cache").exists()
