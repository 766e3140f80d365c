"""Channel access tokens and LINE Login tokens: issued, checked, revoked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey

from simulator.clock import Clock
from simulator.faults import Faults
from simulator.settings import SimulatorSettings

STATELESS_SECONDS = 900
SHORT_LIVED_SECONDS = 30 * 86_400
SHORT_LIVED_LIMIT = 30
ID_TOKEN_SECONDS = 3600
USER_TOKEN_SECONDS = 12 * 3600
ISSUER = "https://access.line.me"


class ChannelTokens:
    """Which bearer tokens the Messaging API accepts now.

    Stateless tokens carry their expiry under a MAC, so that they outlive a restart as LINE's do.
    """

    def __init__(self, settings: SimulatorSettings, clock: Clock, faults: Faults) -> None:
        self._settings = settings
        self._clock = clock
        self._faults = faults
        self._key = hashlib.sha256(settings.channel_secret.encode()).digest()
        self._fixed = {f"Bearer {token}" for token in settings.access_tokens}
        self._short_lived: dict[str, float] = {}
        self._known: dict[str, float] = {}
        self._revoked: set[str] = set()
        self._revoked_before = 0.0

    def accepts(self, header: str | None) -> bool:
        if not header:
            return False
        faults = self._faults.values
        if faults:
            if faults.get("token_revoked") == "all" or header in self._revoked:
                return False
            if header == f"Bearer {faults.get('extra_token')}":
                return True
        if header in self._fixed:
            return True
        now = self._clock.now()
        until = self._known.get(header)
        if until is None:
            until = self._expiry(header)
            if until <= now:
                return False
            if len(self._known) > 1000:
                self._known.clear()
            self._known[header] = until
        return until > now

    def issue_stateless(self) -> str:
        return self._sealed(STATELESS_SECONDS)

    def issue_short_lived(self) -> str:
        """Thirty at a time; one more revokes the oldest."""
        token = self._sealed(SHORT_LIVED_SECONDS)
        self._short_lived[token] = self._clock.now() + SHORT_LIVED_SECONDS
        if len(self._short_lived) > SHORT_LIVED_LIMIT:
            oldest = next(iter(self._short_lived))
            del self._short_lived[oldest]
            self._forget(f"Bearer {oldest}")
        return token

    def seconds_left(self, token: str) -> int:
        """Remaining life of a token in force, or 0; long-lived ones have no end."""
        header = f"Bearer {token}"
        if not self.accepts(header):
            return 0
        if header in self._fixed:
            return 3_138_007_490
        return max(int(self._known.get(header, 0) - self._clock.now()), 0)

    def revoke(self, token: str) -> None:
        self._forget(f"Bearer {token}")

    def revoke_all(self) -> None:
        """Refuse every token known until now; tokens issued from here on are accepted."""
        self._revoked |= self._fixed
        self._fixed = set()
        self._revoked_before = self._clock.now()
        self._known.clear()

    def restore(self) -> None:
        self._fixed = {f"Bearer {token}" for token in self._settings.access_tokens}
        self._revoked.clear()
        self._revoked_before = 0.0

    def _forget(self, header: str) -> None:
        self._revoked.add(header)
        self._fixed.discard(header)
        self._known.pop(header, None)

    def _sealed(self, life_seconds: int) -> str:
        now = self._clock.now()
        body = f"{now:.3f}.{now + life_seconds:.3f}.{secrets.token_hex(8)}"
        return base64.urlsafe_b64encode(f"{body}.{self._mac(body)}".encode()).decode()

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()[:32]

    def _expiry(self, header: str) -> float:
        """End of a sealed token, or 0 for anything else."""
        if header in self._revoked or not header.startswith("Bearer "):
            return 0.0
        try:
            text = base64.urlsafe_b64decode(header[7:].encode()).decode()
            body, mac = text.rsplit(".", 1)
            issued_at, until = (".".join(body.split(".")[i : i + 2]) for i in (0, 2))
            if not hmac.compare_digest(mac, self._mac(body)):
                return 0.0
            return float(until) if float(issued_at) >= self._revoked_before else 0.0
        except (ValueError, UnicodeError):
            return 0.0


class LoginRefused(Exception):
    """A token the Login API does not accept, in LINE's words."""


class LoginTokens:
    """ID tokens (ES256, as LIFF gives them) and user access tokens."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._user_tokens: dict[str, tuple[str, float]] = {}
        self.set_key(ECKey.generate_key("P-256", private=True).as_dict(private=True))

    def set_key(self, jwk: dict[str, Any]) -> None:
        key = ECKey.import_key(jwk)
        public = key.as_dict(private=False)
        self.key_id = base64.urlsafe_b64encode(
            hashlib.sha256(f"{public['x']}{public['y']}".encode()).digest()[:12]
        ).decode()
        self._key = key
        self._stranger = ECKey.generate_key("P-256", private=True)

    def private_jwk(self) -> dict[str, Any]:
        return dict(self._key.as_dict(private=True))

    def published(self) -> dict[str, Any]:
        public = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self.key_id, "alg": "ES256", "use": "sig"}]}

    def id_token(
        self,
        claims: dict[str, Any],
        *,
        algorithm: str = "ES256",
        is_forged: bool = False,
    ) -> str:
        """Sign claims; `is_forged` uses a key that is not published, for tests of refusals."""
        now = int(self._clock.now())
        body = {
            "iss": ISSUER,
            "aud": self._settings.login_channel_id,
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
            "amr": ["linesso"],
            **claims,
        }
        header = {"alg": algorithm, "typ": "JWT"}
        if algorithm == "HS256":
            secret = self._settings.login_channel_secret or "simulator-login-secret"
            return jwt.encode(header, body, OctKey.import_key(secret), algorithms=["HS256"])
        header["kid"] = self.key_id
        key = self._stranger if is_forged else self._key
        return jwt.encode(header, body, key, algorithms=["ES256"])

    def checked_claims(
        self, token: str, client_id: str, nonce: str | None, user_id: str | None
    ) -> dict[str, Any]:
        """The claims of an ID token, or LoginRefused with LINE's description."""
        try:
            claims = jwt.decode(token, self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError) as error:
            raise LoginRefused("Invalid IdToken.") from error
        if claims.get("iss") != ISSUER:
            raise LoginRefused("Invalid IdToken Issuer.")
        if client_id != claims.get("aud"):
            raise LoginRefused("Invalid IdToken Audience.")
        if claims.get("exp", 0) <= self._clock.now():
            raise LoginRefused("IdToken expired.")
        if nonce is not None and nonce != claims.get("nonce"):
            raise LoginRefused("Invalid IdToken Nonce.")
        if user_id is not None and user_id != claims.get("sub"):
            raise LoginRefused("Invalid IdToken Subject Identifier.")
        return dict(claims)

    def issue_user_token(self, user_id: str) -> str:
        token = secrets.token_urlsafe(48)
        if len(self._user_tokens) > 10_000:
            del self._user_tokens[next(iter(self._user_tokens))]
        self._user_tokens[token] = (user_id, self._clock.now() + USER_TOKEN_SECONDS)
        return token

    def user_of(self, token: str) -> tuple[str, int] | None:
        """The user id and the seconds left of a user access token."""
        found = self._user_tokens.get(token)
        if found is None or found[1] <= self._clock.now():
            return None
        return found[0], int(found[1] - self._clock.now())

    def revoke_user(self, user_id: str) -> None:
        self._user_tokens = {
            token: owner for token, owner in self._user_tokens.items() if owner[0] != user_id
        }
