"""QR codes as PNG: small, sharp, and with the quiet border that scanners need."""

from __future__ import annotations

import base64
from io import BytesIO

import qrcode
from PIL import Image
from qrcode.constants import ERROR_CORRECT_M

from web.ground import runtime

#: A page asks for its next code this often; a code itself lives 60 seconds.
REFRESH_SECONDS = 30
BORDER = 4  # modules of white around, as the standard asks


def png(text: str, *, box: int = 10) -> bytes:
    """The picture of `text`; `box` pixels a module."""
    made = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=BORDER)
    made.add_data(text)
    made.make(fit=True)
    modules = made.get_matrix()
    side = len(modules)
    picture = Image.new("1", (side, side), 1)
    picture.putdata([not is_dark for row in modules for is_dark in row])
    written = BytesIO()
    picture.resize((side * box, side * box), Image.Resampling.NEAREST).save(written, "PNG")
    return written.getvalue()


def data_url(text: str) -> str:
    """The picture inside its own address, for a code that no cache may see."""
    return "data:image/png;base64," + base64.b64encode(png(text, box=4)).decode("ascii")


def scan_url(code: str) -> str:
    """What a QR says: the address a till or a telephone's own camera opens."""
    return f"{runtime().settings.public_url}/s/{code}"
