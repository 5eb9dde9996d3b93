"""`check` itself: where it finds references, what it says, what it leaves alone, and the outbox."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lsdl import checks, setup_week
from lsdl.checks import Alternative, Case, Entry, Mistake, NoReference, ReferenceStore, check, read_answer
from lsdl.compare import Packed, pack, unpack

X = torch.arange(6.0).reshape(2, 3)
LABELS = torch.tensor([0, 1, 2, 1])


def entries() -> dict[str, Entry]:
    half_wrong = ("Divide by n, not by n - 1.", pack({"w": X / 2, "b": None}))
    return {
        "net/state": Entry(inputs=pack((X, [1, "text"], {"p": 0.5})), accepted=(pack({"w": X, "b": None}),), mistakes=(half_wrong,)),
        "either/form": Entry(accepted=(pack(X), pack(X.T))),
        "twice/same": Entry(accepted=(pack(X),), mistakes=(("First.", pack(-X)), ("Second.", pack(-X)))),
        "mask/rate": Entry(kind="bound", low=0.4, high=0.6),
        "draws/uniform": Entry(kind="bound", low=0.1, high=20.0, statistic=("chi_square", 6, 3), reason="fair dice"),
        "draws/fresh": Entry(kind="bound", low=0.0, high=0.3, statistic=("agreement",)),
        "scores/change": Entry(kind="bound", low=0.5, high=2.0, target=pack(X), reason="one step changes the scores a little"),
        "top/classes": Entry(kind="predictions", labels=pack(LABELS), at_least=0.75),
        "z/complex": Entry(accepted=(pack(torch.tensor([1 + 2j])),)),
    }  # fmt: skip


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A week's folder that is the working folder, with visible references, in a course with a gradebook."""
    for name in ("LSDL_OUTBOX", "LSDL_HIDDEN_REFERENCES", "LSDL_WEEK", "LSDL_WEEK_DIR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "week98-test"
    ReferenceStore.write(folder / "assets" / "references.safetensors", entries())
    (tmp_path / "gradebook").mkdir()
    monkeypatch.chdir(folder)
    return folder


def failure(name: str, actual: object) -> str:
    with pytest.raises(AssertionError) as caught:
        check(name, actual)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    return str(caught.value)


def judged(store: ReferenceStore, name: str, answer: object) -> str | None:
    return store.entry(name).explain(answer if isinstance(answer, Packed) else pack(answer))


def test_right_answers_pass_and_say_so(week: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("net/state", {"b": None, "w": X.numpy()}) is None
    assert capsys.readouterr().out == "net/state: right\n"
    check("either/form", X)
    check("either/form", X.T)
    check("mask/rate", torch.tensor(0.45))
    check("mask/rate", 0.6)
    check("mask/rate", np.float32(0.5))
    for classes in (LABELS, LABELS.tolist(), LABELS.numpy(), torch.tensor([0, 1, 2, 0]), LABELS.to(torch.uint8)):
        capsys.readouterr()
        check("top/classes", classes)
        assert capsys.readouterr().out.startswith("top/classes: right (")
    check("z/complex", torch.tensor([1 + 2j]))


def test_a_known_mistake_is_answered_by_its_hint_first(week: Path) -> None:
    text = failure("net/state", {"w": X / 2, "b": None})
    assert text.startswith("net/state: Divide by n, not by n - 1.\nItem 'w': 5 of 6 values are wrong;")
    assert "Divide" not in failure("net/state", {"w": X / 3, "b": None})
    assert failure("twice/same", -X).startswith("twice/same: First. Or: Second.\n")


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        (0.7, "0.7 came, a value from 0.4 to 0.6 was expected."),
        (float("nan"), "nan came"),
        (None, "expected one number, got None. Is there a return statement?"),
        (torch.zeros(3), "expected one number, got a tensor of shape (3,)"),
    ],
)
def test_bounds(week: Path, actual: object, words: str) -> None:
    assert words in failure("mask/rate", actual)


def test_a_bound_on_draws_is_computed_from_the_draws(week: Path) -> None:
    check("draws/uniform", torch.tensor([0, 1, 2, 3, 4, 5, 5, 2]))
    said = failure("draws/uniform", torch.tensor([0, 1] * 20))
    assert (
        "chi-square against the uniform distribution is 80, a value from 0.1 to 20 was expected. Why: fair dice."
        in said
    )
    assert "chi-square against the uniform distribution is 0," in failure("draws/uniform", torch.arange(6))
    assert "6 was drawn; only the integers from 0 to 5" in failure("draws/uniform", torch.tensor([[1, 6]]))
    assert "-1 was drawn" in failure("draws/uniform", np.array([-1, 2]))
    for wrong in (None, 1.5, torch.rand(5), torch.tensor([], dtype=torch.int64), [X, X]):
        assert "expected a tensor of integers, got" in failure("draws/uniform", wrong)
    check("draws/fresh", (torch.tensor([1, 2, 3, 4]), torch.tensor([1, 0, 0, 0])))
    assert "the share of equal entries is 1, a value from 0 to 0.3" in failure("draws/fresh", [X, X])
    for wrong in (None, X, [X], [X, X.T], 0.1):
        assert "expected a pair of tensors of one shape, got" in failure("draws/fresh", wrong)


def test_a_statistic_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="one of chi_square, agreement, not 'mean'"):
        Case(kind="bound", low=0, high=1, false_alarm=0.0, statistic=("mean",), reason="x")


def test_a_bound_on_the_distance_from_a_target(week: Path) -> None:
    check("scores/change", X + 1)
    check("scores/change", (X - 1).double().numpy())
    reason = "a value from 0.5 to 2 was expected. Why: one step changes the scores a little."
    assert failure("scores/change", X) == f"scores/change: the mean squared change is 0, {reason}"
    assert "change is 4, " in failure("scores/change", X + 2)
    assert "change is nan, " in failure("scores/change", X * float("nan"))
    assert "expected the shape (2, 3), got (3, 2)." in failure("scores/change", X.T)
    assert "expected a tensor of shape (2, 3), got None." in failure("scores/change", None)


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ([0, 1, 0, 0], "50.0 % of the predictions are right (2 of 4), at least 75 % are needed."),
        (torch.zeros(4, 3), "scores of classes: argmax"),
        (LABELS.float(), "expected classes (integers), got float32: is argmax missing?"),
        (LABELS[:3], "expected one class for each of (4,) examples, got the shape (3,)."),
        (None, "expected the classes of 4 examples, got None. Is there a return statement?"),
        ("0121", "got the text '0121'"),
    ],
)
def test_predictions(week: Path, actual: object, words: str) -> None:
    assert words in failure("top/classes", actual)


def test_inputs_are_fresh_and_of_the_stored_types(week: Path) -> None:
    x, items, options = check.inputs("net/state")
    assert torch.equal(x, X) and items == [1, "text"] and options == {"p": 0.5} and type(options["p"]) is float
    x.zero_()
    items.append(2)
    assert torch.equal(check.inputs("net/state")[0], X) and check.inputs("net/state")[1] == [1, "text"]
    assert check.inputs("mask/rate") == ()


def test_the_answer_is_not_changed(week: Path) -> None:
    x = X.clone().requires_grad_()
    answer = {"w": x, "b": None}
    check("net/state", answer)
    failure("net/state", {"w": x * 2, "b": None})
    assert answer["w"] is x and x.requires_grad and x.grad is None and torch.equal(x.detach(), X)


def test_the_traceback_in_a_notebook_shows_no_code(week: Path) -> None:
    script = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
result = shell.run_cell('''
import torch
from lsdl.checks import check

secret_reference = 3
check("either/form", torch.zeros(2, 3))''')
assert type(result.error_in_exec) is AssertionError
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=week)
    assert done.returncode == 0, done.stderr
    assert "AssertionError: either/form: 5 of 6 values are wrong" in done.stdout
    assert "secret_reference" not in done.stdout and "checks.py" not in done.stdout


def test_hidden_references_are_found_from_the_week_and_from_the_gradebook(
    week: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoReference, match=r"'net/hidden' in assets.references.safetensors or .*: run `lsdl refs week98-test --key FILE`"):  # fmt: skip
        check("net/hidden", 1)
    stored = week.parent / "gradebook" / "references" / "week98-test.safetensors"
    ReferenceStore.write(stored, {"net/hidden": Entry(accepted=(pack(1),))})
    check("net/hidden", 1)
    autograded = week.parent / "gradebook" / "autograded" / "student" / "week98-test"
    shutil.copytree(week, autograded)
    monkeypatch.chdir(autograded)
    check("net/hidden", 1)
    failure("net/hidden", 2)
    other = week.parent / "elsewhere.safetensors"
    ReferenceStore.write(other, {"net/hidden": Entry(accepted=(pack(2),))})
    monkeypatch.setenv("LSDL_HIDDEN_REFERENCES", str(other))
    check("net/hidden", 2)


def test_the_week_can_be_named_by_the_environment(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(week.parent)
    with pytest.raises(NoReference, match="open the notebook from its week's own folder"):
        check("either/form", X)
    monkeypatch.setenv("LSDL_WEEK_DIR", str(week))
    check("either/form", X)
    ReferenceStore.write(
        week.parent / "gradebook/references/week98-test.safetensors", {"h": Entry(accepted=(pack(1),))}
    )
    monkeypatch.setenv("LSDL_WEEK", "week98-test")
    check("h", 1)


def test_the_week_is_remembered_when_the_notebook_changes_its_folder(
    week: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`setup` and the import of `check` both know it; without them the sentence names the folder."""
    inner = week / "data"
    inner.mkdir()
    monkeypatch.chdir(inner)
    with pytest.raises(NoReference, match=r"changed its folder to .*data, .*remove os.chdir or %cd"):
        check("either/form", X)
    for module, name in ((setup_week, "started_in"), (checks, "_IMPORTED_IN")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, week)
            check("either/form", X)
            monkeypatch.chdir(week.parent)
            check("either/form", X)
            stored = week.parent / "gradebook" / "references" / "week98-test.safetensors"
            ReferenceStore.write(stored, {"net/hidden": Entry(accepted=(pack(1),))})
            check("net/hidden", 1)


def test_a_rewritten_store_is_read_again(week: Path) -> None:
    check("either/form", X)
    ReferenceStore.write(week / "assets" / "references.safetensors", {"either/form": Entry(accepted=(pack(0.0),))})
    check("either/form", 0)


def test_a_store_is_deterministic_and_keeps_equal_tensors_once(tmp_path: Path) -> None:
    big = torch.rand(1000)
    many = {f"n{i}": Entry(inputs=pack((big,)), accepted=(pack({"w": big}),)) for i in range(20)}
    ReferenceStore.write(tmp_path / "a", many)
    ReferenceStore.write(tmp_path / "b", dict(reversed(many.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < 3 * big.nbytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_entry_survives_storing(tmp_path: Path) -> None:
    stored = entries()
    ReferenceStore.write(tmp_path / "refs", stored)
    store = ReferenceStore(tmp_path / "refs")
    assert store.names == tuple(sorted(stored))
    for name, entry in stored.items():
        again = store.entry(name)
        assert repr(again) == repr(entry)
    assert judged(store, "either/form", X) is None
    assert judged(store, "either/form", pack(X + 1)) is not None


def test_missing_files_and_names_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoReference, match="is missing: restore it, or make it with `lsdl refs`"):
        ReferenceStore(tmp_path / "absent")
    ReferenceStore.write(tmp_path / "refs", {})
    with pytest.raises(NoReference, match="has no check 'a'"):
        ReferenceStore(tmp_path / "refs").entry("a")


def test_the_outbox_takes_every_answer_and_compares_nothing(
    week: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = week.parent / "outbox"
    outbox.mkdir()
    monkeypatch.setenv("LSDL_OUTBOX", str(outbox))
    answers = [
        ("net/state", {"w": X + 1, "b": [None, torch.tensor(1 - 2j).conj()]}),
        ("unknown", function_answer),
        ("mask/rate", 0.5),
    ]
    for name, actual in answers:
        check(name, actual)
    assert capsys.readouterr().out == ""
    files = sorted(outbox.iterdir())
    assert [path.name for path in files] == ["0000.safetensors", "0001.safetensors", "0002.safetensors"]
    read = [read_answer(path) for path in files]
    assert [name for name, _ in read] == ["net/state", "unknown", "mask/rate"]
    assert repr(unpack(read[0][1])) == repr({"w": X + 1, "b": [None, torch.tensor(1 + 2j)]})
    store = ReferenceStore(week / "assets" / "references.safetensors")
    assert judged(store, "net/state", read[0][1]) is not None
    assert judged(store, "mask/rate", read[2][1]) is None
    assert "got an object of type function" in str(judged(store, "mask/rate", read[1][1]))
    assert torch.equal(check.inputs("net/state")[0], X)


def function_answer() -> None:
    """Stands for an answer that cannot be stored."""


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=30)
def test_a_forged_answer_is_an_exception(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("forged") / "0000.safetensors"
    path.write_bytes(data)
    with pytest.raises(Exception):  # noqa: B017 (any: the caller treats it as no answer)
        read_answer(path)


def test_an_answer_without_its_description_is_an_exception(tmp_path: Path) -> None:
    save_file({"0": X}, tmp_path / "a", {"lsdl": json.dumps({"name": "n", "structure": ["tensor", 0]})})
    with pytest.raises(KeyError):
        read_answer(tmp_path / "a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reason": " "}, "needs its `reason`"),
        ({"reason": "r", "kind": "bound", "low": 0.0}, "low < high"),
        ({"reason": "r", "kind": "bound", "low": 0.0, "high": 1.0}, "false_alarm"),
        ({"reason": "r", "kind": "bound", "low": 0.0, "high": 1.0, "false_alarm": 1e-3}, "widen it or draw more"),
        ({"reason": "r", "kind": "predictions", "at_least": 0.9}, "labels"),
        ({"reason": "r", "kind": "predictions", "labels": lambda g: [1], "at_least": 90}, "at_least in"),
        ({"reason": "r", "kind": "values"}, "not 'values'"),
    ],
)
def test_a_bad_case_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Case(**arguments)


def test_mistakes_and_alternatives() -> None:
    with pytest.raises(ValueError, match="tuple of one or more grade_ids"):
        Mistake("hint", {}, "nt_xent_value")
    assert Alternative({"f": len}).also_accepted is False


def test_students_kernels_load_little() -> None:
    """What importing the checks brings in: nothing of grading, and no package that students do not have."""
    code = "import sys, lsdl.checks; print(*[m for m in ('nbgrader', 'papermill', 'typer', 'pydantic', 'rich', 'nbformat') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_mistake_is_known_by_its_value_ten_times_as_widely() -> None:
    """Another processor rounds otherwise, and a mistake may blow that up; it must still differ from a right answer."""
    entry = Entry(
        accepted=(pack(torch.tensor(1.0)),),
        mistakes=(("Far.", pack(torch.tensor(2.0))), ("Near.", pack(torch.tensor(1.005)))),
        rtol=1e-3,
        atol=0.0,
    )
    assert entry.explain(pack(torch.tensor(2.01))).startswith("Far.\n")
    assert "Far" not in entry.explain(pack(torch.tensor(2.03)))
    assert entry.explain(pack(torch.tensor(1.005))).startswith("Near.\n")
    assert "Near" not in entry.explain(pack(torch.tensor(1.009)))  # so near 1 it may be anything
