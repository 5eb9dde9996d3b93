"""The README files: links lead somewhere, the table has every week, badges name the right branch, no number is left open."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from lsdl.author.course import find_weeks, load_course, repository_of
from lsdl.author.lint import lint_course
from lsdl.grading.publish import NOT_PUBLISHED

REPOSITORY = Path(__file__).resolve().parents[1]
COLAB = f"https://colab.research.google.com/github/{repository_of(REPOSITORY)}/blob/"
LARGEST_PICTURE = 200_000  # bytes
WEEKS_WITH_FOLDER = ("01", "02", "03", "04", "05", "06", "08", "09", "12", "13")


def readmes() -> list[Path]:
    """Every README.md of the repository, not of what is installed or generated in it."""
    hidden = {".venv", "runs", "build", "node_modules", ".pytest_cache", ".library"}
    found = (path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("README.md"))
    return sorted(path for path in found if not hidden & set(path.parts) and path.parts[:1] != ("gradebook",)) + [
        Path("gradebook/README.md")
    ]


def prose(text: str) -> str:
    """The text without code blocks and code spans: what stands there is no link."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def targets(text: str) -> list[str]:
    """Targets of links and images: inline, by reference, and in HTML."""
    inline = re.findall(r"\]\(\s*<?([^)\s>]+)", prose(text))
    by_reference = re.findall(r"^\[[^\]]+\]:\s*(\S+)", prose(text), flags=re.M)
    return inline + by_reference + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose(text))


def relative(text: str) -> list[str]:
    """Targets inside the repository, without the part after #."""
    return [t.split("#")[0] for t in targets(text) if not re.match(r"[a-z]+:|#", t)]


def root_readme() -> str:
    return (REPOSITORY / "README.md").read_text(encoding="utf-8")


def table_rows() -> dict[str, str]:
    """The rows of the table of weeks by their number."""
    return {row[2:4]: row for row in re.findall(r"^\| \d\d \|.*$", root_readme(), flags=re.M)}


@pytest.mark.parametrize("readme", readmes(), ids=str)
def test_relative_links_and_images_exist(readme: Path) -> None:
    folder = (REPOSITORY / readme).parent
    missing = [t for t in relative((REPOSITORY / readme).read_text(encoding="utf-8")) if not (folder / t).exists()]
    assert not missing, f"{readme} links what does not exist: {', '.join(missing)}"


@pytest.mark.parametrize("readme", readmes(), ids=str)
def test_links_lead_to_files_of_the_repository(readme: Path) -> None:
    """A file that git ignores exists here and nowhere else."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    paths = [str(readme.parent / t) for t in relative((REPOSITORY / readme).read_text(encoding="utf-8"))]
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, input="\n".join(paths), cwd=REPOSITORY, capture_output=True, text=True)
    assert not done.stdout, f"{readme} links files that git ignores: {done.stdout.split()}"


@pytest.mark.parametrize("readme", readmes(), ids=str)
def test_images_have_a_description(readme: Path) -> None:
    text = prose((REPOSITORY / readme).read_text(encoding="utf-8"))
    assert not re.findall(r"!\[\s*\]", text), f"{readme} has an image without alt text"


def test_pictures_of_the_readme_are_small() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", prose(root_readme()))
    pictures = {REPOSITORY / t for t in shown if "://" not in t} | set((REPOSITORY / "docs").glob("*.png"))
    assert len(pictures) >= 2, "the README shows a figure and a failed check"
    large = [p.name for p in pictures if p.stat().st_size > LARGEST_PICTURE]
    assert not large, f"over {LARGEST_PICTURE // 1000} kB: {', '.join(large)}"


def test_generated_files_are_up_to_date() -> None:
    assert [str(problem) for problem in lint_course(REPOSITORY)] == []


def test_the_table_has_ten_weeks_and_three_lectures() -> None:
    rows = table_rows()
    assert list(rows) == [f"{n:02}" for n in range(1, 14)]
    assert [n for n in rows if "lecture only" not in rows[n]] == list(WEEKS_WITH_FOLDER)
    assert {name[4:6] for name in load_course(REPOSITORY).weeks} == set(WEEKS_WITH_FOLDER)


@pytest.mark.parametrize("week", sorted(load_course(REPOSITORY).weeks))
def test_a_week_is_linked_as_soon_as_it_is_there(week: str) -> None:
    row, entry = table_rows()[week[4:6]], load_course(REPOSITORY).weeks[week]
    points = f"{entry.points:g} + {entry.bonus:g}" if entry.bonus else f"{entry.points:g}"
    assert row.split("|")[-2].strip() == points
    if REPOSITORY / week in find_weeks(REPOSITORY):
        wanted = [f"{week}/README.md", f"{week}/seminar.ipynb", f"{week}/homework.ipynb"]
        wanted += [f"{COLAB}main/{week}/seminar.ipynb", f"{COLAB}student/{week}/homework.ipynb"]
        assert set(wanted) <= set(targets(row)), f"the row of {week} lacks {set(wanted) - set(targets(row))}"
        assert "not here yet" not in row
    else:
        assert week in row and "not here yet" in row, f"the row of {week} does not say that it is not here yet"


@pytest.mark.parametrize("readme", readmes(), ids=str)
def test_badges_point_to_the_right_branch(readme: Path) -> None:
    badges = [t for t in targets((REPOSITORY / readme).read_text(encoding="utf-8")) if "/github/" in t and "colab" in t]
    for badge in badges:
        branch = "student" if badge.endswith("homework.ipynb") else "main"
        assert badge.startswith(f"{COLAB}{branch}/"), badge
        assert (REPOSITORY / badge.removeprefix(f"{COLAB}{branch}/")).is_file(), badge


@pytest.mark.parametrize("week", find_weeks(REPOSITORY), ids=lambda week: week.name)
def test_a_weeks_readme_links_only_what_students_get(week: Path) -> None:
    """It is published with the week; instructor/ and lsdl's own tools are not."""
    links = [(week / t).resolve().relative_to(REPOSITORY) for t in relative((week / "README.md").read_text("utf-8"))]
    withheld = [p for p in links if "instructor" in p.parts or (p.parts[0] == "lsdl" and p.parts[1] in NOT_PUBLISHED)]
    foreign = [p for p in links if p.parts[0] not in ("lsdl", week.name)]
    assert not withheld + foreign, f"not in the student's tree: {withheld + foreign}"


@pytest.mark.parametrize("week", find_weeks(REPOSITORY), ids=lambda week: week.name)
def test_a_weeks_readme_counts_as_its_notebooks_do(week: Path) -> None:
    """The minutes and points of its first table are the sums of those in the titles and under the headers of tasks."""
    seminar, homework = (read_cells(week / f"{kind}.ipynb") for kind in ("seminar", "homework"))
    titles = re.findall(r"^## .*\((further, )?(\d+) minutes\)$", texts(seminar), flags=re.M)
    core, further = (sum(int(n) for kind, n in titles if bool(kind) is of) for of in (False, True))
    tasks = re.findall(r"^## Task \d+\. (Bonus)?.*\n+\*[^*\n]*?(\d+) minutes", texts(homework), flags=re.M)
    required, bonus = (sum(int(n) for kind, n in tasks if bool(kind) is of) for of in (False, True))
    entry = load_course(REPOSITORY).weeks[week.name]
    extra = (f", bonus {bonus}", f" + {entry.bonus:g} bonus") if bonus else ("", "")
    text = (week / "README.md").read_text("utf-8")
    assert f"| [seminar](seminar.ipynb) | {core} core, {further} further | |" in text
    assert f"| [homework](homework.ipynb) | {required}{extra[0]} | {entry.points:g}{extra[1]} |" in text


def read_cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def texts(cells: list[dict]) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


WEEK_PAGES = sorted(page for week in find_weeks(REPOSITORY) for page in week.rglob("README.md"))


@pytest.mark.parametrize("page", WEEK_PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_weeks_page_names_files_that_are_there(page: Path) -> None:
    """In code spans: names and patterns of files, whole or the end of a path in the week, lsdl or docs."""
    week = REPOSITORY / page.relative_to(REPOSITORY).parts[0]
    there = [
        f"/{path.relative_to(REPOSITORY).as_posix()}"
        for part in (week, REPOSITORY / "lsdl", REPOSITORY / "docs")
        for path in part.rglob("*")
    ]
    named = re.findall(r"`([\w.*/-]+\.(?:py|toml|md|ipynb|json|svg|safetensors))`", page.read_text("utf-8"))
    gone = [name for name in named if not fnmatch.filter(there, f"*/{name.removeprefix('../')}")]
    assert named and not gone, f"{page} names what is not there: {', '.join(gone)}"


def test_the_assessment_is_that_of_course_toml() -> None:
    course = tomllib.loads((REPOSITORY / "course.toml").read_text(encoding="utf-8"))
    rows = [row for row in root_readme().splitlines() if row.endswith("of its points |") or "of their points" in row]
    assert len(rows) == len(course["parts"])
    for part, row in zip(course["parts"], rows, strict=True):
        assert part["name"] in row
        assert f"| {part['weight']:.0%} |".replace("%", " %") in row
        assert f"| {part['pass_mark']:.0%} of".replace("%", " %") in row
        assert "minutes" not in part or f"{part['minutes']} minutes" in row


@pytest.mark.parametrize("readme", readmes(), ids=str)
def test_no_time_is_left_open(readme: Path) -> None:
    """TIME_... stands for minutes that are yet to be measured."""
    left = re.findall(r"TIME_[A-Z]+", (REPOSITORY / readme).read_text(encoding="utf-8"))
    assert not left, f"{readme}: put the measured minutes in place of {', '.join(left)}"


def test_commands_named_in_the_readme_exist() -> None:
    from typer.main import get_command

    from lsdl.cli import app

    group = get_command(app)
    text = root_readme() + (REPOSITORY / "gradebook/README.md").read_text(encoding="utf-8")
    options = {flag for command in group.commands.values() for parameter in command.params for flag in parameter.opts}
    alone = {span.split()[0] for span in code_of(root_readme()).splitlines() if span.startswith("--")}
    assert alone <= options, f"no command has {alone - options}"
    for name, rest in re.findall(r"(?<![\w/-])(?:\.venv/bin/)?lsdl ([a-z]+)((?: [^`\n#|]*)?)", code_of(text)):
        assert name in group.commands, f"lsdl {name}"
        known = {flag for parameter in group.commands[name].params for flag in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"lsdl {name}{rest}"
    made = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    assert set(re.findall(r"\bmake (?:[A-Z]+=\S+ )?([a-z]+)", code_of(text))) <= set(made)


def code_of(text: str) -> str:
    """Code blocks and code spans, one a line."""
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)))
