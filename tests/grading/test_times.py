"""K10: a time that could mean two things is refused in a sentence, and never guessed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from lsdl.grading import GradingError
from lsdl.grading.class_tables import remember_times
from lsdl.grading.collect import find_hand_ins
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.release import release
from lsdl.grading.scores import final_marks
from lsdl.grading.times import utc


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("Windows takes no time zone from the environment")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-02 09:30", (7, 30)),
        ("2026-10-02T09:30:15", (7, 30, 15)),
        ("2026-10-02 09:30Z", (9, 30)),
        ("2026-10-02 09:30:00.123456 UTC", (9, 30, 0, 123456)),
        ("2026-10-02 09:30 +0300", (6, 30)),
        ("2026-10-02T09:30-07:00", (16, 30)),
        (" 2026-10-02 09:30 Europe/Moscow ", (6, 30)),
    ],
)
def test_k10_what_is_clear_is_read(berlin: None, text: str, expected: tuple[int, ...]) -> None:
    assert utc(text) == datetime(2026, 10, 2, *expected)


UNCLEAR = (
    *(
        "05.10.2026 09:00",
        "10/05/2026 09:00",
        "2026-10-02",
        "9:30",
        "5",
        "tomorrow",
        "",
        "2026-13-02 09:30",
        "2026-10-02 25:00",
    ),
    *(
        "2026-10-02 01:30 MSK",
        "2026-10-02 01:30 PDT",
        "2026-10-02 01:30 CET",
        "2026-10-02 01:30 No/Where",
        "2026-10-02 9:30 pm",
    ),
    *("0001-01-01 00:00 +10:00", "2026-10-02 09:30 +99:99", "1759397400"),
)


@pytest.mark.parametrize("text", UNCLEAR)
def test_k10_what_is_not_clear_is_refused(text: str) -> None:
    assert utc(text) is None


@pytest.fixture
def ada(week: Path) -> Path:
    """The course with a student, nothing graded."""
    release(week, check=False)
    with open_course(week.parent).gradebook as book:
        book.add_student("ada")
    return week.parent


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ada,week97-tiny,05.10.2026 09:00", "'05.10.2026 09:00' is not clear; write it like 2026-10-02 09:30"),
        ("ada,week97-tiny,2026-10-02 09:00 MSK", "MSK' is not clear"),
        (
            "adda,week97-tiny,2026-10-02 09:00",
            r"On no class list and in no report: adda \(is it ada\?\)\. Write the id",
        ),
        ("ada,week01,2026-10-02 09:00", "names homeworks that are not in the gradebook: week01"),
        ("ada,week97-tiny,2026-10-02 09:00\nada,week97-tiny,2026-10-03 09:00", "ada is there twice"),
    ],
)
def test_k10_times_are_refused_in_a_sentence(ada: Path, tmp_path: Path, line: str, said: str) -> None:
    times = tmp_path / "times.csv"
    times.write_text(f"student,homework,handed_in\n{line}\n")
    with pytest.raises(GradingError, match=said):
        remember_times(ada, times)
    assert not (ada / "gradebook" / "times.csv").exists()


def test_k10_semicolons_are_named(ada: Path, tmp_path: Path) -> None:
    exam = tmp_path / "exam.csv"
    exam.write_text("student;points\nada;3\n")
    with pytest.raises(GradingError, match="has semicolons between its columns: save it with commas"):
        final_marks(ada, exam, out_of=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-02 01:30:00.5 UTC", datetime(2026, 10, 2, 1, 30, 0, 500000)),
        ("2026-10-02 01:30", datetime(2026, 10, 2, 1, 30)),
    ],
)
def test_k10_nbgraders_timestamp(tmp_path: Path, text: str, expected: datetime) -> None:
    folder = tmp_path / "ada" / "week97-tiny"
    folder.mkdir(parents=True)
    (folder / "homework.ipynb").write_text("{}")
    (folder / "timestamp.txt").write_text(text)
    (entry,) = find_hand_ins(tmp_path, "week97-tiny").entries
    assert (entry.handed_in, entry.notes) == (expected, ())


def test_k10_an_unclear_timestamp_is_said(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    folder = tmp_path / "ada" / "week97-tiny"
    folder.mkdir(parents=True)
    (folder / "homework.ipynb").write_text("{}")
    (folder / "timestamp.txt").write_text("2026-10-02 01:30 MSK")
    (entry,) = find_hand_ins(tmp_path, "week97-tiny").entries
    assert entry.handed_in is None and not recwarn.list
    assert entry.notes == (
        "timestamp.txt says '2026-10-02 01:30 MSK', which is not clear (write it like 2026-10-02 09:30 UTC): it counts as on time.",
    )
