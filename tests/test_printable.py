"""Text of strangers on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsdl.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \N{GREEK SMALL LETTER ALPHA}\n\tnext", "plain, \N{GREEK SMALL LETTER ALPHA}\n\tnext"),
        ("\x1b[2Jcleared", "\\x1b[2Jcleared"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten", "over\\rwritten"),
        ("Windows\r\n", "Windows\n"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("\udce9", "\\udce9"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_every_text_can_be_printed_and_none_acts(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not {c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n", "\t"}
    assert printable(shown) == shown
