"""The table of weeks in the root README: from course.toml, the weeks' week.toml, their folders and their stored times."""

from pathlib import Path

from lsdl.author.course import Course, find_weeks, load_course
from lsdl.author.markers import fill
from lsdl.author.opening import KINDS, Kind, colab_link
from lsdl.author.times import read_times


def readme_text(root: Path) -> str:
    """README.md of `root` with its generated part as it should be.

    Raises:
        CourseError: README.md lacks the marks, or the course cannot be read.
    """
    text = (root / "README.md").read_text(encoding="utf-8")
    return fill(text, "lint", {"weeks": weeks_table(load_course(root), find_weeks(root), root)})


def weeks_table(course: Course, folders: list[Path], root: Path | None = None) -> str:
    """A row for each week and each lecture without a folder, by their number.

    Args:
        folders: the weeks that are there already.
        root: the course's repository, which says where badges lead.
    """
    there = {folder.name: folder for folder in folders}
    rows = {number: f"| {number} | {topic} | lecture only, no folder | |" for number, topic in course.lectures.items()}
    for name, week in course.weeks.items():
        topic, notebooks = f"{week.topic or week.title} (`{name}`)", "not here yet"
        if name in there:
            topic = f"[{week.topic or week.title}]({name}/README.md)"
            times = read_times(there[name])
            notebooks = "<br>".join(_notebook(name, kind, times.get(kind), root) for kind in KINDS)
        points = f"{week.points:g}" + (f" + {week.bonus:g}" if week.bonus else "")
        rows[name[4:6]] = f"| {name[4:6]} | {topic} | {notebooks} | {points} |"
    return "\n".join(["| | topic | notebooks | points |", "|---|---|---|---|", *(rows[n] for n in sorted(rows))])


def _notebook(week: str, kind: Kind, seconds: int | None, root: Path | None) -> str:
    time = f" {seconds} s" if seconds else ""
    badge = f"[![Open the {kind} of week {week[4:6]} in Colab][colab]]({colab_link(week, kind, root)})"
    return f"[{kind}]({week}/{kind}.ipynb){time} {badge}"
