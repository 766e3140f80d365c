"""Headers, cookies and trusted hosts, set in one place."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from config import Settings

COOKIE_NAMES = ("member", "device", "cashier", "staff", "session", "lists")
#: Paths whose last part is a secret: nothing may carry them on.
SECRET_PATHS = ("/s/", "/l/", "/p/")
#: Pages a member opens on the phone; the demo's phone may frame them.
MEMBER_PATHS = ("/m", "/l/", "/s/")
#: The longest form of the console is a menu's: 20 areas of up to 25 controls, and 21 of its own,
#: are 521 parts; the rest is room for what its page may learn.
FORM_PARTS = 1000


def secure(app: Flask, settings: Settings) -> None:
    """Put proxy, hosts, cookies and headers right for this application."""
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies, x_host=0
        )
    hosts = [urlsplit(settings.public_url).hostname or "", "127.0.0.1", "localhost"]
    app.config.update(
        TRUSTED_HOSTS=[*hosts, ".localhost"] if settings.demo else hosts,
        SESSION_COOKIE_NAME=cookie_name(settings, "session"),
        SESSION_COOKIE_SECURE=settings.is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=512 * 1024,
        MAX_FORM_PARTS=FORM_PARTS,
    )
    app.jinja_env.globals["csp_nonce"] = nonce

    @app.after_request
    def _headers(response: Response) -> Response:
        return _add_headers(response, settings)


def nonce() -> str:
    """This request's CSP nonce, for the one style element a chart needs."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def cookie_name(settings: Settings, name: str) -> str:
    """`__Host-taem_<name>` on https, without the prefix on loopback http."""
    return f"__Host-taem_{name}" if settings.is_https else f"taem_{name}"


def set_cookie(response: Response, settings: Settings, name: str, value: str, max_age: int) -> None:
    """A session cookie: HttpOnly, Lax, the whole site, this host only. `max_age` seconds."""
    response.set_cookie(
        cookie_name(settings, name),
        value,
        max_age=max_age,
        secure=settings.is_https,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def read_cookie(settings: Settings, name: str) -> str | None:
    """The value of one of our cookies."""
    return request.cookies.get(cookie_name(settings, name))


def clear_cookie(response: Response, settings: Settings, name: str) -> None:
    """Forget one of our cookies."""
    response.set_cookie(
        cookie_name(settings, name),
        "",
        max_age=0,
        secure=settings.is_https,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _add_headers(response: Response, settings: Settings) -> Response:
    is_member_page = request.path.startswith(MEMBER_PATHS)
    liff = ""
    if is_member_page and settings.has_liff:
        liff = f" {_origin(settings.liff_sdk_url)} {_origin(settings.liff_url)}"
        liff += f" {_origin(settings.line_api_url)}"
    ancestors = "'none'"
    if settings.demo and is_member_page:
        ancestors = f"{_origin(settings.line_api_url)} http://*.localhost:*"
    style = f"'self' 'nonce-{g.csp_nonce}'" if "csp_nonce" in g else "'self'"
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'self'; "
        f"script-src 'self'{liff}; style-src {style}; img-src 'self' data: https:"
        f"{' http://127.0.0.1:* http://localhost:*' if settings.demo else ''}; "
        f"font-src 'self'; connect-src 'self'{liff}; manifest-src 'self'; media-src 'self' blob:; "
        f"worker-src 'self'; frame-ancestors {ancestors}",
    )
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if ancestors == "'none'":
        headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
    headers.setdefault("Permissions-Policy", "camera=(self), geolocation=(), microphone=()")
    secret = request.path.startswith(SECRET_PATHS)
    headers.setdefault("Referrer-Policy", "no-referrer" if secret else "same-origin")
    if settings.is_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if response.mimetype in ("text/html", "application/json"):
        headers.setdefault("Cache-Control", "no-store")
    return response
