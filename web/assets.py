"""The Thai typeface from its wheel: a bare Debian or a cheap phone may have none."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources

from flask import Blueprint, Flask, Response, abort, request

from web.auth import public

blueprint = Blueprint("assets", __name__, url_prefix="/assets")
WEIGHTS = {400: "Regular", 600: "SemiBold", 700: "Bold"}
YEAR_SECONDS = 365 * 24 * 3600


def register(app: Flask) -> None:
    """Serve fonts for every page."""
    app.register_blueprint(blueprint)


@cache
def font_bytes(weight: int) -> bytes:
    """The TrueType file of one weight, found by its file name inside the wheel."""
    name = f"Sarabun-{WEIGHTS[weight]}.ttf"
    for entry in resources.files("fontpkg_sarabun").joinpath("").iterdir():
        found = _find(entry, name)
        if found is not None:
            return found
    raise FileNotFoundError(name)


@cache
def squeezed(weight: int) -> bytes:
    """The same for browsers that unpack: half the bytes on a bad signal."""
    return gzip.compress(font_bytes(weight), 9)


def _find(entry: resources.abc.Traversable, name: str) -> bytes | None:
    if entry.is_file():
        return entry.read_bytes() if entry.name == name else None
    for child in entry.iterdir():
        found = _find(child, name)
        if found is not None:
            return found
    return None


@blueprint.get("/fonts/sarabun-<int:weight>.ttf")
@public
def font(weight: int) -> Response:
    """One weight of Sarabun."""
    if weight not in WEIGHTS:
        abort(404)
    if request.accept_encodings.quality("gzip") > 0:
        response = Response(squeezed(weight), mimetype="font/ttf")
        response.headers["Content-Encoding"] = "gzip"
    else:
        response = Response(font_bytes(weight), mimetype="font/ttf")
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return response
