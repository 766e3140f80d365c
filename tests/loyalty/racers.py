"""A process of threads that all do the same thing at the same instant.

Started by `tests/loyalty/test_races.py` as `python -m tests.loyalty.racers` would. Each line on
standard input is a race: where the database is, what to do, how often, which guards are switched
off. It answers `ready`, waits for the line that says when to start, and answers what came of each
try.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from threading import Barrier, Thread
from typing import Any

from sqlalchemy.orm import Session

from core.crypto import Vault
from core.db import Database
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import (
    adjustments,
    audit,
    checkout,
    codes,
    coupons,
    draws,
    operations,
    points,
    purchases,
    queueing,
    referrals,
    tier_gifts,
)
from models.draws import Draw
from models.members import Member
from models.staff import Branch, Device, Staff
from tests import factories
from tests.moments import BANGKOK, NOW


def claim(session: Session, facts: dict[str, Any], number: int) -> str:
    """Try `number` claims for the member whose turn it is."""
    member = session.get_one(Member, facts["members"][number % len(facts["members"])])
    coupons.claim(session, facts["coupon"], member, NOW, BANGKOK)
    return "ok"


def redeem(session: Session, facts: dict[str, Any], number: int) -> str:
    """Use one code, at a till of one's own, for a bill of one's own."""
    codes.redeem(
        session,
        parsed=codes.parse(factories.SECRET_KEY, facts["code"]),
        holder=f"device:{number}",
        branch=session.get_one(Branch, facts["branch"]),
        bill_satang=10_000 + number,
        operation_id=f"device:{number}:1",
        now=NOW,
        real_now=NOW,
        tz=BANGKOK,
    )
    return "ok"


def burn(session: Session, facts: dict[str, Any], number: int) -> str:
    points.burn(
        session,
        facts["member"],
        facts["points"],
        source="voucher",
        source_id=str(number),
        now=NOW,
    )
    return "ok"


def buy_reward(session: Session, facts: dict[str, Any], number: int) -> str:
    member = session.get_one(Member, facts["member"])
    coupons.buy_reward(session, facts["coupon"], member, NOW, BANGKOK)
    return "ok"


def void(session: Session, facts: dict[str, Any], number: int) -> str:
    """Void the one bill, or the bill whose turn it is."""
    bills = facts.get("purchases") or [facts["purchase"]]
    purchases.return_purchase(
        session,
        purchase_public_id=bills[number % len(bills)],
        operation_id=f"device:{number}:2",
        now=NOW,
        tz=BANGKOK,
    )
    return "ok"


def buy(session: Session, facts: dict[str, Any], number: int) -> str:
    """Record a bill of one member, or of many in turn; `receipt_no` may be everybody's."""
    members = facts.get("members") or [facts["member"]]
    purchases.record_purchase(
        session,
        member_id=members[number % len(members)],
        branch=session.get_one(Branch, facts["branch"]),
        amount_satang=facts["satang"],
        operation_id=f"device:{number}:3",
        receipt_no=facts.get("receipt_no"),
        now=NOW,
        tz=BANGKOK,
    )
    return "ok"


def same_operation(session: Session, facts: dict[str, Any], number: int) -> str:
    """One operation, repeated: whoever is first earns, the others get that answer."""
    stored = operations.once(session, "device:1:tap", "body", NOW)
    if stored is not None:
        return "replayed" if stored.answer == {"points": 10} else "another answer"
    points.earn(
        session, facts["member"], 10, source="purchase", source_id=str(number), now=NOW, tz=BANGKOK
    )
    operations.finish(session, "device:1:tap", 201, {"points": 10}, NOW)
    return "ok"


def write_audit(session: Session, facts: dict[str, Any], number: int) -> str:
    audit.record(session, "staff:1", "points.adjusted", {"number": number}, NOW)
    return "ok"


def agree(session: Session, facts: dict[str, Any], number: int) -> str:
    """Everybody agrees to one adjustment."""
    staff = session.get_one(Staff, facts["staff"][number % len(facts["staff"])])
    adjustments.decide(
        session, facts["adjustment"], staff=staff, is_agreed=True, now=NOW, tz=BANGKOK
    )
    return "ok"


def agree_gift(session: Session, facts: dict[str, Any], number: int) -> str:
    """Everybody agrees to one voucher by hand."""
    staff = session.get_one(Staff, facts["staff"][number % len(facts["staff"])])
    coupons.decide_gift(session, facts["gift"], staff=staff, is_agreed=True, now=NOW, tz=BANGKOK)
    return "ok"


def give_by_hand(session: Session, facts: dict[str, Any], number: int) -> str:
    """One person gives as fast as they can; each tap is another gift."""
    staff = session.get_one(Staff, facts["giver"])
    member = session.get_one(Member, facts["member"])
    made = coupons.give(session, facts["coupon"], member, staff, "x", str(number), NOW, BANGKOK)
    return made.state.value


def identify(session: Session, facts: dict[str, Any], number: int) -> str:
    parsed = codes.parse(factories.SECRET_KEY, facts["code"])
    codes.scan(session, parsed, f"device:{number}", NOW, NOW, BANGKOK)
    return "ok"


def claim_again(session: Session, facts: dict[str, Any], number: int) -> str:
    """One button, tapped by one thumb after the other."""
    member = session.get_one(Member, facts["member"])
    coupons.claim(session, facts["coupon"], member, NOW, BANGKOK, key="button")
    return "ok"


def type_code(session: Session, facts: dict[str, Any], number: int) -> str:
    """Type one generated code, each try by another member."""
    member = session.get_one(Member, facts["members"][number % len(facts["members"])])
    try:
        coupons.claim_by_code(session, facts["code"], member, NOW, NOW, BANGKOK)
    except Refused as refusal:
        return refusal.code  # committed: the try counts
    return "ok"


def use_own(session: Session, facts: dict[str, Any], number: int) -> str:
    """Use the code whose turn it is, for a bill that its voucher pays in full."""
    codes.redeem(
        session,
        parsed=codes.parse(factories.SECRET_KEY, facts["codes"][number]),
        holder=f"device:{number}",
        branch=session.get_one(Branch, facts["branch"]),
        bill_satang=10_000,
        operation_id=f"device:{number}:4",
        now=NOW,
        real_now=NOW,
        tz=BANGKOK,
    )
    return "ok"


def stack(session: Session, facts: dict[str, Any], number: int) -> str:
    """Use all vouchers of the member whose turn it is on one bill, in the order of the scans."""
    checkout.confirm(
        session,
        member_id=facts["members"][number],
        branch=session.get_one(Branch, facts["branch"]),
        holder=f"device:{number}",
        bill_satang=30_000,
        operation_id=f"device:{number}:stack",
        now=NOW,
        real_now=NOW,
        tz=BANGKOK,
        parsed=[codes.parse(factories.SECRET_KEY, text) for text in facts["codes"][number]],
    )
    return "ok"


def ring(session: Session, facts: dict[str, Any], number: int) -> str:
    """One cashier's bill at a till: twenty of them add up to one more than the ceiling allows."""
    checkout.confirm(
        session,
        member_id=facts["members"][number % len(facts["members"])],
        branch=session.get_one(Branch, facts["branch"]),
        holder=f"device:{number}",
        bill_satang=facts["satang"],
        operation_id=f"device:{number}:ring",
        now=NOW,
        real_now=NOW,
        tz=BANGKOK,
        cashier_id=facts["cashier"],
        shift_from=NOW,
    )
    return "ok"


def play(session: Session, facts: dict[str, Any], number: int) -> str:
    """One turn, tapped by many."""
    vault = Vault((factories.DATA_KEY,), (factories.INDEX_KEY,))
    member = session.get_one(Member, facts["member"])
    draw = session.get_one(Draw, facts["draw"])
    played = draws.play(session, vault, draw, member, facts["turn"], NOW, BANGKOK)
    return f"{played.turn.number}"


def settle(session: Session, facts: dict[str, Any], number: int) -> str:
    """A bill that one till has kept; its cap is for a day, whoever sends."""
    device = session.get_one(Device, facts["device"])
    over = queueing.over(session, device, 10_000, timedelta(0), now=NOW, tz=BANGKOK)
    if over is not None:
        raise over
    checkout.confirm(
        session,
        member_id=facts["members"][number % len(facts["members"])],
        branch=session.get_one(Branch, facts["branch"]),
        holder=f"device:{device.id}",
        bill_satang=10_000,
        operation_id=f"device:{device.id}:{number}",
        now=NOW,
        real_now=NOW,
        tz=BANGKOK,
        cashier_id=facts["cashier"],
        device_id=device.id,
        queued_at=NOW,
    )
    return "ok"


def climb(session: Session, facts: dict[str, Any], number: int) -> str:
    """Bring a member's tier in line; with `satang`, a bill of one's own comes first."""
    if facts.get("satang"):
        buy(session, facts, number)
    moves = tier_gifts.requalify(session, facts["member"], NOW, BANGKOK)
    return "moved" if moves else "stayed"


def reward_referrer(session: Session, facts: dict[str, Any], number: int) -> str:
    vault = Vault((factories.DATA_KEY,), (factories.INDEX_KEY,))
    given = referrals.reward(session, vault, facts["friend"], NOW, BANGKOK)
    return "given" if given else "nothing"


RACES: dict[str, Callable[[Session, dict[str, Any], int], str]] = {
    "agree": agree,
    "agree_gift": agree_gift,
    "audit": write_audit,
    "burn": burn,
    "buy": buy,
    "buy_reward": buy_reward,
    "claim": claim,
    "claim_again": claim_again,
    "give_by_hand": give_by_hand,
    "identify": identify,
    "play": play,
    "climb": climb,
    "redeem": redeem,
    "reward_referrer": reward_referrer,
    "ring": ring,
    "same_operation": same_operation,
    "settle": settle,
    "stack": stack,
    "type_code": type_code,
    "use_own": use_own,
    "void": void,
}


def attempt(database: Database, race: str, facts: dict[str, Any], number: int) -> str:
    """One try in a transaction of its own; anything but a refusal is a fault."""
    try:
        with database.write() as session:
            return RACES[race](session, facts, number)
    except Refused as refusal:
        return refusal.code
    except Exception as error:
        return f"fault {type(error).__name__}: {error}"[:300]


@cache
def _database(url: str, is_hasty: bool) -> Database:
    return Database(url)


def open_database(url: str) -> Database:
    """The database at `url`; one we knew before knows the statements of its engine already."""
    return _database(url, is_sabotaged("db.immediate"))


def run(spec: dict[str, Any]) -> None:
    """One race of this process: answer ready, wait, go."""
    os.environ["TAEM_TESTING"] = "1"
    os.environ["TAEM_SABOTAGE"] = spec.get("sabotage", "")
    database = open_database(spec["url"])
    threads_wanted = spec["threads"]
    barrier = Barrier(threads_wanted + 1)
    outcomes: list[str] = []
    slowest: list[float] = [0.0]
    numbers = spec["numbers"]

    def work(mine: list[int]) -> None:
        barrier.wait()
        for number in mine:
            began = time.monotonic()
            outcomes.append(attempt(database, spec["race"], spec["facts"], number))
            slowest.append(time.monotonic() - began)

    threads = [
        Thread(target=work, args=(numbers[place::threads_wanted],))
        for place in range(threads_wanted)
    ]
    for thread in threads:
        thread.start()
    say("ready")
    start_at = float(sys.stdin.readline())
    time.sleep(max(0.0, start_at - time.time()))
    barrier.wait()
    for thread in threads:
        thread.join()
    database.dispose()
    say({"outcomes": Counter(outcomes), "slowest": max(slowest)})


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    say("ready")
    for line in sys.stdin:
        run(json.loads(line))


if __name__ == "__main__":
    main()
