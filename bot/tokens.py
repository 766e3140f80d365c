"""The channel access token in force: long-lived from the settings, or stateless and issued here.

One `TokenSource` lives in each process. A new long-lived token written into `.env` is noticed
while running, so that an exchanged token needs no restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from config import Settings, is_sendable
from core.errors import OutsideFault
from core.ids import token_hash

#: Stateless tokens live 15 minutes (LINE, "Channel access token"); ours are replaced earlier.
ISSUED_LIFE_SECONDS = 14 * 60
REREAD_SECONDS = 20.0
VARIABLE = "LINE_CHANNEL_ACCESS_TOKEN"

#: Asks LINE for a stateless token; raises OutsideFault where that fails.
Issue = Callable[[], str]


class NoToken(OutsideFault):
    """There is nothing to sign calls with: neither a token nor the means to issue one."""

    def __init__(self) -> None:
        super().__init__("no channel access token is configured", is_permanent=True)


@dataclass(frozen=True)
class _Held:
    token: str
    is_issued: bool
    #: Monotonic seconds; only issued tokens end.
    until: float


class TokenSource:
    """Gives the token for the next call; safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        issue: Issue | None = None,
        env_file: Path | None = Path(".env"),
    ) -> None:
        self._issue = issue or _issuer(settings)
        self._env_file = env_file
        self._lock = threading.Lock()
        self._held: _Held | None = None
        if settings.line_channel_access_token:
            self._held = _Held(settings.line_channel_access_token, False, float("inf"))
        self._env_stamp = self._stamp()
        self._read_at = time.monotonic()

    def get(self) -> str:
        """The token in force, issued if need be (one call to LINE). Raises OutsideFault."""
        now, held = time.monotonic(), self._held
        if held is not None and now < held.until and now - self._read_at < REREAD_SECONDS:
            return held.token
        with self._lock:
            self._reread()
            held = self._held
            if held is not None and time.monotonic() < held.until:
                return held.token
            if self._issue is None:
                raise NoToken
            token = self._issue()
            self._held = _Held(token, True, time.monotonic() + ISSUED_LIFE_SECONDS)
            return token

    @property
    def fingerprint(self) -> str | None:
        """Hash of the token that `get` would give without asking LINE; None if it would ask."""
        with self._lock:
            self._reread()
            held = self._held
            if held is None or time.monotonic() >= held.until:
                return None
            return token_hash(held.token)

    @property
    def is_ready(self) -> bool:
        """Whether `get` answers without asking LINE."""
        held = self._held
        return held is not None and time.monotonic() < held.until

    def refused(self, token: str) -> bool:
        """LINE refused this token. Returns whether another one can be had at once."""
        with self._lock:
            held = self._held
            if held is None or held.token != token:
                return True
            if not held.is_issued:
                return False
            self._held = None
            return True

    def replace(self, token: str) -> None:
        """Use this long-lived token from now on."""
        with self._lock:
            self._held = _Held(token, False, float("inf"))

    def _reread(self) -> None:
        """Take over a token written into `.env` since this process started."""
        if time.monotonic() - self._read_at < REREAD_SECONDS:
            return
        self._read_at = time.monotonic()
        stamp = self._stamp()
        if stamp is None or stamp == self._env_stamp or self._env_file is None:
            return
        self._env_stamp = stamp
        try:
            token = dotenv_values(self._env_file, encoding="utf-8").get(VARIABLE) or ""
        except (OSError, UnicodeError):
            return  # half written, or no text: the next change of it is looked at again
        token = token.strip()
        if token and is_sendable(token) and (self._held is None or self._held.token != token):
            self._held = _Held(token, False, float("inf"))

    def _stamp(self) -> tuple[int, int] | None:
        """When and how long `.env` was last written; None without one."""
        try:
            found = self._env_file.stat() if self._env_file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size) if found else None


def _issuer(settings: Settings) -> Issue | None:
    """How stateless tokens are issued for this channel; None where it is not set up for that."""
    if not (settings.line_channel_id and settings.line_channel_secret):
        return None

    def issue() -> str:
        from bot.gateway import issue_stateless_token

        return issue_stateless_token(settings)

    return issue
