"""What a machine refuses, each in one sentence: room on its disk, the gradebook while another program writes it, or at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from lsdl.grading import GradingError

FULL_DISK = ("disk is full", "no space left", "disk i/o error", "quota exceeded")
OF_THE_DATABASE = {
    "database is locked": "Another program is writing the gradebook: end it (formgrader, another lsdl) and run the same command again.",
    "readonly database": "The gradebook cannot be written: you have no permission, or its disk is read-only. Change it, or work on a copy of the course.",
    "unable to open database file": "The gradebook cannot be opened: you have no permission, or its disk is read-only. Change it, or work on a copy of the course.",
}


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors that concern the whole run into one sentence.

    Raises:
        GradingError: the disk is full, or the gradebook is locked or cannot be written.
    """
    try:
        yield
    except Exception as error:
        if sentence := refusal(error):
            raise GradingError(sentence) from error
        raise


def refusal(error: BaseException) -> str:
    """What to say of an error that is the machine's; "" if it is another."""
    if is_full_disk(error):
        return "The disk is full: make room and run the same command again. What is finished was kept."
    return next((sentence for said, sentence in OF_THE_DATABASE.items() if said in str(error)), "")


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room; nbgrader passes some on as text only."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(said in str(cause).lower() for said in FULL_DISK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
