"""A file is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsdl.files import write_whole


def test_bytes_and_text_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "marks.json"
    write_whole(path, b"\xff\x00")
    assert path.read_bytes() == b"\xff\x00"
    write_whole(path, "a\nб\n")
    assert path.read_bytes() == "a\nб\n".encode()
    assert os.listdir(path.parent) == ["marks.json"]


def test_what_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "marks.json"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        with pytest.raises(OSError, match="no room"):
            write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["marks.json"]
