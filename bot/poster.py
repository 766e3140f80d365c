"""The poster beside the till: a QR code that leads into the shop's chat, drawn on A5 paper as PDF."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageOps

from bot.drawing import rgb, rounded, write

#: A5 at 200 dots an inch.
WIDTH, HEIGHT, DOTS = 1165, 1654, 200
INK, CREAM, WHITE = rgb("#1D2624"), rgb("#FAF5EA"), rgb("#FFFFFF")
LOGO_SIDE = 220
QR_SIDE = 720


@dataclass(frozen=True)
class Words:
    """What stands on it, top to bottom."""

    shop: str
    title: str
    lead: str
    foot: str


@dataclass(frozen=True)
class Look:
    """The shop's colour (`#RRGGBB`), and its mark where it has one."""

    colour: str
    logo: Image.Image | None = None


def draw(words: Words, code: Image.Image, look: Look) -> Image.Image:
    """The poster; `code` is a square black and white QR picture."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), CREAM)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, WIDTH, 360), fill=rgb(look.colour))
    middle, room = WIDTH // 2, WIDTH - 160
    if look.logo is not None:
        logo = ImageOps.fit(look.logo.convert("RGB"), (LOGO_SIDE, LOGO_SIDE))
        picture.paste(logo, (70, 70))
        middle, room = (WIDTH + 70 + LOGO_SIDE) // 2, WIDTH - LOGO_SIDE - 240
    _line(pen, (middle, 150), words.shop, "Bold", 96, room, WHITE)
    _line(pen, (middle, 270), words.title, "SemiBold", 60, room, WHITE)
    middle, room = WIDTH // 2, WIDTH - 160
    side = QR_SIDE + 120
    left, top = (WIDTH - side) // 2, 440
    rounded(picture, (left, top, left + side, top + side), 60, WHITE)
    sharp = code.convert("RGB").resize((QR_SIDE, QR_SIDE), Image.Resampling.NEAREST)
    picture.paste(sharp, ((WIDTH - QR_SIDE) // 2, top + 60))
    _line(pen, (middle, top + side + 110), words.lead, "SemiBold", 56, room, INK)
    _line(pen, (middle, top + side + 210), words.foot, "Regular", 42, room, INK)
    return picture


def as_pdf(picture: Image.Image) -> bytes:
    """One page that prints at its own size."""
    written = BytesIO()
    picture.save(written, "PDF", resolution=DOTS)
    return written.getvalue()


def _line(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: str,
    weight: str,
    size: int,
    width: int,
    colour: tuple[int, int, int],
) -> None:
    write(pen, at, words, weight=weight, size=size, width=width, colour=colour)
