"""Tokens over HTTP: channel access tokens, ID token checks, keys, deauthorisation."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from simulator.account import picture_url, profile_of
from simulator.answers import Call, Endpoints, Refused, Result
from simulator.limits import OTHER, SHORT_LIVED_TOKEN
from simulator.people import Customer
from simulator.tokens import SHORT_LIVED_SECONDS, STATELESS_SECONDS, LoginRefused
from simulator.world import World


class Login:
    def __init__(self, world: World) -> None:
        self._world = world

    def register(self, endpoints: Endpoints) -> None:
        def add(method: str, path: str, name: str, handler: Any, **more: Any) -> None:
            more.setdefault("needs_token", False)
            endpoints.add(method, path, name, handler, **more)

        add("POST", "/oauth2/v3/token", "token.stateless", self.stateless)
        add(
            "POST", "/v2/oauth/accessToken", "token.short_lived", self.short_lived,
            rate=SHORT_LIVED_TOKEN,
        )  # fmt: skip
        add("POST", "/v2/oauth/verify", "token.verify_channel", self.verify_channel)
        add("POST", "/v2/oauth/revoke", "token.revoke", self.revoke)
        add("POST", "/oauth2/v2.1/verify", "token.verify_id", self.verify_id_token)
        add("GET", "/oauth2/v2.1/verify", "token.verify_access", self.verify_access_token)
        add("GET", "/oauth2/v2.1/certs", "token.certs", self.certs)
        add("GET", "/v2/profile", "token.profile", self.own_profile)
        add("GET", "/friendship/v1/status", "token.friendship", self.friendship)
        add(
            "POST", "/user/v1/deauthorize", "account.deauthorize", self.deauthorize,
            rate=OTHER, needs_token=True, takes_json=True,
        )  # fmt: skip

    # Channel access tokens.

    async def stateless(self, call: Call) -> Result:
        form = await self._client_form(call)
        if isinstance(form, tuple):
            return form
        return {
            "token_type": "Bearer",
            "access_token": self._world.channel_tokens.issue_stateless(),
            "expires_in": STATELESS_SECONDS,
        }

    async def short_lived(self, call: Call) -> Result:
        form = await self._client_form(call)
        if isinstance(form, tuple):
            return form
        return {
            "access_token": self._world.channel_tokens.issue_short_lived(),
            "expires_in": SHORT_LIVED_SECONDS,
            "token_type": "Bearer",
        }

    async def verify_channel(self, call: Call) -> Result:
        form = await call.request.post()
        seconds = self._world.channel_tokens.seconds_left(str(form.get("access_token", "")))
        if not seconds:
            return _oauth_error("invalid_request", "access token expired")
        return {
            "client_id": self._world.settings.channel_id,
            "expires_in": seconds,
            "scope": "P CM",
        }

    async def revoke(self, call: Call) -> Result:
        form = await call.request.post()
        self._world.channel_tokens.revoke(str(form.get("access_token", "")))
        return {}

    async def _client_form(self, call: Call) -> Any:
        """The form of a token request, or LINE's OAuth error."""
        form = await call.request.post()
        if form.get("grant_type") != "client_credentials":
            return _oauth_error("unsupported_grant_type", "grant_type must be client_credentials")
        settings = self._world.settings
        pairs = {(settings.channel_id, secret) for secret in settings.channel_secrets}
        if settings.login_channel_secret:
            pairs.add((settings.login_channel_id, settings.login_channel_secret))
        if (form.get("client_id"), form.get("client_secret")) not in pairs:
            return _oauth_error("invalid_client", "invalid client_id or client_secret")
        return form

    # LINE Login.

    async def verify_id_token(self, call: Call) -> Result:
        if self._world.faults.strikes("verify_down"):
            raise Refused(503, "Service unavailable")
        form = await call.request.post()
        token, client_id = form.get("id_token"), form.get("client_id")
        if not isinstance(token, str) or not isinstance(client_id, str):
            return _oauth_error("invalid_request", "id_token and client_id must be specified")
        try:
            claims = self._world.login_tokens.checked_claims(
                token, client_id, _given(form, "nonce"), _given(form, "user_id")
            )
        except LoginRefused as refused:
            return _oauth_error("invalid_request", str(refused))
        return claims

    async def verify_access_token(self, call: Call) -> Result:
        if self._world.faults.strikes("verify_down"):
            raise Refused(503, "Service unavailable")
        found = self._world.login_tokens.user_of(call.request.query.get("access_token", ""))
        if found is None:
            return _oauth_error("invalid_request", "access token expired")
        return {
            "scope": "profile openid chat_message.write",
            "client_id": self._world.settings.login_channel_id,
            "expires_in": found[1],
        }

    async def certs(self, call: Call) -> Result:
        if self._world.faults.strikes("certs_down"):
            raise Refused(503, "Service unavailable")
        return self._world.login_tokens.published()

    async def own_profile(self, call: Call) -> Result:
        customer = self._bearer(call)
        return profile_of(customer, self._world.settings.public_url)

    async def friendship(self, call: Call) -> Result:
        customer = self._bearer(call)
        return {"friendFlag": customer.is_friend and not customer.is_blocking}

    async def deauthorize(self, call: Call) -> Result:
        """A member left: the consent given to the Login channel is taken back."""
        found = self._world.login_tokens.user_of(str(call.body.get("userAccessToken", "")))
        if found is None:
            raise Refused(400, "invalid user access token")
        customer = self._world.people.by_user_id.get(found[0])
        if customer is not None:
            customer.is_deauthorized = True
            self._world.touch(customer.id, "state")
        self._world.login_tokens.revoke_user(found[0])
        return web.Response(status=204)

    def _bearer(self, call: Call) -> Customer:
        header = call.request.headers.get("Authorization", "")
        found = self._world.login_tokens.user_of(header.removeprefix("Bearer "))
        customer = self._world.people.by_user_id.get(found[0]) if found else None
        if customer is None:
            raise Refused(401, "The access token is invalid")
        return customer


def claims_of(customer: Customer, public_url: str) -> dict[str, Any]:
    """What LIFF's ID token says about a customer."""
    claims: dict[str, Any] = {"sub": customer.user_id, "name": customer.name}
    picture = picture_url(customer, public_url)
    if picture:
        claims["picture"] = picture
    return claims


def _given(form: Any, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) and value else None


def _oauth_error(error: str, description: str) -> tuple[int, dict[str, Any]]:
    return 400, {"error": error, "error_description": description}
