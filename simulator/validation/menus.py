"""Rich menu objects and their pictures."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from simulator.validation.actions import MENU, check_action
from simulator.validation.problems import Problems

AREA_LIMIT = 20
IMAGE_BYTES = 1024 * 1024
IMAGE_TYPES = {"image/png": "PNG", "image/jpeg": "JPEG"}
WIDTHS = (800, 2500)
MINIMUM_HEIGHT = 250
MINIMUM_RATIO = 1.45


def check_menu(menu: Any) -> dict[str, Any] | None:
    """The body of LINE's 400 for this rich menu, or None where it may be made."""
    problems = Problems()
    if not isinstance(menu, dict):
        problems.add("", "must be an object")
        return problems.answer()
    size = _check_size(problems, menu.get("size"))
    if not isinstance(menu.get("selected"), bool):
        problems.add("selected", "must be specified")
    problems.text("name", menu.get("name"), 300, counts_graphemes=True)
    problems.text("chatBarText", menu.get("chatBarText"), 14, counts_graphemes=True)
    areas = menu.get("areas")
    if not isinstance(areas, list) or len(areas) > AREA_LIMIT:
        problems.add("areas", f"Size must be between 0 and {AREA_LIMIT}")
        areas = []
    for number, area in enumerate(areas):
        _check_area(problems, f"areas[{number}]", area, size)
    return problems.answer() if problems else None


def _check_size(problems: Problems, size: Any) -> tuple[int, int] | None:
    if not isinstance(size, dict):
        problems.add("size", "must be specified")
        return None
    width, height = size.get("width"), size.get("height")
    is_wide = problems.whole("size.width", width, *WIDTHS)
    is_high = problems.whole("size.height", height, MINIMUM_HEIGHT, 2500)
    if not (is_wide and is_high and isinstance(width, int) and isinstance(height, int)):
        return None
    if width / height < MINIMUM_RATIO:
        problems.add("size", f"width / height must be at least {MINIMUM_RATIO}")
    return width, height


def _check_area(problems: Problems, where: str, area: Any, size: tuple[int, int] | None) -> None:
    bounds = area.get("bounds") if isinstance(area, dict) else None
    if not isinstance(bounds, dict):
        problems.add(f"{where}.bounds", "must be specified")
        return
    lows = {"x": 0, "y": 0, "width": 1, "height": 1}
    sides = [
        problems.whole(f"{where}.bounds.{name}", bounds.get(name), low, 2500)
        for name, low in lows.items()
    ]
    if all(sides) and size is not None:
        is_inside = (
            bounds["x"] + bounds["width"] <= size[0] and bounds["y"] + bounds["height"] <= size[1]
        )
        if not is_inside:
            problems.add(f"{where}.bounds", "must be within the rich menu's size")
    check_action(problems, f"{where}.action", area.get("action"), MENU)


def check_picture(content_type: str, body: bytes, size: dict[str, int]) -> tuple[int, str] | None:
    """The status and words of LINE's refusal, or None where the picture fits its menu."""
    form = IMAGE_TYPES.get(content_type)
    if form is None:
        return 415, "The media type is not supported. Use image/jpeg or image/png"
    if len(body) > IMAGE_BYTES:
        return 413, "The image must be at most 1 MB"
    try:
        with Image.open(io.BytesIO(body), formats=("PNG", "JPEG")) as picture:
            found, measures = picture.format, picture.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return 400, "The image could not be read"
    if found != form:
        return 400, "The image does not match its content type"
    if measures != (size["width"], size["height"]):
        return 400, "The image does not match the size of the rich menu"
    return None
