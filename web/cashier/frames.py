"""Reads a QR code from a camera frame, for browsers without a detector of their own."""

from __future__ import annotations

import io

from flask import Response, jsonify, request

from core.errors import Invalid
from web.auth import cashier_only
from web.cashier.ground import blueprint

FRAME_BYTES = 1024 * 1024
SIDE = 2500
FORMATS = {"JPEG", "PNG", "WEBP"}


@blueprint.post("/frame")
@cashier_only()
def frame() -> Response:
    """The text of the QR code in the picture, or null. The header is judged before decoding."""
    picture = request.get_data(cache=False)
    if not 0 < len(picture) <= FRAME_BYTES:
        raise Invalid("errors.too_large", status=413)
    return jsonify(text=read_qr(picture))


def read_qr(picture: bytes) -> str | None:
    """The first QR text in a JPEG, PNG or WebP of at most 2500 × 2500 pixels."""
    import zxingcpp
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture)) as image:
            if image.format not in FORMATS or max(image.size) > SIDE:
                raise Invalid("errors.too_large", status=413)
            found = zxingcpp.read_barcodes(image.convert("L"))
    # Pillow says of a broken picture whatever comes to its decoders: a PNG whose chunks go wrong in
    # mid-picture is a SyntaxError, one that ends too soon an OSError.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise Invalid("errors.bad_request", status=400) from error
    return next((code.text for code in found if code.text), None)
