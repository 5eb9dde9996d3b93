"""Build the embedded text: `python -m lsdl.author.data.build_text [--source FILE.deb]`.

Two novels by Jane Austen, "Pride and Prejudice" (1813) and "Emma" (1815), from the R package janeaustenr as Debian distributes it: fetched by
name and version with `apt-get download`, checked against SHA-256, cleaned and written as text/{train,val,test}.txt.gz.

Cleaned: headings and the marks of italics are dropped, the lines of a paragraph are joined; one line a paragraph, an empty line between chapters.
Chapters, numbered within their book, are split by their number's last digit: 5 is val, 0 is test, all others are train.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import lsdl.data

FOLDER = Path(lsdl.data.__file__).resolve().parent / "text"
PACKAGE, VERSION = "r-cran-janeaustenr", "1.0.0-1"
SHA256 = "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
DATABASE = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
BOOKS = {"PRIDE AND PREJUDICE": 61, "EMMA": 55}  # title -> chapters
STRINGS, CHARACTERS = 16, 9  # R's type codes of a vector of strings and of one string
CHAPTER = re.compile(r"(?i:chapter) [IVXLC\d]+")


def fetch(folder: Path) -> Path:
    """Download the Debian package of the pinned version into `folder`."""
    subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], cwd=folder, check=True)
    return next(folder.glob("*.deb"))


def unpacked(package: Path) -> bytes:
    """R's database of the package.

    Raises:
        ValueError: it is not the file that the texts were made from.
    """
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{package.name} has SHA-256 {found}, not {SHA256}.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        return (Path(folder) / DATABASE).read_bytes()


def strings(data: bytes) -> list[str]:
    """A vector of strings in R's serialisation (format 3, XDR; "R Internals", section 1.8)."""
    size = struct.unpack_from(">i", data, 14)[0]  # the name of the encoding ends the header
    at = 18 + size
    flags, count = struct.unpack_from(">ii", data, at)
    at, found = at + 8, []
    if flags & 0xFF != STRINGS:
        raise ValueError(f"Not a vector of strings: type {flags & 0xFF}.")
    for _ in range(count):
        flags, size = struct.unpack_from(">ii", data, at)
        if flags & 0xFF != CHARACTERS:
            raise ValueError(f"Not a string: type {flags & 0xFF}.")
        found.append(data[at + 8 : at + 8 + size].decode("utf-8"))
        at += 8 + size
    return found


def books(database: bytes) -> Iterator[list[str]]:
    """The lines of every book: each is 4 bytes of its unpacked size and then a zlib stream."""
    at = 0
    while at < len(database):
        stream = zlib.decompressobj()
        data = stream.decompress(database[at + 4 :])
        yield strings(data)
        at = len(database) - len(stream.unused_data)


def chapters(lines: list[str]) -> list[str]:
    """The chapters of a book, one line a paragraph."""
    starts = [k for k, line in enumerate(lines) if CHAPTER.fullmatch(line.strip())] + [len(lines)]
    return [paragraphs(lines[begin + 1 : end]) for begin, end in zip(starts, starts[1:], strict=False)]


def paragraphs(lines: list[str]) -> str:
    text = "\n".join(line.strip() for line in lines).replace("_", "")
    parts = (" ".join(part.split()) for part in re.split(r"\n{2,}", text))
    return "\n".join(part for part in parts if part and not re.fullmatch(r"VOLUME [IVX]+|FINIS|THE END", part))


def build(package: Path) -> dict[str, str]:
    """Texts of the parts."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    found = {lines[0]: lines for lines in books(unpacked(package))}
    for title, count in BOOKS.items():
        texts = chapters(found[title])
        if len(texts) != count:
            raise ValueError(f"{title} has {len(texts)} chapters, not {count}.")
        for number, text in enumerate(texts, 1):
            parts[{5: "val", 0: "test"}.get(number % 10, "train")].append(text)
    return {part: "\n\n".join(texts) + "\n" for part, texts in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="the package, if it has been downloaded already")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = build(args.source or fetch(Path(folder)))
    FOLDER.mkdir(exist_ok=True)
    for part, text in texts.items():
        # no time stamp, no name: the same bytes every time
        (FOLDER / f"{part}.txt.gz").write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))
        print(f"{part}: {len(text)} characters, SHA-256 {hashlib.sha256(text.encode('utf-8')).hexdigest()}")


if __name__ == "__main__":
    main()
