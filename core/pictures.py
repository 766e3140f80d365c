"""Pictures from outside: judged by their first bytes and header, then drawn anew as JPEG.

What leaves here was encoded by us: no metadata (a telephone writes down where it stood), nothing
that is two kinds of file at once, no more pixels than a screen needs. A picture is judged from its
header before one pixel is decoded, because a file of ten kilobytes can hold a gigabyte (FX04).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import Refused

if TYPE_CHECKING:
    from PIL import Image

#: What LINE takes for a preview (Messaging API reference, "Image message"), and enough to look at.
MAX_BYTES = 1_000_000
SIDE = 1600
#: Decoding needs three or four bytes for each of these.
MOST_PIXELS = 16_000_000
_QUALITIES = (85, 75, 60, 45, 30)
_FIRST_BYTES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "WEBP": (b"RIFF",),
}


class NotAPicture(Refused):
    """Not a JPEG, PNG or WebP that can be read to its end, or one that moves."""

    code = "pictures.not_a_picture"
    status = 422


class TooLarge(Refused):
    """More bytes or more pixels than we take; fact `megabytes`."""

    code = "pictures.too_large"
    status = 413


@dataclass(frozen=True)
class Picture:
    """A JPEG of our own making."""

    body: bytes
    width: int
    height: int


def kind_of(body: bytes) -> str | None:
    """JPEG, PNG or WEBP by the first bytes, whatever its name or sender says; None for others."""
    for kind, beginnings in _FIRST_BYTES.items():
        if body.startswith(beginnings):
            return None if kind == "WEBP" and body[8:12] != b"WEBP" else kind
    return None


def drawn_anew(body: bytes, *, most_bytes: int, side: int = SIDE) -> Picture:
    """The picture as a JPEG of at most 1 MB and `side` pixels, upright. Raises NotAPicture or TooLarge."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(body) > most_bytes:
        raise TooLarge(megabytes=most_bytes // 1_000_000)
    kind = kind_of(body)
    if kind is None:
        raise NotAPicture
    try:
        with Image.open(io.BytesIO(body), formats=[kind]) as found:
            if found.width * found.height > MOST_PIXELS:
                raise TooLarge(megabytes=most_bytes // 1_000_000)
            if getattr(found, "n_frames", 1) > 1:
                raise NotAPicture
            found.draft("RGB", (side, side))  # a JPEG is decoded no larger than it is shown
            found.thumbnail((side, side))
            upright = ImageOps.exif_transpose(found)
            return _encoded(_on_white(upright))
    except (
        UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError,
    ) as error:  # fmt: skip
        raise NotAPicture from error


def _on_white(picture: Image.Image) -> Image.Image:
    """Without transparency: JPEG knows none, and black behind a drawing hides it."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        solid = Image.new("RGBA", picture.size, "#ffffff")
        solid.alpha_composite(picture.convert("RGBA"))
        return solid.convert("RGB")
    return picture.convert("RGB")


def _encoded(picture: Image.Image) -> Picture:
    for quality in _QUALITIES:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= MAX_BYTES:
            return Picture(held.getvalue(), picture.width, picture.height)
    raise TooLarge(megabytes=1)
