"""Text of strangers on a terminal: no control sequence of it takes effect, and nothing in it cannot be printed."""

from __future__ import annotations

import unicodedata

REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # they show a line in another order


def printable(text: str) -> str:
    """The text with control characters, bidirectional marks and halves of characters as escapes; line ends and tabs stay.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _acts(c) else _escape(c) for c in text.replace("\r\n", "\n"))


def printable_name(name: str) -> str:
    """A name on one line: what is no character to be seen, line ends among them, and bytes that are no UTF-8 as escapes."""
    return "".join(c if c.isprintable() else _escape(c) for c in name)


def _acts(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in REORDERING


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
