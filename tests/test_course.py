"""course.toml and where the weeks are."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdl.author.course import CourseError, WeekPaths, course_root, find_some_weeks, find_week, find_weeks, load_course

REPOSITORY = Path(__file__).resolve().parents[1]
GOOD = (REPOSITORY / "course.toml").read_text(encoding="utf-8")


def test_the_repository_s_course() -> None:
    course = load_course(REPOSITORY)
    assert {part.name: (part.weight, part.pass_mark, part.required) for part in course.parts} == {
        "examination": (0.5, 0.45, True),
        "assignments": (0.5, 0.45, True),
    }
    assert len(course.weeks) == 10
    dues = [week.due for week in course.weeks.values()]
    assert None not in dues and dues == sorted(dues)
    assert course.budget_of("week01-finetune").seminar_seconds == 150


def test_every_week_with_a_folder_is_in_course_toml() -> None:
    assert {week.name for week in find_weeks(REPOSITORY)} <= set(load_course(REPOSITORY).weeks)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight = 0.5", "weight = 0.4", "parts: the weights must add up to 1, they add up to 0.8"),
        ("points = ", "points = -", "weeks.week01-finetune.points: Input should be greater than 0"),
        ("points = ", "point = ", "weeks.week01-finetune.point"),
        ("[weeks.week01-finetune]", "[weeks.finetune]", "a week is named like its folder"),
        ('edition = "2026.1"', 'edition = "first"', "edition: String should match"),
        ('"examination"', '"assignments"', "two parts have the same name"),
        ("[budget]", "[budget", "is not valid TOML"),
        ('07 = "', '08 = "', "a lecture is a number of two digits that no week has, not '08'"),
        ('07 = "', 'seven = "', "a lecture is a number of two digits that no week has, not 'seven'"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (tmp_path / "course.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(CourseError) as caught:
        load_course(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_weeks_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "course.toml").write_text(GOOD, encoding="utf-8")
    for name in ("week02-b", "week01-a", "week12-a", "week03-no-homework", "other"):
        (tmp_path / name).mkdir()
        if name != "week03-no-homework":
            (tmp_path / name / "homework.ipynb").touch()
    monkeypatch.chdir(tmp_path / "week01-a")
    assert course_root() == tmp_path.resolve()
    assert [week.name for week in find_weeks()] == ["week01-a", "week02-b", "week12-a"]
    for name in (
        "1",
        "01",
        "week1",
        "Week 1",
        "week_01",
        "week01",
        "week01-a",
        "week01-a/",
        str(tmp_path / "week01-a"),
    ):
        assert find_week(name).name == "week01-a"
    with pytest.raises(CourseError, match="'3' names no week; there is: week01-a, week02-b, week12-a"):
        find_week("3")
    assert find_week("week12").name == "week12-a"  # week1 is week 01 and no beginning of this one
    assert [week.name for week in find_some_weeks("week1-2, Week 12")] == ["week01-a", "week02-b", "week12-a"]
    (tmp_path / "week12-c").mkdir()
    (tmp_path / "week12-c" / "homework.ipynb").touch()
    for name in ("12", "week12", "week 12"):
        with pytest.raises(CourseError, match="names 2 weeks"):
            find_week(name)


def test_outside_the_repository(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"No course.toml in .*: run lsdl inside the course's repository"):
        course_root(tmp_path)


def test_where_a_week_is_and_what_is_the_class_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CourseError, match="No course.toml"):
        WeekPaths.at(tmp_path)
    (tmp_path / "course.toml").write_text(GOOD)
    folder = tmp_path / "week01-finetune"
    folder.mkdir()
    week = WeekPaths.at(folder)
    assert week == WeekPaths(tmp_path.resolve(), "week01-finetune") and week.folder == folder.resolve()
    monkeypatch.chdir(folder)
    assert WeekPaths.at(Path()) == week


def test_checks_look_for_references_where_the_week_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels cannot ask WeekPaths, so lsdl.checks composes both paths itself."""
    from lsdl import checks

    for name in ("LSDL_HIDDEN_REFERENCES", "LSDL_WEEK", "LSDL_WEEK_DIR"):
        monkeypatch.delenv(name, raising=False)
    week = WeekPaths(tmp_path.resolve(), "week01-finetune")
    assert week.folder / checks.VISIBLE_FILE == week.visible_references
    copy = week.autograded / "ada" / week.name
    copy.mkdir(parents=True)
    week.folder.mkdir()
    for folder in (week.folder, copy):  # at home, and where stock nbgrader runs it
        monkeypatch.chdir(folder)
        assert checks._hidden_file() == week.hidden_references
