"""What the simulator is told from outside, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Rows without messages are small, so fast mode remembers more of them.
FAST_JOURNAL_LIMIT = 200_000


@dataclass(frozen=True)
class SimulatorSettings:
    """One channel, its keys, and how strict and how large this stand-in is."""

    host: str = "127.0.0.1"
    port: int = 9000
    public_url: str = "http://127.0.0.1:9000"
    taem_url: str = "http://127.0.0.1:5000"
    liff_endpoint_path: str = "/m"
    shop_name: str = "ร้านกาแฟแต้มดี"
    channel_id: str = "1650000001"
    channel_secrets: tuple[str, ...] = ("simulator-channel-secret",)
    access_tokens: tuple[str, ...] = ()
    login_channel_id: str = "1650000002"
    login_channel_secret: str = ""
    liff_id: str = "1650000002-SimLiffA"
    state_path: Path | None = None
    # Cheap validation and small journal rows, for load that would not fit otherwise.
    is_fast: bool = False
    accepts_unknown_users: bool = False
    accepts_unknown_reply_tokens: bool = False
    is_verified_account: bool = False
    has_rate_limits: bool = True
    # LINE does not say how deep its token buckets are; this many seconds of the rate.
    burst_seconds: float = 1.0
    # LINE's limits per hour are multiplied by this: demonstrations publish menus often.
    hourly_factor: float = 1.0
    monthly_quota: int | None = 5000
    latency_seconds: float = 0.0
    webhook_timeout_seconds: float = 2.0
    # How long events wait for company while batches or disorder are switched on.
    webhook_hold_seconds: float = 0.5
    redelivery_base_seconds: float = 1.0
    redelivery_attempts: int = 12
    journal_limit: int = 50_000

    @property
    def channel_secret(self) -> str:
        """The secret that signs; a second one (rotation) is only accepted for tokens."""
        return self.channel_secrets[0]

    @property
    def taem_port(self) -> int:
        parts = urlsplit(self.taem_url)
        return parts.port or (443 if parts.scheme == "https" else 80)


def _is_on(value: str | None) -> bool:
    return (value or "").strip().lower() in {"1", "true", "yes", "on"}


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _quota(value: str | None) -> int | None:
    """A number of messages a month, or None for an unlimited plan."""
    if value is None or not value.strip():
        return SimulatorSettings.monthly_quota
    return None if value.strip().lower() == "none" else int(value)


def from_environment(
    environment: Mapping[str, str],
    *,
    host: str | None = None,
    port: int | None = None,
    state_path: Path | None = None,
    journal_limit: int | None = None,
) -> SimulatorSettings:
    """Settings from LINE's own variable names plus the few `SIM_` ones; arguments win."""
    defaults = SimulatorSettings
    get = environment.get
    is_fast = _is_on(get("SIM_FAST"))
    chosen_host = host or get("SIM_HOST") or defaults.host
    chosen_port = port if port is not None else int(get("SIM_PORT") or defaults.port)
    unknown = get("SIM_ACCEPT_UNKNOWN_USERS")
    return SimulatorSettings(
        host=chosen_host,
        port=chosen_port,
        public_url=(get("SIM_PUBLIC_URL") or f"http://127.0.0.1:{chosen_port}").rstrip("/"),
        taem_url=(get("TAEM_URL") or defaults.taem_url).rstrip("/"),
        liff_endpoint_path=get("SIM_LIFF_ENDPOINT_PATH") or defaults.liff_endpoint_path,
        shop_name=get("SIM_SHOP_NAME") or defaults.shop_name,
        channel_id=get("LINE_CHANNEL_ID") or defaults.channel_id,
        channel_secrets=_listed(get("LINE_CHANNEL_SECRET")) or defaults.channel_secrets,
        access_tokens=_listed(get("LINE_CHANNEL_ACCESS_TOKEN")),
        login_channel_id=get("LINE_LOGIN_CHANNEL_ID") or defaults.login_channel_id,
        login_channel_secret=get("LINE_LOGIN_CHANNEL_SECRET") or "",
        liff_id=get("LIFF_ID") or defaults.liff_id,
        state_path=state_path,
        is_fast=is_fast,
        accepts_unknown_users=is_fast if unknown is None else _is_on(unknown),
        accepts_unknown_reply_tokens=is_fast,
        is_verified_account=_is_on(get("SIM_VERIFIED_ACCOUNT")),
        has_rate_limits=(get("SIM_RATE_LIMITS") or "on").lower() != "off",
        burst_seconds=float(get("SIM_BURST_SECONDS") or defaults.burst_seconds),
        hourly_factor=float(get("SIM_HOURLY_FACTOR") or defaults.hourly_factor),
        monthly_quota=_quota(get("SIM_QUOTA")),
        redelivery_base_seconds=float(
            get("SIM_REDELIVERY_SECONDS") or defaults.redelivery_base_seconds
        ),
        redelivery_attempts=int(get("SIM_REDELIVERY_ATTEMPTS") or defaults.redelivery_attempts),
        latency_seconds=float(get("SIM_LATENCY_MS") or 0) / 1000,
        journal_limit=journal_limit or (FAST_JOURNAL_LIMIT if is_fast else defaults.journal_limit),
    )
