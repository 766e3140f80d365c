"""A port that is asked for before a server takes it."""

from __future__ import annotations

import socket

import pytest

from core.ports import Closed, open_address
from tests.processes import free_port

WHEREVER = [("127.0.0.1",) * 2, ("localhost", "127.0.0.1"), ("0.0.0.0",) * 2, ("", "0.0.0.0")]


@pytest.mark.parametrize("host,address", WHEREVER)
def test_a_free_port_is_open_wherever_one_would_listen(host, address):
    assert open_address(host, free_port()) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", ""])
def test_a_port_of_somebody_else_is_closed(host):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Closed) as told:
        open_address(host, taken.getsockname()[1])
    assert (told.value.variable, told.value.is_taken) == ("PORT", True)


@pytest.mark.parametrize("host", ["192.0.2.7", "no such host", "x" * 80])
def test_a_host_that_is_not_this_machine_is_closed(host):
    with pytest.raises(Closed) as told:
        open_address(host, free_port())
    assert (told.value.variable, told.value.is_taken) == ("HOST", False)


def test_a_port_just_left_is_open_again():
    """What restarts at once must not meet its own last connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the server's side ends first, and its address lingers
    assert open_address("127.0.0.1", port) == "127.0.0.1"
