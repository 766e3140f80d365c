"""Every setting, read once from the environment and `.env`, checked, then frozen.

A bad value stops the start with exit code 2 and names the variable, never its value.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LINE_API = "https://api.line.me"
LINE_API_DATA = "https://api-data.line.me"
LIFF_SDK = "https://static.line-scdn.net/liff/edge/2/sdk.js"
LIFF_HOST = "https://liff.line.me"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BROKERS = ("redis://", "rediss://", "unix://", "amqp://", "amqps://")
SECRETS = ("secret_key", "data_key", "index_key")
MIN_SECRET_LENGTH = 32
_KNOWN_SECRETS = ("secret", "changeme", "password", "dev", "test", "default", "example", "flask")

#: The demo's own settings: secrets made at its first start, and where `make run` put things.
DEMO_FILE = Path("instance/demo.env")
_DEMO_SECRETS = (
    "SECRET_KEY",
    "DATA_KEY",
    "INDEX_KEY",
    "LINE_CHANNEL_SECRET",
    "LINE_CHANNEL_ACCESS_TOKEN",
    "LINE_LOGIN_CHANNEL_SECRET",
)

Keys = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """All settings of one process. Names are the variables of `.env.example` in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    database_url: str = "sqlite:///instance/taem.db"
    host: str = "127.0.0.1"
    port: int = Field(default=5000, ge=1, le=65535)
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
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
    backup_dir: str = ""
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
        value = value.strip()
        try:
            parts = urlsplit(value)
            _ = parts.port  # looked at only when asked for
        except ValueError as error:  # whose own words quote the value
            raise ValueError("not a web address") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("not a web address")
        if " " in value or not value.isprintable():
            raise ValueError("not a web address")
        return parts.geturl().rstrip("/")  # HTTPS: is https:

    @field_validator("public_url")
    @classmethod
    def _beginning(cls, value: str) -> str:
        parts = urlsplit(value)  # of links, which go on with a path
        if parts.query or parts.username is not None:
            raise ValueError("has more than a host, a port and a path")
        return value

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _no_port(cls, value: Any) -> Any:
        return None if value == "" else value  # as `.env.example` shows it

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: str) -> str:
        value = value.strip()
        # RabbitMQ's may be several; a password of Redis may have a semicolon in it.
        addresses = value.split(";") if value.startswith("amqp") else [value]
        try:
            for address in filter(None, addresses):
                _ = urlsplit(address).port
                if not address.startswith(BROKERS):
                    raise ValueError
        except ValueError as error:  # whose own words quote the value
            raise ValueError("not an address of Redis or RabbitMQ") from error
        return value

    @field_validator(
        "line_channel_access_token",
        "line_channel_id",
        "line_login_channel_id",
        "line_login_channel_secret",
        "liff_id",
    )
    @classmethod
    def _sendable(cls, value: str) -> str:
        return _refuse_unsendable(value.strip())

    @field_validator("line_channel_secret")
    @classmethod
    def _all_sendable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_refuse_unsendable(secret) for secret in value)

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        # Here, because `make run` needs the names of this file and must start quickly.
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(value)
            if url.drivername == "sqlite":  # three slashes, and a file; options that can be read
                url.get_dialect()().create_connect_args(url)
        except (ArgumentError, ValueError) as error:  # a ValueError quotes what stands at the port
            raise ValueError("not a database URL") from error
        if url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("not a database Taem speaks")
        return value

    @field_validator("shop_timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:  # looking one up is a hundredth of listing them all
            ZoneInfo(value)
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise ValueError("unknown time zone") from error
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
    def has_token(self) -> bool:
        """Whether calls to LINE can carry a token: a long-lived one, or those of the channel's id."""
        return bool(self.line_channel_access_token or self.line_channel_id)

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
        if settings.demo and not all(getattr(settings, name) for name in SECRETS):
            keep_demo_settings()
            settings = Settings(_env_file=(".env", DEMO_FILE), **overrides)
        _require_secrets(settings)
        _require_a_file(settings)
    except (OSError, UnicodeError) as error:
        name = getattr(error, "filename", None) or ".env"
        print(f"taem: {name}: cannot be read as UTF-8 text", file=sys.stderr)
        raise SystemExit(2) from None
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"][:1]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            print(f"taem: {name + ': ' if name else ''}{message}", file=sys.stderr)
        raise SystemExit(2) from None
    return settings


def keep_demo_settings(places: dict[str, str] | None = None) -> dict[str, str]:
    """The demo's settings file, with `places` (addresses, ids) renewed and missing secrets made.

    Commands run beside the demo with `DEMO=1` read it too. It is written whole or not at all,
    and only its owner can read it.
    """
    kept = {}
    if DEMO_FILE.exists():
        lines = DEMO_FILE.read_text("utf-8").splitlines()
        kept = dict(line.split("=", 1) for line in lines if "=" in line)
    kept = {name: secrets.token_hex(32) for name in _DEMO_SECRETS} | kept | (places or {})
    DEMO_FILE.parent.mkdir(parents=True, exist_ok=True)
    fresh = DEMO_FILE.with_name(f"demo.env.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in sorted(kept.items()))
    fresh.replace(DEMO_FILE)
    return kept


def _require_secrets(settings: Settings) -> None:
    """Without these nothing can be signed or kept safe; the demo makes its own beforehand."""
    for name in SECRETS:
        if not getattr(settings, name):
            print(f"taem: {name.upper()}: is not set", file=sys.stderr)
            raise SystemExit(2)
    if os.environ.get("FLASK_DEBUG", "0").lower() not in ("", "0", "false"):
        print("taem: FLASK_DEBUG: must be off", file=sys.stderr)
        raise SystemExit(2)


def _require_a_file(settings: Settings) -> None:
    """Every connection would have a memory of its own, and forget it at its end."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        print("taem: DATABASE_URL: names no file", file=sys.stderr)
        raise SystemExit(2)


def is_sendable(value: str) -> bool:
    """Whether a header can hold it: one broken over two lines or pasted with hidden signs cannot
    go into one."""
    return value.isascii() and value.isprintable() and " " not in value


def _refuse_unsendable(value: str) -> str:
    if not is_sendable(value):
        raise ValueError("has a space, a line break or a hidden character in it")
    return value


def _refuse_weak(value: str) -> str:
    if not value:
        return value
    plain = value.lower()
    if len(value) < MIN_SECRET_LENGTH or len(set(value)) < 10:
        raise ValueError("too short or too simple")
    if any(plain.replace(known, "").strip("0123456789-_ ") == "" for known in _KNOWN_SECRETS):
        raise ValueError("a well-known value")
    return value
