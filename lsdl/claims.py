"""What a seminar measured, in a form that a reader can judge and a rerun can be held to.

A claim is the signed margin of one statement of a lecture ("LP beats FT out of distribution"), measured once per seed
or per test unit, so that positive means the statement holds. `Claims.table` shows it and stores it in the notebook's
output; `read_claims` and `compare_claims` are what `lsdl run` holds a rerun against.
"""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MIME = "application/vnd.lsdl.claims+json"
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
NO_REASON = "(the reason is still to be written)"


@dataclass(frozen=True)
class Claim:
    """One measured statement; `mean` and `se` (standard error of the mean) are in `unit`, `n` counts the values."""

    name: str
    outcome: str
    mean: float
    se: float
    n: int
    exact: bool
    unit: str
    condition: str
    paper: str
    reason: str


class Claims:
    """The claims of one seminar, in the order they were added."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def add(
        self,
        name: str,
        values: Any,
        *,
        condition: str,
        paper: str = "",
        unit: str = "",
        reason: str = "",
        exact: bool = False,
    ) -> Claim:
        """Record one claim and return it with its outcome.

        The outcome is "holds" if the 95 % interval of the mean (Student's t, n - 1 degrees of freedom) lies above 0,
        "does not hold" if it lies below, else "undecided". With five values that asks for 2.8 standard errors.

        Args:
            name: the statement, in words; it identifies the claim.
            values: signed margins, one per seed or test unit (numbers, an array or a tensor); positive means that the
                statement holds.
            condition: what was compared with what, on which data.
            paper: the paper's own number, with its source.
            unit: unit of the values, such as "points" or "bytes".
            reason: why it does not hold (here); required, by `lsdl lint`, of a claim that does not hold.
            exact: True for counted work (bytes, FLOPs): a single value without a spread.

        Raises:
            ValueError: a value is not finite, there are too few or too many, or two claims share a name.
        """
        numbers = _numbers(values)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"claim {name!r}: every value must be finite, got {numbers}.")
        if exact and len(numbers) != 1:
            raise ValueError(f"claim {name!r}: exact=True is for one counted value, got {len(numbers)}.")
        if not exact and len(numbers) < 2:
            raise ValueError(
                f"claim {name!r}: give at least two values (seeds, test units), or exact=True if it is counted work."
            )
        known = self._claims.get(name)
        if known and known.condition != condition:  # equal ones: the same cell was run again
            raise ValueError(f"there are two claims called {name!r}: give one of them another name.")
        n = len(numbers)
        mean = math.fsum(numbers) / n
        se = 0.0 if exact else math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (n - 1) / n)
        claim = Claim(name, _outcome(mean, se, n), mean, se, n, exact, unit, condition, paper, reason)
        self._claims[name] = claim
        return claim

    def lines(self, *names: str) -> None:
        """Print some claims (default: all), a line each: what stands under the figure that they belong to.

        Raises:
            ValueError: there is no claim of that name.
        """
        print(_plain(self._named(names or self._claims)))

    def table(self, main: Sequence[str] = ()) -> None:
        """Display the table of claims; the same output carries the outcomes in machine-readable form.

        Args:
            main: names of the claims that are shown, in this order; all others fold into a second table. Both are stored.

        Raises:
            ValueError: there is no claim of that name.
        """
        from IPython.display import display  # not needed to read claims, so not imported above

        first = self._named(main or self._claims)
        rest = [claim for claim in self._claims.values() if claim not in first]
        stored = {"claims": [asdict(claim) for claim in self._claims.values()]}
        shown, plain = _html(first), _plain(first)
        if rest:
            shown += f"\n<details><summary>{len(rest)} further claims</summary>\n{_html(rest)}\n</details>"
            plain += f"\n\n{len(rest)} further claims:\n{_plain(rest)}"
        display({MIME: stored, "text/html": shown, "text/plain": plain}, raw=True)

    def __contains__(self, name: str) -> bool:
        return name in self._claims

    def __iter__(self) -> Iterator[str]:
        """The names, in the order they were added."""
        return iter(self._claims)

    def _named(self, names: Iterable[str]) -> list[Claim]:
        for name in names:
            if name not in self._claims:
                raise ValueError(f"there is no claim called {name!r}.")
        return [self._claims[name] for name in names]


def read_claims(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Claims stored in a notebook's outputs: name -> fields of `Claim`; the last table wins for equal names."""
    found: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            stored = output.get("data", {}).get(MIME, {"claims": []})
            found.update((claim["name"], dict(claim)) for claim in stored["claims"])
    return found


def compare_claims(committed: Mapping[str, dict[str, Any]], rerun: Mapping[str, dict[str, Any]]) -> list[str]:
    """What a rerun changed: one sentence for each flipped, vanished or new claim; empty if every outcome stands."""
    problems = []
    for name, before in committed.items():
        after = rerun.get(name)
        if after is None:
            problems.append(f"claim {name!r} is committed ({_measured(before)}) but the rerun does not make it.")
        elif after["outcome"] != before["outcome"]:
            problems.append(
                f"claim {name!r} flipped: committed {before['outcome']} ({_measured(before)}), "
                f"rerun {after['outcome']} ({_measured(after)})."
            )
    new = [name for name in rerun if name not in committed]
    problems += [f"claim {name!r} is not in the committed notebook: run `lsdl run WEEK --update`." for name in new]
    return problems


def _numbers(values: Any) -> list[float]:
    if hasattr(values, "tolist"):  # array or tensor of any device
        values = values.tolist()
    if not isinstance(values, Iterable):
        values = [values]
    return [float(value) for value in values]


def _outcome(mean: float, se: float, n: int) -> str:
    from scipy.stats import t  # slow to import, and not needed to read claims

    half = t.ppf(0.975, n - 1) * se if se else 0.0
    if mean - half > 0:
        return HOLDS
    return FAILS if mean + half < 0 else UNDECIDED


def _measured(claim: Mapping[str, Any]) -> str:
    spread, count = ("", "") if claim["exact"] else (f" ± {claim['se']:.2g}", f"(n = {claim['n']})")
    return " ".join(f"{claim['mean']:+.4g}{spread} {claim['unit']} {count}".split())


def _rows(claims: list[Claim]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("claim", "outcome", "margin (mean ± SE)", "condition", "paper", "reason")]
    for claim in claims:
        reason = "" if claim.outcome == HOLDS else claim.reason
        if claim.outcome == FAILS and not reason:
            reason = NO_REASON
        rows.append((claim.name, claim.outcome, _measured(asdict(claim)), claim.condition, claim.paper, reason))
    return rows


def _html(claims: list[Claim]) -> str:
    head, *body = _rows(claims)
    lines = ["<table>", "<tr>" + "".join(f"<th>{html.escape(text)}</th>" for text in head) + "</tr>"]
    for row in body:
        cells = [f"<b>{html.escape(text)}</b>" if i == 1 else html.escape(text) for i, text in enumerate(row)]
        lines.append("<tr>" + "".join(f'<td style="text-align:left">{text}</td>' for text in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _plain(claims: list[Claim]) -> str:
    _, *body = _rows(claims)
    return "\n".join(
        f"{outcome}: {name} [{margin}; {condition}]"
        + (f"; paper: {paper}" if paper else "")
        + (f"; {reason}" if reason else "")
        for name, outcome, margin, condition, paper, reason in body
    )
