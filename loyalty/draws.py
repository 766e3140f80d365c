"""Lucky draws: turns by day or by bill, a stated chance, and a seed that proves every number (C2).

A draw's seed is 32 random bytes, sealed while the draw runs; its SHA-256 is shown from the start
and the seed itself when the draw has ended. A turn's number is

    HMAC-SHA256(seed, "<draw key>:<member's public id>:<ordinal>") as a whole number, mod 1,000,000

so nobody, the shop included, can change it afterwards. 2**256 is so much more than a million that
no number is likelier than another by a part in 10**70. Prizes own ranges of numbers in the order
of their ids, fixed when the draw starts; what is left over wins nothing. A prize whose coupon is
sold out wins nothing either, and the page says so before anybody plays.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import String, and_, cast, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core.clock import local_day
from core.crypto import Vault
from core.db import insert_into
from core.errors import Invalid, NotFound, Refused
from core.i18n import money, t
from core.runtime import Runtime
from core.sabotage import is_sabotaged
from loyalty import activities, coupons, points
from models.activities import Activity
from models.base import table_of
from models.coupons import Coupon, Obtained, Voucher, VoucherState
from models.draws import Draw, DrawPrize, DrawState, DrawTurn
from models.members import Member, MemberState
from models.purchases import Purchase

MILLION = 1_000_000
MOST_PRIZES = 10
MOST_TURNS_A_DAY = 20
TURNS = table_of(DrawTurn)
DRAWS = table_of(Draw)
BY_DAY, BY_BILL = "day", "purchase"


@dataclass(frozen=True)
class Chance:
    """A prize with the numbers that win it: from `first` up to and including `last`."""

    prize: DrawPrize
    coupon: Coupon
    first: int
    last: int

    @property
    def one_in(self) -> int:
        """`n` of "1 in n", rounded."""
        return round(MILLION / self.prize.per_million)


@dataclass(frozen=True)
class Turn:
    """A turn to play: `name` says which one, the same for every tap on its button."""

    name: str
    source: str


@dataclass(frozen=True)
class Played:
    """What a turn came to. `chance` is None for no prize; without `voucher` it was sold out."""

    turn: DrawTurn
    chance: Chance | None
    voucher: Voucher | None
    is_new: bool


# Numbers


def number_of(seed: bytes, key: str, member_public_id: str, ordinal: int) -> int:
    """The number of a turn, 0-999,999; anybody can compute it once the seed is known."""
    message = f"{key}:{member_public_id}:{ordinal}".encode()
    return int.from_bytes(hmac.new(seed, message, hashlib.sha256).digest(), "big") % MILLION


def hash_of(seed: bytes) -> str:
    """What is shown of a seed from the start."""
    return hashlib.sha256(seed).hexdigest()


def chances_of(session: Session, draw_id: int) -> list[Chance]:
    """A draw's prizes with their ranges, in the order of their ids."""
    rows = session.execute(
        select(DrawPrize, Coupon)
        .join(Coupon, Coupon.id == DrawPrize.coupon_id)
        .where(DrawPrize.draw_id == draw_id)
        .order_by(DrawPrize.id)
    )
    chances, first = [], 0
    for prize, coupon in rows:
        chances.append(Chance(prize, coupon, first, first + prize.per_million - 1))
        first += prize.per_million
    return chances


def chance_of(chances: Sequence[Chance], number: int) -> Chance | None:
    """The prize that a number wins; None for none."""
    return next((one for one in chances if one.first <= number <= one.last), None)


# Making


def create(
    session: Session,
    vault: Vault,
    *,
    key: str,
    name_th: str,
    name_en: str,
    now: datetime,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    turns_per_day: int = 0,
    min_bill_satang: int = 0,
    prizes: Sequence[tuple[int, int]] = (),
) -> Draw:
    """Make a draft with a fresh seed; `prizes` are pairs of coupon id and chance in a million."""
    seed = secrets.token_bytes(32)
    draw = Draw(
        key=key,
        name_th=name_th,
        name_en=name_en,
        starts_at=starts_at,
        ends_at=ends_at,
        turns_per_day=turns_per_day,
        min_bill_satang=min_bill_satang,
        seed_sealed=vault.seal(f"draws.{key}", seed),
        seed_hash=hash_of(seed),
        created_at=now,
    )
    session.add(draw)
    session.flush()  # its prizes name it
    set_prizes(session, draw, prizes)
    return draw


def set_prizes(session: Session, draw: Draw, prizes: Sequence[tuple[int, int]]) -> None:
    """Replace a draft's prizes; those of a draw that has started are promised."""
    if draw.state != DrawState.DRAFT:
        raise Refused("draws.has_started")
    if len(prizes) > MOST_PRIZES or any(not 1 <= chance <= MILLION for _, chance in prizes):
        raise Invalid("draws.bad_chance")
    if sum(chance for _, chance in prizes) > MILLION:
        raise Refused("draws.too_much_luck", status=422)
    session.execute(delete(DrawPrize).where(DrawPrize.draw_id == draw.id))
    for coupon_id, chance in prizes:
        coupon = session.get(Coupon, coupon_id)
        if coupon is None or coupon.obtained != Obtained.DRAW:
            raise Refused("draws.not_a_prize")
        session.add(DrawPrize(draw_id=draw.id, coupon_id=coupon_id, per_million=chance))
    session.flush()  # their order is that of their ids


def start(session: Session, draw: Draw) -> None:
    """Open a draft. From here on prizes, chances and seed stand."""
    if not chances_of(session, draw.id):
        raise Refused("draws.no_prizes")
    if not draw.turns_per_day and not draw.min_bill_satang:
        raise Refused("draws.no_turns")
    if not _move(session, draw, DrawState.DRAFT, {"state": DrawState.LIVE}):
        raise Refused("draws.has_started")


def end(session: Session, vault: Vault, draw: Draw) -> None:
    """Close a draw for good and show its seed."""
    ended = {"state": DrawState.ENDED, "seed": _unseal(vault, draw).hex()}
    if not _move(session, draw, DrawState.LIVE, ended):
        raise Refused("draws.not_live")


def _move(session: Session, draw: Draw, before: DrawState, values: dict[str, Any]) -> bool:
    session.flush()  # Core statements must see what the caller has added so far
    done: Any = session.connection().execute(
        update(DRAWS).where(DRAWS.c.id == draw.id, DRAWS.c.state == before).values(values)
    )
    session.refresh(draw)
    return bool(done.rowcount == 1)


def _unseal(vault: Vault, draw: Draw) -> bytes:
    return vault.unseal(f"draws.{draw.key}", draw.seed_sealed)


def is_over(draw: Draw, now: datetime) -> bool:
    """Whether nobody can play any more."""
    return draw.state == DrawState.ENDED or (draw.ends_at is not None and draw.ends_at <= now)


def is_open(draw: Draw, now: datetime) -> bool:
    """Whether turns are given and played at this moment."""
    has_begun = draw.starts_at is None or draw.starts_at <= now
    return draw.state == DrawState.LIVE and has_begun and not is_over(draw, now)


def seed_of(vault: Vault, draw: Draw, now: datetime) -> bytes | None:
    """The seed, once the draw has ended; None before, for everybody."""
    if draw.state == DrawState.DRAFT or not is_over(draw, now):
        return None
    return bytes.fromhex(draw.seed) if draw.seed else _unseal(vault, draw)


# Turns


def open_draws(session: Session, now: datetime) -> Sequence[Draw]:
    """The draws that can be played now, newest first."""
    live = select(Draw).where(
        Draw.state == DrawState.LIVE,
        or_(Draw.starts_at.is_(None), Draw.starts_at <= now),
        or_(Draw.ends_at.is_(None), Draw.ends_at > now),
    )
    return session.scalars(live.order_by(Draw.id.desc())).all()


def by_key(session: Session, key: str) -> Draw:
    """A draw that has started; drafts do not exist for anybody but the console."""
    draw = session.scalar(select(Draw).where(Draw.key == key, Draw.state != DrawState.DRAFT))
    if draw is None:
        raise NotFound("draws.not_found")
    return draw


def turns_left(
    session: Session, draw: Draw, member_id: int, now: datetime, tz: ZoneInfo
) -> list[Turn]:
    """What a member can still play now: today's free turns first, then those of bills."""
    rows = session.execute(
        select(TURNS.c.source, TURNS.c.source_id, TURNS.c.played_at)
        .where(TURNS.c.draw_id == draw.id, TURNS.c.member_id == member_id)
        .order_by(TURNS.c.id)
    ).all()
    played = {(row.source, row.source_id) for row in rows if row.played_at is not None}
    today = local_day(now, tz)
    free = [
        Turn(f"{BY_DAY}:{today:%Y-%m-%d}:{count}", BY_DAY)
        for count in range(1, draw.turns_per_day + 1)
        if (BY_DAY, _day_id(member_id, today, count)) not in played
    ]
    bills = [
        Turn(f"{BY_BILL}:{row.source_id}", BY_BILL)
        for row in rows
        if row.source == BY_BILL and row.played_at is None
    ]
    return free + bills


def played_by(session: Session, draw: Draw, member_id: int, limit: int = 50) -> list[Played]:
    """A member's played turns, newest first."""
    chances = {one.prize.id: one for one in chances_of(session, draw.id)}
    rows = session.scalars(
        select(DrawTurn)
        .where(
            DrawTurn.draw_id == draw.id,
            DrawTurn.member_id == member_id,
            DrawTurn.played_at.is_not(None),
        )
        .order_by(DrawTurn.ordinal.desc())
        .limit(limit)
    )
    return [_played(session, turn, chances.get(turn.prize_id or 0), is_new=False) for turn in rows]


def play(
    session: Session,
    vault: Vault,
    draw: Draw,
    member: Member,
    name: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    tapped_at: datetime | None = None,
) -> Played:
    """Play one turn, once: every further tap on it gets the same answer.

    A day's turn counts on the day of its tap, `tapped_at`, which may be over by now. Refused: `members.not_joined`, `draws.over`, `draws.no_such_turn` (a day that has gone by, a
    bill that was taken back, somebody else's).
    """
    if not member.is_member:
        raise Refused("members.not_joined")
    points.lock_member(session, member.id)
    source, source_id = _cause(
        draw, member.id, name, {local_day(at, tz) for at in (now, tapped_at or now)}
    )
    turn = _find_turn(session, draw, member.id, source, source_id)
    if turn is not None and turn.played_at is not None and not is_sabotaged("draws.play_once"):
        chances = {one.prize.id: one for one in chances_of(session, draw.id)}
        return _played(session, turn, chances.get(turn.prize_id or 0), is_new=False)
    if not is_open(draw, now):
        raise Refused("draws.over")
    if turn is None and source == BY_DAY:
        _give(session, draw.id, member.id, source, source_id, now)
        turn = _find_turn(session, draw, member.id, source, source_id)
    if turn is None:
        raise Refused("draws.no_such_turn")
    return _play(session, vault, draw, member, turn, now, tz)


def _play(
    session: Session,
    vault: Vault,
    draw: Draw,
    member: Member,
    turn: DrawTurn,
    now: datetime,
    tz: ZoneInfo,
) -> Played:
    chances = chances_of(session, draw.id)
    number = number_of(_unseal(vault, draw), draw.key, member.public_id, turn.ordinal)
    won = chance_of(chances, number)
    unplayed = and_(TURNS.c.id == turn.id, TURNS.c.played_at.is_(None))
    if is_sabotaged("draws.play_once"):
        unplayed = TURNS.c.id == turn.id
    taken: Any = session.connection().execute(
        update(TURNS)
        .where(unplayed)
        .values(number=number, played_at=now, prize_id=won.prize.id if won else None)
    )
    if taken.rowcount != 1:
        session.refresh(turn)
        return _played(session, turn, won, is_new=False)
    voucher = None
    if won is not None:
        again = f":{secrets.token_hex(4)}" if is_sabotaged("draws.play_once") else ""
        voucher = coupons.issue(
            session,
            won.coupon,
            member.id,
            source="draw",
            source_id=f"{turn.id}{again}",
            now=now,
            tz=tz,
        )
        if voucher is not None:
            session.execute(
                update(TURNS).where(TURNS.c.id == turn.id).values(voucher_id=voucher.id)
            )
    session.refresh(turn)
    facts = {
        "draw_id": draw.id,
        "turn_id": turn.id,
        "number": number,
        "draw": draw.name_th,
        "draw_en": draw.name_en,
        "has_won": voucher is not None,
    }
    activities.record(session, member.id, "draws.played", now, facts)
    return Played(turn, won, voucher, is_new=True)


def _played(session: Session, turn: DrawTurn, won: Chance | None, *, is_new: bool) -> Played:
    voucher = session.get(Voucher, turn.voucher_id) if turn.voucher_id else None
    return Played(turn, won, voucher, is_new=is_new)


def _find_turn(
    session: Session, draw: Draw, member_id: int, source: str, source_id: str
) -> DrawTurn | None:
    found = select(DrawTurn).where(
        DrawTurn.draw_id == draw.id,
        DrawTurn.member_id == member_id,
        DrawTurn.source == source,
        DrawTurn.source_id == source_id,
    )
    return session.scalars(found, execution_options={"populate_existing": True}).first()


def _cause(draw: Draw, member_id: int, name: str, days: Collection[date]) -> tuple[str, str]:
    """What a button's turn stands for, if it is a bill's or one of these days'."""
    source, _, rest = name.partition(":")
    if source == BY_BILL and rest.isascii() and rest.isdigit():
        return BY_BILL, rest
    day, _, count = rest.partition(":")
    numbers = {str(number) for number in range(1, draw.turns_per_day + 1)}
    try:
        on = date.fromisoformat(day)
    except ValueError:
        raise Refused("draws.no_such_turn") from None
    if source != BY_DAY or count not in numbers or on not in days:
        raise Refused("draws.no_such_turn")
    return BY_DAY, _day_id(member_id, on, int(count))


def _day_id(member_id: int, on: date, count: int) -> str:
    return f"{member_id}:{on:%Y-%m-%d}:{count}"


def _give(
    session: Session, draw_id: int, member_id: int, source: str, source_id: str, now: datetime
) -> None:
    """Write a turn once for its cause; the member's lock keeps the ordinals apart."""
    ordinal = (
        select(func.coalesce(func.max(TURNS.c.ordinal), 0) + 1)
        .where(TURNS.c.draw_id == draw_id, TURNS.c.member_id == member_id)
        .scalar_subquery()
    )
    row = {
        "draw_id": draw_id,
        "member_id": member_id,
        "ordinal": ordinal,
        "source": source,
        "source_id": source_id,
        "given_at": now,
    }
    session.execute(insert_into(session, TURNS).values(row).on_conflict_do_nothing())


def react(runtime: Runtime, session: Session, recorded: Sequence[Activity], now: datetime) -> None:
    """Bills give turns in the open draws they are large enough for; returns take unplayed ones back."""
    del runtime
    for activity in recorded:
        if activity.kind == "purchases.recorded":
            _give_for_bill(session, activity, now)
        elif activity.kind == "purchases.returned":
            _take_back(session, int(activity.facts["purchase_id"]))


def _give_for_bill(session: Session, activity: Activity, now: datetime) -> None:
    amount = int(activity.facts["amount_satang"])
    for draw in open_draws(session, now):
        if not draw.min_bill_satang or amount < draw.min_bill_satang:
            continue
        purchase = session.get_one(Purchase, activity.facts["purchase_id"])
        if draw.starts_at is not None and purchase.purchased_at < draw.starts_at:
            continue
        points.lock_member(session, activity.member_id)  # held by the bill already
        _give(session, draw.id, activity.member_id, BY_BILL, str(purchase.id), now)


def _take_back(session: Session, purchase_id: int) -> None:
    """What is left of the bill no longer earns the turns of some draws; played ones stand."""
    purchase = session.get_one(Purchase, purchase_id)
    kept = purchase.amount_satang - purchase.returned_satang
    too_small = select(Draw.id).where(Draw.min_bill_satang > kept)
    session.execute(
        delete(DrawTurn).where(
            DrawTurn.source == BY_BILL,
            DrawTurn.source_id == str(purchase_id),
            DrawTurn.played_at.is_(None),
            DrawTurn.draw_id.in_(too_small),
        )
    )


# Merging


def move_turns(session: Session, source: int, target: int) -> list[list[int]]:
    """Hand the unplayed turns of one member's bills to another, behind their own.

    Played ones stay, as their numbers are made of the member who played them. Returns each turn
    with the ordinal it had. Both members are locked by the caller.
    """
    unplayed = (
        select(TURNS.c.id, TURNS.c.draw_id, TURNS.c.ordinal)
        .where(TURNS.c.member_id == source, TURNS.c.source == BY_BILL, TURNS.c.played_at.is_(None))
        .order_by(TURNS.c.ordinal)
    )
    moved = []
    for row in session.execute(unplayed).all():
        last = select(func.coalesce(func.max(TURNS.c.ordinal), 0) + 1).where(
            TURNS.c.draw_id == row.draw_id, TURNS.c.member_id == target
        )
        place = session.scalar(last)
        values = {"member_id": target, "ordinal": place}
        session.execute(update(TURNS).where(TURNS.c.id == row.id).values(values))
        moved.append([row.id, row.ordinal])
    _forget_turns(session)
    return moved


def swap_turns(session: Session, account: int, person: int) -> None:
    """Let turns follow the public ids that an account and a person have swapped.

    Numbers are made of public id and ordinal, so what was played keeps its ordinal: no number
    comes twice. What the account has yet to play stays with it, behind the person's turns. Both
    members are locked by the caller.
    """
    rows = session.execute(
        select(TURNS)
        .where(TURNS.c.member_id.in_((account, person)))
        .order_by(TURNS.c.member_id != person, TURNS.c.ordinal)
    ).all()
    for row in rows:  # out of each other's way: ordinals and causes are unique
        aside = {"ordinal": -row.ordinal, "source_id": f"swap:{row.id}"}
        session.execute(update(TURNS).where(TURNS.c.id == row.id).values(aside))
    last: Counter[int] = Counter()
    for row in rows:
        target, place, cause = account, row.ordinal, row.source_id
        if row.member_id == person:
            last[row.draw_id] = max(last[row.draw_id], place)
        elif row.played_at is not None:
            target = person
        else:
            last[row.draw_id] += 1
            place = last[row.draw_id]
        if row.source == BY_DAY:
            cause = f"{target}:{cause.partition(':')[2]}"
        values = {"member_id": target, "ordinal": place, "source_id": cause}
        session.execute(update(TURNS).where(TURNS.c.id == row.id).values(values))
    _forget_turns(session)


def return_turns(session: Session, moved: Sequence[Sequence[int]], kept: int, gone: int) -> None:
    """Give the turns of a merge back at their old places, those still unplayed."""
    for turn_id, ordinal in moved:
        session.execute(
            update(TURNS)
            .where(TURNS.c.id == turn_id, TURNS.c.member_id == kept, TURNS.c.played_at.is_(None))
            .values(member_id=gone, ordinal=ordinal)
        )
    _forget_turns(session)


def _forget_turns(session: Session) -> None:
    for loaded in list(session.identity_map.values()):
        if isinstance(loaded, DrawTurn):
            session.expire(loaded)


# Proof


def check_turns(session: Session) -> list[points.Difference]:
    """Every turn against the voucher it won, and every ended draw's numbers against its seed.

    A running draw's seed is sealed, so its numbers are proven once it has ended; who has left
    since has taken the id that their numbers were made of along.
    """
    session.flush()  # the check reads by plain statements
    return [*_wrong_halves(session), *_wrong_vouchers(session), *_wrong_numbers(session)]


def _wrong_halves(session: Session) -> list[points.Difference]:
    """A turn is played with a number, or neither; what is not played has won nothing."""
    return [
        points.Difference("draws.turn", row.id, 0, row.number or 0)
        for row in session.execute(_halves())
    ]


@cache
def _halves() -> Any:
    has_number = TURNS.c.number.is_not(None)
    is_played = TURNS.c.played_at.is_not(None)
    has_won = or_(TURNS.c.prize_id.is_not(None), TURNS.c.voucher_id.is_not(None))
    halves = select(TURNS.c.id, TURNS.c.number).where(
        or_(is_played & ~has_number, ~is_played & (has_number | has_won))
    )
    return halves.order_by(TURNS.c.id)


def _wrong_vouchers(session: Session) -> list[points.Difference]:
    """One voucher for each turn that says it won one: of the prize's coupon, and from that turn."""
    other, loose = _apart()
    return [
        *(
            points.Difference("draws.voucher", row.id, 0, row.voucher_id)
            for row in session.execute(other)
        ),
        *(
            points.Difference("draws.loose_voucher", voucher_id, 1, 0)
            for voucher_id in session.scalars(loose)
        ),
    ]


@cache
def _apart() -> tuple[Any, Any]:
    """Turns with another voucher than they won, and vouchers of draws that no turn knows."""
    vouchers, prizes = table_of(Voucher), table_of(DrawPrize)
    turn = cast(TURNS.c.id, String)
    fits = and_(
        vouchers.c.source == "draw",
        or_(vouchers.c.source_id == turn, vouchers.c.source_id.like(turn + ":%")),
        vouchers.c.coupon_id == prizes.c.coupon_id,
        prizes.c.draw_id == TURNS.c.draw_id,
    )
    other = (
        select(TURNS.c.id, TURNS.c.voucher_id)
        .outerjoin(vouchers, vouchers.c.id == TURNS.c.voucher_id)
        .outerjoin(prizes, prizes.c.id == TURNS.c.prize_id)
        .where(TURNS.c.voucher_id.is_not(None), or_(~fits, vouchers.c.id.is_(None),
                                                    prizes.c.id.is_(None)))
    )  # fmt: skip
    loose = (
        select(vouchers.c.id)
        .outerjoin(TURNS, TURNS.c.voucher_id == vouchers.c.id)
        .where(vouchers.c.source == "draw", TURNS.c.id.is_(None))
    )
    return other.order_by(TURNS.c.id), loose.order_by(vouchers.c.id)


def _wrong_numbers(session: Session) -> list[points.Difference]:
    found = []
    for draw in session.scalars(select(Draw).where(Draw.seed.is_not(None)).order_by(Draw.id)):
        seed = bytes.fromhex(draw.seed or "")
        if hash_of(seed) != draw.seed_hash:
            found.append(points.Difference("draws.seed", draw.id, 1, 0))
            continue
        for turn_id, expected, number in _turns_apart(session, seed, draw):
            found.append(points.Difference("draws.number", turn_id, expected, number))
    return found


def _turns_apart(session: Session, seed: bytes, draw: Draw) -> list[tuple[int, int, int]]:
    """Played turns whose number or prize is not what the seed says: id, its number, the one found."""
    chances = chances_of(session, draw.id)
    rows = session.execute(
        select(TURNS.c.id, TURNS.c.ordinal, TURNS.c.number, TURNS.c.prize_id, Member.public_id)
        .join(Member, Member.id == TURNS.c.member_id)
        .where(
            TURNS.c.draw_id == draw.id,
            TURNS.c.played_at.is_not(None),
            Member.state != MemberState.ERASED,
        )
        .order_by(TURNS.c.id),
        execution_options={"yield_per": 10_000},
    )
    wrong = []
    for row in rows:
        number = number_of(seed, draw.key, row.public_id, row.ordinal)
        won = chance_of(chances, number)
        if number != row.number or (won.prize.id if won else None) != row.prize_id:
            wrong.append((row.id, number, row.number or 0))
    return wrong


@dataclass(frozen=True)
class Share:
    """How often a prize (None: none) came beside how often its chance says."""

    chance: Chance | None
    per_million: int
    count: int
    expected: float
    #: How many standard deviations apart; beyond 4 somebody should look.
    distance: float
    handed_out: int


def distribution(session: Session, draw: Draw) -> list[Share]:
    """What was drawn so far, against the stated chances."""
    counts: dict[int | None, tuple[int, int]] = {
        prize_id: (count, given)
        for prize_id, count, given in session.execute(
            select(TURNS.c.prize_id, func.count(), func.count(TURNS.c.voucher_id))
            .where(TURNS.c.draw_id == draw.id, TURNS.c.played_at.is_not(None))
            .group_by(TURNS.c.prize_id)
        )
    }
    total = sum(count for count, _ in counts.values())
    chances = chances_of(session, draw.id)
    rest = MILLION - sum(one.prize.per_million for one in chances)
    shares = []
    for one, per_million in [*((one, one.prize.per_million) for one in chances), (None, rest)]:
        count, given = counts.get(one.prize.id if one else None, (0, 0))
        share = per_million / MILLION
        expected = total * share
        spread = math.sqrt(total * share * (1 - share))
        distance = abs(count - expected) / spread if spread else 0.0
        shares.append(Share(one, per_million, count, expected, distance, given))
    return shares


def stock_of(chance: Chance, now: datetime) -> int | None:
    """Units of a prize still to be won; 0 when its coupon has ended, None without a limit."""
    return chance.coupon.left if coupons.is_open(chance.coupon, now) else 0


def check_numbers(session: Session, vault: Vault, draw: Draw) -> list[int]:
    """Ids of played turns whose number or prize is not what the seed says; for `ledger check`."""
    return [turn_id for turn_id, _, _ in _turns_apart(session, _unseal(vault, draw), draw)]


def can_be_used(voucher: Voucher | None) -> bool:
    """Whether a won voucher is still good."""
    return voucher is not None and voucher.state in (VoucherState.ISSUED, VoucherState.HELD)


# In words


def percent_words(per_million: int) -> str:
    """A chance in per cent without useless zeros: `1`, `0.5`, `0.0001`."""
    whole, rest = divmod(per_million, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")


def rules_in_words(draw: Draw, locale: str) -> list[str]:
    """How turns are had."""
    rules = []
    if draw.turns_per_day:
        rules.append(t(locale, "draws.by_day", count=draw.turns_per_day))
    if draw.min_bill_satang:
        rules.append(t(locale, "draws.by_bill", baht=money(locale, draw.min_bill_satang)))
    return rules


def chances_in_words(session: Session, draw: Draw, now: datetime, locale: str) -> list[str]:
    """Each prize with its chance and what is left of it."""
    said = []
    for one in chances_of(session, draw.id):
        left = stock_of(one, now)
        key = "draws.chance" if left is None else "draws.chance_left"
        said.append(
            t(
                locale,
                "draws.chance_gone" if left is not None and left <= 0 else key,
                prize=name_of(one.coupon, locale),
                percent=percent_words(one.prize.per_million),
                one_in=one.one_in,
                left=left,
            )
        )
    return said


def result_in_words(played: Played, locale: str) -> tuple[str, str]:
    """A title and a sentence for what a turn came to."""
    if played.chance is None:
        return t(locale, "draws.lost_title"), t(locale, "draws.lost")
    prize = name_of(played.chance.coupon, locale)
    if played.voucher is None:
        return t(locale, "draws.lost_title"), t(locale, "draws.sold_out", prize=prize)
    return t(locale, "draws.won_title"), t(locale, "draws.won", prize=prize)


def name_of(coupon: Coupon, locale: str) -> str:
    """A prize's name in one language."""
    return coupon.name_en if locale == "en" else coupon.name_th
