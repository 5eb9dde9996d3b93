"""Records the references of a homework's checks from its own solutions (behind `lsdl refs`).

The inputs are drawn by instructor/cases.py, the accepted values are what the graded cells compute with the solutions,
the fingerprints what they compute with the mistakes. Visible references are committed in the week's assets/; hidden
ones are drawn from the instructor's key and lie in gradebook/references/, which is not committed.
"""

import hashlib
import hmac
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

import lsdl
from lsdl.author.course import MIN_KEY, WeekPaths
from lsdl.author.homework import GradedCell, Homework, HomeworkError, Namespace
from lsdl.checks import Case, Entry, NoReference, ReferenceStore
from lsdl.compare import Packed, compare, pack, unpack
from lsdl.files import digest_of

CACHE = "LSDL_RECORD_CACHE"
CACHED = 6  # recordings of a week that stay there


@dataclass
class AnswerRecorder:
    """Stands in for `check` while a graded cell runs: keeps every answer and compares nothing.

    Attributes:
        entries: where the inputs come from.
        answers: name of the check -> what the cell computed.
    """

    entries: Mapping[str, Entry]
    answers: dict[str, Packed] = field(default_factory=dict)

    def __call__(self, name: str, actual: Any) -> None:
        if name in self.answers:
            raise HomeworkError(f"The check {name!r} is used twice: give every check a name of its own.")
        self.answers[name] = pack(actual)

    def inputs(self, name: str) -> tuple:
        """Fresh copies of the inputs of a check."""
        return unpack(self.entries[name].inputs)


def recorded(
    homework: Homework, key: bytes | None = None, stored: Mapping[str, Entry] | None = None
) -> dict[str, Entry]:
    """`record`, but once for the same week, key, code and machine, with or without `stored`, where LSDL_RECORD_CACHE names a folder.

    The tests set it: a week is recorded by five of them. An instructor's hidden references stay out of caches.
    """
    folder = os.environ.get(CACHE)
    if not folder:
        return record(homework, key, stored)
    base, secret = _record_digest(homework.week, bool(stored)), hashlib.sha256(key or b"").hexdigest()
    file = Path(folder) / f"{homework.name}-{base[:24]}-{secret[:8] if key else 'visible'}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.parent / f"{homework.name}.lock"):
        # What was recorded with any key holds the visible checks, too.
        known = file if file.is_file() or key else next(file.parent.glob(f"{homework.name}-{base[:24]}-*"), file)
        if not known.is_file():
            older = sorted(file.parent.glob(f"{homework.name}-*.safetensors"), key=lambda path: path.stat().st_mtime)
            for path in older[:-CACHED]:
                path.unlink(missing_ok=True)
            ReferenceStore.write(file, record(homework, key, stored))
    entries, hidden = _stored(known), homework.hidden_names
    return {name: entry for name, entry in entries.items() if key is not None or name not in hidden}


def _record_digest(week: Path, settled: bool) -> str:
    """A hash of all that the references of a week depend on, but for the key; what is stored already lies in the week's assets/."""
    package = Path(lsdl.__file__).parent
    own = [
        week / "homework.ipynb",
        *week.glob("*.py"),
        *(week / "instructor").glob("*.py"),
        *(week / "assets").rglob("*"),
    ]
    code = [*package.glob("*.py"), *(package / "author").glob("*.py"), *(package / "data").rglob("*")]
    versions = [sys.version, *(version(name) for name in ("torch", "torchvision", "numpy", "scikit-learn"))]
    state = settled, versions, torch.backends.cpu.get_cpu_capability(), digest_of(own, week), digest_of(code, package)
    return hashlib.sha256(repr(state).encode()).hexdigest()


def record(
    homework: Homework,
    key: bytes | None = None,
    stored: Mapping[str, Entry] | None = None,
    *,
    fingerprints: bool = True,
) -> dict[str, Entry]:
    """The references of a homework: its visible checks, with a key its hidden ones as well.

    Args:
        stored: references recorded before. An entry whose inputs are drawn as before is computed from the stored ones,
            because another processor draws random numbers that differ in the last digit.
        fingerprints: also what the known mistakes give; they decide no point.

    Raises:
        HomeworkError: cases and checks do not match, or a solution does not pass its own cell.
    """
    entries, stored = _drawn(homework, key), stored or {}
    for name in entries:
        for source in (name, homework.cases[name].draw_of):  # a shared draw is the other check's to the last digit
            entries[name] = _settled(entries[name], stored.get(source))
    namespace = homework.namespace()
    hidden = key is not None
    for name, answer in _answers(homework, homework.unit_cells, namespace, entries, hidden, strict=True).items():
        if entries[name].kind == "value":
            entries[name] = replace(entries[name], accepted=(answer,))
        elif (text := entries[name].explain(answer)) is not None:
            raise HomeworkError(f"{homework.name}: the solution does not pass its own check {name!r}: {text}")
    for alternative in homework.alternatives:
        if alternative.also_accepted:
            with homework.replaced(namespace, alternative.replaces):
                answers = _answers(homework, homework.unit_cells, namespace, entries, hidden, strict=True)
            for name, answer in answers.items():
                if entries[name].accepted and not entries[name].accepts(answer):
                    entries[name] = replace(entries[name], accepted=(*entries[name].accepted, answer))
    for mistake in homework.mistakes if fingerprints else ():
        cells = [cell for cell in homework.unit_cells if cell.grade_id in mistake.fails]
        with homework.replaced(namespace, mistake.replaces):
            answers = _answers(homework, cells, namespace, entries, hidden, strict=False)
        for name, answer in answers.items():
            if entries[name].accepted and not entries[name].accepts(answer):
                known = entries[name].mistakes
                entries[name] = replace(entries[name], mistakes=(*known, (mistake.hint, answer)))
    return entries


def write_references(week: Path, key: bytes | None = None, hidden_file: Path | None = None) -> str:
    """Record the visible references into assets/ of the week, with a key also the hidden ones.

    An entry that did not drift stays as it is stored, so recording again on another processor changes no file.

    Args:
        week: the week's folder.
        key: the instructor's key (white space around it does not count).
        hidden_file: where the hidden ones go (default: gradebook/references/<week>.safetensors beside the week).

    Returns:
        What was written, in words.

    Raises:
        HomeworkError: cases and checks do not match, or a solution does not pass its own cell.
    """
    homework = Homework(week)
    paths = _paths(homework)
    target, hidden_file = paths.visible_references, hidden_file or paths.hidden_references
    stored = _stored(target) | (_stored(hidden_file) if key is not None else {})
    entries = {name: _kept(stored.get(name), entry) for name, entry in recorded(homework, key, stored).items()}
    hidden = homework.hidden_names
    ReferenceStore.write(target, {name: entry for name, entry in entries.items() if name not in hidden})
    text = f"{len(entries.keys() - hidden)} visible checks ({target.stat().st_size / 1000:.0f} kB)"
    if key is not None:
        target = hidden_file
        ReferenceStore.write(target, {name: entries[name] for name in hidden})
        text += f", {len(hidden)} hidden checks ({target.stat().st_size / 1000:.0f} kB)"
    return text


def prepare_hidden_references(week: Path, key: Path | None = None) -> list[str]:
    """Write the hidden checks' references into gradebook/ if absent, older than the sources, or if `key` is given.

    Returns:
        What the report has to warn of: the demo key is public.

    Raises:
        HomeworkError: the key file is gone.
    """
    paths = WeekPaths.at(week)
    written, note = paths.hidden_references, paths.key_note
    used = key or (Path(note.read_text(encoding="utf-8")) if note.is_file() else paths.demo_key)
    sources = [paths.homework, *paths.folder.glob("*.py"), *(paths.folder / "instructor").glob("*.py")]
    newest = max(path.stat().st_mtime for path in sources if path.is_file())
    if key is not None or not written.is_file() or written.stat().st_mtime < newest:
        if not used.is_file():
            raise HomeworkError(f"The key file {used} does not exist: give the instructor's key with --key FILE.")
        write_references(week, key=used.read_bytes())
        remember_key(week, used)
    if used.name == paths.demo_key.name:
        return ["The hidden checks use the public demo key: for a real class, make one and pass it with --key FILE."]
    return []


def remember_key(week: Path, key: Path) -> None:
    """Note which file the hidden references of a week were made with, so that a later run needs no --key.

    Only the file's path is written, into gradebook/, which git ignores.
    """
    note = WeekPaths.at(week).key_note
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(str(key.resolve()), encoding="utf-8")


def check_references(week: Path, key: bytes | None = None, *, fingerprints: bool = True) -> list[str]:
    """Recompute the references and say what drifted from the files, and by how much; empty if nothing did.

    Args:
        week: the week's folder.
        key: with it the hidden references in gradebook/ are compared, too.
        fingerprints: False: only what decides points.
    """
    homework = Homework(week)
    paths = _paths(homework)
    stored = _stored(paths.visible_references) | (_stored(paths.hidden_references) if key is not None else {})
    if fingerprints:
        entries = recorded(homework, key, stored)
    else:
        entries = record(homework, key, stored, fingerprints=False)
        entries = {n: replace(e, mistakes=stored[n].mistakes) if n in stored else e for n, e in entries.items()}
    hidden = homework.hidden_names
    lines = _drift(paths.visible_references, {n: e for n, e in entries.items() if n not in hidden})
    if key is not None:
        lines += _drift(paths.hidden_references, {name: entries[name] for name in hidden})
    return lines


def _drift(path: Path, entries: Mapping[str, Entry]) -> list[str]:
    try:
        store = ReferenceStore(path)
    except NoReference as error:
        return [str(error)]
    lines = [f"{name} is new: record it with `lsdl refs`." for name in sorted(entries.keys() - set(store.names))]
    lines += [
        f"{name} is not used any more: record again with `lsdl refs`." for name in store.names if name not in entries
    ]
    for name in store.names:
        if name in entries:
            lines += [f"{name}: {text}" for text in _entry_drift(store.entry(name), entries[name])]
    return lines


def _stored(path: Path) -> dict[str, Entry]:
    """The entries of a file of references; none if it is missing."""
    try:
        store = ReferenceStore(path)
    except NoReference:
        return {}
    return {name: store.entry(name) for name in store.names}


def _settled(drawn: Entry, stored: Entry | None) -> Entry:
    """The drawn entry, with the stored inputs, labels and target where those are the same draw."""
    if stored is None:
        return drawn
    parts = {part: (getattr(stored, part), getattr(drawn, part)) for part in ("inputs", "labels", "target")}
    return replace(drawn, **{part: a for part, (a, b) in parts.items() if a is not None and b and _same_draw(a, b)})


def _same_draw(a: Packed, b: Packed) -> bool:
    """Whether two draws differ at most as two processors do: `randn` in its last digits, a rounded picture at a tie."""
    return a.structure == b.structure and all(map(_same_tensor, a.tensors, b.tensors))


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype == torch.uint8:
        differs = a != b
        return bool((a.int() - b.int()).abs().max() <= 1 and differs.float().mean() < 1e-4) if differs.any() else True
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = a.double()[a.isfinite()].abs().max() if a.isfinite().any() else torch.tensor(0.0)
    last_digits = max(1e-5, 2 * torch.finfo(a.dtype).eps) * float(scale)
    return torch.allclose(a.double(), b.double(), rtol=0, atol=last_digits, equal_nan=True)


def _kept(stored: Entry | None, now: Entry) -> Entry:
    """The stored entry unless it drifted."""
    return now if stored is None or _entry_drift(stored, now) else stored


def _entry_drift(stored: Entry, now: Entry) -> list[str]:
    lines = []
    for part in fields(Entry):
        before, after = getattr(stored, part.name), getattr(now, part.name)
        if part.name not in ("inputs", "labels", "target", "accepted", "mistakes") and before != after:
            lines.append(f"{part.name} was {before}, is now {after}.")
    pairs = [("inputs", stored.inputs, now.inputs)]
    for what in ("labels", "target"):
        if getattr(stored, what) and getattr(now, what):
            pairs.append((what, getattr(stored, what), getattr(now, what)))
    lines += _counted("accepted value", len(stored.accepted), len(now.accepted))
    lines += _counted("fingerprint", len(stored.mistakes), len(now.mistakes))
    pairs += [("accepted value", a, b) for a, b in zip(stored.accepted, now.accepted, strict=False)]
    for (hint, a), (hint_now, b) in zip(stored.mistakes, now.mistakes, strict=False):
        if hint != hint_now:
            lines.append(f"the hint {hint!r} is now {hint_now!r}.")
        if text := now.fingerprint_differs(a, b):
            lines.append(f"fingerprint of {hint!r} drifted: {text}")
    for what, a, b in pairs:
        text = compare(a, b, rtol=now.rtol, atol=now.atol, dtype="exact")
        if text:
            lines.append(f"{what} drifted: {text}")
    return lines


def _counted(what: str, before: int, after: int) -> list[str]:
    return [] if before == after else [f"{before} {what}(s) are stored, there are now {after}."]


def _drawn(homework: Homework, key: bytes | None) -> dict[str, Entry]:
    """Entries with everything but what the solutions compute.

    Raises:
        HomeworkError: a check without a case, a case without a check, or inputs that cannot be stored.
    """
    if key is not None and len(key.strip()) < MIN_KEY:
        raise HomeworkError(f"The key is too short: write at least {MIN_KEY} random characters into its file.")
    # a cell tagged `whole` may repeat a check that another cell is recorded from
    cells = sorted(homework.graded, key=lambda cell: not cell.whole)
    used = {name: cell for cell in cells for name in (*cell.visible_checks, *cell.hidden_checks)}
    without = sorted(used.keys() - homework.cases.keys())
    idle = sorted(homework.cases.keys() - used.keys())
    if without:
        raise HomeworkError(f"{homework.name}: add cases for {', '.join(without)} to instructor/cases.py.")
    if idle:
        raise HomeworkError(f"{homework.name}: no graded cell uses {', '.join(idle)} of instructor/cases.py.")
    hidden = homework.hidden_names
    wanted = [name for name in used if key is not None or name not in hidden]
    for name in wanted:
        if used[name].whole and homework.cases[name].kind == "value":
            raise HomeworkError(
                f"{homework.name}: {name!r} stands in a cell tagged `whole`, which recording does not run: "
                "judge it by a bound or by predictions, or repeat a check of another cell."
            )
        owner = homework.cases[name].draw_of
        if owner and (owner not in used or homework.cases[owner].draw_of or (owner in hidden) != (name in hidden)):
            raise HomeworkError(
                f"{homework.name}: {name!r} cannot share the draw of {owner!r}: name a check that has a draw of its own "
                f"and is {'hidden' if name in hidden else 'visible'}, too."
            )
    with homework.at_home():
        seeds = {
            name: _seed(homework.name, homework.cases[name].draw_of or name, key if name in hidden else None)
            for name in wanted
        }
        return {name: _draw(homework, name, homework.cases[name], seed) for name, seed in seeds.items()}


def _draw(homework: Homework, name: str, case: Case, seed: int) -> Entry:
    inputs = case.inputs(torch.Generator().manual_seed(seed))
    if not isinstance(inputs, tuple):
        raise HomeworkError(f"{homework.name}: the inputs of {name!r} must be a tuple, is a comma missing?")
    labels, target = (
        None if draw is None else pack(torch.as_tensor(draw(torch.Generator().manual_seed(seed))))
        for draw in (case.labels, case.target)
    )
    entry = Entry(
        kind=case.kind,
        inputs=pack(inputs),
        rtol=case.rtol,
        atol=case.atol,
        dtype=case.dtype,
        low=case.low,
        high=case.high,
        target=target,
        statistic=case.statistic,
        labels=labels,
        at_least=case.at_least,
        reason=case.reason,
    )
    try:
        unpack(entry.inputs)
    except TypeError as error:
        raise HomeworkError(f"{homework.name}: inputs of {name!r}: {error}") from None
    return entry


def _seed(week: str, name: str, key: bytes | None) -> int:
    """63 bits; of a hidden check they cannot be found without the key."""
    text = f"{week}/{name}".encode()
    digest = hashlib.sha256(text) if key is None else hmac.new(key.strip(), text, hashlib.sha256)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def _paths(homework: Homework) -> WeekPaths:
    """A homework may be recorded where there is no course, as a copy of it is before it runs."""
    return WeekPaths(homework.week.parent, homework.name)


def _answers(
    homework: Homework,
    cells: Iterable[GradedCell],
    namespace: Namespace,
    entries: Mapping[str, Entry],
    hidden: bool,
    *,
    strict: bool,
) -> dict[str, Packed]:
    """What the cells give to `check`; `strict`: an exception in a cell is an error, not the end of that cell."""
    recorder = AnswerRecorder(entries)
    for cell in cells:
        error = homework.run_cell(cell, namespace, recorder, hidden=hidden)
        if isinstance(error, HomeworkError):
            raise error
        if error is not None and strict:
            raise HomeworkError(
                f"{homework.name}: a correct solution fails in {cell.grade_id!r}: {type(error).__name__}: {error}"
            ) from error
    return recorder.answers
