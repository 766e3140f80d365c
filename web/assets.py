"""What pages are made of: the Thai typeface from its wheel (a bare Debian or a cheap phone may have
none), icons drawn into the page, and files that a browser may keep because their address names
what is in them."""

from __future__ import annotations

import gzip
import re
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, abort, current_app, request
from markupsafe import Markup

from web.auth import public

blueprint = Blueprint("assets", __name__, url_prefix="/assets")
WEIGHTS = {400: "Regular", 600: "SemiBold", 700: "Bold"}
YEAR_SECONDS = 365 * 24 * 3600
KEPT = f"public, max-age={YEAR_SECONDS}, immutable"
#: Endpoints of files on disk.
FILES = ("static", "bootstrap.static")


def register(app: Flask) -> None:
    """Serve fonts and icons for every page, and let browsers keep its files."""
    app.register_blueprint(blueprint)
    app.jinja_env.globals["icon"] = icon
    app.url_defaults(_name_version)
    app.after_request(_let_keep)


@cache
def icon(name: str) -> Markup:
    """One of Bootstrap's icons, in the page itself; the words beside it say what it means.

    Their own file holds two thousand: a phone would fetch and read 1.1 MB for the ten it shows.
    """
    text = resources.files("flask_bootstrap").joinpath(
        "static", "bootstrap5", "icons", "bootstrap-icons.svg"
    )
    found = re.search(
        rf'<symbol[^>]* viewBox="([^"]+)" id="{re.escape(name)}">(.*?)</symbol>',
        text.read_text("utf-8"),
        re.DOTALL,
    )
    if found is None:
        raise KeyError(name)
    box, shape = found.groups()
    drawn = (
        '<svg class="bi" width="1em" height="1em" fill="currentColor" aria-hidden="true"'
        f' viewBox="{box}">{shape}</svg>'
    )
    return Markup(drawn)  # nosec B704  # noqa: S704  (from the package; nobody has typed it)


def _name_version(endpoint: str, values: dict[str, Any]) -> None:
    """Addresses of files say what is in them, as `?v=`: another content is another address."""
    if endpoint in FILES and (version := _version_of(endpoint, values.get("filename", ""))):
        values.setdefault("v", version)


def _let_keep(response: Response) -> Response:
    """What was asked for by its content never changes; all other files are asked for again.

    A process of the version before, or after, answers with another content: that is not kept.
    """
    asked = request.args.get("v")
    if asked and request.endpoint in FILES and response.status_code in (200, 304):
        name = (request.view_args or {}).get("filename", "")
        if asked == _version_of(request.endpoint, name):
            response.headers["Cache-Control"] = KEPT
    return response


def _version_of(endpoint: str, name: str) -> str:
    owner = current_app.blueprints["bootstrap"] if endpoint != "static" else current_app
    path = Path(owner.static_folder or "") / name
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return ""  # it will not be found
    return _digest(path, changed)


@cache
def _digest(path: Path, changed: int) -> str:
    """Of the file's bytes; `changed` so that somebody who edits a style sheet sees it."""
    return sha256(path.read_bytes()).hexdigest()[:12]


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
    response.headers["Cache-Control"] = KEPT
    return response
