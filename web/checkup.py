"""`flask doctor`: looks at everything a live shop needs and says in words what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from config import is_loopback
from core.errors import OutsideFault
from core.i18n import t
from core.runtime import Runtime

TIMEOUT_SECONDS = 8


@dataclass(frozen=True)
class Finding:
    """One thing looked at: fine, or what to do about it."""

    is_well: bool
    words: str


def examine(runtime: Runtime) -> list[Finding]:
    """Every check in order; one that cannot run is itself a finding."""
    language = runtime.settings.shop_locale
    checks: list[Callable[[Runtime], Iterator[tuple[bool, str, dict[str, object]]]]] = [
        _settings,
        _database,
        _fonts,
        _public_url,
        _line,
        _liff,
    ]
    return [
        Finding(is_well, t(language, key, **facts))
        for check in checks
        for is_well, key, facts in check(runtime)
    ]


def _settings(runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    settings = runtime.settings
    yield (
        bool(settings.line_channel_secret),
        *_either(bool(settings.line_channel_secret), "doctor.secret_ok", "doctor.secret_missing"),
    )
    yield (
        settings.has_token,
        *_either(settings.has_token, "doctor.token_set", "doctor.token_missing"),
    )
    yield True, "doctor.timezone", {"name": settings.shop_timezone}
    if settings.sending == "held":
        yield False, "doctor.sending_held", {}


def _database(runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    from migrations.newest import Standing, standing

    found = standing(runtime.database)
    yield found is Standing.CURRENT, f"doctor.database_{found}", {}


def _fonts(_runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    from PIL import features

    can_shape = bool(features.check("raqm"))
    yield can_shape, *_either(can_shape, "doctor.fonts_ok", "doctor.fonts_bad")


def _public_url(runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    url = runtime.settings.public_url
    host = urlsplit(url).hostname or ""
    if is_loopback(host) and runtime.settings.talks_to_line:
        yield False, "doctor.public_url_local", {}
        return
    try:
        request = Request(f"{url}/healthz", headers={"User-Agent": "taem-doctor"})  # noqa: S310
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  (our own setting)
            is_well = answer.status == 200
    except (OSError, ValueError, HTTPException):
        is_well = False
    yield is_well, *_either(is_well, "doctor.public_url_ok", "doctor.public_url_down")


def _line(runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    from bot.gateway import SdkLine

    line = SdkLine(runtime.settings)
    try:
        info = line.bot_info()
        quota = line.quota()
    except (OSError, OutsideFault):
        yield False, "doctor.line_refused", {}
        return
    yield True, "doctor.line_ok", {"name": info.name}
    limit = "∞" if quota.limit is None else quota.limit
    yield True, "doctor.quota", {"used": quota.used, "limit": limit}
    try:
        endpoint = line.webhook()
        wanted = f"{runtime.settings.public_url}/callback"
        is_right = endpoint is not None and endpoint.url == wanted and endpoint.is_active
        yield is_right, *_either(is_right, "doctor.webhook_ok", "doctor.webhook_wrong", url=wanted)
        if is_right:
            passed = line.test_webhook().is_success
            yield passed, *_either(passed, "doctor.webhook_test_ok", "doctor.webhook_test_failed")
    except OutsideFault:
        yield False, "doctor.webhook_wrong", {"url": f"{runtime.settings.public_url}/callback"}
    yield True, "doctor.redelivery", {}


def _liff(runtime: Runtime) -> Iterator[tuple[bool, str, dict[str, object]]]:
    settings = runtime.settings
    if not settings.liff_id and not settings.line_login_channel_id:
        yield True, "doctor.liff_off", {}
        return
    is_right = settings.has_liff
    yield (
        is_right,
        *_either(is_right, "doctor.liff_ok", "doctor.liff_half", url=f"{settings.public_url}/m"),
    )


def _either(
    is_well: bool,
    good: str,
    bad: str,
    **facts: object,
) -> tuple[str, dict[str, object]]:
    return (good if is_well else bad), dict(facts)
