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


#: Keys (their hashes) that were good once. Only they are counted each on its own: whoever makes
#: keys up would begin anew with every one of them. Each process learns them as they come.
_GOOD_KEYS: set[str] = set()
#: Above any shop's keys; then they are learnt again.
KEYS_KEPT = 10_000


def bearer() -> str:
    """The caller's key (its hash) once it was good; the address of everybody else."""
    key = _key()
    return key if key in _GOOD_KEYS else address()


def note_good_key() -> None:
    """This request's key is one of ours."""
    if len(_GOOD_KEYS) >= KEYS_KEPT:
        _GOOD_KEYS.clear()
    _GOOD_KEYS.add(_key())


def _key() -> str:
    """Without what may stand before it, in any letters: one key is counted as one."""
    return token_hash(request.headers.get("Authorization", "").partition(" ")[2].strip())


def seconds_to_wait() -> int | None:
    """After how many seconds at the latest whoever has just knocked too often may knock again."""
    broken = limiter.current_limit
    return broken.limit.get_expiry() if broken is not None else None


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
