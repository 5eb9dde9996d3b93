"""What a rule of `lsdl lint` reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One broken rule; `cell` is the cell's index in a notebook (from 0), None if it concerns the whole file."""

    file: str
    cell: int | None
    rule: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.cell is None else f"{self.file}, cell {self.cell}"
        return f"{where}: {self.message} [{self.rule}]"
