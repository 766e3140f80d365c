"""QR codes as PNG: small, sharp, and with the quiet border that scanners need."""

from __future__ import annotations

import base64
from io import BytesIO

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pure import PyPNGImage

from web.ground import runtime

#: A page asks for its next code this often; a code itself lives 60 seconds.
REFRESH_SECONDS = 30


def png(text: str, *, box: int = 10) -> bytes:
    """The picture of `text`; `box` pixels a module."""
    made = qrcode.QRCode(error_correction=ERROR_CORRECT_M, box_size=box, border=4)
    made.add_data(text)
    made.make(fit=True)
    written = BytesIO()
    made.make_image(image_factory=PyPNGImage).save(written)
    return written.getvalue()


def data_url(text: str) -> str:
    """The picture inside its own address, for a code that no cache may see."""
    return "data:image/png;base64," + base64.b64encode(png(text, box=4)).decode("ascii")


def scan_url(code: str) -> str:
    """What a QR says: the address a till or a telephone's own camera opens."""
    return f"{runtime().settings.public_url}/s/{code}"
