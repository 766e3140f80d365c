"""A process that does business without end, until it is killed in the middle of it.

Started by `tests/loyalty/test_kills.py` with a URL and a name. For each line on standard input it
forks a player and answers with the player's process id. Players of one name take up where the
killed one stopped: they repeat its last operation first, as a till would.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db import Database
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import codes, coupons, operations, points, purchases
from models.coupons import Coupon, Obtained, Redemption, Voucher, VoucherState
from models.members import Member
from models.purchases import Operation, Purchase, PurchaseState
from models.staff import Branch
from tests import factories
from tests.moments import BANGKOK, NOW

PARENT_GONE = 2


class Player:
    """Does one random operation after the other, each in a transaction of its own."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name
        self.random = random.Random(f"{name}:{os.getpid()}")
        self.number = self.last_number()

    def last_number(self) -> int:
        mine = select(func.count()).where(Operation.id.like(f"{self.name}:%"))
        with self.database.read() as session:
            return session.scalar(mine) or 0

    def play(self) -> None:
        while os.getppid() != 1:
            self.operate(f"{self.name}:{self.number}")
            self.number += 1
            # SQLite wakes its waiters by luck: without a pause one player could starve the others.
            time.sleep(self.random.uniform(0.005, 0.03))

    def operate(self, operation: str) -> None:
        """One operation: its effect and its answer commit together, or neither does."""
        with self.database.write() as session:
            stored = operations.once(session, operation, "body", NOW)
            if stored is not None:
                return
            act = self.random.choice((self.buy, self.buy, self.take_back, self.spend, self.undo,
                                      self.expire, self.exchange))  # fmt: skip
            # As at the edges: what is refused leaves nothing behind but its answer.
            savepoint = session.begin_nested()
            try:
                answer = act(session, operation)
                savepoint.commit()
            except Refused as refusal:
                savepoint.rollback()
                answer = {"refused": refusal.code}
            if is_sabotaged("operations.together"):
                session.commit()  # the effect alone, and a moment later its answer
                time.sleep(0.05)
            operations.finish(session, operation, 200, answer, NOW)

    def one(self, session: Session, model: Any, *conditions: Any) -> Any:
        found = session.scalars(select(model).where(*conditions).order_by(model.id)).all()
        if not found:
            raise Refused("nothing.there")
        return self.random.choice(found)

    def buy(self, session: Session, operation: str) -> dict[str, Any]:
        bought = purchases.record_purchase(
            session,
            member_id=self.one(session, Member).id,
            branch=self.one(session, Branch),
            amount_satang=self.random.randint(1, 60_000),
            operation_id=operation,
            now=NOW,
            tz=BANGKOK,
        )
        return {"purchase": bought.purchase.id, "points": bought.points}

    def take_back(self, session: Session, operation: str) -> dict[str, Any]:
        purchase = self.one(session, Purchase, Purchase.state != PurchaseState.VOIDED)
        left = purchase.amount_satang - purchase.returned_satang
        part = self.random.choice((None, self.random.randint(1, left)))
        undone = purchases.return_purchase(
            session, purchase_public_id=purchase.public_id, operation_id=operation,
            amount_satang=part, now=NOW, tz=BANGKOK,
        )  # fmt: skip
        return {"return": undone.purchase_return.id}

    def exchange(self, session: Session, operation: str) -> dict[str, Any]:
        coupon = self.one(session, Coupon, Coupon.obtained == Obtained.POINTS)
        member = self.one(session, Member)
        return {"voucher": coupons.buy_reward(session, coupon.id, member, NOW, BANGKOK).id}

    def spend(self, session: Session, operation: str) -> dict[str, Any]:
        voucher = self.one(session, Voucher, Voucher.state == VoucherState.ISSUED)
        code = codes.make_code(
            session, factories.SECRET_KEY, "redeem", voucher.member_id,
            voucher_id=voucher.id, real_now=NOW,
        )  # fmt: skip
        used = codes.redeem(
            session, parsed=codes.parse(factories.SECRET_KEY, code), holder=f"device:{self.name}",
            branch=self.one(session, Branch), bill_satang=20_000, operation_id=operation,
            now=NOW, real_now=NOW, tz=BANGKOK,
        )  # fmt: skip
        return {"redemption": used.redemption.id}

    def undo(self, session: Session, operation: str) -> dict[str, Any]:
        redemption = self.one(session, Redemption, Redemption.reversed_at.is_(None))
        when = NOW + timedelta(days=self.random.choice((0, 400)))
        undone = coupons.reverse(session, redemption, now=when, tz=BANGKOK)
        return {"reversed": undone.redemption.id}

    def expire(self, session: Session, operation: str) -> dict[str, Any]:
        when = NOW + timedelta(days=self.random.choice((0, 0, 0, 400)))
        return {
            "lots": points.expire_lots(session, when, 3),
            "vouchers": coupons.expire_vouchers(session, when, when, 3),
        }


def rehearse(database: Database, name: str) -> None:
    """Do everything once and take it back: a player who lives for a moment has no time to learn."""
    player = Player(database, name)
    try:
        with database.write() as session:
            for act in (player.buy, player.exchange, player.spend, player.undo, player.take_back,
                        player.expire):  # fmt: skip
                savepoint = session.begin_nested()
                try:
                    act(session, f"{name}:rehearsal:{act.__name__}")
                    savepoint.commit()
                except Refused:
                    savepoint.rollback()
            raise Refused("rehearsal.over")
    except Refused:
        pass
    database.dispose()


def main() -> None:
    url, name = sys.argv[1:]
    database = Database(url)
    rehearse(database, name)
    print("ready", flush=True)
    for _ in sys.stdin:
        player = os.fork()
        if player:
            print(player, flush=True)
            os.waitpid(player, 0)
            continue
        try:
            Player(database, name).play()
        except BaseException:
            traceback.print_exc()
            time.sleep(60)  # stay to be killed: a player that ends by itself is a fault
            os._exit(PARENT_GONE)
        os._exit(0)


if __name__ == "__main__":
    main()
