"""Every setting, read once from the environment and `.env`, checked, then frozen.

A bad value stops the start with exit code 2 and names the variable, never its value.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

LINE_API = "https://api.line.me"
LINE_API_DATA = "https://api-data.line.me"
LIFF_SDK = "https://static.line-scdn.net/liff/edge/2/sdk.js"
LIFF_HOST = "https://liff.line.me"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECRETS = ("secret_key", "data_key", "index_key")
MIN_SECRET_LENGTH = 32
_KNOWN_SECRETS = ("secret", "changeme", "password", "dev", "test", "default", "example", "flask")

Keys = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """All settings of one process. Names are the variables of `.env.example` in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    database_url: str = "sqlite:///instance/taem.db"
    host: str = "127.0.0.1"
    port: int = Field(default=5000, ge=1, le=65535)
    public_url: str = "http://127.0.0.1:5000"
    secret_key: str = ""
    data_key: Keys = ()
    index_key: Keys = ()
    broker_url: str = ""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    web_threads: int = Field(default=16, ge=1, le=256)
    line_api_url: str = LINE_API
    line_api_data_url: str = LINE_API_DATA
    line_channel_secret: Keys = ()
    line_channel_access_token: str = ""
    line_channel_id: str = ""
    line_login_channel_id: str = ""
    line_login_channel_secret: str = ""
    liff_id: str = ""
    liff_url: str = LIFF_HOST
    liff_sdk_url: str = LIFF_SDK
    shop_timezone: str = "Asia/Bangkok"
    shop_locale: Literal["th", "en"] = "th"
    sending: Literal["on", "held"] = "on"
    demo: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("data_key", "index_key", "line_channel_secret", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("public_url", "line_api_url", "line_api_data_url", "liff_url", "liff_sdk_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("not a web address")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        try:
            backend = make_url(value).drivername
        except ArgumentError as error:
            raise ValueError("not a database URL") from error
        if backend not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("not a database Taem speaks")
        return value

    @field_validator("shop_timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("unknown time zone")
        return value

    @field_validator("secret_key")
    @classmethod
    def _strong(cls, value: str) -> str:
        return _refuse_weak(value)

    @field_validator("data_key", "index_key")
    @classmethod
    def _all_strong(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_refuse_weak(key) for key in value)

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        host = urlsplit(self.public_url).hostname or ""
        if self.demo and not is_loopback(host):
            raise ValueError("DEMO: refused unless PUBLIC_URL is a loopback address")
        if self.talks_to_line and self.public_url.startswith("http://") and not is_loopback(host):
            raise ValueError("PUBLIC_URL: must begin with https:// to talk to LINE")
        return self

    @property
    def tz(self) -> ZoneInfo:
        """The shop's time zone: the one in which a day is a day."""
        return ZoneInfo(self.shop_timezone)

    @property
    def talks_to_line(self) -> bool:
        """Whether calls leave for the real LINE rather than a simulator."""
        return not is_loopback(urlsplit(self.line_api_url).hostname or "")

    @property
    def has_liff(self) -> bool:
        """Whether member pages open through LIFF; without it, through links in the chat."""
        return bool(self.liff_id and self.line_login_channel_id)

    @property
    def is_https(self) -> bool:
        """Whether cookies may carry `Secure` and the `__Host-` prefix."""
        return self.public_url.startswith("https://")


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine; `c1.localhost` is one (RFC 6761)."""
    return host in LOOPBACK or host.endswith(".localhost")


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; a bad one ends it with exit code 2 and its name."""
    try:
        settings = Settings(**overrides)
        if settings.demo:
            settings = Settings(**{**_demo_secrets(settings), **overrides})
        _require_secrets(settings)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"][:1]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            print(f"taem: {name + ': ' if name else ''}{message}", file=sys.stderr)
        raise SystemExit(2) from None
    return settings


def _demo_secrets(settings: Settings) -> dict[str, Any]:
    """The demo makes what is missing of its three secrets once and keeps them in `instance/`."""
    missing = [name for name in SECRETS if not getattr(settings, name)]
    if not missing:
        return {}
    kept = Path("instance") / "demo-secrets.json"
    values: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    made = {name: secrets.token_urlsafe(48) for name in missing if name not in values}
    if made:
        values |= made
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(values))
        draft.rename(kept)
    return {name: values[name] for name in missing}


def _require_secrets(settings: Settings) -> None:
    """Without these nothing can be signed or kept safe; the demo makes its own beforehand."""
    for name in SECRETS:
        if not getattr(settings, name):
            print(f"taem: {name.upper()}: is not set", file=sys.stderr)
            raise SystemExit(2)
    if os.environ.get("FLASK_DEBUG", "0").lower() not in ("", "0", "false"):
        print("taem: FLASK_DEBUG: must be off", file=sys.stderr)
        raise SystemExit(2)


def _refuse_weak(value: str) -> str:
    if not value:
        return value
    plain = value.lower()
    if len(value) < MIN_SECRET_LENGTH or len(set(value)) < 10:
        raise ValueError("too short or too simple")
    if any(plain.replace(known, "").strip("0123456789-_ ") == "" for known in _KNOWN_SECRETS):
        raise ValueError("a well-known value")
    return value
