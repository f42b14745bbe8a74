"""Says on the target who sends the points of a run, so that two copies of a store do not both send them.

No lock holds between copies, and a target that keeps what it gets twice keeps it twice. Each copy has a tag of its own
on a run: it sets the tag, then reads the run. Of two that do so at once at least one sees the other's, takes its own
back and waits. A run that a push makes carries the tag from the beginning, so that nothing has to be read.

What a tag says lasts for some minutes and is renewed while the push goes on: that of a push that died is waited for,
but not by the copy whose push it was. A process that is held up for longer than that between looking at its clock and
the arrival of its request can still send what somebody else has sent since: the API knows no condition for a write.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import SyncError
from localtrack.sync.batches import Batch, Packed, encode_batch
from localtrack.sync.limits import Limits
from localtrack.types import TERMINAL_STATUSES

if TYPE_CHECKING:
    from localtrack.sync.context import PushContext

CLAIM_TAG_PREFIX: Final = "localtrack.claim."
_LEASE_MS: Final = 5 * 60_000
_SKEW_MS: Final = 5 * 60_000
"""So far may the clocks of two hosts be apart."""
_RENEW_MS: Final = 60_000
_OR_ITS_END: Final = " or the end of the run"


def claim_key(host: str, place: str) -> str:
    """Return the tag of one copy of a store.

    Args:
        host: Where the push runs.
        place: Where its ledger lies.
    """
    return CLAIM_TAG_PREFIX + hashlib.sha256(f"{host}\n{place}".encode()).hexdigest()[:12]


def is_claimed_by_other(remote: Mapping[str, Any], own_key: str, *, now_ms: int) -> bool:
    """Return whether a run of the target says that another copy sends its points."""
    has_ended = remote["info"].get("status") in TERMINAL_STATUSES
    for row in remote.get("data", {}).get("tags", []):
        until, _, rest = row.get("value", "").partition(" ")
        is_other = row["key"].startswith(CLAIM_TAG_PREFIX) and row["key"] != own_key
        if is_other and until.isdecimal() and int(until) + _SKEW_MS > now_ms and not (rest and has_ended):
            return True
    return False


def digest_other_claims(remote: Mapping[str, Any], own_key: str) -> str:
    """Return a text that changes when another copy has sent points to a run; empty if none ever has."""
    rows = remote.get("data", {}).get("tags", [])
    others = sorted(
        f"{row['key']} {row.get('value', '')}"
        for row in rows
        if row["key"].startswith(CLAIM_TAG_PREFIX) and row["key"] != own_key
    )
    return hashlib.sha256("\n".join(others).encode()).hexdigest()[:16] if others else ""


def released(now_ms: int) -> str:
    """Return what a tag says once the points have been sent: until when, so that each time it is another text."""
    return f"released {now_ms}"


class Claim:
    """The claim of this push on one run of the target.

    Args:
        context: The push.
        remote_id: The run there.
        ends_with_run: It is over, too, when the run has ended there, which is said once all points have been sent: of
            a run that is made and ended by one push nothing more need be sent.
    """

    def __init__(self, context: PushContext, remote_id: str, *, ends_with_run: bool = False) -> None:
        self._context = context
        self.remote_id = remote_id
        self.ends_with_run = ends_with_run
        self._until_ms = 0

    def take(self) -> dict[str, Any] | None:
        """Claim a run that is there, and return it as it is then; None if it is gone.

        Raises:
            SyncError: Another copy of the store sends it, for longer than patience lasts.
        """
        context = self._context
        patience = context.tracking.http.patience
        for number in range(patience.tries_count):
            self._set(self.tag()[context.claim_key])
            remote = context.tracking.get_run(self.remote_id)
            if remote is None:
                return None
            if not is_claimed_by_other(remote, context.claim_key, now_ms=self._now_ms()):
                return remote
            self._set(released(self._now_ms()))
            context.require_going()
            # Two that step back at once must not come back at once.
            context.tracking.http.sleep(patience.pause_s(number) * (0.5 + random.random()))
        raise SyncError(
            "Another copy of the store is being pushed to this run of the target.",
            hint="Push again when that push is done; one that died is forgotten after ten minutes.",
        )

    def tag(self) -> dict[str, str]:
        """Return the tag that claims the run, or goes on to; what is set later than its end is void."""
        self._until_ms = self._now_ms() + _LEASE_MS
        value = f"{self._until_ms}{_OR_ITS_END if self.ends_with_run else ''}"
        return {self._context.claim_key: value}

    def release(self) -> dict[str, str]:
        """Return the tag that says that the points have been sent."""
        return {self._context.claim_key: released(self._now_ms())}

    def is_in(self, remote: Mapping[str, Any]) -> bool:
        """Return whether a run of the target carries this copy's tag."""
        return any(row["key"] == self._context.claim_key for row in remote.get("data", {}).get("tags", []))

    def keep(self) -> None:
        """Renew the claim if it ends soon.

        Raises:
            SyncError: It has ended meanwhile, as where the process was stopped: somebody else may have sent points.
        """
        left_ms = self._until_ms - self._now_ms()
        if left_ms <= 0:
            raise SyncError(
                "The push was held up so long that another one may have gone on with the run.", hint="Push again."
            )
        if left_ms < _LEASE_MS - _RENEW_MS:
            self._set(self.tag()[self._context.claim_key])

    def _set(self, value: str) -> None:
        self._context.tracking.set_tag(self.remote_id, self._context.claim_key, value)

    def _now_ms(self) -> int:
        return self._context.source.site.clock()


def release_with_last(batches: Iterable[Packed], claim: Claim, limits: Limits) -> Iterator[Packed]:
    """Yield what is to be sent to a run, and say with the last request of it that the run is free again."""
    waiting: list[Packed] = []
    for item in batches:
        if item[0] is not None:
            yield from waiting
            waiting = []
        waiting.append(item)
    last = waiting[0][0] if waiting else None
    if last is None or last.count >= limits.batch_entities_count or len(last.tags) >= limits.batch_tags_count:
        last = Batch()
        waiting.append((last, "", 0))
    last.tags = {**last.tags, **claim.release()}
    last.body = encode_batch(claim.remote_id, last)
    yield from waiting
