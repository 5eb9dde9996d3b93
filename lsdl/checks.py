"""Compares an answer with its reference and explains a difference.

A graded cell of a homework calls `check(name, actual)`. The references lie in safetensors files that `lsdl refs` records
from the solutions: inputs, accepted values, tolerances, and what well-known mistakes give (their fingerprints), so that
such a mistake is answered by its hint. Students' kernels import this module: it needs torch, numpy and safetensors only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Generator, Tensor

from lsdl import setup_week
from lsdl.compare import DtypeRule, Packed, agree, as_tensor, compare, expected_got, is_number, pack, unpack
from lsdl.files import write_whole

VISIBLE_FILE = Path("assets", "references.safetensors")
MAX_FALSE_ALARM = 1e-6
FINGERPRINT_RTOL, FINGERPRINT_ATOL = 1e-5, 1e-6  # where a check wants exact numbers, processors still round differently

_IMPORTED_IN = Path.cwd()  # an os.chdir or %cd between two checks changes nothing

Kind = Literal["value", "bound", "predictions"]


# What a week's instructor/ folder is written with


def _no_inputs(_: Generator) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Case:
    """How one check is judged; the entries of `CASES` in a week's instructor/cases.py.

    Attributes:
        inputs: draws what `check.inputs(name)` returns: nested tuples, lists and dicts of tensors, numpy arrays, numbers,
            texts and None.
        reason: why this tolerance, these bounds or this accuracy.
        kind: "value": equal to what the solution gives, within the tolerance. "bound": a number in [low, high].
            "predictions": classes, of which a part of at least `at_least` equals `labels`.
        rtol, atol: of a value: |actual - expected| <= atol + rtol |expected|; integers and truth values must be equal.
        dtype: of a value: "kind": both floating-point, both integers, ...; "exact": the same type; "any".
        low, high, false_alarm: of a bound; false_alarm is the probability that a correct answer misses it, at most 1e-6.
        target: of a bound: draws a tensor; what is bounded is then the mean squared difference of the answer (a tensor of
            that shape) from it. Its generator starts like the one of `inputs`.
        statistic: of a bound: what is computed from the answer and bounded. ("chi_square", n, bins): the answer holds integers
            from 0 to n - 1, of which it is Pearson's statistic against the uniform distribution in so many equal bins.
            ("agreement",): the answer is a pair of tensors of one shape, of which it is the share of equal entries.
        labels: of predictions: draws the true classes; its generator starts like the one of `inputs`. Students can look them up,
            so the cell needs a hidden check of a value, too.
        at_least: of predictions: the accuracy needed, in [0, 1].
        draw_of: name of the check whose generator this one's `inputs`, `labels` and `target` get, so that the same functions
            give the same draw, which the file of references holds once. Both checks are visible or both are hidden.

    Raises:
        ValueError: an attribute that the kind needs is missing or out of range.
    """

    inputs: Callable[[Generator], tuple] = _no_inputs
    _: KW_ONLY
    reason: str
    kind: Kind = "value"
    rtol: float = 1e-5
    atol: float = 1e-6
    dtype: DtypeRule = "kind"
    low: float | None = None
    high: float | None = None
    false_alarm: float | None = None
    target: Callable[[Generator], Any] | None = None
    statistic: tuple = ()
    labels: Callable[[Generator], Any] | None = None
    at_least: float | None = None
    draw_of: str | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("A Case needs its `reason`: why this tolerance or threshold?")
        if self.kind == "bound":
            if self.low is None or self.high is None or not self.low < self.high:
                raise ValueError("A bound needs low < high.")
            if self.false_alarm is None or not 0 <= self.false_alarm <= MAX_FALSE_ALARM:
                raise ValueError(f"A bound needs its false_alarm, at most {MAX_FALSE_ALARM:g}: widen it or draw more.")
            if self.statistic and self.statistic[0] not in STATISTICS:
                raise ValueError(f"The statistic is one of {', '.join(STATISTICS)}, not {self.statistic[0]!r}.")
        elif self.kind == "predictions":
            if self.labels is None or self.at_least is None or not 0 < self.at_least <= 1:
                raise ValueError("Predictions need labels and at_least in (0, 1].")
        elif self.kind != "value":
            raise ValueError(f"The kind is 'value', 'bound' or 'predictions', not {self.kind!r}.")


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give; the entries of `MISTAKES` in a week's instructor/mistakes.py.

    Attributes:
        hint: what a student who made it is told: one or two sentences.
        replaces: name in the notebook -> the wrong function (or class) that takes its place.
        fails: the grade_ids of the cells that must fail because of it; every other cell must pass.
    """

    hint: str
    replaces: Mapping[str, Any]
    fails: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.fails, str) or not self.fails:
            raise ValueError("Mistake.fails is a tuple of one or more grade_ids.")


@dataclass(frozen=True)
class Alternative:
    """A correct solution written otherwise; the entries of `ALTERNATIVES` in a week's instructor/mistakes.py.

    Attributes:
        replaces: name in the notebook -> the other function (or class).
        also_accepted: True where its values differ from the solution's and are right as well: they are stored, too.
    """

    replaces: Mapping[str, Any]
    also_accepted: bool = False


# References


class NoReference(LookupError):
    """There is no reference of that name, or no file; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Entry:
    """The reference of one check; the attributes are those of `Case`, with values in place of functions.

    Attributes:
        accepted: right values of the kind "value", the solution's first.
        mistakes: (hint, value that the mistake gives).
    """

    kind: Kind = "value"
    inputs: Packed = field(default_factory=lambda: pack(()))
    accepted: tuple[Packed, ...] = ()
    mistakes: tuple[tuple[str, Packed], ...] = ()
    rtol: float = 1e-5
    atol: float = 1e-6
    dtype: DtypeRule = "kind"
    low: float | None = None
    high: float | None = None
    target: Packed | None = None
    statistic: tuple = ()
    labels: Packed | None = None
    at_least: float | None = None
    reason: str = ""

    def explain(self, actual: Packed) -> str | None:
        """What is wrong with an answer, for its author; None if it is right."""
        if self.kind == "bound":
            return _explain_bound(self, actual)
        if self.kind == "predictions":
            return _explain_predictions(self, actual)
        if self.accepts(actual):
            return None
        difference = compare(self.accepted[0], actual, rtol=self.rtol, atol=self.atol, dtype=self.dtype)
        hints = self.hints(actual)
        return "\n".join([" Or: ".join(hints), str(difference)]) if hints else difference

    def accepts(self, actual: Packed) -> bool:
        """Whether an answer of the kind "value" is one of the right ones."""
        return any(self._agrees(accepted, actual) for accepted in self.accepted)

    def hints(self, actual: Packed) -> list[str]:
        """The hints of the known mistakes that give a wrong answer, each once; of a hidden check as of a visible one."""
        found = [hint for hint, value in self.mistakes if self._agrees(value, actual)]
        if not found:
            wide = self._fingerprint_rule
            near = [(hint, value) for hint, value in self.mistakes if agree(value, actual, **wide)]
            found = [hint for hint, value in near if not any(agree(value, right, **wide) for right in self.accepted)]
        return list(dict.fromkeys(found))

    def score(self, right: Packed) -> str:
        """Of right predictions, in brackets, how many are right and how many are needed; empty for other kinds."""
        if self.kind != "predictions":
            return ""
        share = _hits(self, _predicted(right)).double().mean()
        return f" ({100 * share:.1f} % of the predictions, at least {100 * self.at_least:g} % are needed)"

    def fingerprint_differs(self, known: Packed, actual: Packed) -> str | None:
        """As a comparison of answers, but ten times as wide: a mistake may blow rounding up, and a hint decides no point."""
        return compare(known, actual, **self._fingerprint_rule)

    @property
    def _fingerprint_rule(self) -> dict[str, Any]:
        rtol, atol = max(10 * self.rtol, FINGERPRINT_RTOL), max(10 * self.atol, FINGERPRINT_ATOL)
        return {"rtol": rtol, "atol": atol, "dtype": self.dtype}

    def _agrees(self, expected: Packed, actual: Packed) -> bool:
        return agree(expected, actual, rtol=self.rtol, atol=self.atol, dtype=self.dtype)


def _explain_bound(entry: Entry, actual: Packed) -> str | None:
    if entry.target is not None:
        return _explain_distance(entry, entry.target, actual)
    if entry.statistic:
        name, *settings = entry.statistic
        found = STATISTICS[name](actual, *settings)
        if isinstance(found, str):
            return found
        if not entry.low <= found <= entry.high:
            named = f"{NAMES[name]} is {found:.5g}"
            return f"{named}, a value from {entry.low:g} to {entry.high:g} was expected.{_why(entry)}"
        return None
    node = actual.structure
    value = as_tensor(actual, node) if is_number(node) else None
    if value is None or value.numel() != 1 or value.is_complex():
        return expected_got("one number", actual, node)
    if not entry.low <= float(value) <= entry.high:
        return f"{float(value):.5g} came, a value from {entry.low:g} to {entry.high:g} was expected.{_why(entry)}"
    return None


def _explain_distance(entry: Entry, target: Packed, actual: Packed) -> str | None:
    """What is wrong with the mean squared difference of an answer from the target."""
    node, reference = actual.structure, target.tensors[target.structure[1]]
    if node[0] not in ("tensor", "numpy"):
        return expected_got(f"a tensor of shape {tuple(reference.shape)}", actual, node)
    came = actual.tensors[node[1]]
    if came.shape != reference.shape:
        return f"expected the shape {tuple(reference.shape)}, got {tuple(came.shape)}."
    distance = float((came.double() - reference.double()).square().mean())
    if not entry.low <= distance <= entry.high:  # a NaN is outside, too
        return (
            f"the mean squared change is {distance:.4g}, a value from {entry.low:g} to {entry.high:g} was expected."
            + _why(entry)
        )
    return None


def _chi_square(actual: Packed, n: int, bins: int) -> float | str:
    """Pearson's statistic of the answer's integers against the uniform distribution over 0 ... n - 1; a text if there is none."""
    draws = _tensors(actual)
    if (
        draws is None
        or len(draws) != 1
        or draws[0].is_floating_point()
        or draws[0].is_complex()
        or not draws[0].numel()
    ):
        return expected_got("a tensor of integers", actual, actual.structure)
    values = draws[0].flatten().to(torch.int64)
    outside = values[(values < 0) | (values >= n)]
    if outside.numel():
        return f"{outside[0].item()} was drawn; only the integers from 0 to {n - 1} are possible."
    edges = (torch.arange(bins + 1) * n + bins - 1) // bins  # first integer of every bin
    expected = edges.diff() / n * values.numel()
    return ((torch.bincount(values * bins // n, minlength=bins) - expected) ** 2 / expected).sum().item()


def _agreement(actual: Packed) -> float | str:
    """The share of equal entries of the two tensors that the answer holds; a text if there are not two."""
    pair = _tensors(actual)
    if pair is None or len(pair) != 2 or pair[0].shape != pair[1].shape or not pair[0].numel():
        return expected_got("a pair of tensors of one shape", actual, actual.structure)
    return (pair[0] == pair[1]).double().mean().item()


def _tensors(actual: Packed) -> list[Tensor] | None:
    """The answer, a tensor or a list of some."""
    node = actual.structure
    items = node[1] if node[0] in ("list", "tuple") else [node]
    return [actual.tensors[item[1]] for item in items] if all(i[0] in ("tensor", "numpy") for i in items) else None


STATISTICS: dict[str, Callable[..., float | str]] = {"chi_square": _chi_square, "agreement": _agreement}
NAMES = {"chi_square": "chi-square against the uniform distribution", "agreement": "the share of equal entries"}


def _why(entry: Entry) -> str:
    return f" Why: {entry.reason}." if entry.reason else ""


def _explain_predictions(entry: Entry, actual: Packed) -> str | None:
    truth, predicted = _truth(entry), _predicted(actual)
    if predicted is None:
        return expected_got(f"the classes of {truth.numel()} examples", actual, actual.structure)
    if predicted.shape != truth.shape:
        scores = predicted.shape[: truth.ndim] == truth.shape and predicted.ndim == truth.ndim + 1
        hint = " These look like scores of classes: argmax over the last dimension gives the classes." if scores else ""
        return f"expected one class for each of {tuple(truth.shape)} examples, got the shape {tuple(predicted.shape)}.{hint}"
    if predicted.is_floating_point() or predicted.is_complex():
        return f"expected classes (integers), got {str(predicted.dtype).removeprefix('torch.')}: is argmax missing?"
    right = int(_hits(entry, predicted).sum())
    if right < entry.at_least * truth.numel():
        return (
            f"{100 * right / truth.numel():.1f} % of the predictions are right ({right} of {truth.numel()}), "
            f"at least {100 * entry.at_least:g} % are needed."
        )
    return None


def _truth(entry: Entry) -> Tensor:
    return entry.labels.tensors[entry.labels.structure[1]]


def _hits(entry: Entry, predicted: Tensor) -> Tensor:
    return predicted.to(torch.int64) == _truth(entry).to(torch.int64)


def _predicted(actual: Packed) -> Tensor | None:
    """A tensor, an array or a list of integers as a tensor; None for anything else."""
    node = actual.structure
    if node[0] in ("list", "tuple") and all(item[0] == "plain" and type(item[1]) is int for item in node[1]):
        return torch.tensor([item[1] for item in node[1]])
    return actual.tensors[node[1]] if node[0] in ("tensor", "numpy") else None


class ReferenceStore:
    """A file of references.

    Args:
        path: a safetensors file that `ReferenceStore.write` made.

    Raises:
        NoReference: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            status = self.path.stat()
        except OSError:
            raise NoReference(f"{self.path} is missing: restore it, or make it with `lsdl refs`.") from None
        self._entries = _header(self.path.resolve(), status.st_mtime_ns, status.st_size)["entries"]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its checks, sorted."""
        return tuple(sorted(self._entries))

    def entry(self, name: str) -> Entry:
        """The reference of a check.

        Raises:
            NoReference: the file has none of that name.
        """
        stored = dict(self._stored(name))
        with safe_open(self.path, framework="pt") as file:
            for key in ("inputs", "labels", "target"):
                if key in stored:
                    stored[key] = _load(file, stored[key])
            stored["statistic"] = tuple(stored.get("statistic", ()))
            stored["accepted"] = tuple(_load(file, item) for item in stored["accepted"])
            stored["mistakes"] = tuple((hint, _load(file, item)) for hint, item in stored["mistakes"])
        return Entry(**stored)

    def inputs(self, name: str) -> tuple:
        """Fresh copies of the inputs of a check.

        Raises:
            NoReference: the file has none of that name.
        """
        with safe_open(self.path, framework="pt") as file:
            return unpack(_load(file, self._stored(name)["inputs"]))

    def _stored(self, name: str) -> dict[str, Any]:
        if name not in self._entries:
            raise NoReference(f"{self.path} has no check {name!r}: record it with `lsdl refs`.")
        return self._entries[name]

    @staticmethod
    def write(path: Path, entries: Mapping[str, Entry]) -> None:
        """Write references; the same entries give the same bytes. Equal tensors are stored once."""
        tensors: dict[str, Tensor] = {}
        known: dict[tuple, str] = {}

        def store(packed: Packed) -> dict[str, Any]:
            keys = []
            for tensor in packed.tensors:
                content = (tensor.dtype, tuple(tensor.shape), _bytes(tensor))
                if content not in known:
                    known[content] = f"{len(known):05d}"
                    # Complex numbers are stored as pairs: not every release of safetensors knows them.
                    tensors[known[content]] = torch.view_as_real(tensor) if tensor.is_complex() else tensor
                keys.append(known[content] + ("j" if tensor.is_complex() else ""))
            return {"structure": packed.structure, "tensors": keys}

        header: dict[str, Any] = {}
        for name in sorted(entries):
            entry = entries[name]
            fields = {
                key: getattr(entry, key)
                for key in ("kind", "rtol", "atol", "dtype", "low", "high", "at_least", "reason")
            }
            if entry.statistic:
                fields["statistic"] = entry.statistic
            header[name] = fields | {
                "inputs": store(entry.inputs),
                "accepted": [store(packed) for packed in entry.accepted],
                "mistakes": [[hint, store(packed)] for hint, packed in entry.mistakes],
            }
            for key in ("labels", "target"):
                if (packed := getattr(entry, key)) is not None:
                    header[name][key] = store(packed)
        # One key of metadata only: safetensors writes several in any order.
        data = save(tensors, {"lsdl": json.dumps({"format": 1, "entries": header}, sort_keys=True)})
        write_whole(path, data)


@lru_cache(maxsize=8)
def _header(path: Path, _modified: int, _size: int) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("lsdl", '{"entries": {}}'))


def _load(file: Any, stored: dict[str, Any]) -> Packed:
    tensors = []
    for key in stored["tensors"]:
        tensor = file.get_tensor(key.removesuffix("j")).clone()
        tensors.append(torch.view_as_complex(tensor) if key.endswith("j") else tensor)
    return Packed(stored["structure"], tuple(tensors))


def _bytes(tensor: Tensor) -> bytes:
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.reshape(-1).view(torch.uint8).numpy().tobytes()


# What a notebook calls


class Check:
    """`check(name, actual)` prints that the answer is right, or raises one AssertionError that explains what is wrong; `check.inputs(name)` gives the inputs.

    Visible references lie in assets/ of the working folder (or of LSDL_WEEK_DIR, or where the notebook began). Hidden ones lie in the file that
    LSDL_HIDDEN_REFERENCES names, else in gradebook/references/ of the nearest folder above that has a gradebook.
    If LSDL_OUTBOX names a folder, nothing is compared: every answer is written there, to be judged outside.
    """

    def __call__(self, name: str, actual: Any) -> None:
        __tracebackhide__ = True
        if outbox := os.environ.get("LSDL_OUTBOX"):
            if (problem := _send(Path(outbox), name, actual)) is not None:
                raise _failure(name, problem) from None
            return
        entry, answer = _find(name).entry(name), pack(actual)
        if (explanation := entry.explain(answer)) is not None:
            raise _failure(name, explanation) from None
        print(f"{name}: right{entry.score(answer)}")  # a cell without output looks as if it had not run

    def inputs(self, name: str) -> tuple:
        """Fresh copies of the inputs of a check; changing them changes no later check."""
        return _find(name).inputs(name)


check = Check()


def _failure(name: str, explanation: str) -> AssertionError:
    error = AssertionError(f"{name}: {explanation}")
    # IPython shows this in place of a traceback, which would show our code (and, in feedback, a hidden test's).
    error._render_traceback_ = lambda: [f"AssertionError: {error}"]  # type: ignore[attr-defined]
    return error


def _find(name: str) -> ReferenceStore:
    """The store that has a check of that name: the visible one, else the hidden one."""
    searched = [path for path in (_visible_file(), _hidden_file()) if path is not None]
    for path in searched:
        if path.is_file() and name in (store := ReferenceStore(path)).names:
            return store
    here = Path.cwd()
    if not searched[0].is_file():
        raise NoReference(
            f"The notebook changed its folder to {here}, or began there, and no week is there: remove os.chdir or %cd, "
            "or open the notebook from its week's own folder."
        )
    week = os.environ.get("LSDL_WEEK") or here.name
    raise NoReference(
        f"There is no reference of the check {name!r} in {' or '.join(map(str, searched))}: "
        f"run `lsdl refs {week} --key FILE`, or, as a student, open the notebook from its week's own folder."
    )


def _folder() -> Path:
    """The week's: the working folder, or, where the notebook changed it, what LSDL_WEEK_DIR, `setup` or our import know."""
    known = (Path(), os.environ.get("LSDL_WEEK_DIR"), setup_week.started_in, _IMPORTED_IN)
    return next((Path(folder) for folder in known if folder and Path(folder, VISIBLE_FILE).is_file()), Path())


def _visible_file() -> Path:
    return _folder() / VISIBLE_FILE


def _hidden_file() -> Path | None:
    if "LSDL_HIDDEN_REFERENCES" in os.environ:
        return Path(os.environ["LSDL_HIDDEN_REFERENCES"])
    # As WeekPaths.hidden_references has it, which no kernel can ask: under stock nbgrader this runs in a copy of the
    # week below gradebook/autograded/, and students have no lsdl.author. A test holds the two together.
    here = _folder().resolve()
    root = next((folder for folder in (here, *here.parents) if (folder / "gradebook").is_dir()), None)
    week = os.environ.get("LSDL_WEEK") or here.name
    return root / "gradebook" / "references" / f"{week}.safetensors" if root else None


# The outbox


def _send(folder: Path, name: str, actual: Any) -> None:
    packed = pack(actual)
    tensors = {str(i): torch.view_as_real(t) if t.is_complex() else t for i, t in enumerate(packed.tensors)}
    keys = [f"{i}j" if tensor.is_complex() else str(i) for i, tensor in enumerate(packed.tensors)]
    answer = {"name": name, "structure": packed.structure, "tensors": keys}
    number = sum(1 for _ in folder.glob("*.safetensors"))
    write_whole(folder / f"{number:04d}.safetensors", save(tensors, {"lsdl": json.dumps(answer)}))


def read_answer(path: Path) -> tuple[str, Packed]:
    """Name and value of an answer that `check` wrote into the outbox. The file comes from a student's kernel: any error means that it is no answer."""
    with safe_open(path, framework="pt") as file:
        answer = json.loads(file.metadata()["lsdl"])
        return answer["name"], _load(file, answer)
