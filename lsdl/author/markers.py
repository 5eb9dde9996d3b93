"""Generated parts of a README: what stands between `<!-- KIND:NAME -->` and `<!-- /KIND -->`, KIND naming what writes it."""

import re

from lsdl.author.course import CourseError


def fill(text: str, kind: str, parts: dict[str, str]) -> str:
    """Replace what stands between the marks of each part, by name.

    Raises:
        CourseError: the text has no such marks, or has them twice.
    """
    for name, part in parts.items():
        pattern = rf"(<!-- {kind}:{name} -->\n).*?(<!-- /{kind} -->)"
        text, found = re.subn(pattern, lambda m, new=part: f"{m[1]}{new}\n{m[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise CourseError(f"README.md needs one <!-- {kind}:{name} --> ... <!-- /{kind} -->.")
    return text


def filled(text: str, kind: str, name: str) -> str:
    """What stands between the marks of a part, "" where there are none."""
    found = re.search(rf"<!-- {kind}:{name} -->\n(.*?)\n?<!-- /{kind} -->", text, flags=re.DOTALL)
    return found[1] if found else ""
