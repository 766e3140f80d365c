"""Who opens a member page: checks the raw ID token that LIFF gives, and nothing else.

A user id, a profile or an access token sent by a page is never believed (`faults.md` 2.5). Every
bad token gets the same answer; a LINE that cannot be asked gets 503, never "accept for now".
"""

from __future__ import annotations

import json
import re
import threading
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import urllib3

from config import Settings
from core.errors import Refused
from core.outgoing import read_within

if TYPE_CHECKING:  # loaded when the first token comes: a shop without LIFF never needs it
    from joserfc.jwk import ECKey, OctKey

ISSUER = "https://access.line.me"
#: Clocks differ a little; one constant for every comparison of times.
LEEWAY = timedelta(seconds=30)
#: LINE's keys change rarely; an unknown key id has them fetched again, at most this often.
KEYS_LIVE = timedelta(hours=24)
KEYS_REST = timedelta(seconds=60)
TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
ANSWER_SECONDS = 10.0
MAX_TOKEN = 4096
MAX_ANSWER = 64 * 1024

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,3000}\.[A-Za-z0-9_-]{1,512}")
_USER_ID = re.compile(r"U[0-9a-f]{32}")
_WEB_ALGORITHM = "HS256"
_LIFF_ALGORITHM = "ES256"


class LoginRefused(Refused):
    """This token does not prove who is asking; why is nobody's business."""

    code = "login.refused"
    status = 401


class LoginUnavailable(Refused):
    """LINE cannot be asked, and what we have does not suffice to judge the token."""

    code = "login.unavailable"
    status = 503


@dataclass(frozen=True)
class Identity:
    """A proven LINE user. Remember the token until `expires_at`: it opens one session."""

    line_user_id: str
    #: Last moment at which any copy of this token would pass, leeway included.
    expires_at: datetime
    name: str | None = None
    picture_url: str | None = None


class _Away(Exception):
    """LINE did not answer, or not as LINE."""


class Verifier:
    """Checks ID tokens of one login channel, with LINE's keys kept in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: dict[str, ECKey] = {}
        self._keys_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._http = urllib3.PoolManager(num_pools=1, maxsize=4, retries=False, timeout=TIMEOUT)

    def verify(self, token: str, real_now: datetime, nonce: str | None = None) -> Identity:
        """The user this token proves. Raises LoginRefused or LoginUnavailable."""
        settings = self._settings
        if not settings.line_login_channel_id:
            raise LoginRefused
        header = _header(token)
        if header.get("alg") == _WEB_ALGORITHM and settings.line_login_channel_secret:
            claims = self._with_secret(token)
        elif header.get("alg") == _LIFF_ALGORITHM and isinstance(header.get("kid"), str):
            claims = self._with_keys(token, header["kid"], real_now)
        else:
            raise LoginRefused
        return _identity(claims, settings.line_login_channel_id, real_now, nonce)

    def _with_secret(self, token: str) -> dict[str, Any]:
        """Web login signs with the channel's secret: the key is never one the token could name."""
        from joserfc.jwk import OctKey

        key = OctKey.import_key(self._settings.line_login_channel_secret)
        return _claims(token, key, _WEB_ALGORITHM)

    def _with_keys(self, token: str, key_id: str, real_now: datetime) -> dict[str, Any]:
        """LIFF signs with one of LINE's published keys; without them LINE itself is asked."""
        try:
            key = self._key(key_id, real_now)
        except _Away:
            return self._ask(token)
        if key is None:
            raise LoginRefused
        return _claims(token, key, _LIFF_ALGORITHM)

    def _key(self, key_id: str, real_now: datetime) -> ECKey | None:
        """The published key of this id. Raises _Away if it cannot be known now."""
        with self._lock:
            is_fresh = self._keys_at is not None and real_now - self._keys_at < KEYS_LIVE
            found = self._keys.get(key_id)
            if found is not None and is_fresh:
                return found
            # Made-up key ids must not turn us against LINE: between two looks there is a rest.
            is_resting = self._asked_at is not None and real_now - self._asked_at < KEYS_REST
            if is_resting:
                if found is None and self._keys_at != self._asked_at:
                    raise _Away
                return found
            self._asked_at = real_now
            try:
                self._keys = self._fetch_keys()
            except _Away:
                if found is not None:
                    return found  # a key LINE has published before: the signature still decides
                raise
            self._keys_at = real_now
            return self._keys.get(key_id)

    def _fetch_keys(self) -> dict[str, ECKey]:
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey

        status, body = self._request("GET", "/oauth2/v2.1/certs")
        published = body.get("keys") if status == 200 else None
        if not isinstance(published, list):
            raise _Away
        keys = {}
        for one in published:
            is_ours = isinstance(one, dict) and one.get("kty") == "EC" and one.get("crv") == "P-256"
            if is_ours and isinstance(one.get("kid"), str):
                try:
                    keys[one["kid"]] = ECKey.import_key({**one, "alg": _LIFF_ALGORITHM})
                except (JoseError, ValueError, TypeError):
                    continue
        if not keys:
            raise _Away
        return keys

    def _ask(self, token: str) -> dict[str, Any]:
        """Have LINE verify the token; its answer is checked like a token's own claims."""
        fields = {"id_token": token, "client_id": self._settings.line_login_channel_id}
        try:
            status, body = self._request("POST", "/oauth2/v2.1/verify", fields)
        except _Away:
            raise LoginUnavailable from None
        if status == 200:
            return body
        if status in (400, 401):
            raise LoginRefused
        raise LoginUnavailable

    def _request(
        self, method: str, path: str, fields: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        url = self._settings.line_api_url + path
        form: dict[str, Any] = {"fields": fields, "encode_multipart": False} if fields else {}
        try:
            answer = self._http.request(method, url, redirect=False, preload_content=False, **form)
            raw = read_within(answer, MAX_ANSWER, ANSWER_SECONDS)
        except (urllib3.exceptions.HTTPError, OSError):
            raise _Away from None
        if 300 <= answer.status < 400 or len(raw) > MAX_ANSWER:
            raise _Away
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            if answer.status == 200:
                raise _Away
            body = {}
        return answer.status, body


_verifiers: dict[tuple[str, ...], Verifier] = {}
_making = threading.Lock()


def verify(settings: Settings, token: str, real_now: datetime) -> Identity:
    """Check a token with this process's verifier for these settings (keys are kept)."""
    marks = (
        settings.line_api_url,
        settings.line_login_channel_id,
        settings.line_login_channel_secret,
    )
    with _making:
        verifier = _verifiers.setdefault(marks, Verifier(settings))
    return verifier.verify(token, real_now)


def _header(token: str) -> dict[str, Any]:
    """A token's header. Anything that is not exactly one compact token is refused unread."""
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise LoginRefused
    head = token.split(".", 1)[0]
    try:
        header = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise LoginRefused from None
    if not isinstance(header, dict) or "crit" in header:
        raise LoginRefused
    return header


def _claims(token: str, key: ECKey | OctKey, algorithm: str) -> dict[str, Any]:
    from joserfc import jwt
    from joserfc.errors import JoseError

    try:
        return dict(jwt.decode(token, key, algorithms=[algorithm]).claims)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise LoginRefused from None


def _identity(
    claims: dict[str, Any], channel_id: str, real_now: datetime, nonce: str | None
) -> Identity:
    """Check what the token says; its signature is checked already."""
    subject = claims.get("sub")
    issued_at, expires_at = _moment(claims.get("iat")), _moment(claims.get("exp"))
    is_good = (
        claims.get("iss") == ISSUER
        # Exactly this shop's channel, and it alone: a list naming others too is not ours.
        and claims.get("aud") in (channel_id, [channel_id])
        and isinstance(subject, str)
        and _USER_ID.fullmatch(subject) is not None
        and issued_at is not None
        and expires_at is not None
        and issued_at <= real_now + LEEWAY
        and real_now < expires_at + LEEWAY
        and (nonce is None or claims.get("nonce") == nonce)
    )
    if not is_good or expires_at is None:
        raise LoginRefused
    return Identity(
        line_user_id=str(subject),
        expires_at=expires_at + LEEWAY,
        name=_text(claims.get("name")),
        picture_url=_text(claims.get("picture")),
    )


def _moment(value: Any) -> datetime | None:
    """Unix seconds as a moment; None for anything else."""
    if type(value) is not int or not 0 <= value < 10**11:
        return None
    return datetime.fromtimestamp(value, UTC)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
