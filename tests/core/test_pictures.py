"""Pictures from outside: judged from the header, drawn anew, nothing of the sender left in them."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image

from core.pictures import MAX_BYTES, SIDE, NotAPicture, TooHeavy, TooLarge, drawn_anew, kind_of

MOST = 10_000_000


def saved(size: tuple[int, int] = (800, 600), kind: str = "JPEG", **more) -> bytes:
    held = io.BytesIO()
    mode = more.pop("mode", "RGB")
    Image.new(mode, size, more.pop("colour", None) or 0).save(held, kind, **more)
    return held.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels, in a few bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_becomes_a_jpeg_of_ours(kind):
    picture = drawn_anew(saved(kind=kind), most_bytes=MOST)
    assert kind_of(picture.body) == "JPEG"
    assert (picture.width, picture.height) == (800, 600)


def test_is_no_larger_than_a_screen_needs():
    picture = drawn_anew(saved((4000, 3000)), most_bytes=MOST)
    assert (picture.width, picture.height) == (SIDE, SIDE * 3 // 4)
    assert len(picture.body) <= MAX_BYTES


def test_where_it_was_taken_does_not_go_along():
    exif = Image.Exif()
    exif[0x010E] = "9 Rama Road"  # a description
    exif[0x0112] = 6  # turned by the camera
    body = saved((800, 600), exif=exif)
    picture = drawn_anew(body, most_bytes=MOST)
    assert (b"9 Rama Road" in body) is True
    assert (b"9 Rama Road" in picture.body) is False
    assert not Image.open(io.BytesIO(picture.body)).getexif()
    assert (picture.width, picture.height) == (600, 800)  # upright, without being told


def test_what_is_transparent_becomes_white():
    picture = drawn_anew(saved(kind="PNG", mode="RGBA"), most_bytes=MOST)
    assert Image.open(io.BytesIO(picture.body)).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000)])
def test_FX04_a_bomb_is_refused_from_its_header(size):
    body = bomb(*size)
    assert len(body) < 10_000
    tracemalloc.start()
    with pytest.raises((TooLarge, NotAPicture)):
        drawn_anew(body, most_bytes=MOST)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"\0" * 50,
        b"\xff\xd8\xff" + b"<script>alert(1)</script>",
        b"RIFF\0\0\0\0WAVE",
        saved(kind="PNG")[:200],
    ],
    ids=["nothing", "svg", "gif", "lying header", "sound", "cut"],
)
def test_FX04_whatever_is_no_picture_is_refused(body):
    with pytest.raises(NotAPicture):
        drawn_anew(body, most_bytes=MOST)


def test_FX04_what_moves_is_refused():
    held = io.BytesIO()
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    frames[0].save(held, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(NotAPicture):
        drawn_anew(held.getvalue(), most_bytes=MOST)


def test_FX04_too_many_bytes_are_refused_unread():
    with pytest.raises(TooHeavy):
        drawn_anew(saved() + b"\0" * 100, most_bytes=100)


def test_a_file_of_two_kinds_keeps_only_the_picture():
    body = saved() + b"<script>alert(1)</script>"
    assert b"<script>" not in drawn_anew(body, most_bytes=MOST).body
