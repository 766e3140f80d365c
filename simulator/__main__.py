"""Starts the simulator: `python -m simulator [--port 9000] [--host 127.0.0.1] [--state FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
from pathlib import Path

from aiohttp import web

from simulator.app import build_app, listener
from simulator.settings import SimulatorSettings, from_environment

#: Answers under way get this long to leave; those a fault holds back never would.
FAREWELL_SECONDS = 1.0


def main() -> None:
    arguments = _arguments()
    settings = from_environment(
        os.environ,
        host=arguments.host,
        port=arguments.port,
        state_path=arguments.state,
        journal_limit=arguments.journal,
    )
    logging.basicConfig(level=logging.WARNING, format="simulator %(levelname)s %(message)s")
    context = None
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_serve(settings, context))
        except OSError as error:  # of the door alone: whatever comes in is answered
            sys.exit(f"simulator: cannot listen on {settings.host}:{settings.port} ({error})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description="A stand-in LINE platform.")
    parser.add_argument("--host")
    parser.add_argument("--port", type=_port)
    parser.add_argument("--state", type=Path, help="keep customers, chats and menus in this file")
    parser.add_argument("--journal", type=int, help="how many accepted sends to remember")
    parser.add_argument("--certificate", help="serve TLS with this certificate chain")
    parser.add_argument("--key", help="private key of the certificate")
    return parser.parse_args()


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise ValueError
    return number


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The faster event loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(settings: SimulatorSettings, context: ssl.SSLContext | None) -> None:
    runner = web.AppRunner(build_app(settings), access_log=None, shutdown_timeout=FAREWELL_SECONDS)
    await runner.setup()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    door = listener(runner)
    try:
        await door.start(settings.host, settings.port, context)
        sys.stdout.write(f"LINE simulator: http://{settings.host}:{settings.port}\n")
        sys.stdout.flush()
        await stopped.wait()
    finally:
        door.close()
        await runner.cleanup()


if __name__ == "__main__":
    main()
