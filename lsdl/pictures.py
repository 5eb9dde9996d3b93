"""What a picture in a notebook is, read from its header: the pixels of a small file can fill a browser's memory."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings

MAX_PIXELS = 25_000_000  # 100 MB in a browser; a figure of 20 x 12 inches at 300 dpi has 21.6 million
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF"}


def picture_problem(kind: str, data: str) -> str:
    """Why a picture is not shown, as a phrase; empty if it can be.

    Args:
        kind: its type, such as "image/png".
        data: base64, with or without line ends.
    """
    from PIL import Image

    if kind not in FORMATS:
        return "it is of the type " + re.sub(r"[^\w+.-]", "?", kind.rpartition("/")[2][:40])
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            with Image.open(io.BytesIO(raw), formats=[FORMATS[kind]]) as picture:
                width, height = picture.size
    except Image.DecompressionBombError:
        return f"it has over {MAX_PIXELS:,} pixels"
    except (binascii.Error, OSError, ValueError, SyntaxError):  # of Pillow, for a damaged header
        return f"it is no {FORMATS[kind]} file"
    return f"it has {width:,} x {height:,} pixels, more than {MAX_PIXELS:,}" if width * height > MAX_PIXELS else ""
