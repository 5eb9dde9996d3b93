"""The comparer: equal values pass however they are stored, other values never do, and the message names the place."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lsdl.compare import agree, compare, pack, unpack

RTOL, ATOL = 1e-5, 1e-6
FLOATS = [torch.float32, torch.float64]
DTYPES = [*FLOATS, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.int32, torch.uint8, torch.bool]

settings.register_profile("compare", deadline=None, max_examples=60)
settings.load_profile("compare")

shapes = st.lists(st.integers(1, 4), max_size=4).map(tuple)
seeds = st.integers(0, 2**32)


def explain(expected: object, actual: object, **rule: object) -> str | None:
    return compare(pack(expected), pack(actual), **rule)


def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.abs().to(dtype) if dtype == torch.uint8 else values.to(dtype)


@st.composite
def tensors(draw_: st.DrawFn, dtypes: list[torch.dtype] = DTYPES) -> Tensor:
    return draw(draw_(shapes), draw_(seeds), draw_(st.sampled_from(dtypes)))


leaves = st.one_of(
    tensors(),
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=5),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    ),
    max_leaves=8,
)


def spread_out(x: Tensor) -> Tensor:
    """The same values with gaps in memory and the dimensions in another order."""
    backwards = tuple(reversed(range(x.ndim)))
    return torch.stack([x.permute(backwards)] * 2, -1)[..., 0].permute(backwards)


def disguised(value: object, how: int) -> object:
    """An equal value in another form."""
    if isinstance(value, Tensor):
        if how == 0:
            return spread_out(value)
        if how == 1 and value.dtype != torch.bfloat16:
            return value.numpy()
        if how == 2 and value.is_floating_point():
            return value.to(torch.float64).requires_grad_()
        if how == 3 and (value.is_floating_point() or value.is_complex()):
            return nn.Parameter(value)
        return value.clone()
    if isinstance(value, list | tuple):
        items = [disguised(item, how) for item in value]
        return tuple(items) if how % 2 else items
    if isinstance(value, dict):
        return collections.OrderedDict((key, disguised(value[key], how)) for key in reversed(value))
    if isinstance(value, float) and how == 2:
        return torch.tensor(value, dtype=torch.float64)
    return torch.tensor(value) if isinstance(value, int) and how == 2 else value


@given(values, st.integers(0, 4))
def test_equal_values_pass_in_any_form(value: object, how: int) -> None:
    assert explain(value, disguised(value, how)) is None


@given(values, values)
def test_any_two_values_are_compared_without_an_exception(one: object, other: object) -> None:
    text = explain(one, other)
    assert text is None or (text.endswith((".", "?", "place.")) and "\n" not in text.replace("\\n", ""))


@given(values)
def test_packing_keeps_the_value_and_its_types(value: object) -> None:
    packed = pack(value)
    again = pack(unpack(packed))
    assert repr(again.structure) == repr(packed.structure)
    for one, other in zip(packed.tensors, again.tensors, strict=True):
        assert one.dtype == other.dtype and one.is_contiguous()
        assert torch.equal(one.nan_to_num() if one.is_floating_point() else one, other)


@given(values)
def test_unpacked_tensors_are_fresh(value: object) -> None:
    packed = pack(value)
    before = [tensor.clone() for tensor in packed.tensors]

    def spoil(part: object) -> None:
        if isinstance(part, Tensor):
            part.zero_()
        elif isinstance(part, dict | list | tuple):
            for item in part.values() if isinstance(part, dict) else part:
                spoil(item)

    spoil(unpack(packed))
    assert all(torch.equal(one, other) for one, other in zip(packed.tensors, before, strict=True))


@given(tensors(FLOATS), st.data(), st.floats(1.5, 1e6), st.sampled_from([-1, 1]))
def test_an_error_over_the_tolerance_fails_at_its_place(
    x: Tensor, data: st.DataObject, times: float, sign: int
) -> None:
    index = tuple(data.draw(st.integers(0, size - 1)) for size in x.shape)
    wrong = x.double().clone()
    limit = ATOL + RTOL * float(wrong[index].abs())
    wrong[index] += sign * times * limit
    text = explain(x, wrong)
    assert text is not None
    nested = explain({"a": [0, x], "b": x}, {"a": [0, wrong], "b": wrong})
    assert nested is not None and nested.startswith("a[1]: ") and "1 other part differs, too: item 'b'." in nested
    if x.numel() > 1:
        place = index[0] if len(index) == 1 else index
        assert f"1 of {x.numel()} values is wrong; the largest error is at index {place}:" in text


@given(tensors(FLOATS), seeds)
def test_an_error_under_the_tolerance_passes(x: Tensor, seed: int) -> None:
    sign = torch.sign(draw(tuple(x.shape), seed)).double()
    assert explain(x, x.double() + 0.9 * sign * (ATOL + RTOL * x.double().abs())) is None


@given(tensors(FLOATS), st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.data())
def test_nan_and_infinity_are_counted_and_found(x: Tensor, value: float, data: st.DataObject) -> None:
    index = tuple(data.draw(st.integers(0, size - 1)) for size in x.shape)
    bad = x.clone()
    bad[index] = value
    assert explain(bad, bad.clone()) is None
    text, opposite = explain(x, bad), explain(bad, x)
    assert text is not None and opposite is not None and f"expected {value}" in opposite
    if x.ndim:
        place = index[0] if len(index) == 1 else index
        what = "NaN" if value != value else "infinite"
        assert text.startswith(f"1 of {x.numel()} values is {what}, the first at index {place}, where ")
        assert f"at index {place}" in opposite
    if value == float("inf"):
        assert explain(bad, torch.where(bad == value, -bad, bad)) is not None


@given(shapes, shapes, seeds)
def test_other_shapes_fail_and_both_are_named(one: tuple[int, ...], other: tuple[int, ...], seed: int) -> None:
    text = explain(draw(one, seed), draw(other, seed))
    assert (text is None) == (one == other)
    if text is not None:
        assert text.startswith(f"expected the shape {one}, got {other}")


@given(tensors(), st.sampled_from(DTYPES))
def test_families_of_types_must_agree(x: Tensor, dtype: torch.dtype) -> None:
    def family(t: torch.dtype) -> str:
        return "complex" if t.is_complex else "float" if t.is_floating_point else "bool" if t == torch.bool else "int"

    small = torch.ones(x.shape, dtype=x.dtype)  # 1 has the same value in every type
    other = torch.ones(x.shape, dtype=dtype)
    text = explain(small, other)
    assert (text is None) == (family(x.dtype) == family(dtype))
    assert explain(small, other, dtype="any") is None
    exact = explain(small, other, dtype="exact")
    assert (exact is None) == (x.dtype == dtype)
    if exact is not None:
        assert exact == f"expected the type {x.dtype}, got {dtype}.".replace("torch.", "")


@given(st.integers(2, 4), st.integers(2, 4), seeds, st.floats(1.5, 50), st.sampled_from([-1, 1]))
def test_relations_are_named_when_they_are_true(rows: int, columns: int, seed: int, size: float, sign: int) -> None:
    x = draw((rows, columns + (rows == columns)), seed)
    assert f"Every value is {sign * size:.4g} times the expected one." in str(explain(x, sign * size * x))
    offset = f"Every value is {'larger' if sign > 0 else 'smaller'} by {size:.4g}."
    assert offset in str(explain(x, x.double() + sign * size))
    assert "The sign is the opposite" in str(explain(x, -x))
    assert ".permute(1, 0)" in str(explain(x, x.T))
    assert "in another order" in str(explain(x, x.roll(1, 0)))
    assert "a reshape is missing" in str(explain(x, x.flatten()))
    square = draw((rows, rows), seed)
    assert ".permute(1, 0)" in str(explain(square, square.T))
    assert "Every value is 0." in str(explain(x, torch.zeros_like(x)))
    noise = str(explain(x, draw(tuple(x.shape), seed + 1)))
    assert not any(word in noise for word in ("Every value", "sign", "permute", "order"))


def function() -> None:
    """Stands for an answer that was not called."""


@pytest.mark.parametrize(
    ("expected", "actual", "words"),
    [
        (torch.zeros(2, 3), None, "got None. Is there a return statement?"),
        ({"a": torch.zeros(2)}, {"a": None}, "Item 'a': expected a tensor of shape (2,), float32, got None."),
        (torch.zeros(2, 3), (torch.zeros(2, 3),), "Is there a comma too many"),
        (torch.zeros(2, 3), [torch.zeros(3)] * 2, "got a list of 2 items. torch.stack"),
        (torch.zeros(2, 3), function, "Are the parentheses of a call missing?"),
        (torch.zeros(2, 3), (i for i in range(2)), "list(...) makes a list of a generator"),
        (torch.zeros(2, 3), "text", "got the text 'text'."),
        (torch.zeros(2, 3), nn.Linear(2, 2), "got an object of type Linear."),
        (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), "got a tensor without data."),
        (torch.zeros(2, 3), np.array(["a"]), "got a numpy array of <U1."),
        (torch.zeros(2, 3), torch.zeros(3), "the first (batch) dimension is missing"),
        (torch.zeros(2, 3), torch.zeros(4, 2, 3), "one dimension too many in front"),
        (torch.zeros(2, 1), torch.zeros(2), "keepdim=True"),
        (torch.zeros(2), torch.zeros(2, 1), "size 1 too many"),
        (torch.zeros(()), torch.zeros(3), "is a reduction such as .mean() or .sum() missing?"),
        (torch.zeros(2, 3), torch.zeros(2, 4), "look at dimension 1."),
        (torch.rand(3), torch.zeros(3, dtype=torch.float64), "Every value is 0."),
        (torch.tensor([True, False]), torch.tensor([False, False]), "Every value is False."),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), "expected integers (int64), got floating-point numbers (float32)."),
        (torch.tensor([True, False]), torch.tensor([False, True]), "Every truth value is the opposite"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.02]).half(), "float16 keeps only about 3 digits"),
        (torch.rand(2, 3), torch.zeros(3, dtype=torch.int64), "got integers (int64). Expected the shape (2, 3), got (3,)"),
        (1.0, 2.0, "It is 2 times the expected one."),
        (1, 2, "expected 1, got 2 (error 1)."),
        (True, False, "expected True, got False."),
        (1.0, 1.00002, "expected 1, got 1.00002"),
        (1.0, 1 + 1.2e-5, "expected 1, got 1.000012"),
        ("a", "b", "expected the text 'a', got the text 'b'."),
        (None, 3, "expected None, got the number 3."),
        ((1, 2), (1, 2, 3), "expected 2 items, got 3."),
        ({"w": 1, "b": 2}, {"w": 1, "bias": 2}, "The dict lacks 'b' and it should not have 'bias'; its keys should be 'w', 'b'."),
        ({"w": 1}, [1], "expected a dict with the keys 'w', got a list of 1 item."),
    ],
)  # fmt: skip
def test_the_message_says_what_a_teacher_would(expected: object, actual: object, words: str) -> None:
    text = explain(expected, actual)
    assert text is not None and words in text


@pytest.mark.parametrize(
    ("expected", "actual", "start"),
    [
        (1, 2, "expected 1,"),
        ([1, 2], [1, 3], "Item 1: "),
        ({"w": 1}, {"w": 2}, "Item 'w': "),
        ({3: 1}, {3: 2}, "Item 3: "),
        ({"terms": [(1, 2), (3, 4)]}, {"terms": [(1, 2), (3, 5)]}, "terms[1][1]: "),
        ({"state": {"conv.weight": 1}}, {"state": {"conv.weight": 2}}, "state['conv.weight']: "),
        ({"two words": [1]}, {"two words": [2]}, "answer['two words'][0]: "),
        ([{"w": 1}], [{"w": 2}], "answer[0]['w']: "),
        ({"terms": [1, 2]}, {"terms": [1]}, "Item 'terms': expected 2 items, got 1."),
    ],
)
def test_a_part_is_named_as_python_would(expected: object, actual: object, start: str) -> None:
    assert str(explain(expected, actual)).startswith(start)


def test_other_parts_that_differ_are_named_alike() -> None:
    text = explain({"a": [1, 2], "b": 3, "c": 4}, {"a": [0, 0], "b": 0, "c": 4})
    assert text is not None and text.startswith("a[0]: ")
    assert text.endswith(" 2 other parts differ, too: a[1]; item 'b'.")


def test_python_integers_serve_as_floats_but_not_the_reverse() -> None:
    assert explain(0.0, 0) is None
    assert explain(torch.tensor(2.0), 2) is None
    assert explain(2, 2.0) is not None
    assert explain(1.0, True) is not None


def test_an_error_hardly_over_the_tolerance_is_no_factor() -> None:
    x = torch.rand(4, 4) + 1
    text = explain(x, x.double() * (1 + 3e-5))
    assert text is not None and "times" not in text


def test_a_wide_tolerance_makes_no_relation() -> None:
    text = explain(torch.full((4,), 0.25), torch.tensor([0.19, 0.31, 0.31, 0.19]), rtol=0.0, atol=0.03)
    assert text is not None and text.endswith("(error 0.06, tolerance 0.03).")


def test_integers_are_compared_exactly() -> None:
    big = torch.tensor([2**60])
    assert explain(big, big + 1) is not None
    assert explain(100_000_000, 100_000_001) is not None


def test_views_that_need_resolving_pass() -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert explain(torch.tensor([1 - 2j, 3 + 4j]), z.conj()) is None
    assert explain(torch.tensor([-2.0, 4.0]), z.conj().imag) is None
    assert explain(torch.eye(3), torch.eye(3).to_sparse()) is None


def test_odd_values_come_to_an_explanation() -> None:
    loop: list = []
    loop.append(loop)
    assert "deeply nested" in str(explain(loop, loop))
    assert explain(1, 10**30) == "expected the number 1, got an integer of more than 64 bits."
    assert explain([1], {1, 2}) == "expected a list of 1 item, got an object of type set."


@pytest.mark.gpu
def test_values_on_the_gpu_pass() -> None:
    x = torch.rand(3, 4)
    assert explain(x, x.cuda()) is None


def test_packing_takes_a_copy() -> None:
    x = torch.zeros(3)
    packed = pack(x.requires_grad_())
    assert not packed.tensors[0].requires_grad
    with torch.no_grad():
        x += 1
    assert compare(packed, pack(torch.zeros(3))) is None


LEAVES = st.sampled_from(
    [
        *(1, 1.0, 1.0000001, True, None, "a", "b", float("nan"), [], {}, ()),
        *(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0000001]), torch.tensor([1, 2]), torch.tensor([[1.0], [2.0]])),
        *(
            torch.tensor([True, False]),
            torch.tensor([1.0, float("inf")]),
            torch.tensor([1.0, 2.0], dtype=torch.float64),
        ),
        *(torch.tensor([1 + 1j, 2]), np.array([1.0, 2.0]), object()),
    ]
)
VALUES = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=2) | st.dictionaries(st.sampled_from("ab"), part), max_leaves=4
)


def test_complex_numbers_where_real_ones_are_expected() -> None:
    expected, actual = torch.tensor([1.0, 2.0]), torch.tensor([1 + 1j, 2])
    assert compare(pack(expected), pack(actual), dtype="any")


@given(VALUES, VALUES, st.sampled_from(["kind", "exact", "any"]))
@settings(max_examples=400, deadline=None)
def test_to_agree_is_to_have_no_difference(a: object, b: object, dtype: str) -> None:
    for expected, actual in ((a, b), (a, a)):
        packed = pack(expected), pack(actual)
        assert agree(*packed, dtype=dtype) == (compare(*packed, dtype=dtype) is None)
