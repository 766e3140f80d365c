"""Redis and nginx as the tests run them: own ports, own folders, ended with the test."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.processes import ROOT, Processes, free_port

#: The shell is the same browser without its window, at a third of the cost.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page lives for a second here: what its scripts would gain by being optimised is thrown
    # away with it, and costs more than all else that they do. Plain machine code is enough.
    "--js-flags=--always-sparkplug --no-maglev --no-opt",
)


@dataclass(frozen=True)
class Nginx:
    """A running nginx with deploy/nginx.conf in front of one port."""

    url: str
    certificate: Path
    access_log: Path
    error_log: Path


def find_program(names: Sequence[str], switch: str) -> str:
    """Where one of these programs is; without any, the test skips, or fails if `switch` is set."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    if os.environ.get(switch):
        pytest.fail(f"{switch} is set, but {names[0]} is not installed", pytrace=False)
    pytest.skip(f"{names[0]} is not installed")


def start_redis(processes: Processes) -> str:
    """A Redis that keeps nothing; returns its URL."""
    program = find_program(["redis-server"], "TAEM_REQUIRE_REDIS")
    port = free_port()
    processes.spawn(
        *(program, "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", str(processes.folder)),
        ready=lambda: is_listening(port),
    )
    return f"redis://127.0.0.1:{port}/0"


def start_nginx(
    processes: Processes, upstream_port: int, now: datetime, *, buffering: bool = True
) -> Nginx:
    """Debian's nginx with our configuration, only its ports, places and certificate replaced.

    `buffering=False` is the positive control: request buffering off.
    """
    program = find_program(["nginx"], "TAEM_REQUIRE_NGINX")
    folder = processes.folder / "nginx"
    folder.mkdir()
    port, plain_port = free_port(), free_port()
    certificate = make_certificate(folder, now)
    text = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    replacements = {
        "127.0.0.1:5000": f"127.0.0.1:{upstream_port}",
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "taem.example": "localhost",
        "/etc/ssl/taem/fullchain.pem": str(certificate),
        "/etc/ssl/taem/privkey.pem": str(folder / "key.pem"),
        "/var/log/nginx/taem.log": str(folder / "access.log"),
    }
    if not buffering:
        replacements["proxy_request_buffering on;"] = "proxy_request_buffering off;"
    for ours, theirs in replacements.items():
        assert ours in text
        text = text.replace(ours, theirs)
    (folder / "taem.conf").write_text(text, "utf-8")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        ("user root;\n" if os.geteuid() == 0 else "")
        + f"daemon off;\npid {folder}/pid;\nworker_processes 1;\n"
        + f"error_log {folder}/error.log error;\nevents {{ worker_connections 1024; }}\n"
        + f"http {{\n{temporary}include {folder}/taem.conf;\n}}\n",
        "utf-8",
    )
    processes.spawn(
        *(program, "-p", str(folder), "-e", str(folder / "error.log")),
        *("-c", str(folder / "nginx.conf")),
        ready=lambda: is_listening(port),
    )
    return Nginx(
        f"https://localhost:{port}", certificate, folder / "access.log", folder / "error.log"
    )


def make_certificate(folder: Path, now: datetime) -> Path:
    """A self-signed certificate for localhost, with its key in `key.pem` beside it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
