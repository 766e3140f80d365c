"""The till page: an enrolled device, a PIN, one screen from scan to receipt."""

from __future__ import annotations

from flask import Flask

from web.cashier import door, frames, members, queue, reports, till
from web.cashier.ground import blueprint

__all__ = ["door", "frames", "members", "queue", "register", "reports", "till"]


def register(app: Flask) -> None:
    """Offer the till page."""
    app.register_blueprint(blueprint)
