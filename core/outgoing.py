"""Requests to addresses that people typed: checked, and sent to the very address that was checked.

A name is resolved once. If any of its addresses is private, loopback, link-local, shared by
carriers or such an address in IPv6 clothes, nothing is sent; otherwise the connection goes to the
checked address, so that a second look-up cannot lead elsewhere. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

MAX_URL = 2000
PART_BYTES = 64 * 1024
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BadAddress(ValueError):
    """Not an address that we send to."""


class Failed(Exception):
    """A request that brought no answer; `kind` is one word, never a text of the other side."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)


@dataclass(frozen=True)
class Place:
    """A parsed address: where to connect, and what to ask for there."""

    scheme: str
    host: str
    port: int
    path: str


def parse(url: str, *, allows_local: bool) -> Place:
    """Read an address. Raises BadAddress: https alone, or http to this machine if allowed."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise BadAddress("unreadable") from error
    _refuse_shape(url, parts)
    host = str(parts.hostname)
    is_local = host == "localhost" or (is_literal(host) and ipaddress.ip_address(host).is_loopback)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local and allows_local):
        raise BadAddress("not https")
    if is_literal(host):
        refuse_unless_public(ipaddress.ip_address(host), allows_local=allows_local)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port, path)


def _refuse_shape(url: str, parts: SplitResult) -> None:
    if len(url) > MAX_URL or not url.isascii() or any(letter <= " " for letter in url):
        raise BadAddress("unreadable")
    if "\x7f" in url or "\\" in url or not parts.hostname:
        raise BadAddress("unreadable")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadAddress("sign-in or fragment")


def is_literal(host: str) -> bool:
    """Whether a host is written as an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def refuse_unless_public(address: Address, *, allows_local: bool) -> None:
    """Raise BadAddress for an address that is not on the open Internet (AO8)."""
    if allows_local and address.is_loopback:
        return
    inner = _inside(address)
    for one in (address, *inner):
        is_odd = one.is_multicast or one.is_reserved or one.is_unspecified
        # Python calls these global; they are IPv6's private addresses of old.
        is_odd = is_odd or (isinstance(one, ipaddress.IPv6Address) and one.is_site_local)
        if is_odd or not one.is_global:
            raise BadAddress("not public")


def _inside(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 one leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo:
        found += address.teredo
    if any(address in network for network in _NAT64):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def resolve(place: Place, *, allows_local: bool) -> Address:
    """The one address to connect to. Raises Failed: `unknown_host`, `refused_address`."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]
        for address in addresses:
            refuse_unless_public(address, allows_local=allows_local)
    except (OSError, UnicodeError) as error:
        raise Failed("unknown_host") from error
    except BadAddress as error:
        raise Failed("refused_address") from error
    return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, whatever the name says by now."""

    def __init__(self, place: Place, address: Address, timeout: float) -> None:
        super().__init__(place.host, place.port, timeout=timeout)
        self._place = place
        self._address = address

    def connect(self) -> None:
        where = (str(self._address), self._place.port)
        self.sock = socket.create_connection(where, timeout=self.timeout)
        if self._place.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self._place.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()  # on the socket that `_cut` can reach


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allows_local: bool,
    timeout: float,
    deadline: float,
) -> int:
    """Post once; returns the status. Raises Failed.

    `timeout` is for connecting and for each wait, `deadline` for everything together: a server
    that answers a letter at a time is cut off.
    """
    try:
        place = parse(url, allows_local=allows_local)
    except BadAddress as error:
        raise Failed("refused_address") from error
    ends_at = time.monotonic() + deadline
    connection = _Pinned(place, resolve(place, allows_local=allows_local), timeout)
    if time.monotonic() >= ends_at:
        raise Failed("timeout")
    cut = threading.Timer(max(0.1, ends_at - time.monotonic()), _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        connection.request("POST", place.path, body, dict(headers))
        return connection.getresponse().status
    except TimeoutError as error:
        raise Failed("timeout") from error
    except ssl.SSLError as error:
        raise Failed("tls") from error
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as error:
        refused = isinstance(error, ConnectionRefusedError)
        is_late = time.monotonic() >= ends_at
        raise Failed("refused" if refused else "timeout" if is_late else "reset") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failed("timeout" if time.monotonic() >= ends_at else "broken_answer") from error
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    held = connection.sock
    if held is not None:
        try:
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def read_within(response: Any, most: int, seconds: float) -> bytes:
    """What a urllib3 answer says, read no further than a little over `most` bytes.

    Raises TimeoutError when it takes longer: a server that sends a letter at a time stays within
    the time of every single wait.
    """
    body, ends_at = bytearray(), time.monotonic() + seconds
    try:
        while len(body) <= most and (part := response.read1(PART_BYTES)):
            if time.monotonic() > ends_at:
                raise TimeoutError
            body += part
        return bytes(body)
    finally:
        response.close()  # what was not read is not read later
        response.release_conn()
