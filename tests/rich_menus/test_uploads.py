"""Uploaded pictures (FX04, AO9): refused from the header, remade without metadata, in little memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from core.errors import Refused
from models.menus import MenuUpload
from rich_menus import images, uploads
from rich_menus.definitions import DEFAULT_PACK, PLAIN
from tests.moments import NOW

GUEST, MEMBER, _VIP = DEFAULT_PACK


def png(width=1200, height=800, mode="RGB", **more) -> bytes:
    written = io.BytesIO()
    Image.new(mode, (width, height)).save(written, "PNG", **more)
    return written.getvalue()


def jpeg(width=1200, height=800, **more) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(written, "JPEG", **more)
    return written.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def lying_png(width, height) -> bytes:
    """Says one size and holds the pixels of another."""
    true = png(1200, 800)
    head = struct.pack(">II", width, height) + true[24:29]
    return true[:8] + chunk(b"IHDR", head) + true[33:]


def moving_png() -> bytes:
    written = io.BytesIO()
    frames = [Image.new("RGB", (1200, 800), colour) for colour in ("red", "blue")]
    frames[0].save(written, "PNG", save_all=True, append_images=frames[1:])
    return written.getvalue()


def moving_gif() -> bytes:
    written = io.BytesIO()
    Image.new("P", (1200, 800)).save(written, "GIF")
    return written.getvalue()


def bomb() -> bytes:
    """9,000 × 9,000 in about 10 kB."""
    return png(9000, 9000, mode="1")


def lying_jpeg() -> bytes:
    """A second frame header, larger than the first."""
    true = jpeg()
    place = true.index(b"\xff\xc0")
    length = struct.unpack_from(">H", true, place + 2)[0] + 2
    frame = bytearray(true[place : place + length])
    struct.pack_into(">HH", frame, 5, 60000, 60000)
    return true[:place] + bytes(frame) + true[place:]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="800"><script>1</script></svg>'
REFUSED = {
    "bomb": (bomb, "pictures.too_large"),
    "lying larger": (lambda: lying_png(2000, 1300), "pictures.broken"),
    "lying smaller": (lambda: lying_png(900, 600), "pictures.broken"),
    "lying huge": (lambda: lying_png(60000, 60000), "pictures.too_large"),
    "lying jpeg": (lying_jpeg, "pictures.broken"),
    "lying in one row": (lambda: lying_png(1200, 799), "pictures.broken"),
    "lying at the depth": (
        lambda: png()[:24] + b"\x10" + png()[25:], "pictures.broken",
    ),
    "zero": (lambda: lying_png(0, 800), "pictures.broken"),
    "svg": (lambda: SVG, "pictures.not_a_picture"),
    "svg as png": (lambda: b"\x89PNG\r\n\x1a\n" + SVG, "pictures.broken"),
    "gif": (moving_gif, "pictures.not_a_picture"),
    "moving": (moving_png, "pictures.moves"),
    "heavy jpeg": (lambda: jpeg() + b"\0" * 1_100_000, "pictures.too_heavy"),
    "narrow": (lambda: png(799, 400), "menus.picture_too_small"),
    "flat": (lambda: png(1200, 249), "menus.picture_too_small"),
    "tall": (lambda: png(1200, 900), "menus.picture_too_tall"),
    "wide": (lambda: png(2600, 900), "menus.picture_too_large"),
    "cut png": (lambda: png()[:-200], "pictures.broken"),
    "cut jpeg": (lambda: jpeg()[:300], "pictures.broken"),
    "only a beginning": (lambda: b"\xff\xd8\xff\xe0", "pictures.broken"),
    "empty": (lambda: b"", "pictures.not_a_picture"),
    "pdf": (lambda: b"%PDF-1.7", "pictures.not_a_picture"),
    "two headers": (
        lambda: png()[:33] + png()[8:33] + png()[33:], "pictures.broken",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_FX04_what_is_no_menu_picture_is_refused_with_its_reason(name):
    make, code = REFUSED[name]
    with pytest.raises(Refused) as refusal:
        uploads.remade(make())
    assert refusal.value.code == code


@pytest.mark.parametrize("name", ["bomb", "lying huge", "svg", "moving", "heavy jpeg"])
def test_FX04_is_refused_from_the_header_before_anything_is_decoded(name, monkeypatch):
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(Refused) as refusal:
        uploads.remade(REFUSED[name][0]())
    assert refusal.value.code == REFUSED[name][1]


@pytest.mark.parametrize(
    "given",
    [png(), png(mode="RGBA"), png(mode="L"), png(mode="P"), png(mode="I;16"), png(mode="1"),
     png(2500, 1686), jpeg(), jpeg(2500, 843, progressive=True)],
)  # fmt: skip
def test_a_fitting_picture_becomes_a_jpeg_that_line_takes(given):
    made, width, height = uploads.remade(given)
    with Image.open(io.BytesIO(made)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (width, height))
    assert len(made) <= images.MAX_BYTES


def test_metadata_and_what_follows_the_picture_are_dropped():
    exif = Image.Exif()
    exif[0x010E] = "GPS 13.7447 100.5345"
    note = PngInfo()
    note.add_text("Comment", "GPS 13.7447 100.5345")
    for given in (jpeg(exif=exif), png(pnginfo=note), png() + b"<script>1</script>"):
        made, _, _ = uploads.remade(given)
        assert b"13.7447" not in made
        assert b"script" not in made


def test_a_turned_photograph_is_stood_upright_and_judged_so():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = uploads.remade(jpeg(800, 1200, exif=exif))
    assert upright[1:] == (1200, 800)
    with pytest.raises(Refused):
        uploads.remade(jpeg(1200, 800, exif=exif))


#: Decodes and draws the largest picture there may be, as the console does, and tells its memory.
MEASURE = """
import io, resource, sys
from PIL import Image
from rich_menus import images, uploads
from rich_menus.definitions import DEFAULT_PACK, PLAIN
from core.errors import Refused
member = DEFAULT_PACK[1]
with open(sys.argv[1], "rb") as file:
    given = file.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    made, _, _ = uploads.remade(given)
    images.draw_menu(member, member.tabs[0], "th", PLAIN, made)
except Refused:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    "make", [bomb, lambda: png(2500, 1724, mode="RGBA"), lambda: jpeg(2500, 1724, progressive=True)],
    ids=["bomb", "largest png", "largest jpeg"],
)  # fmt: skip
def test_FX04_takes_less_than_64_mib(make, tmp_path):
    given = tmp_path / "given"
    given.write_bytes(make())
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(given)],
        capture_output=True, text=True, check=True, timeout=120,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(ran.stdout) < 64 * 1024


def test_the_same_picture_is_kept_once(session):
    rows = [uploads.keep(session, png(), made_by="staff:1", now=NOW) for _ in range(2)]
    session.flush()
    assert rows[0] is rows[1]
    assert session.get(MenuUpload, rows[0].content_hash).width == 1200


@pytest.mark.parametrize("menu", [GUEST, MEMBER], ids=["one tab", "three tabs"])
def test_an_uploaded_picture_takes_the_tiles_place_below_the_strip(menu):
    given, _, _ = uploads.remade(jpeg(2500, 1686))
    made = images.draw_menu(menu, menu.tabs[0], "th", PLAIN, given)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (2500, 1686)
        assert picture.getpixel((1200, 1000))[2] > 100  # teal
    assert images.type_of(made) == "image/jpeg"
    assert images.type_of(images.draw_menu(menu, menu.tabs[0], "th")) == "image/png"
