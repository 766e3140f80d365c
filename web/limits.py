"""How often one address, or one API key, may knock. Never on LINE's webhook.

Counted in memory, or in Redis where several processes share one. What guards money and people
(PINs, passwords, look-ups) is counted in the database besides, and survives a restart.
"""

from __future__ import annotations

from flask import Flask, request
from flask_limiter import Limiter

from config import Settings
from core.ids import token_hash

SIGN_IN = "10 per minute; 60 per hour"
ENROL = "10 per minute; 60 per hour"
API = "1200 per minute"
#: Many phones of one mobile network share an address.
LINKS = "600 per minute"


def address() -> str:
    """The caller's address, as far as trusted proxies vouch for it."""
    return request.remote_addr or "nowhere"


def bearer() -> str:
    """The caller's key (its hash), or its address without one."""
    header = request.headers.get("Authorization", "")
    return token_hash(header) if header else address()


limiter = Limiter(key_func=address, in_memory_fallback_enabled=True)


def limit(app: Flask, settings: Settings) -> None:
    """Watch this application's marked routes."""
    is_redis = settings.broker_url.startswith(("redis://", "rediss://"))
    app.config.update(
        RATELIMIT_STORAGE_URI=settings.broker_url if is_redis else "memory://",
        RATELIMIT_STRATEGY="fixed-window",
        RATELIMIT_KEY_PREFIX="taem",
    )
    limiter.init_app(app)
