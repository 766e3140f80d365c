"""The simulator as `make run` starts it: a process of its own, told by its environment."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from simulator.settings import from_environment
from tests import servers
from tests.forks import ForkedModule
from tests.processes import bare_environment, free_port


def test_starts_as_a_module_and_ends_politely(processes, tmp_path):
    port = free_port()
    process = processes.spawn(
        *("python", "-m", "simulator", "--port", str(port), "--state", str(tmp_path / "sim.json")),
        env={"SIM_SHOP_NAME": "ร้านทดสอบ", "TAEM_URL": "http://127.0.0.1:5001"},
        ready=f"http://127.0.0.1:{port}/sim/state",
    )
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sim/state", timeout=5) as answer:
        state = json.load(answer)
    assert state["shop"]["name"] == "ร้านทดสอบ"
    assert state["shop"]["links"]["cashier"] == "http://127.0.0.1:5001/cashier"
    assert processes.stop(process) == 0
    assert (tmp_path / "sim.json").exists()


def test_a_port_it_cannot_have_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for number, port in enumerate((taken.getsockname()[1], 99_999)):
            log = tmp_path / f"{number}.log"
            arguments = ["--port", str(port)]
            process = ForkedModule("simulator.__main__", arguments, bare_environment(), log)
            assert process.wait(30) != 0
            assert str(port) in log.read_text()
            assert "Traceback" not in log.read_text()


def test_serves_tls(processes, tmp_path):
    port = free_port()
    certificate = servers.make_certificate(tmp_path, datetime.now(UTC))
    processes.spawn(
        *("python", "-m", "simulator", "--port", str(port)),
        *("--certificate", str(certificate), "--key", str(tmp_path / "key.pem")),
        ready=lambda: servers.is_listening(port),
    )
    trust = ssl.create_default_context(cafile=str(certificate))
    url = f"https://localhost:{port}/v2/bot/message/push"
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5, context=trust)
    assert refused.value.code == 401
    assert refused.value.headers["x-line-request-id"]
    refused.value.close()


def test_reads_lines_own_variables():
    settings = from_environment(
        {
            "LINE_CHANNEL_SECRET": "new, old",
            "LINE_CHANNEL_ACCESS_TOKEN": "t1",
            "LINE_LOGIN_CHANNEL_ID": "77",
            "TAEM_URL": "http://127.0.0.1:5000/",
        },
        port=9105,
    )
    assert settings.channel_secrets == ("new", "old")
    assert settings.channel_secret == "new"
    assert settings.access_tokens == ("t1",)
    assert settings.login_channel_id == "77"
    assert settings.taem_url == "http://127.0.0.1:5000"
    assert settings.public_url == "http://127.0.0.1:9105"


@pytest.mark.parametrize("given, quota", [("none", None), ("300", 300), ("", 5000)])
def test_quota_may_be_a_number_or_none(given, quota):
    assert from_environment({"SIM_QUOTA": given}).monthly_quota == quota


def test_redelivery_can_be_hurried():
    settings = from_environment({"SIM_REDELIVERY_SECONDS": "0.1", "SIM_REDELIVERY_ATTEMPTS": "50"})
    assert (settings.redelivery_base_seconds, settings.redelivery_attempts) == (0.1, 50)


def test_fast_mode_knows_everybody_unless_told_otherwise():
    assert from_environment({"SIM_FAST": "1"}).accepts_unknown_users
    strict = {"SIM_FAST": "1", "SIM_ACCEPT_UNKNOWN_USERS": "0"}
    assert not from_environment(strict).accepts_unknown_users


def test_ends_at_once_although_a_phone_page_listens(processes):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = processes.spawn(
        *("python", "-m", "simulator", "--port", str(port)), ready=f"{url}/sim/state"
    )
    with urllib.request.urlopen(f"{url}/sim/stream", timeout=5) as stream:
        assert stream.readline().startswith(b"retry")
        process.terminate()
        assert process.wait(5) == 0


def test_ends_soon_although_a_fault_holds_a_call_back(processes):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = processes.spawn(
        *("python", "-m", "simulator", "--port", str(port)), ready=f"{url}/sim/state"
    )
    faults = urllib.request.Request(
        f"{url}/sim/faults", b'{"hang_seconds": 60}', {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(faults, timeout=5).close()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as held:
        held.sendall(b"GET /v2/bot/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held.settimeout(0.3)
        with pytest.raises(TimeoutError):
            held.recv(1)
        process.terminate()
        assert process.wait(8) == 0
