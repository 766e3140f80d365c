"""What deploy/nginx.conf promises, shown on a real nginx in front of a small counting server."""

from __future__ import annotations

import http.client
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from loyalty import sheets
from rich_menus import images
from tests.processes import wait_until
from tests.servers import Nginx
from web import ground


class Upstream(http.server.ThreadingHTTPServer):
    """Answers 200 to everything and remembers what reached it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(http.server.BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def nginx(nginx_server, upstream):
    return nginx_server(upstream.server_port)


def ask(nginx: Nginx, method: str, path: str, body: bytes = b"", **headers: str) -> int:
    parts = urlsplit(nginx.url)
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=10, context=trust(nginx)
    )
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def trust(nginx: Nginx) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(nginx.certificate))


def half_sent(nginx: Nginx) -> ssl.SSLSocket:
    """A webhook whose sender stops after the first bytes of its body."""
    parts = urlsplit(nginx.url)
    plain = socket.create_connection(("127.0.0.1", parts.port), timeout=10)
    secure = trust(nginx).wrap_socket(plain, server_hostname="localhost")
    secure.sendall(b"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{")
    return secure


def test_passes_requests_on_over_tls(nginx):
    assert ask(nginx, "GET", "/healthz") == 200


def test_AO3_body_over_1_mib_is_413_and_never_reaches_taem(nginx, upstream):
    assert ask(nginx, "POST", "/callback", b"x" * (1024 * 1024 + 1)) == 413
    assert upstream.seen == []


def test_AO3_body_of_exactly_1_mib_passes(nginx):
    assert ask(nginx, "POST", "/callback", b"x" * (1024 * 1024)) == 200


@pytest.mark.parametrize(
    "path,size",
    [
        ("/admin/imports", sheets.MAX_BYTES),
        ("/admin/conversations/7/reply", ground.PHOTOGRAPH_BYTES),
        ("/admin/settings/logo", ground.LOGO_BYTES),
        ("/admin/menus/member.main", 2 * images.MAX_BYTES),
        ("/admin/menus/member.main/try", 2 * images.MAX_BYTES),
    ],
)
def test_what_taem_takes_in_the_console_passes_and_much_more_does_not(nginx, upstream, path, size):
    around = 65_536  # the other fields of the form
    assert ask(nginx, "POST", path, b"x" * (size + around)) == 200
    upstream.seen.clear()
    assert ask(nginx, "POST", path, b"x" * (size + 2 * 1024 * 1024)) == 413
    assert upstream.seen == []


def test_AO3_half_sent_body_never_reaches_taem_and_ends_within_seconds(nginx, upstream):
    connection = half_sent(nginx)
    started = time.monotonic()
    connection.settimeout(15)
    answer = connection.recv(1000)
    connection.close()
    assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - started < 8
    assert upstream.seen == []


def test_AO3_control_without_buffering_half_sent_body_reaches_taem(nginx_server, upstream):
    connection = half_sent(nginx_server(upstream.server_port, buffering=False))
    wait_until(lambda: upstream.seen)
    connection.close()


def test_AO3_two_hundred_slow_senders_do_not_delay_a_webhook(nginx):
    slow = [half_sent(nginx) for _ in range(200)]
    started = time.monotonic()
    status = ask(nginx, "POST", "/callback", b"{}")
    took = time.monotonic() - started
    for connection in slow:
        connection.close()
    assert status == 200
    assert took < 4  # the slow ones are put off after five


@pytest.mark.parametrize(
    "path",
    [
        "/s/SECRETCODE",
        "//s/SECRETCODE",
        "/%73/SECRETCODE",
        "/l/SECRETCODE",
        "/l/token/SECRETCODE",
        "/p/qr/SECRETCODE",
        "/x?SECRETCODE",
    ],
)
def test_C6_no_log_carries_what_a_code_or_link_holds(nginx, path):
    assert ask(nginx, "GET", path, Referer="https://localhost/s/SECRETCODE") == 200
    wait_until(nginx.access_log.read_text)
    assert "SECRETCODE" not in nginx.access_log.read_text()
    assert "SECRETCODE" not in nginx.error_log.read_text()


@pytest.mark.parametrize("path", ["/s/SECRETCODE", "/l/SECRETCODE", "/p/qr/SECRETCODE"])
def test_C6_error_log_stays_silent_about_codes_while_taem_is_down(nginx_server, path, upstream):
    nginx = nginx_server(1)  # nobody listens there
    assert ask(nginx, "GET", path) == 502
    assert ask(nginx, "GET", "/other") == 502
    wait_until(lambda: "/other" in nginx.error_log.read_text())
    assert "SECRETCODE" not in nginx.error_log.read_text()


def test_FX18_forged_forwarding_headers_are_replaced(nginx, upstream):
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "http"}
    assert ask(nginx, "GET", "/", **forged) == 200
    headers = upstream.seen[0][1]
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Host"] == "localhost"
    assert headers["X-Forwarded-Proto"] == "https"


def test_metrics_are_not_for_the_world(nginx):
    assert ask(nginx, "GET", "/metrics") == 404
