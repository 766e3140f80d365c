"""A believable past for the demo café: members, bills, points, stamps, vouchers, messages.

Written in bulk (COPY on PostgreSQL, one statement a table elsewhere), a few thousand members at
a time, and true to every rule: `ledger check` is clean afterwards. Random, but the same seed
tells the same story.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Table, func, select, text, update
from sqlalchemy.orm import Session

from core import ids
from core.bulk import copy_many, insert_many
from core.clock import at_local, local_day, start_of_day
from core.db import is_sqlite
from core.runtime import Runtime
from engagement import definitions
from loyalty import coupons, earning, lifecycle, personal, points, surveys, tickets, tier_gifts
from models.activities import Activity
from models.base import Base, table_of
from models.campaigns import Campaign, CampaignRecipient, CampaignState
from models.coupons import Coupon, Redemption, Voucher, VoucherState
from models.journeys import Arm, Intent, IntentState, Journey, JourneyVersion
from models.members import (
    Consent,
    Member,
    MemberKey,
    MemberState,
    MemberTotals,
    Purpose,
    StageChange,
)
from models.outbox import Message, MessageClass, MessageState
from models.points import EntryKind, LedgerEntry, Lot, LotDraw
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.results import Tap
from models.segments import Segment
from models.staff import Branch, Cashier
from models.stamps import CardState, Stamp, StampCard, StampProgram
from scheduler import nightly
from scheduler.jobs import Run

CHUNK = 2_000
THANKS = "lifecycle.thank_you"
CLIMB_CHUNK, MOST_CLIMBS = 500, 3_000
SEED = 2569
FIRST = (
    "สมชาย สมหญิง มาลี อนันต์ นภา ธนา กานต์ พิมพ์ ณัฐ วิภา ชลธิชา ปกรณ์ อรุณ จันทร์ ศิริ วรรณา "
    "กิตติ ปวีณา ธีระ สุดา รัตนา ภูมิ มุก ฝน น้ำ ต้น แพร เมย์ บอส เจน"
).split()
LAST = (
    "ใจดี รักกาแฟ ศรีสุข ทองดี แสงทอง บุญมา วงศ์ไทย สุขใจ พรหมมา จันทร์เพ็ญ มีสุข เจริญผล "
    "รุ่งเรือง ดีงาม นาคสวัสดิ์ อินทร์แก้ว"
).split()
#: (share of members, days between visits, chance to be gone before today)
HABITS = ((0.16, 5, 0.10), (0.26, 14, 0.25), (0.24, 33, 0.35), (0.14, 80, 0.5), (0.20, 0, 0.0))
BILLS = (5500, 6500, 7000, 8500, 9500, 12000, 14500, 18000, 24000)
REWARD_CHANCE = 0.35
CLAIM_CHANCE = 0.10
#: Days since the campaign that its report shows, and what it said.
CAMPAIGN_AGO = 21
CAMPAIGN_WORDS = {
    "th": {
        "default": {
            "title": "ลาเต้มะพร้าวน้ำหอมมาแล้ว",
            "body": "หอมมะพร้าวจากแม่กลอง คั่วอ่อนนุ่ม ๆ แวะมาลองที่ {shop} ได้ทุกวันนะคะ",
            "button": "ดูคูปองของฉัน",
        }
    },
    "en": {
        "default": {
            "title": "Our coconut latte is here",
            "body": "Coconut from Mae Klong over a light roast. Come and try it at {shop}.",
            "button": "My coupons",
        }
    },
}
NUMBER_STEP = 61_803_399  # coprime with 10^8: every member number is visited once
FIRST_BLOCK_SHARE = 0.06

#: Opens the session that one part of a history is written in.
Part = Callable[[], AbstractContextManager[Session]]


@dataclass
class Shop:
    """What every member's story needs of the shop."""

    now: datetime
    tz: ZoneInfo
    branches: Sequence[Branch]
    program: StampProgram
    prize: Coupon
    reward: Coupon
    offer: Coupon
    policy: Any
    journey_kind: str = "lifecycle.thank_you"


@dataclass
class Ids:
    """The next free id of each table."""

    next: dict[str, int]

    def take(self, table: Table) -> int:
        found = self.next[table.name]
        self.next[table.name] = found + 1
        return found


@dataclass
class Rows:
    """Rows by table, in the order in which they must be written."""

    by_table: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: Table, **values: Any) -> None:
        self.by_table.setdefault(table.name, []).append(values)


ORDER: tuple[Table, ...] = tuple(
    Base.metadata.tables[model.__tablename__]
    for model in (
        Member,
        MemberKey,
        MemberTotals,
        Consent,
        Purchase,
        LedgerEntry,
        Lot,
        LotDraw,
        StampCard,
        Stamp,
        Voucher,
        Redemption,
        Activity,
        Message,
    )
)
T = {table.name: table for table in ORDER}


def make(
    runtime: Runtime,
    member_count: int,
    day_count: int,
    say: Callable[[str], Any] = print,
    part: Part | None = None,
) -> int:
    """Write `member_count` members with up to `day_count` days of history. Returns the rows.

    Without `part` each part is a transaction of its own.
    """
    part = part or runtime.database.write
    written = 0
    for start in range(0, member_count, CHUNK):
        count = min(CHUNK, member_count - start)
        with part() as session:
            shop = _shop(session, runtime)
            rng = random.Random(SEED * 1_000_003 + _next_ids(session).next["members"])
            tellers = _Teller(runtime, session, shop, rng, day_count)
            for _ in range(count):
                tellers.tell()
            written += tellers.write()
        say(f"{start + count:,} members, {written:,} rows")
    _climb(runtime, part)
    _nights(runtime, part)
    if day_count > CAMPAIGN_AGO:
        written += _campaign(runtime, part)
    return written


def _campaign(runtime: Runtime, part: Part) -> int:
    """A campaign of three weeks ago, with what became of everybody; once."""
    tz = runtime.clock.tz
    now = runtime.clock.now()
    began = at_local(local_day(now, tz) - timedelta(days=CAMPAIGN_AGO), 10, 0, tz)
    rng = random.Random(SEED)
    with part() as session:
        segment = session.scalar(select(Segment).order_by(Segment.id.desc()))
        if segment is None or session.scalar(
            select(Campaign.id).where(Campaign.state == CampaignState.DONE)
        ):
            return 0
        consented = set(
            session.scalars(
                select(Consent.member_id).where(
                    Consent.purpose == Purpose.MARKETING, Consent.withdrawn_at.is_(None)
                )
            )
        )
        people = session.execute(
            select(Member.id, Member.is_following, Member.line_user_id).where(
                Member.state == MemberState.MEMBER, Member.joined_at < began
            )
        ).all()
        campaign = Campaign(
            name="ลาเต้มะพร้าวน้ำหอม เมนูใหม่", state=CampaignState.DONE, topic="news",
            segment_id=segment.id, segment_version=segment.current_version,
            variants={"a": {"texts": CAMPAIGN_WORDS}}, test={}, estimate={}, audience=len(people),
            holdout_percent=10, created_at=began - timedelta(days=1), made_by="seed",
            started_at=began, started_by="seed", ended_at=began + timedelta(minutes=3),
        )  # fmt: skip
        session.add(campaign)
        session.flush()
        source = f"campaign:{campaign.id}:a"
        ids_of = _next_ids(session)
        rows: dict[str, list[dict[str, Any]]] = {"messages": [], "recipients": [], "taps": []}
        for one in people:
            recipient: dict[str, Any] = {
                "campaign_id": campaign.id, "member_id": one.id, "state": "queued",
                "arm": "treated", "variant": "a", "reason": None, "message_id": None,
                "decided_at": began,
            }  # fmt: skip
            rows["recipients"].append(recipient)
            if rng.random() < 0.1:
                recipient |= {"state": "held_out", "arm": "held_out", "variant": None}
            elif not one.is_following or not one.line_user_id:
                recipient |= {"state": "skipped", "reason": "delivery.unreachable"}
            elif one.id not in consented:
                recipient |= {"state": "skipped", "reason": "delivery.no_consent"}
            else:
                recipient["message_id"] = ids_of.take(T["messages"])
                rows["messages"].append(
                    {
                        "id": recipient["message_id"], "key": f"campaign:{campaign.id}:{one.id}",
                        "member_id": one.id, "klass": "promotional", "kind": "campaigns.send",
                        "source": source, "state": "sent", "channel": "multicast",
                        "created_at": began, "due_at": began,
                        "finished_at": began + timedelta(minutes=1),
                    }
                )  # fmt: skip
                if rng.random() < 0.24:
                    rows["taps"].append(
                        {
                            "key": str(recipient["message_id"]), "member_id": one.id,
                            "source": source, "message_id": recipient["message_id"],
                            "at": began + timedelta(minutes=rng.randrange(2, 600)),
                        }
                    )  # fmt: skip
        copy_many(session, table_of(Message), rows["messages"])
        _advance_ids(session, table_of(Message))
        copy_many(session, table_of(CampaignRecipient), rows["recipients"])
        copy_many(session, table_of(Tap), rows["taps"])
    return sum(map(len, rows.values()))


def _advance_ids(session: Session, table: Table) -> None:
    """Let the database count on after ids that were written out."""
    if not is_sqlite(session):
        highest = select(func.max(table.c.id)).scalar_subquery()
        session.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), highest)))


def _nights(runtime: Runtime, part: Part) -> None:
    """The pass of last night and of this one: scores, cut points, and who is whom by them.

    Nobody is told of levels that are made up.
    """
    now, tz = runtime.clock.now(), runtime.clock.tz
    for moment in (now - timedelta(days=1), now):
        done, cursor = 1, 0
        while done:
            with part() as session:
                done, cursor = lifecycle.nightly(session, moment, tz, cursor=cursor)


def _climb(runtime: Runtime, part: Part) -> None:
    """Lift whoever qualifies for a tier, with its gifts, as the bills would have done.

    One by one and by the rules; in a large history the first night lifts the rest.
    """
    now, tz = runtime.clock.now(), runtime.clock.tz
    lifted, last_id = 0, 0
    while lifted < MOST_CLIMBS:
        with part() as session:
            count, last_id = tier_gifts.lift_late(
                session, now, tz, after_id=last_id, limit=CLIMB_CHUNK
            )
        lifted += count
        if not last_id:
            return


def _shop(session: Session, runtime: Runtime) -> Shop:
    now, tz = runtime.clock.now(), runtime.clock.tz
    coupon = {row.key: row for row in session.scalars(select(Coupon))}
    program = session.scalars(
        select(StampProgram).where(StampProgram.key == "coffee", StampProgram.is_current)
    ).one()
    return Shop(
        now=now,
        tz=tz,
        branches=session.scalars(select(Branch)).all(),
        program=program,
        prize=coupon["stamp_coffee"],
        reward=coupon["free_americano"],
        offer=coupon["bakery_10"],
        policy=points.policy_for(session, local_day(now, tz)),
    )


def _next_ids(session: Session) -> Ids:
    return Ids(
        {
            table.name: (session.scalar(select(func.max(table.c.id))) or 0) + 1
            for table in ORDER
            if "id" in table.c
        }
    )


class _Teller:
    """Tells one member's story after another, then writes them all."""

    def __init__(
        self, runtime: Runtime, session: Session, shop: Shop, rng: random.Random, days: int
    ) -> None:
        self.runtime, self.session, self.shop, self.rng, self.days = (
            runtime,
            session,
            shop,
            rng,
            days,
        )
        self.ids = _next_ids(session)
        self.rows = Rows()
        self.issued: dict[int, int] = {}
        self.redeemed: dict[int, tuple[int, int]] = {}
        self.today = local_day(shop.now, shop.tz)

    # One member -----------------------------------------------------------------------------

    def tell(self) -> None:
        """A member from joining to today."""
        member_id = self.ids.take(T["members"])
        _, gap, gone = self.rng.choices(HABITS, [share for share, _, _ in HABITS])[0]
        joined_on = self.today - timedelta(days=self.rng.randrange(self.days))
        joined_at = self._moment(joined_on)
        visits = self._visits(joined_on, gap, gone)
        story = _Story(self, member_id, joined_at)
        story.shop_at(visits)
        self._person(member_id, joined_at, story)

    def _visits(self, joined_on: date, gap: int, gone: float) -> list[datetime]:
        if gap == 0:
            return [self._moment(joined_on)] if self.rng.random() < 0.55 else []
        until = self.today
        if self.rng.random() < gone:
            until = joined_on + (self.today - joined_on) * self.rng.random()
        found, day = [], joined_on
        while day <= until:
            found.append(self._moment(day))
            day += timedelta(days=max(1, round(self.rng.gauss(gap, gap * 0.3))))
        return [moment for moment in found if moment < self.shop.now]

    def _moment(self, day: date) -> datetime:
        """A busy café: mornings and early afternoons."""
        hour = self.rng.choices((7, 8, 9, 12, 13, 15, 16, 18), (9, 12, 8, 10, 9, 6, 5, 3))[0]
        moment = at_local(day, hour, self.rng.randrange(60), self.shop.tz)
        return min(moment, self.shop.now - timedelta(minutes=5))

    def _person(self, member_id: int, joined_at: datetime, story: _Story) -> None:
        rng, vault = self.rng, self.runtime.vault
        public_id = f"{rng.getrandbits(128):032x}"
        name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        phone = f"+668{rng.randrange(10):d}{rng.randrange(10**7):07d}"
        is_proven = rng.random() < 0.5
        wrapped = vault.new_member_key(public_id)
        digits = f"{member_id * NUMBER_STEP % 10**ids.MEMBER_DIGITS:0{ids.MEMBER_DIGITS}d}"
        is_following = rng.random() > FIRST_BLOCK_SHARE
        birthday = date(rng.randrange(1960, 2006), rng.randrange(1, 13), rng.randrange(1, 29))
        has_birthday = rng.random() < 0.6
        # A proven phone is one person's: the member's own number makes it so.
        if is_proven:
            phone = f"+669{member_id % 10**8:08d}"
        self.rows.add(
            T["members"],
            id=member_id,
            public_id=public_id,
            state=MemberState.MEMBER,
            line_user_id=f"U{rng.getrandbits(128):032x}",
            member_no=digits + ids.check_digit(digits),
            created_at=joined_at,
            joined_at=joined_at,
            line_name=name,
            name=name,
            locale="en" if rng.random() < 0.08 else "th",
            is_following=is_following,
            follow_decided_at=joined_at,
            followed_at=joined_at,
            welcomed_at=joined_at,
            last_event_at=joined_at,
            phone_sealed=vault.encrypt(wrapped, public_id, personal.PHONE_FIELD, phone),
            phone_index=personal.phone_index(vault, phone),
            phone_last4_index=vault.blind_index(personal.PHONE_LAST4_PURPOSE, phone[-4:]),
            phone_proven_at=joined_at if is_proven else None,
            phone_proven_by="cashier" if is_proven else None,
            birthday_sealed=vault.encrypt(
                wrapped, public_id, personal.BIRTHDAY_FIELD, birthday.isoformat()
            )
            if has_birthday
            else None,
            birthday_index=personal.birthday_index(vault, birthday.month, birthday.day)
            if has_birthday
            else None,
            source_code=rng.choice(("SIAM01", "ARI01", None)),
            is_test=False,
        )
        self.rows.add(T["member_keys"], member_id=member_id, wrapped=wrapped, created_at=joined_at)
        for purpose, share in ((Purpose.MEMBERSHIP, 1.0), (Purpose.MARKETING, 0.72)):
            if rng.random() < share:
                self.rows.add(
                    T["consents"],
                    id=self.ids.take(T["consents"]),
                    member_id=member_id,
                    purpose=purpose,
                    text_version="1",
                    given_at=joined_at,
                    channel="chat",
                )
        self.activity(
            member_id,
            "members.joined",
            joined_at,
            {"channel": "chat"},
            f"members.joined:{member_id}",
        )
        self.rows.add(T["member_totals"], **story.totals())

    def activity(
        self,
        member_id: int,
        kind: str,
        at: datetime,
        facts: dict[str, Any],
        key: str | None = None,
    ) -> None:
        self.rows.add(
            T["activities"],
            id=self.ids.take(T["activities"]),
            member_id=member_id,
            kind=kind,
            at=at,
            facts=facts,
            key=key,
        )

    # Writing --------------------------------------------------------------------------------

    def write(self) -> int:
        """Everything told so far, table by table, and the coupons' counters."""
        total = 0
        for table in ORDER:
            rows = self.rows.by_table.get(table.name, [])
            if rows:
                copy_many(self.session, table, rows)
                total += len(rows)
        for coupon_id, count in self.issued.items():
            uses, satang = self.redeemed.get(coupon_id, (0, 0))
            self.session.execute(
                update(Coupon)
                .where(Coupon.id == coupon_id)
                .values(
                    issued_count=Coupon.issued_count + count,
                    redeemed_count=Coupon.redeemed_count + uses,
                    spent_satang=Coupon.spent_satang + satang,
                )
            )
        if not is_sqlite(self.session):
            for name, value in self.ids.next.items():
                self.session.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), :value)"),
                    {"value": value - 1 or 1},
                )
        return total


class _Story:
    """What one member bought, earned, collected and used."""

    def __init__(self, teller: _Teller, member_id: int, joined_at: datetime) -> None:
        self.teller, self.member_id, self.joined_at = teller, member_id, joined_at
        self.shop, self.rng, self.rows, self.ids = (
            teller.shop,
            teller.rng,
            teller.rows,
            teller.ids,
        )
        self.carry = 0
        self.earned = 0
        self.lots: list[dict[str, Any]] = []
        self.card: dict[str, Any] | None = None
        self.cards = 0
        self.visits: list[tuple[datetime, int]] = []
        self.copies: dict[int, int] = {}

    def shop_at(self, visits: Iterable[datetime]) -> None:
        for moment in visits:
            self._buy(moment)
            if self.balance() >= (self.shop.reward.price_points or 0) and (
                self.rng.random() < REWARD_CHANCE
            ):
                self._exchange(moment + timedelta(minutes=2))
        if self.visits and self.rng.random() < CLAIM_CHANCE:
            self._claim(self.visits[-1][0] + timedelta(minutes=4))
        self._expire()
        for lot in self.lots:
            self.rows.add(T["lots"], **lot)
        if self.card is not None:
            self.rows.add(T["stamp_cards"], **self.card)

    def balance(self) -> int:
        return sum(lot["remaining"] for lot in self.lots)

    def _buy(self, moment: datetime) -> None:
        branch = self.rng.choice(self.shop.branches)
        amount = self.rng.choice(BILLS)
        award = earning.award(self.shop.policy, amount, self.carry)
        self.carry = award.carry_satang
        purchase_id = self.ids.take(T["purchases"])
        is_first = not self.visits
        self.visits.append((moment, amount))
        on = local_day(moment, self.shop.tz)
        self.rows.add(
            T["purchases"],
            id=purchase_id,
            public_id=f"{self.rng.getrandbits(128):032x}",
            member_id=self.member_id,
            branch_id=branch.id,
            operation_id=f"history:{purchase_id}",
            local_on=on,
            purchased_at=moment,
            recorded_at=moment,
            amount_satang=amount,
            returned_satang=0,
            points=award.points,
            carry_delta=award.carry_delta,
            state=PurchaseState.RECORDED,
            is_first=is_first,
        )
        facts = {
            "amount_satang": amount,
            "branch": branch.name_th,
            "branch_en": branch.name_en,
            "branch_code": branch.code,
        }
        if award.points:
            self._earn(award.points, "purchase", str(purchase_id), moment, facts)
        self._stamp(purchase_id, moment, on)
        self.teller.activity(
            self.member_id,
            "purchases.recorded",
            moment,
            {"purchase_id": purchase_id, "points": award.points, "is_first": is_first, **facts},
        )
        if is_first or self.rng.random() < 0.15:
            self._thank(purchase_id, moment)

    def _entry(
        self,
        kind: EntryKind,
        amount: int,
        source: str,
        source_id: str,
        at: datetime,
        facts: dict[str, Any],
        effective_at: datetime | None = None,
    ) -> int:
        entry_id = self.ids.take(T["ledger_entries"])
        self.rows.add(
            T["ledger_entries"],
            id=entry_id,
            member_id=self.member_id,
            kind=kind,
            points=amount,
            source=source,
            source_id=source_id,
            created_at=at,
            effective_at=effective_at or at,
            facts=facts,
        )
        return entry_id

    def _earn(
        self, amount: int, source: str, source_id: str, at: datetime, facts: dict[str, Any]
    ) -> None:
        entry_id = self._entry(EntryKind.EARN, amount, source, source_id, at, facts)
        self.earned += amount
        self.lots.append(
            {
                "id": self.ids.take(T["lots"]),
                "member_id": self.member_id,
                "entry_id": entry_id,
                "points": amount,
                "remaining": amount,
                "earned_at": at,
                "expires_at": earning.expires_at(
                    self.shop.policy, local_day(at, self.shop.tz), self.shop.tz
                ),
            }
        )

    def _draw(self, entry_id: int, lot: dict[str, Any], amount: int) -> None:
        lot["remaining"] -= amount
        self.rows.add(
            T["lot_draws"],
            id=self.ids.take(T["lot_draws"]),
            entry_id=entry_id,
            lot_id=lot["id"],
            points=-amount,
        )

    def _exchange(self, at: datetime) -> None:
        """Points for a free coffee, mostly drunk within the week."""
        price = self.shop.reward.price_points or 0
        usable = [
            lot
            for lot in self.lots
            if lot["remaining"] and (lot["expires_at"] is None or lot["expires_at"] > at)
        ]
        if sum(lot["remaining"] for lot in usable) < price or at >= self.shop.now:
            return
        voucher_id = self._voucher(self.shop.reward, "points", None, at)
        entry_id = self._entry(EntryKind.BURN, -price, "voucher", str(voucher_id), at, {})
        for lot in usable:
            part = min(price, lot["remaining"])
            if part:
                self._draw(entry_id, lot, part)
                price -= part

    def _claim(self, at: datetime) -> None:
        offer = self.shop.offer
        taken = self.teller.issued.get(offer.id, 0)
        has_stock = offer.left is None or taken < offer.left
        if at < self.shop.now and has_stock:
            self._voucher(offer, "claim", None, at)

    def _voucher(self, coupon: Coupon, source: str, source_id: str | None, at: datetime) -> int:
        voucher_id = self.ids.take(T["vouchers"])
        self.copies[coupon.id] = self.copies.get(coupon.id, 0) + 1
        expires_at = coupons.expiry_of(coupon, at, self.shop.tz)
        used_at = at + timedelta(days=self.rng.randrange(1, 9), minutes=self.rng.randrange(300))
        is_used = self.rng.random() < 0.7 and used_at < self.shop.now
        is_over = expires_at is not None and expires_at <= self.shop.now
        state = VoucherState.ISSUED
        if is_used:
            state = VoucherState.REDEEMED
        elif is_over:
            state = VoucherState.EXPIRED
        self.rows.add(
            T["vouchers"],
            id=voucher_id,
            public_id=f"{self.rng.getrandbits(128):032x}",
            coupon_id=coupon.id,
            member_id=self.member_id,
            ordinal=self.copies[coupon.id],
            state=state,
            source=source,
            source_id=source_id or f"history:{voucher_id}",
            issued_at=at,
            needs_proof=False,
            expires_at=expires_at,
            redeemed_at=used_at if is_used else None,
        )
        issued = self.teller.issued
        issued[coupon.id] = issued.get(coupon.id, 0) + 1
        if is_used:
            self._redeem(coupon, voucher_id, used_at)
        return voucher_id

    def _redeem(self, coupon: Coupon, voucher_id: int, at: datetime) -> None:
        bill = self.rng.choice(BILLS)
        off = 0
        if coupon.percent:
            off = min(bill * coupon.percent // 100, coupon.max_satang or bill)
        branch = self.rng.choice(self.shop.branches)
        redemption_id = self.ids.take(T["redemptions"])
        self.rows.add(
            T["redemptions"],
            id=redemption_id,
            public_id=f"{self.rng.getrandbits(128):032x}",
            voucher_id=voucher_id,
            member_id=self.member_id,
            branch_id=branch.id,
            operation_id=f"history:{redemption_id}",
            bill_satang=bill,
            discount_satang=off,
            is_whole=True,
            at=at,
        )
        uses, satang = self.teller.redeemed.get(coupon.id, (0, 0))
        self.teller.redeemed[coupon.id] = (uses + 1, satang + off)
        self.teller.activity(
            self.member_id,
            "vouchers.redeemed",
            at,
            {
                "voucher_id": voucher_id,
                "redemption_id": redemption_id,
                "discount_satang": off,
                "branch": branch.name_th,
            },
        )

    def _stamp(self, purchase_id: int, at: datetime, on: date) -> None:
        program = self.shop.program
        if self.card is None:
            self.cards += 1
            self.card = {
                "id": self.ids.take(T["stamp_cards"]),
                "member_id": self.member_id,
                "program_id": program.id,
                "program_key": program.key,
                "ordinal": self.cards,
                "filled": 0,
                "state": CardState.OPEN,
                "opened_at": at,
                "filled_at": None,
            }
        self.rows.add(
            T["stamps"],
            id=self.ids.take(T["stamps"]),
            card_id=self.card["id"],
            program_key=program.key,
            source="purchase",
            source_id=str(purchase_id),
            ordinal=1,
            at=at,
            local_on=on,
        )
        self.card["filled"] += 1
        if self.card["filled"] == program.size:
            self.card |= {"state": CardState.FULL, "filled_at": at}
            self._voucher(self.shop.prize, "stamp_card", f"{self.card['id']}:{program.size}", at)
            self.rows.add(T["stamp_cards"], **self.card)
            self.card = None

    def _thank(self, purchase_id: int, at: datetime) -> None:
        sent_at = min(at + timedelta(hours=self.rng.randrange(1, 24)), self.shop.now)
        self.rows.add(
            T["messages"],
            id=self.ids.take(T["messages"]),
            key=f"history:thanks:{purchase_id}",
            member_id=self.member_id,
            klass=MessageClass.PROMOTIONAL,
            kind=self.shop.journey_kind,
            state=MessageState.SENT,
            channel="reply" if self.rng.random() < 0.7 else "push",
            created_at=sent_at,
            due_at=sent_at,
            finished_at=sent_at,
        )

    def _expire(self) -> None:
        """Points past their date, written as of their midnight (P7)."""
        for lot in self.lots:
            ended = lot["expires_at"]
            if lot["remaining"] and ended is not None and ended <= self.shop.now:
                entry_id = self._entry(
                    EntryKind.EXPIRE,
                    -lot["remaining"],
                    "lot",
                    str(lot["id"]),
                    self.shop.now,
                    {},
                    effective_at=ended,
                )
                self._draw(entry_id, lot, lot["remaining"])

    def totals(self) -> dict[str, Any]:
        """The member's running figures, stage and level, as the rules would have them."""
        tz, now = self.shop.tz, self.shop.now
        days = sorted({local_day(moment, tz) for moment, _ in self.visits}, reverse=True)
        gap = lifecycle.own_gap(days)
        today = local_day(now, tz)
        window = timedelta(days=lifecycle.SPEND_WINDOW_DAYS)
        edge = start_of_day(today - window + timedelta(days=1), tz)
        start = start_of_day(today - 2 * window + timedelta(days=1), tz)
        earlier = [amount for moment, amount in self.visits if start <= moment < edge]
        verdict = lifecycle.level_of(
            lifecycle.Standing(
                purchase_days=len(days),
                silent_days=(today - days[0]).days if days else None,
                own_gap_days=gap,
                spent_90=sum(amount for moment, amount in self.visits if moment >= edge),
                spent_before_90=sum(earlier),
                purchases_before_90=len(earlier),
            )
        )
        stage = lifecycle.stage_of(True, days, friend_bought=False)
        last = self.visits[-1][0] if self.visits else None
        return {
            "member_id": self.member_id,
            "balance": self.balance(),
            "debt": 0,
            "carry_satang": self.carry,
            "earned_total": self.earned,
            "purchase_count": len(self.visits),
            "spent_satang": sum(amount for _, amount in self.visits),
            "first_purchase_at": self.visits[0][0] if self.visits else None,
            "last_purchase_at": last,
            "purchase_days": [day.isoformat() for day in days[: lifecycle.GAP_DAYS_KEPT]],
            "purchase_day_count": len(days),
            "own_gap_days": gap,
            "stage": stage,
            "stage_at": last or self.joined_at,
            "level": verdict.level,
            "level_at": now,
            "level_why": dict(verdict.why),
        }


# --- What the messages of that past made ------------------------------------------------------

#: A café of this size and age has enough held out for a result to say something.
CAFE_MEMBERS, CAFE_DAYS = 300, 110
#: How many were asked how it was, and what they said: marks with their weights.
HEARD = 90
CSAT_MARKS = {5: 50, 4: 30, 3: 12, 2: 6, 1: 4}
NPS_MARKS = {10: 30, 9: 25, 8: 18, 7: 10, 6: 6, 4: 4, 2: 2}
REASONS = {
    "high": ("กาแฟหอม พนักงานยิ้มแย้ม", "นั่งสบาย ขนมอร่อย", "จำเมนูเราได้ ประทับใจ"),
    "fine": ("โดยรวมดี แต่ที่จอดรถน้อย", "รอนิดหน่อยตอนเที่ยง"),
    "low": ("รอนานไปหน่อย", "ลาเต้เย็นชืด", "สั่งแล้วได้ผิดเมนู"),
}
COMPARED_DAYS = 85
#: One in so many is held out: more of those who bought nothing afterwards, or nothing was to be
#: seen; some of those who did, as nobody would believe that the others never came back.
HELD_OF_QUIET, HELD_OF_BUYERS = 3, 10
TAP_SHARE = 0.3
#: What lies on a bill, most often first, and what goes with what.
COMPANIONS = {"LATTE": ("CROISSANT", 0.55), "AMERICANO": ("CROISSANT", 0.15)}
WATCHED_BILLS = 22


def cafe(runtime: Runtime) -> None:
    """A season of the demo café behind it, once: bills with items, thanks with their hold-out, one
    cashier whose figures deserve a look, and last night's work.

    All of it or nothing: what is cut short is told from the beginning the next time.
    """
    with runtime.database.read() as session:
        if session.scalar(select(Purchase.id).limit(1)) is not None:
            return
    now = runtime.clock.now()
    rng = random.Random(SEED)
    with runtime.transaction(now) as session:
        part = partial(_part_of, session)
        make(runtime, CAFE_MEMBERS, CAFE_DAYS, say=lambda _: None, part=part)
        with part():
            _fill_bills(session, rng)
            _compare_thanks(session, rng, now)
            _favour_somebody(session, now)
        with part():
            _hear_members(session, runtime, rng, now)
            _remember_moves(session, now, runtime.clock.tz)
        _nights(runtime, part)
        night = Run(runtime=runtime, now=now, limit=CHUNK)
        while nightly.work_out(session, night):
            session.flush()


@contextmanager
def _part_of(session: Session) -> Iterator[Session]:
    """What would be a transaction of its own, within this one: the next part finds what it wrote
    and nothing that it knew, and nobody is told of a made-up past."""
    notes = dict(session.info)
    yield session
    session.flush()
    session.expire_all()
    session.info.clear()
    session.info.update(notes)


def _hear_members(session: Session, runtime: Runtime, rng: random.Random, now: datetime) -> None:
    """Marks and reasons of the last weeks, by the rules; one who needs care, and two newcomers who
    look at everything."""
    session.info["vault"] = runtime.vault
    buyers = session.scalars(
        select(MemberTotals)
        .where(MemberTotals.purchase_day_count > 0)
        .order_by(MemberTotals.last_purchase_at.desc(), MemberTotals.member_id)
        .limit(HEARD)
    ).all()
    for number, totals in enumerate(buyers):
        member = session.get_one(Member, totals.member_id)
        at = now - timedelta(days=rng.randint(1, 60), minutes=rng.randint(0, 600))
        kind = "csat" if number % 3 else "nps"
        question = surveys.ask(session, member.id, kind, f"before:{number}", at)
        if question is None or rng.random() < 0.2:
            continue
        marks = CSAT_MARKS if kind == "csat" else NPS_MARKS
        score = rng.choices(list(marks), list(marks.values()))[0]
        taken = surveys.answer(session, member.id, question.id, score, at)
        if taken is not None and number % 4 == 0:
            words = rng.choice(REASONS[taken.mood.value])
            surveys.take_why(session, runtime.vault, member, words, line_message_id=None, now=at)
        if kind == "nps" and score >= 9 and number % 2 == 0:
            surveys.note_review(session, question.id, at + timedelta(minutes=3))
    newest = [one for one in buyers if one.purchase_count in (2, 3, 4)][-1:]
    for totals in newest:
        for days, words in ((6, "แจ้งว่าแต้มไม่เข้า"), (4, "ขอเปลี่ยนเบอร์โทร"), (1, "กาแฟผิดเมนู")):
            tickets.open_ticket(session, totals.member_id, words, now - timedelta(days=days))
    lately = select(Member.id).where(
        Member.joined_at > now - timedelta(days=55), Member.state == MemberState.MEMBER
    )
    idle = select(MemberTotals.member_id).where(MemberTotals.purchase_count == 0)
    for member_id in session.scalars(lately.where(Member.id.in_(idle)).limit(2)).all():
        for days in (9, 4, 2):
            at = now - timedelta(days=days)
            session.add(Activity(member_id=member_id, kind="coupons.claimed", at=at))
    said = [one for one in session.info.pop("activities", []) if one.kind == "surveys.reviewed"]
    lifecycle.react(runtime, session, said, now)  # levels follow in one pass, with the night
    session.info.pop("activities", None)  # nobody is told of a made-up past


def _remember_moves(session: Session, now: datetime, tz: ZoneInfo) -> None:
    """When members came to where they stand: the matrix of moves and days at a stage tell it."""
    known = set(session.scalars(select(StageChange.member_id).where(StageChange.field == "level")))
    rows: list[dict[str, Any]] = []
    for one in session.scalars(select(MemberTotals).where(MemberTotals.purchase_day_count > 0)):
        days = [at_local(date.fromisoformat(on), 12, 0, tz) for on in reversed(one.purchase_days)]
        steps = [("stage", "consideration", "purchase", days[0])]
        steps += [("stage", "purchase", "retention", day) for day in days[1:2]]
        steps.append(("level", "target", "neutral", days[0]))
        steps += [("level", "neutral", "regular", day) for day in days[2:3]]
        was = "regular" if len(days) > 2 else "neutral"
        risk, gone = lifecycle.at_risk_after(one.own_gap_days), 90.0
        if one.own_gap_days is not None:
            gone = max(30.0, 3 * one.own_gap_days)
        for after, limit in (("at_risk", risk), ("inactive", gone)):
            steps.append(("level", was, after, days[-1] + timedelta(days=int(limit) + 1)))
            was = after
        rows += [
            {"member_id": one.member_id, "field": field, "before": before, "after": after,
             "why": {}, "at": at}
            for field, before, after, at in steps
            if at < now - timedelta(days=2) and not (field == "level" and one.member_id in known)
        ]  # fmt: skip
    copy_many(session, table_of(StageChange), rows)


def _fill_bills(session: Session, rng: random.Random) -> None:
    rows = []
    for purchase_id, amount in session.execute(select(Purchase.id, Purchase.amount_satang)):
        sku = rng.choices(("LATTE", "AMERICANO", "BEAN250"), (5, 4, 1))[0]
        skus = [sku]
        if sku in COMPANIONS and rng.random() < COMPANIONS[sku][1]:
            skus.append(COMPANIONS[sku][0])
        parts = [amount - amount // 3, amount // 3] if len(skus) > 1 else [amount]
        rows += [
            {"purchase_id": purchase_id, "sku": one, "quantity": 1, "amount_satang": part}
            for one, part in zip(skus, parts, strict=True)
        ]
    insert_many(session, table_of(PurchaseItem), rows)


def _compare_thanks(session: Session, rng: random.Random, now: datetime) -> None:
    """Make the thanks of the last weeks occasions of their journey; some were never sent."""
    definitions.ensure(session, now)
    journey = session.scalars(select(Journey).where(Journey.key == THANKS)).one()
    version = session.scalars(
        select(JourneyVersion).where(
            JourneyVersion.journey_id == journey.id,
            JourneyVersion.version == journey.current_version,
        )
    ).one()
    step = next(one["key"] for one in version.definition["steps"] if one["kind"] == "send")
    bills: dict[int, list[tuple[datetime, int]]] = {}
    bought = select(Purchase.member_id, Purchase.purchased_at, Purchase.amount_satang)
    for member_id, at, amount in session.execute(bought):
        bills.setdefault(member_id, []).append((at, amount))
    thanks = session.scalars(
        select(Message)
        .where(Message.kind == THANKS, Message.created_at > now - timedelta(days=COMPARED_DAYS))
        .order_by(Message.id)
    ).all()
    later: dict[int, list[int]] = {}
    for message in thanks:
        until = message.created_at + timedelta(days=14)
        spent = [
            amount for at, amount in bills[message.member_id] if message.created_at < at <= until
        ]
        later.setdefault(message.member_id, []).append(sum(spent))
    means = {member_id: sum(sums) / len(sums) for member_id, sums in later.items()}
    by_mean = sorted(means, key=lambda member_id: (means[member_id], member_id))
    quiet = sum(mean <= 0 for mean in means.values())
    held = {*by_mean[:quiet:HELD_OF_QUIET], *by_mean[quiet + 3 :: HELD_OF_BUYERS]}
    source = f"journey:{journey.id}:{step}"
    for message in thanks:
        is_held = message.member_id in held
        at = max(one for one, _ in bills[message.member_id] if one <= message.created_at)
        intent = Intent(
            member_id=message.member_id, journey_id=journey.id, version=version.version,
            occasion=f"purchase:{message.key.rpartition(':')[2]}", step=step, klass=journey.klass,
            created_at=at, window_from=at, deadline=at + timedelta(hours=24),
            not_after=at + timedelta(hours=36), decided_at=message.finished_at,
            arm=Arm.HELD_OUT if is_held else Arm.TREATED,
            state=IntentState.HELD_OUT if is_held else IntentState.TURNED, facts={},
        )  # fmt: skip
        session.add(intent)
        if is_held:
            session.delete(message)
            continue
        session.flush()  # the message needs its intent's id
        message.intent_id, message.source = intent.id, source
        if rng.random() < TAP_SHARE:
            tapped_at = min(message.created_at + timedelta(hours=rng.randrange(1, 20)), now)
            session.add(
                Tap(
                    key=str(message.id), member_id=message.member_id, source=source,
                    message_id=message.id, at=tapped_at,
                )
            )  # fmt: skip


def _favour_somebody(session: Session, now: datetime) -> None:
    """One cashier rings up one member again and again: a thing the watchdog finds."""
    cashier_id = session.scalar(select(func.min(Cashier.id)))
    since = now - timedelta(days=29)
    lately = select(Purchase).where(Purchase.recorded_at > since).order_by(Purchase.id)
    by_member: dict[int, list[Purchase]] = {}
    for bill in session.scalars(lately):
        by_member.setdefault(bill.member_id, []).append(bill)
    if cashier_id is None or not by_member:
        return
    regulars = sorted(by_member.values(), key=lambda found: -sum(one.points for one in found))
    others = sorted((one for found in regulars[1:] for one in found), key=lambda one: one.points)
    for bill in [*regulars[0], *others[: WATCHED_BILLS - len(regulars[0])]]:
        bill.cashier_id = cashier_id
