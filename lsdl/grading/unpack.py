"""The files that were handed in, in a folder or in zip archives, as data from strangers.

Only looked at: no link is followed, no pipe or device is opened, nothing is extracted or written, and of an archive no more is
read than a notebook may have. A file that must not be read is one with a `problem`, a sentence that ends with what to ask for.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from lsdl.grading import GradingError
from lsdl.intake import MAX_BYTES, BadNotebook
from lsdl.printable import printable_name

MAX_DEPTH = 8
MAX_RATIO = 200  # what is too large and packed better than this is called a bomb
IS_LINK = "The submission is a link, which is never followed: ask for the file itself."
NO_FILE = "The submission is not an ordinary file: ask for the file itself."
LOCKED = "The archive is locked with a password: ask for the file itself."
SMALLER = "ask for a smaller one; a notebook is smaller once its outputs are cleared"
CHECKPOINTS = ".ipynb_checkpoints"
HIDDEN_FOLDER = re.compile(r"\.[\w-]+")
UNICODE_NAME = 0x7075  # the extra field in which Info-ZIP keeps a name in UTF-8


@dataclass(frozen=True)
class Wanted:
    """What kind of file is looked for: the homework, or a file that is handed in beside it.

    Attributes:
        suffix: how its name ends.
        stem: what its name has before that; a notebook may be called otherwise.
        largest: in bytes; no more is ever read.
        archive: the same for an archive in an archive, which may also hold other files.
    """

    suffix: str = ".ipynb"
    stem: str = "homework"
    largest: int = MAX_BYTES
    archive: int = MAX_BYTES

    @property
    def is_homework(self) -> bool:
        """Whether it is the notebook."""
        return self.suffix == ".ipynb"

    def fits(self, name: str) -> bool:
        """Whether a file's name says that it is one."""
        stem, suffix = os.path.splitext(name.lower())
        return suffix == self.suffix and (self.is_homework or self.stem in stem)


NOTEBOOK = Wanted()


@dataclass(frozen=True)
class HandedFile:
    """One file, or one link that stands for something.

    Attributes:
        parts: the names of its folders and its own, below what was given; those of an archive's members follow the archive's.
        path: the file on the disk, perhaps an archive.
        members: its name in the archive, and in the archive in that archive, as zipfile knows it.
        times: when it was changed, the archive's before its own.
        problem: why it must not be read; empty if it can be tried.
        undecoded: how many of `parts` are no readable names, because the archive does not say their encoding.
    """

    parts: tuple[str, ...]
    path: Path
    members: tuple[str, ...]
    times: tuple[float, ...]
    problem: str = ""
    undecoded: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Its own name."""
        return self.parts[-1]

    @property
    def is_archive(self) -> bool:
        """Whether it is a zip archive by its name."""
        return self.name.lower().endswith(".zip")

    def below(self, parts: Sequence[str]) -> HandedFile:
        """The same file with other names before its own ones."""
        return replace(
            self, parts=(*parts, *self.parts), undecoded=tuple(len(parts) + place for place in self.undecoded)
        )


def is_junk(parts: Sequence[str]) -> bool:
    """Whether a name is one of what computers leave behind; Jupyter's checkpoints are told apart later."""
    hidden = [part for part in parts[:-1] if HIDDEN_FOLDER.fullmatch(part)] + [
        part for part in parts[-1:] if part.startswith(".")
    ]
    return "__MACOSX" in parts or any(part != CHECKPOINTS for part in hidden)


def walk_folder(folder: Path, most: int) -> tuple[list[HandedFile], list[tuple[str, ...]]]:
    """The files below a folder, and its folders, sorted by name.

    Raises:
        GradingError: there are more files than a class can hand in.
    """
    files: list[HandedFile] = []
    folders: list[tuple[str, ...]] = []

    def look(here: Path, parts: tuple[str, ...]) -> None:
        try:
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not parts:
                raise
            why = f"The folder cannot be read ({error.strerror}): ask for it again."
            files.append(HandedFile(parts, here, (), (0.0,), why))
            return
        for entry in listed:
            names = (*parts, entry.name)
            if is_junk(names):
                continue
            if len(files) + len(folders) >= most:
                raise GradingError(f"There are over {most} files: give the folder of one week's submissions.")
            if entry.is_dir(follow_symlinks=False):
                folders.append(names)
                if len(names) < MAX_DEPTH:
                    look(Path(entry.path), names)
                continue
            problem = "" if entry.is_file(follow_symlinks=False) else IS_LINK if entry.is_symlink() else NO_FILE
            time = entry.stat(follow_symlinks=False).st_mtime
            files.append(HandedFile(names, Path(entry.path), (), (round(time),), problem))

    look(folder, ())
    return files, folders


def walk_archive(
    file: HandedFile, most: int, encoding: str | None, wanted: Wanted = NOTEBOOK
) -> tuple[list[HandedFile], list[tuple[str, ...]]]:
    """The files in an archive, whose `parts` are their names in it, and its folders.

    Args:
        file: the archive, on the disk or in another one.
        most: how many members it may have.
        encoding: that of names which the archive does not call UTF-8.
        wanted: says how large a member may be.

    Raises:
        BadNotebook: it cannot be opened.
    """
    files: list[HandedFile] = []
    folders: list[tuple[str, ...]] = []
    with _archive_of(file, wanted, most) as archive:
        for info in archive.infolist():
            member = _member(info, file, encoding, wanted.archive)
            if member is None:
                continue
            if info.is_dir() and not member.problem:
                folders += [member.parts] if not member.undecoded else []
            else:
                files.append(member)
    return files, folders


def _member(info: zipfile.ZipInfo, file: HandedFile, encoding: str | None, largest: int) -> HandedFile | None:
    names = [_decoded(part, info, encoding) for part in _raw_name(info).replace(b"\\", b"/").split(b"/")]
    pairs = [(name, known) for name, known in names if name not in ("", ".", "..")]
    parts = tuple(name for name, _ in pairs)
    if not parts:
        return None
    undecoded = tuple(place for place, (_, known) in enumerate(pairs) if not known)
    mode = info.external_attr >> 16
    shown = printable_name("/".join(name for name, _ in names))[:100]
    problem = ""
    if names[0][0] == "" or ".." in [name for name, _ in names] or re.match(r"[A-Za-z]:", names[0][0]):
        problem = f"The archive's member {shown!r} points out of it, and nothing is extracted: ask for the file alone."
    elif is_junk(parts):
        return None
    elif info.is_dir():
        problem = ""
    elif stat.S_ISLNK(mode):
        problem = IS_LINK
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        problem = NO_FILE
    elif info.flag_bits & 1:
        problem = LOCKED
    elif info.file_size > largest:
        bomb = info.file_size > MAX_RATIO * max(1, info.compress_size)
        problem = _too_large(largest)
        if bomb:
            size = f"{info.file_size >> 20} MB, over {MAX_RATIO} times its size"
            problem = f"{shown!r} unpacks to {size}, like a zip bomb: {SMALLER}."
    try:
        time = datetime(*info.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        time = 0.0
    times = (*(file.times if file.members or file.parts else ()), round(time))
    return HandedFile(parts, file.path, (*file.members, info.filename), times, problem, undecoded)


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member's name up to a zero; zipfile took them for code page 437 unless they are called UTF-8."""
    name = info.orig_filename.partition("\0")[0]
    return name.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")


def _decoded(part: bytes, info: zipfile.ZipInfo, encoding: str | None) -> tuple[str, bool]:
    """A part of a member's name, and whether that is what it was called where the archive was made."""
    if part.isascii():
        return part.decode("ascii"), True
    if (said := _said_name(info)) is not None:
        raw, names = _raw_name(info).replace(b"\\", b"/").split(b"/"), said.split("/")
        if len(raw) == len(names):
            return names[raw.index(part)], True
    for kind in ("utf-8", encoding):
        try:
            if kind:
                return part.decode(kind), True
        except UnicodeDecodeError:
            continue
    return part.decode("cp437"), False


def _said_name(info: zipfile.ZipInfo) -> str | None:
    """The name in Info-ZIP's extra field, if it belongs to this member."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        if (
            kind == UNICODE_NAME
            and len(data) > 5
            and struct.unpack("<BL", data[:5]) == (1, zlib.crc32(_raw_name(info)))
        ):
            try:
                return data[5:].decode("utf-8").replace("\\", "/")
            except UnicodeDecodeError:
                return None
    return None


# Reading


def read_file(file: HandedFile, wanted: Wanted = NOTEBOOK) -> bytes:
    """The bytes of a file, at most as many as one of this kind may have.

    Raises:
        BadNotebook: it has a problem, is no ordinary file, too large, or lies in a damaged archive.
    """
    if file.problem:
        raise BadNotebook(file.problem)
    if not file.members:
        return bytes_of(file.path, wanted.largest)
    *outer, name = file.members
    with _archive_of(replace(file, members=tuple(outer), problem=""), wanted) as archive:
        return _read_member(archive, name, wanted.largest)


@contextmanager
def _archive_of(file: HandedFile, wanted: Wanted, most: int | None = None) -> Iterator[zipfile.ZipFile]:
    """The archive that a file is; one in an archive is held in memory."""
    if file.members:
        data = read_file(file, replace(wanted, largest=wanted.archive))
        with _archive(io.BytesIO(data), most) as archive:
            yield archive
    else:
        with opened(file.path) as data, _archive(data, most) as archive:
            yield archive


def _archive(data: IO[bytes], most: int | None) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(data)
    except Exception:  # besides BadZipFile: struct, value, key and other errors of damaged tables
        raise BadNotebook("The archive is damaged: ask for it again, or for the file alone.") from None
    if most is not None and len(archive.infolist()) > most:
        raise BadNotebook(f"The archive has over {most} members: ask for the file alone.")
    return archive


def _read_member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """At most `largest` bytes of a member, whatever size it claims."""
    try:
        with archive.open(name) as member:
            data = member.read(largest + 1)
    except Exception as error:  # zlib's, zipfile's, and those of unknown methods: all mean one thing
        raise BadNotebook(f"The archive is damaged ({type(error).__name__}): ask for the file alone.") from None
    return _capped(data, largest)


def bytes_of(path: Path, most: int) -> bytes:
    """The bytes of an ordinary file.

    Raises:
        BadNotebook: it is a link or a device, has more than `most`, or cannot be read.
    """
    with opened(path) as file:
        return _capped(file.read(most + 1), most)


def _capped(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise BadNotebook(_too_large(most))
    return data


def _too_large(most: int) -> str:
    return f"The file is larger than {most >> 20} MB: {SMALLER}."


def opened(path: Path) -> IO[bytes]:
    """An ordinary file, opened to be read: never a link, and never waiting for a writer.

    Raises:
        BadNotebook: it is none, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        # Opening a device can act on it, so it is looked at first.
        descriptor = os.open(path, flags) if stat.S_ISREG(os.lstat(path).st_mode) else None
    except OSError as error:
        raise BadNotebook(f"The file cannot be read ({error.strerror}): ask for it again.") from None
    if descriptor is None:
        raise BadNotebook(NO_FILE)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise BadNotebook(NO_FILE)
    return file
