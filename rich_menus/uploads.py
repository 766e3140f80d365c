"""Pictures that staff upload for a menu: of the sizes LINE takes, made anew, kept by content.

Nothing is ever fetched from an address; what comes as bytes is judged by `core/pictures.py`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import Invalid
from core.pictures import as_jpeg, read
from models.menus import MenuUpload
from rich_menus.definitions import SMALLEST_RATIO, Tab
from rich_menus.images import MAX_BYTES

#: LINE's own limits of a rich menu picture (Messaging API reference, "Upload rich menu image").
WIDTHS = (800, 2500)
SMALLEST_HEIGHT = 250
#: The widest picture that is not too tall; turned ones are as large.
MOST_PIXELS = dict.fromkeys(("PNG", "JPEG"), int(WIDTHS[1] ** 2 / SMALLEST_RATIO) + 1)


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
    picture = read(given, most_bytes=MAX_BYTES, most_pixels=MOST_PIXELS)
    _check_size(picture.width, picture.height)
    return as_jpeg(picture, MAX_BYTES), picture.width, picture.height


def _check_size(width: int, height: int) -> None:
    if width > WIDTHS[1]:
        raise Invalid("menus.picture_too_large", most=WIDTHS[1])
    if width < WIDTHS[0] or height < SMALLEST_HEIGHT:
        raise Invalid("menus.picture_too_small", width=WIDTHS[0], height=SMALLEST_HEIGHT)
    if width / height < SMALLEST_RATIO:
        raise Invalid("menus.picture_too_tall")


def picture_of(session: Session, tab: Tab, locale: str) -> bytes | None:
    """The uploaded picture of a tab in a language; None where it is drawn."""
    content_hash = tab.pictures.get(locale)
    row = session.get(MenuUpload, content_hash) if content_hash else None
    return row.picture if row is not None else None
