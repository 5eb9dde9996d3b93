"""The rules that every week keeps, checked without running its notebooks.

`RULES` lists those of a notebook by name, `WEEK_RULES` those of a week's other files, `COURSE_FILES` the files of the
repository that are generated; each `Problem` names the rule it breaks. `fix_week` and `fix_course` mend what is generated:
badges, setup and parameters cells, outputs left in a homework, the README's table of weeks, requirements.txt, the address in
CITATION.cff.
"""

import ast
import copy
import json
import logging
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from jsonschema import ValidationError
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4.rwbase import rejoin_lines
from nbformat.validator import iter_validate
from nbgrader.nbgraderformat.common import SchemaMismatchError
from nbgrader.nbgraderformat.v3 import MetadataValidatorV3
from nbgrader.preprocessors import ClearSolutions

from lsdl.author.course import WEEK_FILE, CourseError, load_course, week_facts
from lsdl.author.lesson import lint_lesson
from lsdl.author.notebooks import MAX_SEMINAR_BYTES
from lsdl.author.opening import KINDS, PARAMETERS_CELL, badge, citation_text, setup_cell
from lsdl.author.packages import distributions, installed_with, read_project, requirements_text, third_party
from lsdl.author.problem import Problem
from lsdl.author.readme import readme_text
from lsdl.author.times import read_times
from lsdl.cells import CHECK_CALLS, HIDDEN, SOLUTION, hidden_part, is_test, named_in, role, tags, visible_part
from lsdl.claims import FAILS, read_claims

MEDIAN_LINES, MAX_LINES = 15, 60
INSTRUCTOR_FILES = ("cases.py", "mistakes.py", "full_scale.py")
CHECK_IMPORT = "from lsdl.checks import check"
ONLY_CHECKS = (
    "a graded cell holds only the import of check, check(...) calls, assert and assignments "
    "(nbgrader reads a bare expression as partial credit)."
)
MARKERS = (*SOLUTION, *HIDDEN)
READABLE_ID = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
BADGE = re.compile(r"\[!\[[^\]]*\]\([^)\s]*\)\]\(https://colab\.research\.google\.com/[^)\s]*\)")
ALMOST_MARKER = re.compile(r"#\s*(begin|end)[\s_-]*(solution|hidden)", re.IGNORECASE)

Found = Iterator[tuple[int | None, str]]  # (cell index or None, what is wrong)
FoundInWeek = Iterator[tuple[str, str]]  # (file, what is wrong)


@dataclass(frozen=True)
class _Notebook:
    path: Path
    node: NotebookNode

    @property
    def code(self) -> list[tuple[int, NotebookNode]]:
        return [(i, cell) for i, cell in enumerate(self.node.cells) if cell.cell_type == "code"]

    @property
    def graded(self) -> list[tuple[int, NotebookNode]]:
        """Autograded cells: grade without solution."""
        return [(i, cell) for i, cell in self.code if is_test(cell)]

    @property
    def solutions(self) -> list[tuple[int, NotebookNode]]:
        return [(i, cell) for i, cell in self.code if role(cell, "solution") and not role(cell, "grade")]


def lint_week(path: Path) -> list[Problem]:
    """Problems of a week: of its seminar and homework, by rule and cell, of its other files, and of the limits of a lesson."""
    path = Path(path).resolve()
    problems = []
    for kind in KINDS:
        file = path / f"{kind}.ipynb"
        label = f"{path.name}/{file.name}"
        if not file.exists():
            problems.append(Problem(label, None, "exists", f"{file.name} is missing."))
            continue
        try:
            node = _read(file)
        except ValueError as error:
            problems.append(Problem(label, None, "format", f"not a valid notebook: {str(error).splitlines()[0]}"))
            continue
        notebook = _Notebook(file, node)
        for name, (kinds, rule) in RULES.items():
            if kind in kinds:
                problems += [Problem(label, cell, name, message) for cell, message in rule(notebook)]
    for name, week_rule in WEEK_RULES.items():
        problems += [Problem(f"{path.name}/{file}", None, name, message) for file, message in week_rule(path)]
    return problems + lint_lesson(path)


def lint_course(root: Path) -> list[Problem]:
    """Generated files of the repository that are not what they should be; one that is absent is not asked for."""
    problems = []
    for name, (file, generated) in COURSE_FILES.items():
        path = Path(root) / file
        if not path.is_file():
            continue
        try:
            if path.read_text(encoding="utf-8") != generated(Path(root)):
                problems.append(Problem(file, None, name, "it is out of date: run `lsdl lint --fix`."))
        except CourseError as error:
            problems.append(Problem(file, None, name, str(error)))
    return problems


def fix_course(root: Path) -> list[Path]:
    """Write the generated files of the repository anew; return those that changed.

    Raises:
        CourseError: the course cannot be read, or README.md lacks the marks around its table.
    """
    changed = []
    for file, generated in COURSE_FILES.values():
        path = Path(root) / file
        if path.is_file() and path.read_text(encoding="utf-8") != (text := generated(Path(root))):
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def fix_week(path: Path) -> list[Path]:
    """Rewrite badge, setup and parameters cells and clear a homework's outputs; return the files that changed."""
    changed = []
    for kind in KINDS:
        file = Path(path) / f"{kind}.ipynb"
        if not file.exists():
            continue
        node = nbformat.read(file, nbformat.NO_CONVERT)
        before, week = copy.deepcopy(node), file.resolve().parent.name
        if node.cells and node.cells[0].source.lstrip().startswith("# "):
            node.cells[0].source = _with_badge(node.cells[0].source, badge(week, kind, Path(path)))
        for cell in node.cells:
            if "setup" in tags(cell):
                cell.source = setup_cell(week, Path(path))
            elif "parameters" in tags(cell):
                cell.source = PARAMETERS_CELL
            if kind == "homework" and cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        if node != before:
            file.write_text(nbformat.writes(node) + "\n", encoding="utf-8")
            changed.append(file)
    return changed


# Rules for both notebooks


def _title(notebook: _Notebook) -> Found:
    first = notebook.node.cells[0] if notebook.node.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.lstrip().startswith("# "):
        yield 0, "the first cell must be markdown that starts with the title, '# ...'."
        return
    kind = "homework" if notebook.path.stem == "homework" else "seminar"
    if badge(notebook.path.parent.name, kind, notebook.path) not in first.source:
        yield 0, "the first cell does not hold this notebook's Colab badge: run `lsdl lint --fix`."


def _setup(notebook: _Notebook) -> Found:
    code = notebook.code
    if not code or "setup" not in tags(code[0][1]):
        yield (code[0][0] if code else None), "the first code cell must be the setup cell (tag `setup`)."
    for i, cell in code:
        if "setup" in tags(cell) and cell.source != setup_cell(notebook.path.parent.name, notebook.path):
            yield i, "the setup cell is not the generated text: run `lsdl lint --fix`."
    yield from _once(notebook, "setup")


def _parameters(notebook: _Notebook) -> Found:
    code = notebook.code
    if len(code) < 2 or "parameters" not in tags(code[1][1]):
        yield (code[1][0] if len(code) > 1 else None), "the second code cell must be tagged `parameters`."
    for i, cell in code:
        if "parameters" in tags(cell) and cell.source != PARAMETERS_CELL:
            yield i, "the parameters cell is not the course's own text: run `lsdl lint --fix`."
    yield from _once(notebook, "parameters")


def _define(notebook: _Notebook) -> Found:
    code = notebook.code
    if len(code) < 3 or "define" not in tags(code[2][1]):
        yield (
            (code[2][0] if len(code) > 2 else None),
            "the third code cell must be tagged `define` (imports, functions).",
        )


def _ids(notebook: _Notebook) -> Found:
    if (notebook.node.nbformat, notebook.node.nbformat_minor) < (4, 5):
        yield None, "cells have ids from nbformat 4.5 on: save the notebook with a current Jupyter."
        return
    seen: set[str] = set()
    for i, cell in enumerate(notebook.node.cells):
        if cell.get("id") in seen:
            yield i, f"another cell has the id {cell.id!r} too."
        seen.add(cell.get("id"))


def _sizes(notebook: _Notebook) -> Found:
    lines = [(i, len(cell.source.splitlines())) for i, cell in notebook.code if "setup" not in tags(cell)]
    for i, count in lines:
        if count > MAX_LINES:
            yield i, f"{count} lines of code, at most {MAX_LINES} are allowed: split the cell or use helpers.py."
    if lines and statistics.median(count for _, count in lines) > MEDIAN_LINES:
        median = statistics.median(count for _, count in lines)
        yield None, f"the median code cell has {median:g} lines, at most {MEDIAN_LINES} are allowed."


def _syntax(notebook: _Notebook) -> Found:
    for i, cell in notebook.code:
        try:
            _parse(cell.source)
        except SyntaxError as error:
            yield i, f"not valid Python: {error.msg} (line {error.lineno})."


def _alt_text(notebook: _Notebook) -> Found:
    for i, cell in enumerate(notebook.node.cells):
        if cell.cell_type != "markdown":
            continue
        for token in MarkdownIt("commonmark").parse(cell.source):
            for part in [token, *(token.children or [])]:
                if part.type == "image" and not part.content.strip():
                    yield i, f"the image {str(part.attrs['src'])[:60]!r} has no alt text."
                if part.type in ("html_block", "html_inline"):
                    for tag in re.findall(r"<img\b[^>]*>", part.content, re.IGNORECASE):
                        if not re.search(r"\balt\s*=\s*(\"[^\"]*\w[^\"]*\"|'[^']*\w[^']*')", tag, re.IGNORECASE):
                            yield i, f"the image {tag[:60]!r} has no alt text."


def _papermill(notebook: _Notebook) -> Found:
    if "papermill" in notebook.node.metadata:
        yield None, "the notebook carries papermill's metadata: commit what `lsdl run --update` writes."
    for i, cell in enumerate(notebook.node.cells):
        if "papermill" in cell.metadata or "injected-parameters" in tags(cell):
            yield i, "the cell was left by papermill: commit what `lsdl run --update` writes."


# Rules for the seminar


def _seminar_outputs(notebook: _Notebook) -> Found:
    if not any(cell.execution_count for _, cell in notebook.code):
        yield None, "the seminar has no outputs: run `lsdl run WEEK --update`."
    for i, cell in notebook.code:
        for output in cell.outputs:
            if output.output_type == "error":
                yield i, f"the committed output is an error ({output.ename})."
            if output.output_type == "stream" and output.name == "stderr":
                yield i, f"stderr in the committed output: {output.text.strip()[:80]!r}."


def _seminar_size(notebook: _Notebook) -> Found:
    size = notebook.path.stat().st_size
    if size > MAX_SEMINAR_BYTES:
        yield None, f"the seminar has {size / 1e6:.1f} MB, at most 2 MB are allowed."


def _seminar_claims(notebook: _Notebook) -> Found:
    for name, claim in read_claims(notebook.node).items():
        if claim["outcome"] == FAILS and not claim["reason"].strip():
            yield None, f"claim {name!r} does not hold: say why in its `reason`."


def _not_graded(notebook: _Notebook) -> Found:
    for i, cell in enumerate(notebook.node.cells):
        if "nbgrader" in cell.metadata:
            yield i, "a seminar has no nbgrader cells."


# Rules for the homework


def _homework_outputs(notebook: _Notebook) -> Found:
    for i, cell in notebook.code:
        if cell.outputs or cell.execution_count is not None:
            yield i, "a homework is committed without outputs: run `lsdl lint --fix`."


def _metadata(notebook: _Notebook) -> Found:
    validator = MetadataValidatorV3()
    seen: set[str] = set()
    for i, cell in enumerate(notebook.node.cells):
        meta = cell.metadata.get("nbgrader")
        if meta is None:
            continue
        try:
            validator.validate_cell(cell)
        except SchemaMismatchError as error:
            yield i, f"nbgrader metadata: {error}."
            continue
        except ValidationError as error:
            yield i, f"nbgrader metadata: {error.message}."
            continue
        if not (meta["grade"] or meta["solution"] or meta["locked"]):
            continue
        name = meta["grade_id"]
        if name in seen:
            yield i, f"the grade_id {name!r} is used twice: nbgrader would reject every submission."
        seen.add(name)
        if not READABLE_ID.fullmatch(name) or re.fullmatch(r"cell[-_][0-9a-f]+", name):
            yield i, f"the grade_id {name!r} is not readable: name the behaviour, such as 'nt_xent_value'."
        if cell.cell_type == "code" and meta["grade"] and not meta["solution"] and not meta["locked"]:
            yield i, f"the graded cell {name!r} must be locked."
        if meta["solution"] and meta["locked"]:
            yield i, f"the solution cell {name!r} must not be locked: nbgrader would overwrite the answer."
    if not seen:
        yield None, "no cell has nbgrader metadata."


def _points(notebook: _Notebook) -> Found:
    root = notebook.path.parent.parent
    if not (root / "course.toml").exists():
        return
    try:
        week = load_course(root).weeks.get(notebook.path.parent.name)
    except CourseError as error:
        yield None, str(error)
        return
    points = [cell.metadata.nbgrader.get("points") for cell in notebook.node.cells if role(cell, "grade")]
    total = sum(value for value in points if isinstance(value, int | float))  # rule `metadata` names the others
    if week is None:
        yield None, f"course.toml does not list {notebook.path.parent.name}."
    elif abs(total - week.points - week.bonus) > 1e-9:
        wanted = f"{week.points:g}" + (f" and a bonus of {week.bonus:g}" if week.bonus else "")
        yield None, f"the cells' points add up to {total:g}, course.toml says {wanted}."


def _graded_cells(notebook: _Notebook) -> Found:
    for i, cell in notebook.graded:
        try:
            body = ast.parse(cell.source).body
        except SyntaxError as error:
            yield i, f"a graded cell must be plain Python: {error.msg} (line {error.lineno})."
            continue
        if not body or ast.unparse(body[0]) != CHECK_IMPORT:
            yield i, f"a graded cell must start with `{CHECK_IMPORT}`: a spoiled cell must not cost the next one."
        for statement in body:
            if not _allowed(statement):
                yield i, f"line {statement.lineno}: {ONLY_CHECKS}"
        for node in ast.walk(ast.Module(body, [])):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "display", "warnings.warn"):
                yield i, f"line {node.lineno}: a graded cell must print nothing."
        if not any(_is_check(statement) for statement in body):
            yield i, "a graded cell needs a check(...): asserts alone can be faked."


def _solution_cells(notebook: _Notebook) -> Found:
    for i, cell in notebook.solutions:
        try:
            stub = _stub(notebook, i)
        except RuntimeError as error:
            yield i, f"nbgrader cannot make the stub: {error}."
            continue
        try:
            body = ast.parse(stub).body
        except SyntaxError as error:
            yield i, f"the stub is not valid Python: {error.msg} (line {error.lineno})."
            continue
        given = _outside_regions(cell.source)
        if given is None:
            yield i, "a solution cell needs `### BEGIN SOLUTION` and `### END SOLUTION` around what is removed."
        elif _without_stub_lines(stub) != given:
            yield i, "the stub differs from the solution outside the solution regions."
        elif any(isinstance(statement, ast.Raise) for statement in body):
            yield i, "a solution region must stand inside a function: else the released cell stops the notebook."


def _markers(notebook: _Notebook) -> Found:
    graded = {i for i, _ in notebook.graded}
    for i, cell in enumerate(notebook.node.cells):
        solution = role(cell, "solution")
        open_marker = None
        for line in cell.source.splitlines():
            text = line.strip()
            if text not in MARKERS:
                if ALMOST_MARKER.search(line) or any(marker[4:] in line for marker in MARKERS):
                    yield i, f"{text!r} is not a marker nbgrader and lsdl agree on: write one of {', '.join(MARKERS)}."
                continue
            _, end, what = text.split(" ", 2)
            if what == "HIDDEN TESTS" and i not in graded:
                yield i, f"{text!r} stands outside a graded cell."
            if what == "SOLUTION" and not solution:
                yield i, f"{text!r} stands outside a solution cell."
            if end == "BEGIN" and open_marker:
                yield i, f"{text!r} comes before the end of {open_marker!r}."
            if end == "END" and open_marker != f"### BEGIN {what}":
                yield i, f"{text!r} has no beginning."
            open_marker = text if end == "BEGIN" else None
        if open_marker:
            yield i, f"{open_marker!r} has no end."


def _hidden_names(notebook: _Notebook) -> Found:
    hidden: set[str] = set()
    for i, cell in notebook.graded:
        for is_hidden, part in ((True, hidden_part(cell.source)), (False, visible_part(cell.source))):
            try:
                calls = [node for node in ast.walk(ast.parse(part)) if isinstance(node, ast.Call)]
            except SyntaxError:
                yield i, "a hidden-test region must hold whole statements."
                continue
            for call in calls:
                if ast.unparse(call.func) not in CHECK_CALLS:
                    continue
                name = call.args[0] if call.args else None
                if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                    yield i, "name each check by a string literal, so that its reference can be found."
                elif is_hidden:
                    hidden.add(name.value)
    for name in sorted(hidden):
        whole_name = re.compile(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])")
        for i, cell in enumerate(notebook.node.cells):
            if whole_name.search(visible_part(cell.source)):
                yield i, f"the hidden check {name!r} is named outside a hidden-test region."


def _hidden_checks(notebook: _Notebook) -> Found:
    recorded = {
        n for _, cell in notebook.graded if "whole" not in tags(cell) for n in _checks(hidden_part(cell.source))
    }
    for i, cell in notebook.graded:
        visible, hidden = (_checks(part(cell.source)) for part in (visible_part, hidden_part))
        if not cell.metadata.nbgrader.get("points"):
            continue
        if visible and not hidden:
            yield i, "every check is visible, so its references could be copied: add a hidden check on other inputs."
        elif "whole" in tags(cell) and not recorded & set(hidden):
            yield (
                i,
                "labels can be looked up, and trained models be had: repeat a hidden check of the function behind this one.",
            )


def _checks(source: str) -> tuple[str, ...]:
    try:
        return named_in(source, "check")
    except SyntaxError:  # another rule says so
        return ()


# Rules for a week's other files


def _instructor(week: Path) -> FoundInWeek:
    for name in INSTRUCTOR_FILES:
        if not (week / "instructor" / name).is_file():
            yield f"instructor/{name}", "the file is missing."


def _times(week: Path) -> FoundInWeek:
    if not (week / "README.md").is_file():
        yield "README.md", "the file is missing."
    elif set(read_times(week)) != set(KINDS):
        yield "README.md", f"it does not say how long the notebooks run: `lsdl run {week.name} --update` stores it."


def _requires(week: Path) -> FoundInWeek:
    try:
        required = week_facts(week).requires
    except CourseError as error:
        yield WEEK_FILE, str(error)
        return
    if (week.parent / "pyproject.toml").is_file():
        known = read_project(week.parent)["optional-dependencies"]["weeks"]
        for entry in required:
            if entry not in known:
                yield WEEK_FILE, f"{entry!r} does not stand so in the extra `weeks` of pyproject.toml."


def _imports(week: Path) -> FoundInWeek:
    """What a student's Python lacks if only lsdl and this week's `requires` are installed."""
    if not (week.parent / "pyproject.toml").is_file():
        return
    own = {path.stem for path in week.glob("*.py")}
    try:
        present = installed_with([*read_project(week.parent)["dependencies"], *week_facts(week).requires])
    except CourseError:  # rule `requires` names it
        return
    for file in sorted([*week.glob("*.py"), *week.glob("*.ipynb")]):
        for module in sorted(third_party(_trees(file)) - own):
            names = distributions(module)
            if not names & present:
                which = " or ".join(sorted(names)) or "a package that is not installed here"
                yield file.name, f"`{module}` is of {which}: put that into `requires` of week.toml."


def _trees(file: Path) -> list[ast.Module]:
    """Syntax trees of a module or of a notebook's code cells; what cannot be read is left to other rules."""
    try:
        if file.suffix == ".py":
            return [_parse(file.read_text(encoding="utf-8"))]
        return [_parse(cell.source) for cell in _read(file).cells if cell.cell_type == "code"]
    except (ValueError, SyntaxError):
        return []


WEEK_RULES: dict[str, Callable[[Path], FoundInWeek]] = {
    "instructor": _instructor,
    "times": _times,
    "requires": _requires,
    "imports": _imports,
}
COURSE_FILES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "readme": ("README.md", readme_text),
    "requirements": ("requirements.txt", requirements_text),
    "citation": ("CITATION.cff", citation_text),
}
RULES: dict[str, tuple[tuple[str, ...], Callable[[_Notebook], Found]]] = {
    "title": (("seminar", "homework"), _title),
    "setup": (("seminar", "homework"), _setup),
    "parameters": (("seminar", "homework"), _parameters),
    "define": (("seminar", "homework"), _define),
    "ids": (("seminar", "homework"), _ids),
    "sizes": (("seminar", "homework"), _sizes),
    "syntax": (("seminar", "homework"), _syntax),
    "alt-text": (("seminar", "homework"), _alt_text),
    "papermill": (("seminar", "homework"), _papermill),
    "outputs": (("seminar",), _seminar_outputs),
    "size": (("seminar",), _seminar_size),
    "claims": (("seminar",), _seminar_claims),
    "not-graded": (("seminar",), _not_graded),
    "no-outputs": (("homework",), _homework_outputs),
    "metadata": (("homework",), _metadata),
    "points": (("homework",), _points),
    "graded-cells": (("homework",), _graded_cells),
    "stubs": (("homework",), _solution_cells),
    "markers": (("homework",), _markers),
    "hidden-names": (("homework",), _hidden_names),
    "hidden-checks": (("homework",), _hidden_checks),
}


def _with_badge(source: str, wanted: str) -> str:
    """The first cell with its badge corrected, or put below the title."""
    if wanted in source:
        return source
    if BADGE.search(source):
        return BADGE.sub(lambda _: wanted, source, count=1)
    title, _, rest = source.lstrip().partition("\n")
    return f"{title}\n\n{wanted}\n" + (f"\n{rest.lstrip()}" if rest.strip() else "")


def _read(file: Path) -> NotebookNode:
    """The notebook as it stands in the file: nbformat's own reader would mend some of what the rules look for."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        raise ValueError("nbformat 4 is needed: save it with a current Jupyter.")
    for error in iter_validate(raw):
        raise ValueError(str(error))
    return rejoin_lines(nbformat.from_dict(raw))


def _once(notebook: _Notebook, tag: str) -> Found:
    tagged = [i for i, cell in enumerate(notebook.node.cells) if tag in tags(cell)]
    for i in tagged[1:]:
        yield i, f"a second cell is tagged `{tag}`."


def _parse(source: str) -> ast.Module:
    """Syntax tree of a cell, its magics (`%matplotlib inline`) read as IPython reads them."""
    return ast.parse(TransformerManager().transform_cell(source))


def _is_check(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and ast.unparse(statement.value.func) == "check"
    )


def _allowed(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return ast.unparse(statement) == CHECK_IMPORT
    return _is_check(statement) or isinstance(statement, ast.Assert | ast.Assign | ast.AnnAssign | ast.AugAssign)


def _stub(notebook: _Notebook, index: int) -> str:
    """Source of a solution cell as nbgrader releases it; RuntimeError if nbgrader refuses."""
    part = copy.copy(notebook.node)
    part.cells = [copy.deepcopy(notebook.node.cells[index])]
    step = ClearSolutions()
    step.log = logging.getLogger("lsdl.author.lint")
    step.log.setLevel(logging.CRITICAL)  # the exception says the same
    return step.preprocess(part, {})[0].cells[0].source


def _outside_regions(source: str) -> list[str] | None:
    """Lines outside the solution regions, None if there is no region."""
    lines, inside, regions = [], False, 0
    for line in source.splitlines():
        if line.strip() == SOLUTION[0]:
            inside, regions = True, regions + 1
        elif line.strip() == SOLUTION[1]:
            inside = False
        elif not inside:
            lines.append(line)
    return lines if regions else None


def _without_stub_lines(stub: str) -> list[str]:
    code = [line.strip() for line in ClearSolutions().code_stub["python"].splitlines()]
    return [line for line in stub.splitlines() if line.strip() not in code]
