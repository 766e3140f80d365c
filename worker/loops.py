"""The threads of a worker: each claims due rows, acts, sleeps until woken or a second later.

A loop never dies of an error: it says so, waits a moment and goes on. Stopping lets the step
under way finish; whatever is left stays in its rows.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import exists, select, update

from bot.gateway import Line
from core.db import insert_into
from core.errors import OutsideFault
from core.runtime import Runtime
from engagement import campaigns, rides
from handlers.inbox import Inbox, place_of
from loyalty import members
from models.members import Member
from models.menus import MenuLink
from models.outbox import ChannelState
from models.schedule import Heartbeat
from rich_menus import assign, upkeep
from worker import figures, pictures, what_if
from worker.feed import deliver, place_events
from worker.sender import Sender
from worker.wake import LocalWake

SWEEP_SECONDS = 1.0
ERROR_PAUSE_SECONDS = 1.0
BEAT_SECONDS = 15.0
#: The account's @id can be changed once in a while; links and invitations carry it.
ACCOUNT_SECONDS = 600.0
#: Somebody looks at the page until theirs is done.
WHAT_IF_SECONDS = 2.0
#: LINE's own figures change once a day and may be asked for 60 times an hour.
FIGURES_SECONDS = 3600.0
#: A loop that hangs in a call to LINE is left behind then; its rows are as they were.
STOP_SECONDS = 5.0
#: A profile that cannot be had now is asked for again this much later.
PROFILE_PAUSE = timedelta(minutes=5)

log = logging.getLogger("taem.worker")


class Loop:
    """One thread that repeats one step."""

    def __init__(
        self,
        name: str,
        step: Callable[[], int],
        wait: Callable[[float], None] | None = None,
        every: float = SWEEP_SECONDS,
    ) -> None:
        """`step` returns how much it did; 0 lets the loop sleep, `every` seconds at most."""
        self._step = step
        self._stopping = threading.Event()
        self._wait: Callable[[float], object] = wait or self._stopping.wait
        self._every = every
        self._thread = threading.Thread(target=self._run, name=f"taem-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stopping.set()

    def join(self, timeout: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                did = self._step()
            except Exception as error:
                log.error("%s failed: %s", self._thread.name, place_of(error))
                self._stopping.wait(ERROR_PAUSE_SECONDS)
                continue
            if not did and not self._stopping.is_set():
                self._wait(self._every)


class Workers:
    """Every loop of one worker process."""

    def __init__(self, runtime: Runtime, wake: LocalWake, line: Line, sender: Sender) -> None:
        self.runtime = runtime
        self._wake = wake
        self._line = line
        self._sender = sender
        self._name = f"worker:{socket.gethostname()[:32]}:{os.getpid()}"
        self.inbox = Inbox(runtime, sender.reply, rides.ride, self._name)
        self._loops = [
            Loop("events", self.inbox.run_batch, wake.wait_for_events),
            Loop("profiles", self._fetch_next_profile),
            Loop("pictures", lambda: pictures.fetch_next(runtime, line)),
            Loop("menus", self._link_menus),
            Loop("menus-upkeep", lambda: upkeep.keep(runtime, self._line)),
            Loop("heartbeat", self._beat, every=BEAT_SECONDS),
            Loop("account", self._learn_account, every=ACCOUNT_SECONDS),
            Loop("figures", self._fetch_figures, every=FIGURES_SECONDS),
            Loop("campaigns", self._send_campaigns),
            Loop("what-if", lambda: what_if.step(runtime), every=WHAT_IF_SECONDS),
            Loop("feed", lambda: place_events(runtime)),
            # Two, so that one target which hangs does not hold up the others.
            *(Loop(f"webhooks-{place}", lambda: deliver(runtime)) for place in (1, 2)),
        ]

    def start(self) -> None:
        """Begin working in threads of their own."""
        self._sender.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Finish the step under way everywhere, replies included; at most ten seconds."""
        for loop in self._loops:
            loop.ask_to_stop()
        self._wake.events()
        deadline = time.monotonic() + STOP_SECONDS
        for loop in self._loops:
            loop.join(max(0.1, deadline - time.monotonic()))
        self._sender.stop()

    def _link_menus(self) -> int:
        real_now = self.runtime.clock.real_now()
        with self.runtime.database.read() as session:  # an idle sweep takes no write lock
            due = exists().where(MenuLink.is_due, MenuLink.next_try_at <= real_now)
            is_any_due = bool(session.scalar(select(due)))
            is_sweeping = upkeep.is_sweeping(session)
        if is_sweeping:
            with self.runtime.transaction() as session:
                assign.sweep_step(session, real_now)
        linked = assign.link_due(self.runtime, self._line) if is_any_due else 0
        return linked or int(is_sweeping)

    def _send_campaigns(self) -> int:
        now = self.runtime.clock.now()
        with self.runtime.database.read() as session:  # an idle sweep takes no write lock
            if not campaigns.is_any_due(session, now):
                return 0
        with self.runtime.transaction(now) as session:
            return campaigns.step(session, self.runtime, now)

    def _beat(self) -> int:
        at = self.runtime.clock.real_now()
        with self.runtime.database.write() as session:
            session.execute(
                insert_into(session, Heartbeat)
                .values(id=self._name, role="worker", at=at)
                .on_conflict_do_update(index_elements=["id"], set_={"at": at})
            )
        return 0

    def _learn_account(self) -> int:
        """Keep the account's own @id and user id, which links to the chat and doctors need."""
        try:
            info = self._line.bot_info()
        except OutsideFault:
            return 0  # nobody waits for it: the next look is minutes away
        known = {"basic_id": info.basic_id, "bot_user_id": info.user_id}
        with self.runtime.database.write() as session:
            session.execute(
                insert_into(session, ChannelState)
                .values(id=1, **known)
                .on_conflict_do_update(index_elements=["id"], set_=known)
            )
        return 0

    def _fetch_figures(self) -> int:
        figures.fetch(self.runtime, self._line)
        return 0  # an hour until the next look, however many came

    def _fetch_next_profile(self) -> int:
        """Ask LINE for the name that is owed longest; no transaction is open while asking."""
        with self.runtime.database.read() as session:
            owed = session.execute(
                select(Member.id, Member.line_user_id)
                .where(
                    Member.profile_due_at <= self.runtime.clock.now(),
                    Member.line_user_id.is_not(None),
                )
                .order_by(Member.profile_due_at)
                .limit(1)
            ).first()
        if owed is None:
            return 0
        self._fetch_profile(owed.id, str(owed.line_user_id))
        return 1

    def _fetch_profile(self, member_id: int, line_user_id: str) -> None:
        clock = self.runtime.clock
        later = None
        try:
            profile = self._line.profile(line_user_id)
        except OutsideFault as fault:
            profile = None
            if not fault.is_permanent:
                later = clock.now() + PROFILE_PAUSE
        with self.runtime.database.write() as session:
            member = session.scalar(
                select(Member)
                .where(Member.id == member_id, Member.line_user_id == line_user_id)
                .with_for_update()
            )
            if member is None:  # erased in the meantime
                return
            if profile is not None:
                members.take_profile(
                    member, profile.name, profile.picture_url, clock.now(), profile.language
                )
            else:
                session.execute(
                    update(Member).where(Member.id == member_id).values(profile_due_at=later)
                )
