"""Adapted classifiers between requests: in this process's memory, with a time to live.

Covered: no image is kept, only what a classifier is made of; it ends with its time, with DELETE,
or with the process. Not covered: what the operating system swaps out.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.inference import Adapted
from pool.domain import new_id, utc_now
from pool.errors import AdaptationNotFound
from pool.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Adaptation:
    """A classifier that may be asked until it ends."""

    id: str
    organisation_id: str
    meta_learner_id: str
    adapted: Adapted
    created_at: datetime
    expires_at: datetime


class Adaptations:
    """All of this process; bounded in bytes, fair to organisations."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime] = utc_now) -> None:
        self._ttl = timedelta(seconds=settings.adaptation_ttl_s)
        self._most_bytes = settings.adaptations_bytes
        self._now = now
        self._kept: OrderedDict[str, Adaptation] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, organisation_id: str, meta_learner_id: str, adapted: Adapted) -> Adaptation:
        """Keep a classifier; where room is short, what was asked longest ago goes first.

        The organisation that fills most of the room gives up its own, so that nobody can push out
        others' by making many. One is kept whatever its size.
        """
        now = self._now()
        made = Adaptation(
            id=new_id("ad"),
            organisation_id=organisation_id,
            meta_learner_id=meta_learner_id,
            adapted=adapted,
            created_at=now,
            expires_at=now + self._ttl,
        )
        with self._lock:
            self._forget_expired(now)
            self._kept[made.id] = made
            while self._bytes() > self._most_bytes and len(self._kept) > 1:
                self._make_room(made.id)
        return made

    def find(self, organisation_id: str, adaptation_id: str) -> Adaptation:
        """An organisation's classifier.

        Raises:
            AdaptationNotFound: there is none of this id, or none any more, or not here.
        """
        with self._lock:
            self._forget_expired(self._now())
            found = self._kept.get(adaptation_id)
            if found is None or found.organisation_id != organisation_id:
                raise AdaptationNotFound(
                    "There is no such adaptation here: it has ended, or another replica of this "
                    "server has it. Send the support images again."
                )
            self._kept.move_to_end(adaptation_id)
        return found

    def end(self, organisation_id: str, adaptation_id: str) -> Adaptation:
        """Forget one.

        Raises:
            AdaptationNotFound: there is none of this id.
        """
        found = self.find(organisation_id, adaptation_id)
        with self._lock:
            self._kept.pop(adaptation_id, None)
        return found

    def _forget_expired(self, now: datetime) -> None:
        for each in [each for each in self._kept.values() if each.expires_at <= now]:
            del self._kept[each.id]

    def _make_room(self, newest: str) -> None:
        used: dict[str, int] = {}
        for each in self._kept.values():
            used[each.organisation_id] = (
                used.get(each.organisation_id, 0) + each.adapted.memory_bytes
            )
        greedy = max(used, key=used.__getitem__)
        theirs = [
            each.id
            for each in self._kept.values()
            if each.organisation_id == greedy and each.id != newest
        ]
        others = [each for each in self._kept if each != newest]
        del self._kept[(theirs or others)[0]]

    def _bytes(self) -> int:
        return sum(each.adapted.memory_bytes for each in self._kept.values())
