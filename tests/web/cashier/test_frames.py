"""Reading a camera frame, for phones without a detector of their own."""

from __future__ import annotations

import io
import random
import struct
import zlib

import zxingcpp
from PIL import Image

TEXT = "Q1.example.of.a.code"


def picture(size: tuple[int, int] | None = None, kind: str = "PNG") -> bytes:
    barcode = zxingcpp.create_barcode(TEXT, zxingcpp.BarcodeFormat.QRCode)
    code = Image.fromarray(zxingcpp.write_barcode_to_image(barcode, scale=6)).convert("RGB")
    if size is not None:
        code = Image.new("RGB", size, "white")
    made = io.BytesIO()
    code.save(made, kind)
    return made.getvalue()


def lying_png() -> bytes:
    """A header that promises 9,000 × 9,000 pixels in a few bytes (FX04)."""
    head = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    made = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        made += struct.pack(">I", len(body)) + name + body
        made += struct.pack(">I", zlib.crc32(name + body))
    return made


def torn_png() -> bytes:
    """Half of the pixels, and then what is no chunk."""
    noise = Image.frombytes("L", (200, 200), random.Random(1).randbytes(40_000))
    made = io.BytesIO()
    noise.save(made, "PNG")
    whole = made.getvalue()
    place = whole.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", whole[place : place + 4])
    half = length // 2
    kept = struct.pack(">I", half) + whole[place + 4 : place + 8 + half]
    return whole[:place] + kept + b"\0" * 4 + b"\0\0\0\x40" + b"\xff\xff\xff\xff" + b"\0" * 80


def send(till, body: bytes):
    headers = {"X-CSRFToken": till.token(), "Content-Type": "image/jpeg"}
    return till.client.post("/cashier/frame", data=body, headers=headers)


def test_reads_the_code_of_a_frame(till):
    read = [send(till, picture(kind=kind)).get_json() for kind in ("PNG", "JPEG", "WEBP")]
    assert read == [{"text": TEXT}] * 3


def test_frame_without_a_code_reads_as_null(till):
    assert send(till, picture((320, 240))).get_json() == {"text": None}


def test_FX04_pictures_too_large_are_refused_from_the_header(till):
    assert send(till, picture((2600, 100))).status_code == 413
    assert send(till, lying_png()).status_code == 413
    assert send(till, b"x" * (1024 * 1024 + 1)).status_code == 413
    assert send(till, b"").status_code == 413


def test_FX04_what_is_no_picture_is_refused(till):
    bodies = [b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture()[:200]]
    bodies.append(torn_png())
    assert [send(till, body).status_code for body in bodies] == [400] * 4


def test_other_formats_are_refused(till):
    assert send(till, picture(kind="GIF")).status_code == 413
