"""Pictures from outside: judged by their first bytes and header, then drawn anew.

What leaves here was encoded by us: no metadata (a telephone writes down where it stood), nothing
that is two kinds of file at once. A picture is judged from its header before one pixel is decoded,
because a file of ten kilobytes can hold a gigabyte (FX04, AO9).
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import Refused

if TYPE_CHECKING:
    from PIL import Image

#: What LINE takes for a preview (Messaging API reference, "Image message"), and enough to look at.
MAX_BYTES = 1_000_000
SIDE = 1600
#: Decoding needs three bytes for each pixel of a photograph, four of anything else.
MOST_PIXELS = {"JPEG": 16_000_000, "PNG": 10_000_000, "WEBP": 10_000_000}
_QUALITIES = (92, 85, 75, 60, 45, 30)
_PNG = b"\x89PNG\r\n\x1a\n"
_FIRST_BYTES = {"JPEG": b"\xff\xd8\xff", "PNG": _PNG, "WEBP": b"RIFF"}
#: Length of the PNG header, samples a pixel by its colour type, and the seven passes of interlacing
#: as (first column, first row, column step, row step).
_IHDR = 13
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_PIECE = 65_536


class NotAPicture(Refused):
    """None of the kinds asked for; fact `kinds`."""

    code = "pictures.not_a_picture"
    status = 422


class Broken(NotAPicture):
    """Cannot be read to its end, or is not what its header says."""

    code = "pictures.broken"


class Moves(NotAPicture):
    """Has more than one frame."""

    code = "pictures.moves"


class TooLarge(Refused):
    """More pixels than we decode; fact `megapixels`."""

    code = "pictures.too_large"
    status = 413


class TooHeavy(Refused):
    """More bytes than we take; fact `megabytes`."""

    code = "pictures.too_heavy"
    status = 413


@dataclass(frozen=True)
class Picture:
    """A JPEG of our own making."""

    body: bytes
    width: int
    height: int


def kind_of(body: bytes) -> str | None:
    """JPEG, PNG or WEBP by the first bytes, whatever its name or sender says; None for others."""
    for kind, beginning in _FIRST_BYTES.items():
        if body.startswith(beginning):
            return None if kind == "WEBP" and body[8:12] != b"WEBP" else kind
    return None


def drawn_anew(body: bytes, *, most_bytes: int, side: int = SIDE) -> Picture:
    """The picture as a JPEG of at most 1 MB and `side` pixels, upright.

    Raises NotAPicture, TooLarge or TooHeavy.
    """
    picture = read(body, most_bytes=most_bytes, most_pixels=MOST_PIXELS, side=side)
    return Picture(as_jpeg(picture, MAX_BYTES), picture.width, picture.height)


def read(
    body: bytes, *, most_bytes: int, most_pixels: dict[str, int], side: int | None = None
) -> Image.Image:
    """The pixels alone, upright, on white where it was see-through, at most `side` wide and high.

    `most_pixels` names the kinds that are taken. Raises NotAPicture, TooLarge or TooHeavy.
    """
    from PIL import Image

    if len(body) > most_bytes:
        raise TooHeavy(megabytes=most_bytes // 1_000_000)
    kind = kind_of(body)
    if kind is None or kind not in most_pixels:
        raise NotAPicture(kinds=", ".join(most_pixels))
    most = most_pixels[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of what it would rather not open
            with Image.open(io.BytesIO(body), formats=[kind]) as found:
                if found.width * found.height > most:
                    raise TooLarge(megapixels=most // 1_000_000)
                # Telephones put small second pictures into a JPEG; the first one is what was taken.
                if kind != "JPEG" and getattr(found, "n_frames", 1) > 1:
                    raise Moves
                if kind == "PNG":
                    _check_rows(body)
                if side is not None:
                    found.draft("RGB", (side, side))  # a JPEG is decoded no larger than shown
                    found.thumbnail((side, side))
                return _flat(found)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(megapixels=most // 1_000_000) from error
    # Pillow's decoders raise many kinds of errors for bytes that are not what they say.
    except Exception as error:
        raise Broken from error


def as_jpeg(picture: Image.Image, most_bytes: int) -> bytes:
    """As good as so many bytes allow. Raises TooHeavy."""
    for quality in _QUALITIES:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= most_bytes:
            return held.getvalue()
    raise TooHeavy(megabytes=most_bytes // 1_000_000)


def _flat(opened: Image.Image) -> Image.Image:
    """Upright, and on white where it was see-through: JPEG knows no transparency."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(opened) or opened
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        over = upright.convert("RGBA")
        flat = Image.new("RGB", over.size, "white")
        flat.paste(over, mask=over.getchannel("A"))
        return flat
    return upright.convert("RGB")


# --- PNG: as many pixels as the header says -------------------------------------------------------


def _check_rows(body: bytes) -> None:
    """The pixels of a PNG must be as many as its header says, neither fewer nor more: Pillow draws
    the first ones and is content.

    They are counted as they are unpacked, a piece at a time, and never beyond that number.
    """
    chunks = list(_chunks(body))
    head = chunks[0][1]
    if len(head) != _IHDR or any(kind == b"IHDR" for kind, _ in chunks[1:]):
        raise Broken
    width, height = struct.unpack(">II", head[:8])
    expected = _row_bytes(width, height, bits=head[8] * _CHANNELS[head[9]], is_laced=head[12] == 1)
    unpack, count = zlib.decompressobj(), 0
    for kind, packed in chunks:
        if kind != b"IDAT":
            continue
        left = packed
        while left and count <= expected:
            count += len(unpack.decompress(left, _PIECE))
            left = unpack.unconsumed_tail
    while count <= expected and (piece := unpack.decompress(b"", _PIECE)):
        count += len(piece)
    if count != expected:
        raise Broken


def _row_bytes(width: int, height: int, *, bits: int, is_laced: bool) -> int:
    """How many bytes the rows of a PNG are before packing, with the filter byte of each."""
    passes = _ADAM7 if is_laced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) up to the end that a PNG must have."""
    place = len(_PNG)
    while place + 12 <= len(body):
        (length,) = struct.unpack_from(">I", body, place)
        kind = body[place + 4 : place + 8]
        if place + 12 + length > len(body):
            raise Broken
        yield kind, body[place + 8 : place + 8 + length]
        if kind == b"IEND":
            return
        place += 12 + length
    raise Broken
