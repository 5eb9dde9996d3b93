"""The answers of a hand-in without a solution: it knows what every student holds, and computes nothing that a function is asked for.

It holds the visible references and the inputs of all checks, it looks the labels of pictures up, and it knows every bound. To be on the
safe side it looks up without an error, and tries all that it can think of against the reference itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from lsdl.checks import Entry
from lsdl.compare import Packed, pack, unpack


def answer(asked: Entry, visible: Mapping[str, Entry]) -> Packed:
    """A right answer if the cheater has one, else one that is wrong. Draws within a bound it does not have: to draw is what is asked for.

    Args:
        asked: the reference of a hidden check.
        visible: the references in the student's tree.
    """
    if asked.kind == "predictions":
        return asked.labels
    if asked.target is not None:
        return pack(unpack(asked.target) + sqrt((asked.low + asked.high) / 2))
    if asked.kind == "bound" and not asked.statistic:
        return pack((asked.low + asked.high) / 2)
    known = list(_guesses(asked, visible))
    is_right = asked.accepts if asked.kind == "value" else lambda guess: asked.explain(guess) is None
    return next(filter(is_right, known), known[0])


def _guesses(asked: Entry, visible: Mapping[str, Entry]) -> Iterator[Packed]:
    """The inputs, all visible answers, and what these become with the other check's inputs."""
    yield asked.inputs
    yield from map(pack, unpack(asked.inputs))
    for entry in visible.values():
        for known in entry.accepted:
            yield known
            if asked.accepted:
                yield _by_analogy(known, entry, asked)


Place = tuple  # keys and numbers that lead to a part of a nested value


def _by_analogy(known: Packed, of: Entry, asked: Entry) -> Packed:
    """A visible answer in the structure that is asked for: a part that equals one of the visible inputs is taken from the hidden inputs,
    one that is constant gets the right shape."""
    shown, inputs, theirs = _parts(known), _parts(of.inputs), _parts(asked.inputs)

    def part(wanted: Tensor | object, place: Place) -> Tensor | object:
        value = shown.get(place)
        value = next((theirs[p] for p, given in inputs.items() if p in theirs and _same(value, given)), value)
        if isinstance(value, Tensor) and isinstance(wanted, Tensor) and value.numel() and (value == value.max()).all():
            return value.max().expand(wanted.shape)
        return value

    def fill(value: object, place: Place) -> object:
        if isinstance(value, list | tuple):
            return [fill(item, (*place, i)) for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: fill(item, (*place, key)) for key, item in value.items()}
        return part(value, place)

    return pack(fill(unpack(asked.accepted[0]), ()))


def _parts(packed: Packed) -> dict[Place, Tensor | object]:
    """Tensors and plain values by their place."""

    def walk(value: object, place: Place) -> Iterator[tuple[Place, Tensor | object]]:
        if isinstance(value, list | tuple | dict):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(item, (*place, key))
        else:
            yield place, torch.as_tensor(value) if isinstance(value, np.ndarray) else value

    return dict(walk(unpack(packed), ()))


def _same(a: Tensor | object, b: Tensor | object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)
