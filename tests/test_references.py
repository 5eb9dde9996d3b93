"""References are recorded from the fixture week's own solutions, deterministically, and drift is seen."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from lsdl.author.homework import Homework, HomeworkError
from lsdl.author.references import _same_tensor, check_references, write_references
from lsdl.checks import VISIBLE_FILE, ReferenceStore, check
from lsdl.compare import unpack

COURSE = Path(__file__).parent / "fixtures" / "course"
KEY = (COURSE / "gradebook" / "demo.key").read_bytes()


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LSDL_OUTBOX", "LSDL_HIDDEN_REFERENCES", "LSDL_WEEK", "LSDL_WEEK_DIR"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(COURSE, tmp_path / "course")
    folder = tmp_path / "course" / "week99-demo"
    monkeypatch.chdir(folder)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def hidden_store(week: Path) -> Path:
    return week.parent / "gradebook" / "references" / "week99-demo.safetensors"


def test_the_homework_is_read(week: Path) -> None:
    homework = Homework(week)
    assert [task.title.split(":")[0] for task in homework.tasks] == ["Task 1", "Task 2", "Task 3", "Task 4"]
    assert [task.points for task in homework.tasks] == [4, 2, 1, 0]
    assert [task.names for task in homework.tasks] == [
        ("standardise",),
        ("dropout",),
        ("fit_centroids", "classify"),
        (),
    ]
    assert [task.hints for task in homework.tasks] == [2, 1, 1, 1]
    cells = {cell.grade_id: cell for cell in homework.graded}
    assert list(cells) == [
        "standardise_value", "standardise_constant", "dropout_rate", "dropout_scale", "classify_value", "classify_accuracy",
        "dropout_words",
    ]  # fmt: skip
    value = cells["standardise_value"]
    assert (value.visible_checks, value.hidden_checks) == (("standardise/value",), ("standardise/hidden",))
    assert "hidden" not in value.visible_source.lower() and "standardise/hidden" in value.source
    assert cells["dropout_words"].manual and cells["classify_accuracy"].whole
    assert [cell.grade_id for cell in homework.unit_cells] == list(cells)[:5]


def test_the_namespace_is_the_notebooks_own(week: Path) -> None:
    homework = Homework(week)
    before = dict(sys.modules), list(sys.path), Path.cwd()
    namespace = homework.namespace()
    assert namespace["SCALE"] == "smoke" and "centroids" not in namespace and "claims" not in namespace
    assert "helpers" not in sys.modules and (sys.path, Path.cwd()) == before[1:]
    x = torch.rand(8, 2)
    assert torch.allclose(namespace["standardise"](x).mean(0), torch.zeros(2), atol=1e-6)
    stubs = homework.namespace(stubs=True)
    with pytest.raises(NotImplementedError):
        stubs["standardise"](x)


def test_two_weeks_do_not_share_their_helpers(week: Path) -> None:
    other = week.parent / "week98-other"
    shutil.copytree(week, other)
    (other / "helpers.py").write_text("def load_flowers(part):\n    return 'other'\n", encoding="utf-8")
    first, second = Homework(week), Homework(other)
    assert second.namespace()["load_flowers"]("train") == "other"
    assert first.namespace()["load_flowers"]("train")[0].shape == (50, 4)
    assert second.namespace()["load_flowers"]("train") == "other"


def test_helpers_are_loaded_once(week: Path) -> None:
    edit(week / "helpers.py", "import torch\n", "import torch\n\nstate = []\n")
    homework = Homework(week)
    with homework.at_home():
        exec("import helpers; helpers.state.append(1)", {})
    with homework.at_home():
        exec("import helpers; assert helpers.state == [1]", {})


def test_a_cell_leaves_nothing_behind(week: Path) -> None:
    write_references(week, KEY)
    homework = Homework(week)
    namespace = homework.namespace()
    constant = homework.graded[1]
    assert homework.run_cell(constant, namespace) is None
    assert "before" not in namespace and "check" not in namespace
    with homework.replaced(namespace, {"standardise": lambda x: x}):
        assert isinstance(homework.run_cell(constant, namespace), AssertionError)
    assert homework.run_cell(constant, namespace) is None


def test_every_check_is_recorded_where_it_belongs(week: Path) -> None:
    assert write_references(week, KEY).startswith("6 visible checks (")
    visible, hidden = ReferenceStore(week / VISIBLE_FILE), ReferenceStore(hidden_store(week))
    assert visible.names == (
        "classify/validation", "classify/value", "dropout/rate", "dropout/scale", "standardise/constant", "standardise/value"
    )  # fmt: skip
    assert hidden.names == (
        "classify/hidden", "classify/value-hidden", "dropout/rate-hidden", "dropout/scale-hidden",
        "standardise/constant-hidden", "standardise/hidden",
    )  # fmt: skip
    entry = visible.entry("standardise/value")
    (x,), expected = unpack(entry.inputs), unpack(entry.accepted[0])
    assert torch.allclose(expected, (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt())
    assert [hint.split()[0] for hint, _ in entry.mistakes] == ["The", "Mean"]
    assert len(visible.entry("standardise/constant").mistakes) == 3
    assert visible.entry("dropout/rate").low == 0.228
    assert hidden.entry("classify/hidden").at_least == 0.80
    check("standardise/hidden", unpack(hidden.entry("standardise/hidden").accepted[0]))


def test_without_a_key_no_hidden_reference_is_written(week: Path) -> None:
    assert "hidden" not in write_references(week)
    assert not hidden_store(week).parent.exists()


def test_the_committed_file_is_what_the_solutions_give(week: Path) -> None:
    committed = (COURSE / "week99-demo" / VISIBLE_FILE).read_bytes()
    write_references(week)
    assert (week / VISIBLE_FILE).read_bytes() == committed


def test_hidden_inputs_depend_on_the_key_alone(week: Path) -> None:
    def inputs(key: bytes) -> torch.Tensor:
        write_references(week, key)
        return ReferenceStore(hidden_store(week)).inputs("standardise/hidden")[0]

    one = inputs(KEY)
    visible = (week / VISIBLE_FILE).read_bytes()
    assert torch.equal(one, inputs(KEY.strip() + b"\n\n"))
    assert not torch.equal(one, inputs(b"another key, of 32 characters or more"))
    assert (week / VISIBLE_FILE).read_bytes() == visible
    target = week.parent / "elsewhere" / "hidden.safetensors"
    write_references(week, KEY, target)
    assert torch.equal(ReferenceStore(target).inputs("standardise/hidden")[0], one)


def share_draw(week: Path, owner: str) -> None:
    """A hidden check takes the draw of another check."""
    start = '"standardise/constant-hidden": Case(batch'
    edit(week / "instructor" / "cases.py", f"{start}_with_constant,", f'{start}, draw_of="{owner}",')


def test_checks_that_share_a_draw_have_equal_inputs_which_are_stored_once(week: Path) -> None:
    write_references(week, KEY)
    before = hidden_store(week).stat().st_size
    assert len({str(x.flatten()[0]) for x in first_inputs(week)}) == 2
    share_draw(week, "standardise/hidden")
    write_references(week, KEY)
    one, other = first_inputs(week)
    assert torch.equal(one, other) and hidden_store(week).stat().st_size < before - one.nbytes
    assert check_references(week, KEY) == []


def first_inputs(week: Path) -> list[torch.Tensor]:
    store = ReferenceStore(hidden_store(week))
    return [store.inputs(name)[0] for name in ("standardise/hidden", "standardise/constant-hidden")]


def test_nothing_drifts_when_nothing_changed(week: Path) -> None:
    write_references(week, KEY)
    assert check_references(week, KEY) == []
    assert check_references(week) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("homework.ipynb", "variance = x.var(dim=0, unbiased=False)", "variance = x.var(dim=0, unbiased=False) * 1.01",
         r"standardise/value: accepted value drifted: \d+ of 64 values are wrong; the largest error"),
        ("instructor/cases.py", "3 * torch.randn(8, 8, generator=g) + 5", "torch.randn(8, 8, generator=g) + 5",
         "standardise/value: inputs drifted: Item 0: 64 of 64 values are wrong"),
        ("instructor/cases.py", "high=0.272", "high=0.273", r"dropout/rate: high was 0.272, is now 0.273\."),
        ("instructor/mistakes.py", "The values kept are not", "Values are not", r"dropout/scale: the hint '.*' is now '.*'\."),
        ("instructor/mistakes.py", "    Mistake(\n        \"The values kept are not divided by 1 - p, so the mean shrinks.\",\n"
         "        replaces={\"dropout\": without_scaling},\n        fails=(\"dropout_scale\",),\n    ),\n", "",
         r"dropout/scale: 2 fingerprint\(s\) are stored, there are now 1\."),
    ],
)  # fmt: skip
def test_drift_is_named_with_its_size(week: Path, file: str, old: str, new: str, words: str) -> None:
    edit(week / file, old, new)
    lines = check_references(week)
    assert any(re.match(words, line) for line in lines), lines


def test_a_change_within_the_tolerance_is_no_drift(week: Path) -> None:
    edit(
        week / "homework.ipynb",
        "return (x - mean) / torch.sqrt(variance + eps)",
        "return (x - mean) * (variance + eps).rsqrt()",
    )
    assert check_references(week) == []


def test_inputs_drawn_on_another_processor_stay_as_they_are_stored(week: Path) -> None:
    """Random numbers that differ in the last digit are the same draw: nothing drifts and nothing is written anew."""
    store = ReferenceStore(week / VISIBLE_FILE)
    entries = {name: store.entry(name) for name in store.names}
    moved = tuple(tensor * (1 + 3e-7) for tensor in entries["standardise/value"].inputs.tensors)
    entries["standardise/value"] = replace(
        entries["standardise/value"], inputs=replace(entries["standardise/value"].inputs, tensors=moved)
    )
    ReferenceStore.write(week / VISIBLE_FILE, entries)
    written = (week / VISIBLE_FILE).read_bytes()
    assert written != (COURSE / "week99-demo" / VISIBLE_FILE).read_bytes()
    assert check_references(week) == []
    write_references(week, KEY)
    assert (week / VISIBLE_FILE).read_bytes() == written


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (
            torch.tensor([100.0, 1e-3]),
            torch.tensor([100.0, 1.5e-3]),
            True,
        ),  # the error counts beside the largest number
        (torch.tensor([100.0, 1.0]), torch.tensor([100.0, 1.1]), False),
        (torch.tensor([1.0, torch.nan, -torch.inf]), torch.tensor([1.0, torch.nan, -torch.inf]), True),
        (torch.zeros(20_000, dtype=torch.uint8), torch.eye(1, 20_000)[0].to(torch.uint8), True),  # a pixel at a tie
        (torch.zeros(20, dtype=torch.uint8), torch.eye(1, 20)[0].to(torch.uint8), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.ones(2), torch.ones(2, dtype=torch.float64), False),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0078125], dtype=torch.bfloat16), True),
    ],
)
def test_the_same_draw_on_two_processors(a: torch.Tensor, b: torch.Tensor, same: bool) -> None:
    assert _same_tensor(a, b) is same


def test_missing_and_idle_entries_are_drift(week: Path) -> None:
    store = ReferenceStore(week / VISIBLE_FILE)
    entries = {name: store.entry(name) for name in store.names}
    entries["old/check"] = entries.pop("standardise/value")
    ReferenceStore.write(week / VISIBLE_FILE, entries)
    assert check_references(week) == [
        "standardise/value is new: record it with `lsdl refs`.",
        "old/check is not used any more: record again with `lsdl refs`.",
    ]
    (week / VISIBLE_FILE).unlink()
    assert "is missing" in check_references(week)[0]


def test_another_accepted_form_is_stored_and_passes(week: Path) -> None:
    edit(
        week / "instructor" / "mistakes.py",
        "ALTERNATIVES = [",
        'def transposed(x, eps=1e-5):\n    return with_batch_norm(x, eps).T\n\n\n'
        'ALTERNATIVES = [\n    Alternative(replaces={"standardise": transposed}, also_accepted=True),',
    )  # fmt: skip
    write_references(week)
    entry = ReferenceStore(week / VISIBLE_FILE).entry("standardise/value")
    assert len(entry.accepted) == 2 and len(entry.mistakes) == 2
    check("standardise/value", unpack(entry.accepted[0]).T)


def test_a_fingerprint_equal_to_the_right_answer_is_not_stored(week: Path) -> None:
    edit(week / "instructor" / "mistakes.py", "replaces={\"standardise\": without_eps},\n        fails=(", "replaces={\"standardise\": without_eps},\n        fails=(\"standardise_value\", ")  # fmt: skip
    write_references(week)
    hints = [hint for hint, _ in ReferenceStore(week / VISIBLE_FILE).entry("standardise/value").mistakes]
    assert len(hints) == 2 and not any("eps" in hint for hint in hints)


def rename_case(week: Path) -> None:
    edit(week / "instructor" / "cases.py", '"dropout/scale": ', '"dropout/factor": ')


def idle_case(week: Path) -> None:
    edit(week / "instructor" / "cases.py", "CASES = {", 'CASES = {\n    "dropout/old": Case(reason="r"),')


def share_with_a_visible_one(week: Path) -> None:
    share_draw(week, "standardise/value")


def share_with_nobody(week: Path) -> None:
    share_draw(week, "standardise/hiden")


def share_in_a_row(week: Path) -> None:
    share_draw(week, "standardise/hidden")
    edit(week / "instructor" / "cases.py", '"standardise/hidden": Case(', '"standardise/hidden": Case(draw_of="classify/hidden", inputs=')  # fmt: skip


def no_tuple(week: Path) -> None:
    edit(week / "instructor" / "cases.py", "return (x,)", "return x")


def bad_input(week: Path) -> None:
    edit(week / "instructor" / "cases.py", "return (x,)", "return (x, print)")


def failing_solution(week: Path) -> None:
    edit(week / "homework.ipynb", "mean = x.mean(dim=0)", "mean = x.mean(dim=7)")


def solution_outside_the_bound(week: Path) -> None:
    edit(week / "instructor" / "cases.py", "low=0.228", "low=0.27")


def whole_value(week: Path) -> None:
    edit(week / "instructor" / "cases.py", 'kind="predictions",', 'kind="value",')


def unknown_name(week: Path) -> None:
    edit(week / "instructor" / "mistakes.py", '"dropout": without_scaling', '"drop": without_scaling')


def no_cases(week: Path) -> None:
    (week / "instructor" / "cases.py").unlink()


def no_mistakes(week: Path) -> None:
    edit(week / "instructor" / "mistakes.py", "MISTAKES = [", "WRONG = [")


def no_task(week: Path) -> None:
    notebook = nbformat.read(week / "homework.ipynb", nbformat.NO_CONVERT)
    for cell in notebook.cells:
        cell.source = cell.source.replace("## Task 1", "### Task 1")
    nbformat.write(notebook, week / "homework.ipynb")


def no_notebook(week: Path) -> None:
    (week / "homework.ipynb").unlink()


def name_used_twice(week: Path) -> None:
    edit(week / "homework.ipynb", r"check(\"dropout/scale\",", r"check(\"dropout/rate\",")
    edit(week / "instructor" / "cases.py", '"dropout/scale": Case(ones_and_seed, reason="one division"),', "")
    edit(week / "homework.ipynb", r"check.inputs(\"dropout/scale\")", r"check.inputs(\"dropout/rate\")")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rename_case, "add cases for dropout/scale to instructor/cases.py"),
        (idle_case, "no graded cell uses dropout/old of instructor/cases.py"),
        (
            share_with_a_visible_one,
            "cannot share the draw of 'standardise/value': name a check that has a draw of its own",
        ),
        (share_with_nobody, "'standardise/constant-hidden' cannot share the draw of 'standardise/hiden'"),
        (share_in_a_row, "cannot share the draw of 'standardise/hidden'"),
        (no_tuple, "must be a tuple, is a comma missing?"),
        (bad_input, "a builtin_function_or_method cannot be stored"),
        (failing_solution, "a correct solution fails in 'standardise_value': IndexError"),
        (
            solution_outside_the_bound,
            "the solution does not pass its own check 'dropout/rate': the share of equal entries is 0.2",
        ),
        (whole_value, "stands in a cell tagged `whole`"),
        (unknown_name, "does not define drop: correct instructor/mistakes.py"),
        (no_cases, "is missing: it has to define CASES"),
        (no_mistakes, "does not define MISTAKES"),
        (no_task, "'standardise_value' stands under no header '## Task ...'"),
        (no_notebook, "has no homework.ipynb"),
        (name_used_twice, "'dropout/rate' is used twice"),
    ],
)
def test_an_authors_slip_is_one_sentence(week: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(week)
    with pytest.raises(HomeworkError, match=f"(?i){re.escape(words)}") as caught:
        write_references(week, KEY)
    assert "\n" not in str(caught.value)


def test_an_empty_key_is_refused(week: Path) -> None:
    with pytest.raises(HomeworkError, match="The key is too short: write at least 32"):
        write_references(week, b" \n")
