"""The limits of a lesson and of a homework: how much there is to read, how long the code is silent, what a task asks for.

They hold for every week whose week.toml says `lesson = true`. Counted without running anything, and so:

word: what stands between blanks and has a letter or digit, in what a reader sees: not code, addresses of links, pictures, HTML
    tags and rules of tables; a formula is one word. A sentence ends with its paragraph, list item or table cell.
line: a line of code that is neither blank nor only a comment.
further: cells tagged so, in sections titled `## 5. DeepCluster (further, 15 minutes)`, which a class may skip.
core: the other cells of a seminar, but for its sections Exercises and References, which are read at home.
section: from one header `## ...` to the next; one with a number teaches, and all of these but the last (the summary) end with
    **Remember**. The opening is the text above the setup cell.
silent run: code cells of core in a row without output, whatever text stands between; setup and parameters are passed over.
introduced: the cell before a code cell of core is text; setup, parameters and the `define` cell right after need none.
never run: a function or class that no other code reaches by its name; code behind `if RETRAIN` or `SCALE == "full"` does not
    count, nor does measure.py.
block of a homework: a cell with a solution and its statement, the text since the code cell before without its `<details>`.
required function: a function or class with a solution region, outside the bonus; nominal minutes are those that stand below the
    headers of the tasks, without the bonus.
given: code that a student has, where it repeats at least half of a graded solution's statements in a row, names and texts aside.
"""

from __future__ import annotations

import ast
import copy
import html
import json
import math
import re
import symtable
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import Any

from markdown_it import MarkdownIt

from lsdl.author.course import WEEK_FILE, CourseError, week_facts
from lsdl.author.problem import Problem
from lsdl.cells import SOLUTION, TASK_HEADER, grade_id, is_test, role, source_of, tags, visible_part, without_magics
from lsdl.claims import MIME

# Weeks that may lack `lesson = true`: none is left.
STANDING: tuple[str, ...] = ()

RUN_CELLS, RUN_LINES, RUN_LINES_WITH_CLASS = 2, 45, 80
INTRODUCED = 0.8
CELL_WORDS, SENTENCE_WORDS = 130, 35
SECTION_WORDS, SECTION_LINES = 500, 110
CORE_WORDS, CORE_LINES, CORE_MINUTES = 2300, 480, 75
WORDS_PER_MINUTE, LINES_PER_MINUTE = 150, 12
OPENING_WORDS, OPENING_BULLETS, REMEMBER_BULLETS = 150, range(3, 6), range(2, 5)
CLAIMS, HELPERS_LINES = 10, 300
INCHES, PANELS = 8, 2
STATEMENT_WORDS, FUNCTIONS, NOMINAL_MINUTES, GRADED_LINES = 120, 12, 200, 12

HEADER = re.compile(r"^## +(.+?) *$", re.MULTILINE)
FURTHER = re.compile(r"\(further, \d+ minutes\)$")
NUMBERED = re.compile(r"\d+\.? ")
AT_HOME = re.compile(r"(\d+\.? )?(Exercises|References)\b")
BULLET = re.compile(r"^ *[-*+] +\S", re.MULTILINE)
BADGE = re.compile(r"\[!\[[^\]]*\]\([^)\s]*\)\]\([^)\s]*\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(|<img\b|<svg\b")
MINUTES = re.compile(r"\b(\d+) minutes\b")
REGION = re.compile(rf"^ *{SOLUTION[0]}\n(.*?)^ *{SOLUTION[1]}$", re.DOTALL | re.MULTILINE)
DETAILS = re.compile(r"<details.*?</details>", re.DOTALL)
CODE = "\N{CURRENCY SIGN}"  # stands for code in a text: no letter, so no word
DEFAULTS = {"SCALE": "smoke", "RETRAIN": False}  # of the parameters cell

Found = Iterator[tuple[int | None, str]]  # (cell index or None, what is wrong)


@dataclass(frozen=True)
class Figure:
    """A counted figure beside its limit, as the table shows them."""

    name: str
    counted: str
    limit: str
    kept: bool


def lint_lesson(week: Path) -> list[Problem]:
    """What `lsdl lint` reports: every problem of a week that says `lesson = true`, and that a new week does not say it."""
    try:
        lesson = week_facts(week).lesson
    except CourseError:  # rule `requires` names it
        return []
    if lesson:
        return lesson_problems(week)
    if week.name in STANDING:
        return []
    text = "a new week keeps the limits of a lesson: write `lesson = true`."
    return [Problem(f"{week.name}/{WEEK_FILE}", None, "lesson", text)]


def lesson_problems(week: Path) -> list[Problem]:
    """Every limit that the week's notebooks do not keep, whatever its week.toml says."""
    problems = []
    for file, notebook, rules in _notebooks(week):
        for name, rule in rules.items():
            problems += [Problem(file, cell, name, message) for cell, message in rule(notebook)]
    return problems


def lesson_figures(week: Path) -> dict[str, list[Figure]]:
    """The figures of the week's seminar and homework, by file."""
    return {file: notebook.figures() for file, notebook, _ in _notebooks(week)}


def _notebooks(week: Path) -> Iterator[tuple[str, Any, Mapping[str, Callable[..., Found]]]]:
    """File, notebook and rules; one that is missing or cannot be read is left to other rules."""
    for name, kind, rules in (("seminar", _Seminar, SEMINAR_RULES), ("homework", _Homework, HOMEWORK_RULES)):
        path = week / f"{name}.ipynb"
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            continue
        yield f"{week.name}/{path.name}", kind(week, [_Cell(i, cell) for i, cell in enumerate(cells)]), rules


# Counting


def blocks(markdown: str) -> list[str]:
    """The paragraphs, list items, headers and table cells of a text, as they are read; a formula is the word X, code no word."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = re.sub(r"(`+)[^`].*?\1", CODE, text)
    text = re.sub(r"\$\$(.*?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", _formula, text, flags=re.DOTALL)
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "html_block":
            found.append(re.sub(r"<[^>]*>", " ", token.content))
        elif token.type == "inline":
            found.append("".join(" " if part.type.endswith("break") else _seen(part) for part in token.children or ()))
    return found


def _seen(part: Any) -> str:
    return part.content if part.type == "text" else ""


def _formula(found: re.Match[str]) -> str:
    """X, with the full stop or comma that a displayed formula ends with."""
    shown = (found[1] or "").rstrip()
    return f" X{shown[-1:] if shown[-1:] in '.,' else ''} " if found[2] is None else "X"


def words(text: str) -> int:
    """The number of words of a block or sentence."""
    return sum(any(map(str.isalnum, word)) for word in text.split())


def sentences(block: str) -> list[str]:
    """The sentences of a block; the point of an abbreviation ends none."""
    text = re.sub(r"\b(al|e\.g|i\.e|cf|vs|Fig|Eq|Sec|No)\.", r"\1", block)
    return re.split(rf"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9{CODE}])", text)


def code_lines(source: str) -> int:
    """Lines of code that are neither blank nor only a comment."""
    return sum(1 for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#"))


class _Cell:
    """A cell with its index and what is counted in it.

    Its tree is of what the default run executes; it is empty if the code is not Python, which rule `syntax` names.
    """

    def __init__(self, index: int, raw: Mapping[str, Any]) -> None:
        self.index, self.raw, self.source, self.tags = index, raw, source_of(raw), tags(raw)
        self.code = raw["cell_type"] == "code"
        self.lines = code_lines(self.source) if self.code else 0

    @cached_property
    def blocks(self) -> list[str]:
        return [] if self.code else blocks(self.source)

    @cached_property
    def words(self) -> int:
        return sum(map(words, self.blocks))

    @cached_property
    def tree(self) -> ast.Module:
        return ast.fix_missing_locations(_DefaultRun().visit(_parsed(self.source)))

    @property
    def defines_one_class(self) -> bool:
        return [type(statement) for statement in self.tree.body] == [ast.ClassDef]


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(without_magics(source))
    except SyntaxError:
        return ast.Module([], [])


class _DefaultRun(ast.NodeTransformer):
    """Takes out the branches that are not run with the defaults of the parameters cell."""

    def visit_If(self, node: ast.If) -> Any:
        taken = _known(node.test)
        self.generic_visit(node)
        return node if taken is None else (node.body if taken else node.orelse) or ast.Pass()

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        taken = _known(node.test)
        self.generic_visit(node)
        return node if taken is None else (node.body if taken else node.orelse)


def _known(test: ast.expr) -> bool | None:
    """What a condition on nothing but SCALE and RETRAIN says in the default run, else None."""
    kinds = {type(node) for node in ast.walk(test)}
    if ast.Name not in kinds or ast.Call in kinds:
        return None
    try:
        return bool(eval(compile(ast.Expression(test), "cell", "eval"), {"__builtins__": {}} | DEFAULTS))
    except Exception:  # it asks for another name
        return None


def _read(node: ast.AST) -> set[str]:
    """The global names that code reads; the local names of its functions are none."""

    def of(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        own = {name.get_name() for name in table.get_symbols() if name.is_referenced() and (top or name.is_global())}
        return own.union(*map(of, table.get_children()))

    return of(symtable.symtable(ast.unparse(node), "cell", "exec"))


def _written(node: ast.AST) -> set[str]:
    """The global names that code defines, assigns or imports."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    return {name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported()}


# The seminar


class _Counted:
    """What has a core to be counted: a section, or the seminar."""

    core: list[_Cell]

    @property
    def words(self) -> int:
        return sum(cell.words for cell in self.core)

    @property
    def lines(self) -> int:
        return _lines(self.core)


@dataclass(frozen=True)
class _Section(_Counted):
    title: str  # "" above the first header
    cells: list[_Cell]

    @property
    def core(self) -> list[_Cell]:
        return [] if AT_HOME.match(self.title) else [cell for cell in self.cells if "further" not in cell.tags]


class _Seminar(_Counted):
    def __init__(self, week: Path, cells: list[_Cell]) -> None:
        self.week, self.cells = week, cells

    @cached_property
    def sections(self) -> list[_Section]:
        parts: list[tuple[str, list[_Cell]]] = [("", [])]
        for cell in self.cells:
            header = None if cell.code else HEADER.search(cell.source)
            if header:
                parts.append((header[1], []))
            parts[-1][1].append(cell)
        return [_Section(title, cells) for title, cells in parts]

    @cached_property
    def core(self) -> list[_Cell]:
        return [cell for section in self.sections for cell in section.core]

    @cached_property
    def opening(self) -> list[_Cell]:
        first = next((cell.index for cell in self.cells if cell.code), len(self.cells))
        return self.cells[:first]

    @property
    def text(self) -> list[_Cell]:
        """Of core, without the opening, which has a limit of its own."""
        return [cell for cell in self.core if not cell.code and cell not in self.opening]

    @cached_property
    def runs(self) -> list[list[_Cell]]:
        code = [cell for cell in self.core if cell.code and not cell.tags & {"setup", "parameters"}]
        return [list(run) for noisy, run in groupby(code, lambda cell: bool(cell.raw.get("outputs"))) if not noisy]

    @cached_property
    def introduced(self) -> dict[int, bool]:
        """By the index of each code cell that needs it: whether text stands right before it."""
        found, before = {}, None
        for cell in self.core:
            opening = before is not None and "parameters" in before.tags and "define" in cell.tags
            if cell.code and not opening and not cell.tags & {"setup", "parameters"}:
                found[cell.index] = before is not None and not before.code
            before = cell
        return found

    @property
    def share_introduced(self) -> float:
        return sum(self.introduced.values()) / len(self.introduced) if self.introduced else 1.0

    @property
    def minutes(self) -> int:
        return math.ceil(self.words / WORDS_PER_MINUTE + self.lines / LINES_PER_MINUTE)

    @cached_property
    def sentences(self) -> list[tuple[_Cell, str]]:
        """The sentences of core, each with its cell."""
        return [(cell, sentence) for cell in self.core for block in cell.blocks for sentence in sentences(block)]

    @cached_property
    def claims(self) -> int:
        """How many claims the largest table shows outside of `<details>`; single ones may stand under their figures, too."""
        most = 0
        for cell in self.cells:
            for output in cell.raw.get("outputs", ()):
                data = output.get("data", {})
                names = {claim["name"] for claim in data.get(MIME, {}).get("claims", ())}
                page = DETAILS.sub("", "".join(data.get("text/html", "")))
                most = max(most, sum(not page or html.escape(name) in page for name in names))
        return most

    @cached_property
    def never_run(self) -> dict[str, int]:
        """Functions and classes that nothing reaches, with the index of their cell."""
        inside: dict[str, set[str]] = {}
        where: dict[str, int] = {}
        reached: set[str] = set()
        for cell in self.cells:
            for statement in cell.tree.body if cell.code else ():
                if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                    where.setdefault(statement.name, cell.index)
                    inside[statement.name] = inside.get(statement.name, set()) | _read(statement)
                else:
                    reached |= _read(statement)
        waiting = reached & inside.keys()
        while waiting:
            new = inside[waiting.pop()] & inside.keys() - reached
            reached |= new
            waiting |= new
        return {name: index for name, index in where.items() if name not in reached}

    @cached_property
    def helpers_lines(self) -> int:
        path = self.week / "helpers.py"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0

    def figures(self) -> list[Figure]:
        longest, share = max(map(_lines, self.runs), default=0), self.share_introduced
        quiet = all(_lines(run) <= _lines_allowed(run) for run in self.runs)
        return [
            _at_most("words of core", self.words, CORE_WORDS),
            _at_most("lines of core", self.lines, CORE_LINES),
            _at_most("minutes to read core", self.minutes, CORE_MINUTES),
            Figure("code cells introduced by text", f"{share:.0%}", f"at least {INTRODUCED:.0%}", share >= INTRODUCED),
            Figure("longest silent run, lines", f"{longest}", f"{RUN_LINES}, a class {RUN_LINES_WITH_CLASS}", quiet),
            _at_most("longest silent run, cells", max(map(len, self.runs), default=0), RUN_CELLS),
            _at_most("largest section, words", max(section.words for section in self.sections), SECTION_WORDS),
            _at_most("largest section, lines", max(section.lines for section in self.sections), SECTION_LINES),
            _at_most("longest text cell, words", max((cell.words for cell in self.text), default=0), CELL_WORDS),
            _at_most("longest sentence, words", max((words(s) for _, s in self.sentences), default=0), SENTENCE_WORDS),
            _at_most("claims shown", self.claims, CLAIMS),
            _at_most("functions never run", len(self.never_run), 0),
            _at_most("lines of helpers.py", self.helpers_lines, HELPERS_LINES),
        ]


def _at_most(name: str, counted: int, limit: int) -> Figure:
    return Figure(name, f"{counted:,}", f"{limit:,}", counted <= limit)


def _lines(run: list[_Cell]) -> int:
    return sum(cell.lines for cell in run)


def _lines_allowed(run: list[_Cell]) -> int:
    return RUN_LINES_WITH_CLASS if any(cell.defines_one_class for cell in run) else RUN_LINES


def _silence(seminar: _Seminar) -> Found:
    for run in seminar.runs:
        if len(run) > RUN_CELLS or _lines(run) > _lines_allowed(run):
            yield (
                run[0].index,
                f"{len(run)} code cell(s) and {_lines(run)} lines without output, up to cell {run[-1].index}: "
                f"at most {RUN_CELLS} and {_lines_allowed(run)}.",
            )


def _introduced(seminar: _Seminar) -> Found:
    if seminar.share_introduced < INTRODUCED:
        bare = ", ".join(str(index) for index, introduced in seminar.introduced.items() if not introduced)
        yield (
            None,
            f"{seminar.share_introduced:.0%} of the code cells come right after text, at least {INTRODUCED:.0%} have to; "
            f"these do not: {bare}.",
        )


def _text_cells(seminar: _Seminar) -> Found:
    for cell in seminar.text:
        if cell.words > CELL_WORDS:
            yield cell.index, f"a text cell of {cell.words} words, at most {CELL_WORDS}."


def _sentences(seminar: _Seminar) -> Found:
    for cell, sentence in seminar.sentences:
        if (count := words(sentence)) > SENTENCE_WORDS:
            begin = " ".join(sentence.split()[:5])
            yield cell.index, f"a sentence of {count} words, at most {SENTENCE_WORDS}: '{begin} ...'."


def _sections(seminar: _Seminar) -> Found:
    for section in seminar.sections:
        if section.words > SECTION_WORDS or section.lines > SECTION_LINES:
            yield (
                section.cells[0].index,
                f"the section has {section.words} words and {section.lines} lines of code: "
                f"at most {SECTION_WORDS} and {SECTION_LINES}.",
            )


def _core(seminar: _Seminar) -> Found:
    for what, counted, limit in (
        ("words", seminar.words, CORE_WORDS),
        ("lines of code", seminar.lines, CORE_LINES),
        ("minutes to read", seminar.minutes, CORE_MINUTES),
    ):
        if counted > limit:
            yield None, f"core has {counted:,} {what}, at most {limit:,}."


def _claims(seminar: _Seminar) -> Found:
    if seminar.claims > CLAIMS:
        yield None, f"{seminar.claims} claims are shown, at most {CLAIMS}: put the others into <details>."


def _never_run(seminar: _Seminar) -> Found:
    for name, index in seminar.never_run.items():
        yield index, f"`{name}` is never run in the default run: move it to measure.py."


def _helpers(seminar: _Seminar) -> Found:
    if seminar.helpers_lines > HELPERS_LINES:
        yield None, f"helpers.py has {seminar.helpers_lines} lines, at most {HELPERS_LINES}."


def _further(seminar: _Seminar) -> Found:
    for section in seminar.sections:
        further = bool(FURTHER.search(section.title))
        if "further" in section.title.lower() and not further:
            yield section.cells[0].index, "write the title like `## 5. DeepCluster (further, 15 minutes)`."
        for cell in section.cells:
            if further and "further" not in cell.tags:
                yield cell.index, "the section is further, by its title: tag the cell `further`."
            if not further and "further" in cell.tags:
                yield cell.index, "tagged `further`, but its section's title does not end with (further, N minutes)."


def _core_names(seminar: _Seminar) -> Found:
    code = [cell for cell in seminar.cells if cell.code]
    further = {name for cell in code if "further" in cell.tags for name in _written(cell.tree)}
    only_further = further.difference(*(_written(cell.tree) for cell in code if "further" not in cell.tags))
    for cell in code:
        needed = _read(cell.tree) & only_further
        if "further" not in cell.tags and needed:
            yield cell.index, f"core needs what only further cells define: {', '.join(sorted(needed))}."


def _opening(seminar: _Seminar) -> Found:
    text = BADGE.sub("", "\n".join(cell.source for cell in seminar.opening))
    count, pictures, bullets = sum(map(words, blocks(text))), len(PICTURE.findall(text)), len(BULLET.findall(text))
    if count > OPENING_WORDS:
        yield 0, f"the opening page has {count} words, at most {OPENING_WORDS}."
    if pictures != 1:
        yield 0, f"the opening page has {pictures} pictures: show one, the headline result or a map of the methods."
    if bullets not in OPENING_BULLETS:
        yield 0, f"the opening page has {bullets} bullets: write three to five objectives."


def _remember(seminar: _Seminar) -> Found:
    core = [section for section in seminar.sections if section.core and not FURTHER.search(section.title)]
    for section in [section for section in core if NUMBERED.match(section.title)][:-1]:
        last = section.core[-1]
        before, marked, after = last.source.partition("**Remember")
        if last.code or not marked:
            yield last.index, "the section ends without **Remember**."
        elif (bullets := len(BULLET.findall(after))) not in REMEMBER_BULLETS:
            yield last.index, f"**Remember** has {bullets} bullets: two to four."


def _drawings(seminar: _Seminar) -> Found:
    for cell in seminar.cells:
        calls = [node for node in ast.walk(cell.tree) if isinstance(node, ast.Call)] if cell.code else []
        for call in calls:
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            match given.get("figsize"):
                case ast.Tuple(elts=[ast.Constant(value=int() | float() as width), *_]) if width > INCHES:
                    yield cell.index, f"a figure {width:g} inches wide, at most {INCHES}."
            if ast.unparse(call.func).split(".")[-1] == "subplots":
                given |= dict(zip(("nrows", "ncols"), call.args, strict=False))
                sides = [
                    value.value for side in ("nrows", "ncols") if isinstance(value := given.get(side), ast.Constant)
                ]
                panels = math.prod(side for side in sides if isinstance(side, int))
                if panels > PANELS:
                    yield cell.index, f"a figure of {panels} panels, at most {PANELS}."


SEMINAR_RULES: dict[str, Callable[[_Seminar], Found]] = {
    "silence": _silence,
    "introduced": _introduced,
    "text-cells": _text_cells,
    "sentences": _sentences,
    "sections": _sections,
    "core": _core,
    "claims-shown": _claims,
    "never-run": _never_run,
    "helpers": _helpers,
    "further": _further,
    "core-names": _core_names,
    "opening": _opening,
    "remember": _remember,
    "drawings": _drawings,
}


# The homework


@dataclass(frozen=True)
class _Task:
    title: str
    cells: list[_Cell]

    @property
    def bonus(self) -> bool:
        return "bonus" in self.title.lower()

    @property
    def minutes(self) -> int | None:
        """The first minutes that the text under the header names."""
        found = MINUTES.search(self.cells[0].source)
        return int(found[1]) if found else None

    @property
    def functions(self) -> list[tuple[str, _Cell]]:
        """Functions and classes with a solution region, and their cells."""
        return [
            (node.name, cell)
            for cell in self.cells
            if cell.code and role(cell.raw, "solution") and not role(cell.raw, "grade")
            for node in cell.tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and SOLUTION[0] in "\n".join(cell.source.splitlines()[node.lineno : node.end_lineno])
        ]


class _Homework:
    def __init__(self, week: Path, cells: list[_Cell]) -> None:
        self.cells = cells

    @cached_property
    def tasks(self) -> list[_Task]:
        parts: list[_Task] = []
        for cell in self.cells:
            if not cell.code and re.match(r"##? ", cell.source):
                header = TASK_HEADER.match(cell.source)
                parts.append(_Task(header[1] if header else "", []))
            if parts:
                parts[-1].cells.append(cell)
        return [task for task in parts if task.title]

    @cached_property
    def required(self) -> list[_Task]:
        return [task for task in self.tasks if not task.bonus]

    @cached_property
    def statements(self) -> dict[int, int]:
        """Words of the statement before each cell with a solution, by its index."""
        found, count = {}, 0
        for cell in self.cells:
            if cell.code or role(cell.raw, "solution"):  # a text that is graded is an answer, no statement
                if cell.code and role(cell.raw, "solution"):
                    found[cell.index] = count
                count = 0
                continue
            if cell.source.startswith("## "):
                count = 0
            count += sum(map(words, blocks(DETAILS.sub("", cell.source))))
        return found

    @cached_property
    def functions(self) -> list[tuple[str, _Cell]]:
        return [function for task in self.required for function in task.functions]

    @property
    def minutes(self) -> int:
        return sum(task.minutes or 0 for task in self.required)

    @cached_property
    def graded(self) -> dict[int, int]:
        """Visible lines of each graded cell, by its index."""
        return {cell.index: code_lines(visible_part(cell.source)) for cell in self.cells if is_test(cell.raw)}

    def figures(self) -> list[Figure]:
        return [
            _at_most("nominal minutes", self.minutes, NOMINAL_MINUTES),
            _at_most("required functions", len(self.functions), FUNCTIONS),
            _at_most("words before a stub", max(self.statements.values(), default=0), STATEMENT_WORDS),
            _at_most("visible lines of a graded cell", max(self.graded.values(), default=0), GRADED_LINES),
        ]


def _nominal(homework: _Homework) -> Found:
    for task in homework.required:
        if task.minutes is None:
            yield task.cells[0].index, "the header does not say the minutes: `*Easy, 25 minutes. Paper.*`"
    if homework.minutes > NOMINAL_MINUTES:
        yield None, f"{homework.minutes} nominal minutes, at most {NOMINAL_MINUTES}."


def _functions(homework: _Homework) -> Found:
    if len(homework.functions) > FUNCTIONS:
        yield None, f"{len(homework.functions)} required functions, at most {FUNCTIONS}."


def _statements(homework: _Homework) -> Found:
    for index, count in homework.statements.items():
        if count > STATEMENT_WORDS:
            yield index, f"{count} words stand before this stub, at most {STATEMENT_WORDS}: one function per block."


def _graded_lines(homework: _Homework) -> Found:
    for index, count in homework.graded.items():
        if count > GRADED_LINES:
            yield index, f"a graded cell of {count} visible lines, at most {GRADED_LINES}: use a driver of helpers.py."


def _given(homework: _Homework) -> Found:
    given = [cell for cell in homework.cells if cell.code and not role(cell.raw, "solution") and not is_test(cell.raw)]
    for graded in homework.cells:
        if not (graded.code and role(graded.raw, "solution") and role(graded.raw, "grade")):
            continue
        solution = [shape for region in REGION.findall(graded.source) for shape in _shapes(_parsed(dedent(region)))]
        for cell in given:
            size = (
                SequenceMatcher(None, solution, _shapes(_parsed(cell.source)), autojunk=False).find_longest_match().size
            )
            if size >= max(2, len(solution) / 2):
                yield (
                    cell.index,
                    f"given code solves the graded cell {grade_id(graded.raw)!r} (cell {graded.index}): "
                    f"{size} of its {len(solution)} statements stand here in a row.",
                )


def _shapes(tree: ast.Module) -> list[str]:
    """The simple statements of code, in their order, with names and texts taken out; who copies them changes only these."""

    def simple(node: ast.AST) -> Iterator[ast.AST]:
        inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt | ast.excepthandler | ast.match_case)]
        if not inner:
            yield node
        for child in inner:
            yield from simple(child)

    return [ast.dump(_Nameless().visit(copy.deepcopy(node))) for node in simple(tree)]


class _Nameless(ast.NodeTransformer):
    """Only the names of what is called stay."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name("_", ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        inner = self.visit(node.value)
        return inner if isinstance(inner, ast.Name) else ast.Attribute(inner, node.attr, ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.JoinedStr([self.visit(part) for part in node.values if not isinstance(part, ast.Constant)])


HOMEWORK_RULES: dict[str, Callable[[_Homework], Found]] = {
    "nominal": _nominal,
    "functions": _functions,
    "statements": _statements,
    "graded-lines": _graded_lines,
    "given": _given,
}
