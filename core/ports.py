"""Asking for a port before a server does, whose own complaint would be a traceback."""

from __future__ import annotations

import errno
import socket


class Closed(Exception):
    """No server can listen there; the words are the system's, and name neither host nor port."""

    def __init__(self, why: str, number: int | None = None) -> None:
        super().__init__(why)
        self.is_taken = number == errno.EADDRINUSE
        #: Whose fault it is: the port is somebody else's or forbidden, or the host is not here.
        self.variable = "PORT" if number in (errno.EADDRINUSE, errno.EACCES) else "HOST"


def open_address(host: str, port: int) -> str:
    """The address, in figures, where a server can listen for this host; IPv4 before IPv6.

    A host with several addresses, as `localhost` has, needs only one that exists here, but none of
    them may be somebody else's. Raises Closed.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, ValueError) as error:
        raise Closed(getattr(error, "strerror", None) or "no such host") from error
    addresses: list[str] = []
    problem: Closed | None = None
    for family, kind, protocol, _, address in sorted(found, key=_is_later):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
            addresses.append(str(address[0]))
        except OSError as error:
            problem = Closed(error.strerror or type(error).__name__, error.errno)
            if problem.variable == "PORT":
                raise problem from error
    if not addresses:
        raise problem or Closed("no address")
    return addresses[0]


def _is_later(found: tuple[object, ...]) -> bool:
    return found[0] != socket.AF_INET
