"""Pictures the simulator draws itself: avatars and what customers photograph."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path

import fontpkg_sarabun
from PIL import Image, ImageDraw, ImageFont

FONTS = {400: "Sarabun-Regular.ttf", 600: "Sarabun-SemiBold.ttf", 700: "Sarabun-Bold.ttf"}
_COLORS = ("#2f7d6d", "#b4552d", "#4a5fa5", "#8a4a86", "#a8842c", "#3d6f8f", "#7a5a3a")
_SCALE = 4
# Vowels written before the consonant they belong to are no initial by themselves.
_LEADING_VOWELS = "เแโใไ"


def font_path(weight: int) -> Path:
    return Path(fontpkg_sarabun.ROOT) / "files" / FONTS[weight]


def initial(name: str) -> str:
    """The first letter a person would read out, Thai or not."""
    letters = [letter for letter in name.strip() if letter.isalpha()]
    for letter in letters:
        if letter not in _LEADING_VOWELS:
            return letter.upper()
    return letters[0].upper() if letters else "?"


@lru_cache(maxsize=256)
def avatar(name: str, size: int = 256) -> bytes:
    """A coloured disc with the initial; the colour follows the name."""
    number = hashlib.sha256(name.encode()).digest()[0]
    big = size * _SCALE
    picture = Image.new("RGB", (big, big), "#ffffff")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, big, big), fill=_COLORS[number % len(_COLORS)])
    font = ImageFont.truetype(str(font_path(600)), int(big * 0.5))
    draw.text((big / 2, big * 0.52), initial(name), font=font, fill="#ffffff", anchor="mm")
    return _png(picture.resize((size, size), Image.Resampling.LANCZOS))


@lru_cache(maxsize=16)
def snapshot(seed: str) -> bytes:
    """A cup of coffee on a table: what a customer's photo shows."""
    width, height = 960, 720
    number = hashlib.sha256(seed.encode()).digest()[0]
    picture = Image.new("RGB", (width, height), "#e9ddcc")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 430, width, height), fill="#a9764b")
    draw.ellipse((240, 500, 720, 640), fill="#f4efe8")
    draw.ellipse((300, 520, 660, 610), fill="#ddd3c6")
    draw.rounded_rectangle((340, 300, 620, 570), radius=70, fill="#ffffff")
    draw.arc((570, 340, 720, 500), -80, 90, fill="#ffffff", width=32)
    draw.ellipse((340, 260, 620, 340), fill="#f0e8de")
    draw.ellipse((362, 272, 598, 330), fill=_COLORS[number % len(_COLORS)])
    draw.ellipse((362, 278, 598, 332), fill="#5b3622")
    return _png(picture)


def preview(body: bytes) -> bytes:
    with Image.open(io.BytesIO(body)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((240, 240))
        return _png(small)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
