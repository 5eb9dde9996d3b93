"""Values of any nesting taken apart into tensors, and the comparison of two of them in words.

`lsdl.checks` compares an answer with its reference by it. Nothing here knows of files, names or notebooks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

MAX_DEPTH = 20  # nested lists and dicts in an answer

DtypeRule = Literal["kind", "exact", "any"]


@dataclass(frozen=True)
class Packed:
    """A nested value as tensors and the JSON that says how they were nested.

    A node of `structure` is ["plain", None | bool | int | float | str], ["tensor" or "numpy", index in `tensors`],
    ["list" or "tuple", nodes], ["dict", [key, node] pairs] or ["other", name of its type].
    """

    structure: list
    tensors: tuple[Tensor, ...]


def pack(value: Any) -> Packed:
    """Take a value apart. Tensors are copied to contiguous memory of the CPU; nothing is raised, whatever it is."""
    tensors: list[Tensor] = []

    def keep(form: str, tensor: Tensor) -> list:
        tensors.append(tensor)
        return [form, len(tensors) - 1]

    def node(value: Any, depth: int) -> list:
        if depth > MAX_DEPTH:
            return ["other", "more deeply nested value"]
        if type(value) is int and not -(2**63) <= value < 2**63:
            return ["other", "integer of more than 64 bits"]
        if value is None or type(value) in (bool, int, float, str):
            return ["plain", value]
        if isinstance(value, Tensor):
            copy = _plain_copy(value)
            return ["other", "tensor without data"] if copy is None else keep("tensor", copy)
        if isinstance(value, np.ndarray | np.generic):
            try:
                return keep("numpy", torch.from_numpy(np.array(value, order="C")))
            except TypeError:
                return ["other", f"numpy array of {value.dtype}"]
        if isinstance(value, complex):
            return keep("tensor", torch.tensor(value, dtype=torch.complex128))
        if isinstance(value, list | tuple):
            form = "list" if isinstance(value, list) else "tuple"
            return [form, [node(item, depth + 1) for item in value]]
        if isinstance(value, Mapping) and all(isinstance(key, str | int | float | None) for key in value):
            return ["dict", [[key, node(item, depth + 1)] for key, item in value.items()]]
        return ["other", type(value).__name__]

    structure = node(value, 0)
    return Packed(structure, tuple(tensors))


def unpack(packed: Packed) -> Any:
    """The value that was packed, in fresh tensors: equal numbers and types; tuples with names become tuples."""

    def value(node: list) -> Any:
        form, content = node
        if form == "plain":
            return content
        if form == "tensor":
            return packed.tensors[content].clone()
        if form == "numpy":
            return packed.tensors[content].numpy().copy()
        if form in ("list", "tuple"):
            items = [value(item) for item in content]
            return items if form == "list" else tuple(items)
        if form == "dict":
            return {key: value(item) for key, item in content}
        raise TypeError(f"A {content} cannot be stored.")

    return value(packed.structure)


def _plain_copy(tensor: Tensor) -> Tensor | None:
    """A dense contiguous copy on the CPU; None for a tensor that holds no values (device meta)."""
    tensor = tensor.detach()
    if tensor.is_meta:
        return None
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.as_subclass(Tensor).cpu().resolve_conj().resolve_neg()
    return tensor.clone(memory_format=torch.contiguous_format)


def compare(
    expected: Packed, actual: Packed, *, rtol: float = 1e-5, atol: float = 1e-6, dtype: DtypeRule = "kind"
) -> str | None:
    """Say in what `actual` differs from `expected`; None if it does not.

    Values are compared in float64, so that the precision of the computation may differ; lists and tuples are alike, so
    are numbers and tensors of one number. NaN equals NaN.

    Returns:
        One or more sentences on the first part that differs, with where it is, and which other parts differ. A part is named
        as Python would: `terms[1][0]` is in the list under the key "terms", `answer[2]["w"]` in an answer that is a list.
    """
    differences = _differences(expected, actual, _Rule(rtol, atol, dtype), expected.structure, actual.structure, ())
    first = next(differences, None)
    if first is None:
        return None
    path, text = first
    others = [_place(path) for path, _ in differences]
    names = "; ".join(others[:3]) + ("; ..." if len(others) > 3 else "")
    more = f" {len(others)} other part{'s differ' if len(others) > 1 else ' differs'}, too: {names}." if others else ""
    where = f"{_place(path)}: " if path else ""
    return (_capital(where) if len(path) == 1 else where) + text + more


def agree(
    expected: Packed, actual: Packed, *, rtol: float = 1e-5, atol: float = 1e-6, dtype: DtypeRule = "kind"
) -> bool:
    """Whether `compare` would find nothing; it stops at the first difference and says nothing about it, so it is fast."""
    return _agree(expected, actual, _Rule(rtol, atol, dtype), expected.structure, actual.structure)


def _agree(expected: Packed, actual: Packed, rule: _Rule, wanted: list, came: list) -> bool:
    if is_number(wanted) and is_number(came):
        e, a, plain = as_tensor(expected, wanted), as_tensor(actual, came), came[0] == "plain"
        return e.shape == a.shape and not _type_problem(e, a, rule, plain) and not bool(_wrong(e, a, rule).any())
    if wanted[0] in ("list", "tuple") and came[0] in ("list", "tuple"):
        same_length = len(wanted[1]) == len(came[1])
        return same_length and all(
            _agree(expected, actual, rule, *pair) for pair in zip(wanted[1], came[1], strict=True)
        )
    if wanted[0] == "dict" and came[0] == "dict":
        items, others = dict(wanted[1]), dict(came[1])
        same_keys = items.keys() == others.keys()
        return same_keys and all(_agree(expected, actual, rule, item, others[key]) for key, item in items.items())
    plain = wanted[0] == "plain" and came[0] == "plain"
    return plain and wanted[1] == came[1] and type(wanted[1]) is type(came[1])


Path = tuple[str | int | float | None, ...]  # keys and indices from the answer down to one of its parts


def _place(path: Path) -> str:
    """A part of the answer in words (just below the top) or as a Python expression."""
    if len(path) == 1:
        return f"item {path[0]!r}"
    named = isinstance(path[0], str) and path[0].isidentifier()
    top = path[0] if named else f"answer[{path[0]!r}]"
    return top + "".join(f"[{step!r}]" for step in path[1:])


@dataclass(frozen=True)
class _Rule:
    rtol: float
    atol: float
    dtype: DtypeRule

    def close(self, actual: Tensor, expected: Tensor, slack: float = 1.0) -> Tensor:
        return torch.isclose(actual, expected, rtol=slack * self.rtol, atol=slack * self.atol, equal_nan=True)


def _differences(
    expected: Packed, actual: Packed, rule: _Rule, wanted: list, came: list, where: Path
) -> Iterator[tuple[Path, str]]:
    """Path and explanation of each part that differs, in the order of the expected value."""
    if is_number(wanted) and is_number(came):
        text = _explain_numbers(as_tensor(expected, wanted), as_tensor(actual, came), rule, plain=came[0] == "plain")
        if text:
            yield where, text
    elif wanted[0] in ("list", "tuple") and came[0] in ("list", "tuple"):
        if len(wanted[1]) != len(came[1]):
            yield where, f"expected {_count(wanted[1], 'item')}, got {len(came[1])}."
            return
        for i, (item, other) in enumerate(zip(wanted[1], came[1], strict=True)):
            yield from _differences(expected, actual, rule, item, other, (*where, i))
    elif wanted[0] == "dict" and came[0] == "dict":
        wanted_items, came_items = dict(wanted[1]), dict(came[1])
        missing = [repr(key) for key in wanted_items if key not in came_items]
        extra = [repr(key) for key in came_items if key not in wanted_items]
        if missing or extra:
            texts = [f"the dict lacks {', '.join(missing[:5])}"] if missing else []
            texts += [f"it should not have {', '.join(extra[:5])}"] if extra else []
            yield where, f"{_capital(' and '.join(texts))}; its keys should be {_keys(wanted)}."
            return
        for key, item in wanted_items.items():
            yield from _differences(expected, actual, rule, item, came_items[key], (*where, key))
    elif wanted[0] == "plain" and came[0] == "plain":
        if wanted[1] != came[1] or type(wanted[1]) is not type(came[1]):
            yield where, expected_got(_describe(expected, wanted), actual, came, wanted[0])
    else:
        yield where, expected_got(_describe(expected, wanted), actual, came, wanted[0])


def expected_got(expected: str, actual: Packed, came: list, form: str = "tensor") -> str:
    """Say that another sort of thing came, and what the reason often is.

    Args:
        expected: what was expected, in words.
        actual: what came; `came` is the node of its structure that is meant.
        form: the form of the node that was expected.
    """
    hint = ""
    if came == ["plain", None]:
        hint = " Is there a return statement?"
    elif came[0] == "tuple" and len(came[1]) == 1 and form in ("plain", "tensor", "numpy"):
        hint = " Is there a comma too many after the value?"
    elif came[0] in ("list", "tuple") and form in ("tensor", "numpy"):
        hint = " torch.stack, torch.cat or torch.tensor makes a tensor of a list."
    elif came[0] == "other" and came[1] in ("function", "method", "builtin_function_or_method"):
        hint = " Are the parentheses of a call missing?"
    elif came == ["other", "generator"]:
        hint = " list(...) makes a list of a generator."
    return f"expected {expected}, got {_describe(actual, came)}.{hint}"


def _describe(packed: Packed, node: list) -> str:
    form, content = node
    if form == "plain":
        if content is None:
            return "None"
        return f"the text {_cut(repr(content))}" if isinstance(content, str) else f"the number {content!r}"
    if form in ("tensor", "numpy"):
        tensor = packed.tensors[content]
        return f"{'an array' if form == 'numpy' else 'a tensor'} of shape {tuple(tensor.shape)}, {_type(tensor)}"
    if form in ("list", "tuple"):
        return f"a {form} of {_count(content, 'item')}"
    if form == "dict":
        return f"a dict with the keys {_keys(node)}"
    if content.isidentifier():  # the name of a type
        return f"an object of type {content}"
    return f"{'an' if content[0] in 'aeiou' else 'a'} {content}"


def _keys(node: list) -> str:
    keys = [repr(key) for key, _ in node[1]]
    return ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "") if keys else "(none)"


def _count(items: list, noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cut(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


# Comparing tensors


def is_number(node: list) -> bool:
    """Whether a node of a structure is a tensor, an array or a Python number (truth values included)."""
    return node[0] in ("tensor", "numpy") or (node[0] == "plain" and isinstance(node[1], bool | int | float))


def as_tensor(packed: Packed, node: list) -> Tensor:
    """The tensor of a node that `is_number`; that of a Python number has the shape ()."""
    if node[0] != "plain":
        return packed.tensors[node[1]]
    return torch.tensor(node[1], dtype=torch.float64 if isinstance(node[1], float) else None)


def _family(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "truth values"
    if tensor.is_complex():
        return "complex numbers"
    return "floating-point numbers" if tensor.is_floating_point() else "integers"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _explain_numbers(e: Tensor, a: Tensor, rule: _Rule, plain: bool) -> str | None:
    """Compare two tensors; `plain`: the actual value is a Python number."""
    problems = [text for text in (_type_problem(e, a, rule, plain),) if text]
    if e.shape != a.shape:
        problems.append(_explain_shape(e, a, rule))
    if problems:
        return " ".join([problems[0], *map(_capital, problems[1:])])
    wrong = _wrong(e, a, rule)
    return _explain_values(e, a, wrong, rule) if wrong.any() else None


def _type_problem(e: Tensor, a: Tensor, rule: _Rule, plain: bool) -> str:
    """What is wrong with the type of the actual tensor; "" if nothing is."""
    if rule.dtype == "exact" and e.dtype != a.dtype:
        return f"expected the type {_type(e)}, got {_type(a)}."
    literal = plain and _family(a) == "integers" and _family(e) == "floating-point numbers"  # 0 for 0.0
    if rule.dtype == "kind" and _family(e) != _family(a) and not literal:
        return f"expected {_family(e)} ({_type(e)}), got {_family(a)} ({_type(a)})."
    return ""


def _wrong(e: Tensor, a: Tensor, rule: _Rule) -> Tensor:
    """Of two tensors of one shape, which elements differ."""
    if not e.is_floating_point() and not e.is_complex() and not a.is_floating_point() and not a.is_complex():
        return e.to(torch.int64) != a.to(torch.int64)
    common = torch.promote_types(_wide(e).dtype, _wide(a).dtype)
    return ~rule.close(a.to(common), e.to(common))


def _explain_shape(e: Tensor, a: Tensor, rule: _Rule) -> str:
    text = f"expected the shape {tuple(e.shape)}, got {tuple(a.shape)}"
    ones = [size for size in e.shape if size != 1] == [size for size in a.shape if size != 1]
    order = _reordering(e, a, rule)
    if order is not None:
        return f"{text}: the values are right, but dimensions are swapped; .permute{order} puts them in place."
    if ones and a.ndim < e.ndim:
        return f"{text}: a dimension of size 1 is missing (keepdim=True or unsqueeze)."
    if ones and a.ndim > e.ndim:
        return f"{text}: there is a dimension of size 1 too many (squeeze, or a reduction without keepdim)."
    if ones or (e.ndim == 2 and a.shape == e.shape[::-1]):
        return f"{text}: are two dimensions swapped?"
    if e.ndim == 0:
        return f"{text}: one number is expected, is a reduction such as .mean() or .sum() missing?"
    if a.shape == e.shape[1:]:
        return f"{text}: the first (batch) dimension is missing."
    if a.shape[1:] == e.shape:
        return f"{text}: there is one dimension too many in front."
    if a.numel() == e.numel():
        same = (
            bool(rule.close(_wide(a).reshape(e.shape), _wide(e)).all()) if a.is_complex() == e.is_complex() else False
        )
        return f"{text}: the values are right, a reshape is missing." if same else f"{text}: is a reshape missing?"
    if a.ndim == e.ndim:
        wrong = [str(i) for i, (x, y) in enumerate(zip(e.shape, a.shape, strict=True)) if x != y]
        return f"{text}: look at dimension {' and '.join(wrong)}."
    return f"{text}."


def _reordering(e: Tensor, a: Tensor, rule: _Rule) -> tuple[int, ...] | None:
    """The order of dimensions that makes `a` equal to `e`, if it is another one than now."""
    if not 2 <= e.ndim <= 4 or sorted(e.shape) != sorted(a.shape) or a.is_complex() != e.is_complex():
        return None
    wide_e, wide_a = _wide(e), _wide(a)
    for order in itertools.islice(itertools.permutations(range(e.ndim)), 1, None):
        turned = wide_a.permute(order)
        if turned.shape == e.shape and rule.close(turned, wide_e).all():
            return order
    return None


def _explain_values(e: Tensor, a: Tensor, wrong: Tensor, rule: _Rule) -> str:
    """Two tensors of one shape of which the elements `wrong` differ."""
    wide = torch.complex128 if e.is_complex() or a.is_complex() else torch.float64
    exact = not (e.is_floating_point() or e.is_complex())
    e_wide, a_wide = e.to(wide), a.to(wide)
    for name, test in (("NaN", torch.isnan), ("infinite", torch.isinf)):
        bad = test(a_wide) & wrong
        if bad.any():
            i = _first(bad)
            return (
                f"{_share(bad)} {name}{_at(i, 'the first ')}, where {_show(e[i])} was expected."
                if e.ndim
                else f"expected {_show(e)}, got {_show(a)}."
            )
    odd = wrong & ~torch.isfinite(e_wide)
    if odd.any():
        i = _first(odd)
        return f"expected {_show(e[i])}{_at(i)}, got {_show(a[i])} ({_share(wrong)} wrong)."
    error = (a_wide - e_wide).abs().masked_fill(~wrong, -1)
    i = tuple(int(k) for k in torch.unravel_index(error.argmax(), error.shape))
    want, got = _show_both(e[i], a[i])
    limit = "" if exact else f", tolerance {rule.atol + rule.rtol * float(e_wide[i].abs()):.2g}"
    size = "" if e.dtype == torch.bool else f" (error {float(error[i]):.3g}{limit})"
    text = f"expected {want}, got {got}{size}"
    if e.numel() > 1:
        text = f"{_share(wrong)} wrong; the largest error is{_at(i)}: {text}"
    relation = _relation(e_wide, a_wide, e, a, rule)
    return f"{text}. {relation}" if relation else f"{text}."


def _relation(e_wide: Tensor, a_wide: Tensor, e: Tensor, a: Tensor, rule: _Rule) -> str:
    """A sentence on how the values are related as a whole, "" if no simple relation is seen."""
    if not (torch.isfinite(e_wide).all() and torch.isfinite(a_wide).all()):
        return ""

    def same(left: Tensor, right: Tensor) -> bool:
        return bool(rule.close(left, right, slack=10).all())  # a relation is a remark, not a verdict

    if not a_wide.any():
        return f"Every value is {'False' if a.dtype == torch.bool else 0}." if e.numel() > 1 else ""
    if same(a_wide, e_wide):
        return ""  # under so wide a tolerance any relation would fit
    if e.dtype == torch.bool:
        return "Every truth value is the opposite of the expected one." if e.numel() > 1 and not (a == e).any() else ""
    if same(a_wide, -e_wide):
        return "The sign is the opposite of the expected one."
    order = _reordering(e, a, rule)
    if order is not None:
        return f"The values are right, but dimensions are swapped: .permute{order} puts them in place."
    factor = float((a_wide * e_wide.conj()).sum().real / (e_wide * e_wide.conj()).sum().real) if e_wide.any() else 0.0
    if f"{factor:.4g}" not in ("0", "1") and same(a_wide, factor * e_wide):
        several = int((e_wide.abs() > rule.atol).sum()) > 1
        if several or round(factor, 4) in (2.0, 0.5):
            return f"{'Every value is' if several else 'It is'} {factor:.4g} times the expected one."
    offset = (a_wide - e_wide).mean()
    if e.numel() > 1 and same(a_wide, e_wide + offset):
        return (
            f"Every value is larger by {float(offset.real):.4g}."
            if offset.real > 0
            else (f"Every value is smaller by {-float(offset.real):.4g}.")
        )
    floats = e.is_floating_point() and a.is_floating_point()
    if floats and e.numel() > 2:  # complex numbers have no order
        by_size = a_wide.flatten().sort().values, e_wide.flatten().sort().values
        if rule.close(*by_size).all():  # no slack: sorted numbers lie close together anyway
            return "The values are the expected ones in another order."
    if a.dtype in (torch.float16, torch.bfloat16) and torch.isclose(a_wide, e_wide, rtol=2e-2, atol=1e-2).all():
        return f"{_type(a)} keeps only about {3 if a.dtype == torch.float16 else 2} digits: compute in float32."
    return ""


def _first(mask: Tensor) -> tuple[int, ...]:
    return tuple(int(k) for k in mask.nonzero()[0])


def _at(index: tuple[int, ...], what: str = "") -> str:
    if not index:
        return ""
    return f"{',' if what else ''} {what}at index {index[0] if len(index) == 1 else index}"


def _share(mask: Tensor) -> str:
    count = int(mask.sum())
    return f"{count} of {mask.numel()} values {'is' if count == 1 else 'are'}"


def _show(value: Tensor, digits: int = 5) -> str:
    number = value.item()
    return f"{number:.{digits}g}" if isinstance(number, float | complex) else str(number)


def _show_both(e: Tensor, a: Tensor) -> tuple[str, str]:
    """Both numbers with as many digits as it takes to tell them apart."""
    for digits in (5, 8, 12):
        if _show(e, digits) != _show(a, digits):
            return _show(e, digits), _show(a, digits)
    return _show(e, 17), _show(a, 17)
