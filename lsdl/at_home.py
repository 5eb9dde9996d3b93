"""What works at home and not, or otherwise, in the grader: found in a student's cells before they are handed in.

The grader gives a notebook one process, without network and other programs (gradebook/README.md says what it does instead).
Lines are searched, never parsed; standard library only, because the student's doctor uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lsdl.cells import called, source_of
from lsdl.recognise import alike

MAX_LINE = 1_000  # nobody writes such a line by hand
_PROGRAM = (
    r"^\s*(?:[\w, ]+=\s*)?!|^\s*%%?(?:bash|sh|script|system|sx|pip|conda|mamba|uv|perl|ruby|python3?)\b"
    r"|\bos\.(?:system|popen|fork|exec\w+|spawn\w+)\(|\bsubprocess\.(?:run|call|check_\w+|Popen|getoutput)\("
)
_PROCESSES = (
    r"\bn_jobs\s*=\s*(?!1\b|None\b)|\bnum_workers\s*=\s*[1-9]|\b(?:mp|multiprocessing)\.(?:Pool|Process|Manager)\("
    r"|\b(?:ProcessPoolExecutor|process_map)\(|(?<![\w.])(?:Pool|Process)\(|\bmp\.spawn\(|\.share_memory_?\("
)
_NETWORK = (
    r"\brequests\.\w+\(|\burlopen\(|\burlretrieve\(|\bdownload\s*=\s*True|\bload_dataset\(|\bhf_hub_download\("
    r"|\bsnapshot_download\(|\bhub\.load\(|\bgdown\.|\bwandb\.|\bsocket\.socket\("
)
_PLACES = r"""["'](?:/(?:tmp|home|root|content|kaggle|Users|mnt|data)/|[A-Za-z]:[\\/]|~/)|\bgoogle\.colab\b"""
_RULES = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (_PROGRAM, "starts another program, which the grader leaves out: nothing may depend on it"),
        (_PROCESSES, "asks for several processes: the grader does it with one, so it may take longer there"),
        (r"\btorch\.compile\b", "is not compiled in the grader, which calls the function as it is"),
        (_NETWORK, "needs a network, which the grader does not have: use what the week's folder has"),
        (_PLACES, "names a place that only your machine has: use a path in the week's folder"),
        (
            r"^\s*%cd\b|\bos\.chdir\(",
            "changes the folder: later cells then do not find the week's files, so leave it out",
        ),
    )
)


def differences(cells: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each kind of thing that a cell of the student's does otherwise in the grader.

    Args:
        cells: the notebook's.
        given: those of the released homework, which are left out.
    """
    official = {alike(source_of(cell)) for cell in given}
    for cell in cells:
        if cell["cell_type"] != "code" or alike(source_of(cell)) in official:
            continue
        lines = [
            line for line in source_of(cell).splitlines() if len(line) < MAX_LINE and not line.lstrip().startswith("#")
        ]
        for pattern, what in _RULES:
            line = next((line for line in lines if pattern.search(line)), None)
            if line is not None:
                yield f"In {called(cell)}, `{line.strip()[:60]}` {what}."
