"""What the judge says of one notebook: a module without torch, for all that only pass it on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Verdict:
    """What running one notebook gave.

    Attributes:
        points: of every graded cell by its grade_id; None while a person has to grade it. With a `failure` the cells
            judged before it keep their points, the others have 0; empty if nothing could be run at all.
        messages: why a cell lost points.
        failure: None, or a sentence that says why the notebook did not run to its end.
        timed_out: a cell, or the whole notebook, reached its time limit.
        notes: what else the row should say, sentences.
    """

    points: dict[str, float | None] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    timed_out: bool = False
    notes: list[str] = field(default_factory=list)
