"""Files that are never seen half written, and hashes of many. Standard library only: a student's kernel has this module, too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

NO_SOURCES = {"__pycache__", ".ipynb_checkpoints"}  # what Python and Jupyter leave


def write_whole(path: Path, data: bytes | str, *, private: bool = False) -> None:
    """Write a file so that nobody ever reads half of it, and an older one is there until the new one is complete.

    Args:
        path: the file; its folder is made if need be.
        data: bytes, or a text, which becomes UTF-8 with its line ends as they are; a half of a character, as in a file name
            of another encoding, is written as an escape.
        private: nobody but this user may read it.

    Raises:
        OSError: the disk is full, or the file cannot be written; an older one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if private:
            scratch.touch(0o600)
        scratch.write_bytes(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def digest_of(files: Iterable[Path], base: Path) -> str:
    """SHA-256 over the names, as seen from `base`, and the bytes of files, in the order of their names.

    Folders, what is absent, and what lies in `__pycache__` or `.ipynb_checkpoints` are left out.
    """
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(base).as_posix(), file) for file in files):
        if file.is_file() and not NO_SOURCES & set(Path(name).parts):
            data = file.read_bytes()
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
