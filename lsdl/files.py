"""Files that are never seen half written. Standard library only: a student's kernel has this module, too."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file so that nobody ever reads half of it, and an older one is there until the new one is complete.

    Args:
        path: the file; its folder is made if need be.
        data: bytes, or a text, which becomes UTF-8 with its line ends as they are.

    Raises:
        OSError: the disk is full, or the file cannot be written; an older one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        scratch.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
