"""Pictures that staff upload: judged by their header, decoded within bounds, made anew.

Nothing is ever fetched from an address. A picture is read as bytes that may lie: format, size and
frames are taken from the header by our own reader before any pixel is decoded, and what is kept
holds pixels alone, no metadata and nothing that followed the picture.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, ImageOps
from sqlalchemy.orm import Session

from core.errors import Invalid
from models.menus import MenuUpload
from rich_menus.definitions import SMALLEST_RATIO, Tab
from rich_menus.images import jpeg

#: LINE's own limits of a rich menu picture (Messaging API reference, "Upload rich menu image").
MAX_BYTES = 1_048_576
WIDTHS = (800, 2500)
SMALLEST_HEIGHT = 250
_PNG = b"\x89PNG\r\n\x1a\n"
#: Length of the PNG header, samples a pixel by its colour type, and the seven passes of interlacing
#: as (first column, first row, column step, row step).
_IHDR = 13
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_PIECE = 65_536
_JPEG = b"\xff\xd8\xff"
#: JPEG: start of frame (but huffman, arithmetic tables and reserved), and markers without length.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END = 0xDA, 0xD9
_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """What the first bytes say, before anything is decoded."""

    format: str
    width: int
    height: int


def keep(session: Session, given: bytes, *, made_by: str, now: datetime) -> MenuUpload:
    """Check a picture and keep it anew; the same bytes are kept once. Refuses with words."""
    picture, width, height = remade(given)
    content_hash = hashlib.sha256(picture).hexdigest()
    row = session.get(MenuUpload, content_hash)
    if row is None:
        row = MenuUpload(
            content_hash=content_hash,
            picture=picture,
            width=width,
            height=height,
            made_by=made_by,
            made_at=now,
        )
        session.add(row)
    return row


def remade(given: bytes) -> tuple[bytes, int, int]:
    """Decode within bounds and write a JPEG of at most 1 MB: (bytes, width, height)."""
    header = read_header(given)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of what it would rather not open
            with Image.open(io.BytesIO(given), formats=(header.format,)) as opened:
                if opened.size != (header.width, header.height):
                    raise Invalid("menus.picture_broken")
                is_turned = opened.getexif().get(_ORIENTATION) in _TURNED
                _check_size(*((opened.size[::-1]) if is_turned else opened.size))
                if header.format == "PNG":
                    _check_rows(given)
                opened.load()
                picture = _flat(opened)
    except Invalid:
        raise
    # Pillow's decoders raise many kinds of errors for bytes that are not what they say.
    except Exception as error:
        raise Invalid("menus.picture_broken") from error
    return jpeg(picture), picture.width, picture.height


def _flat(opened: Image.Image) -> Image.Image:
    """Upright, and on white where it was see-through."""
    upright = ImageOps.exif_transpose(opened) or opened
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        over = upright.convert("RGBA")
        flat = Image.new("RGB", over.size, "white")
        flat.paste(over, mask=over.getchannel("A"))
        return flat
    return upright.convert("RGB")


def read_header(given: bytes) -> Header:
    """Judge a picture by its header alone. Refuses all but still PNG and JPEG of LINE's sizes."""
    if len(given) > MAX_BYTES:
        raise Invalid("menus.picture_too_heavy", most=1)
    if given.startswith(_PNG):
        header = _png_header(given)
    elif given.startswith(_JPEG):
        header = _jpeg_header(given)
    else:
        raise Invalid("menus.picture_unknown")
    # Turned pictures are judged again with their sides exchanged.
    if header.width * header.height > WIDTHS[1] * WIDTHS[1] / SMALLEST_RATIO + 1:
        raise Invalid("menus.picture_too_large", most=WIDTHS[1])
    return header


def _check_size(width: int, height: int) -> None:
    if width > WIDTHS[1]:
        raise Invalid("menus.picture_too_large", most=WIDTHS[1])
    if width < WIDTHS[0] or height < SMALLEST_HEIGHT:
        raise Invalid("menus.picture_too_small", width=WIDTHS[0], height=SMALLEST_HEIGHT)
    if width / height < SMALLEST_RATIO:
        raise Invalid("menus.picture_too_tall")


def _png_header(given: bytes) -> Header:
    """IHDR comes first and once; `acTL` says that the picture moves."""
    head = b""
    for place, (kind, body) in enumerate(_chunks(given)):
        if (kind == b"IHDR") != (place == 0):
            raise Invalid("menus.picture_broken")
        if kind == b"IHDR":
            head = body
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            raise Invalid("menus.picture_moves")
    width, height = struct.unpack(">II", head[:8]) if len(head) == _IHDR else (0, 0)
    if not width or not height or head[9] not in _CHANNELS:
        raise Invalid("menus.picture_broken")
    return Header("PNG", width, height)


def _check_rows(given: bytes) -> None:
    """The pixels of a PNG must be as many as its header says, neither fewer nor more.

    They are counted as they are unpacked, a piece at a time, and never beyond that number.
    """
    chunks = list(_chunks(given))
    head = chunks[0][1]
    width, height = struct.unpack(">II", head[:8])
    expected = _row_bytes(width, height, bits=head[8] * _CHANNELS[head[9]], is_laced=head[12] == 1)
    unpack, count = zlib.decompressobj(), 0
    for kind, body in chunks:
        if kind != b"IDAT":
            continue
        left = body
        while left and count <= expected:
            count += len(unpack.decompress(left, _PIECE))
            left = unpack.unconsumed_tail
    while count <= expected and (piece := unpack.decompress(b"", _PIECE)):
        count += len(piece)
    if count != expected:
        raise Invalid("menus.picture_broken")


def _row_bytes(width: int, height: int, *, bits: int, is_laced: bool) -> int:
    """How many bytes the rows of a PNG are before packing, with the filter byte of each."""
    passes = _ADAM7 if is_laced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _chunks(given: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place + 12 <= len(given):
        (length,) = struct.unpack_from(">I", given, place)
        kind = given[place + 4 : place + 8]
        if place + 12 + length > len(given):
            raise Invalid("menus.picture_broken")
        yield kind, given[place + 8 : place + 8 + length]
        if kind == b"IEND":
            return
        place += 12 + length
    raise Invalid("menus.picture_broken")


def _jpeg_header(given: bytes) -> Header:
    """The frame's own size; a second frame, or none before the scan, is no picture."""
    place, size = 2, None
    while place + 4 <= len(given):
        if given[place] != 0xFF:
            raise Invalid("menus.picture_broken")
        marker = given[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _BARE:
            place += 2
            continue
        if marker in (_START_OF_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", given, place + 2)
        if marker in _FRAMES:
            if size is not None or place + 9 > len(given):
                raise Invalid("menus.picture_broken")
            height, width = struct.unpack_from(">HH", given, place + 5)
            size = (width, height)
        place += 2 + max(2, length)
    if size is None or 0 in size:
        raise Invalid("menus.picture_broken")
    return Header("JPEG", *size)


def picture_of(session: Session, tab: Tab, locale: str) -> bytes | None:
    """The uploaded picture of a tab in a language; None where it is drawn."""
    content_hash = tab.pictures.get(locale)
    row = session.get(MenuUpload, content_hash) if content_hash else None
    return row.picture if row is not None else None
