"""Brings one run to the target: made once, its points sent once, and no step taken before the one before is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from localtrack.errors import ErrorCode, RefusedError, SyncError, UnsureError
from localtrack.storage.process import boot_id
from localtrack.store.run_reading import RunReading
from localtrack.sync.ahead import ahead
from localtrack.sync.artifact_places import open_place
from localtrack.sync.artifact_push import ArtifactOutcome, push_artifacts
from localtrack.sync.asking import digest_metrics, find_missing_points, find_missing_rows, remote_metrics
from localtrack.sync.batches import Batch, Rows, SentPoint, encode_batch, pack_rows
from localtrack.sync.claims import Claim, digest_other_claims, release_with_last
from localtrack.sync.context import PushContext
from localtrack.sync.distinct import Point, to_target_value, value_bits
from localtrack.sync.entity_push import push_entities
from localtrack.sync.history_rows import RunHistory, to_points
from localtrack.sync.ledger import RunEntry
from localtrack.sync.limits import MLFLOW, Limits
from localtrack.sync.model_links import ensure_models_of_run
from localtrack.sync.remote_runs import find_by_tag
from localtrack.sync.source import LocalRun
from localtrack.sync.translation import CONFLICT_TAG_PREFIX, STORE_ID_TAG, Loss, Translation, first_tags, translate_run
from localtrack.types import TERMINAL_STATUSES

_MOST_UNSURE_COUNT: Final = 5000
"""Of so many points it is looked up one by one whether the target has them; of more, whole histories are compared."""


@dataclass(slots=True)
class SentRun:
    """A run that was sent, and what the target should say of it now."""

    local: LocalRun
    remote_id: str
    experiment: str
    """Remote experiment id."""
    translation: Translation
    signature: str
    positions: dict[str, tuple[int, int]]
    counts: dict[str, int]
    """Points per key; empty where a run that goes on is not counted."""
    last: dict[str, Point]
    artifacts: ArtifactOutcome = field(default_factory=ArtifactOutcome)
    points_sent: int = 0
    is_new: bool = False
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class RunPush:
    """The work on one run.

    Args:
        context: The push.
        local: The run, as planned.
        entry: What the ledger said of it when the push began.
        remote: The run as the target shows it, if it was found there by its tag; then nothing is known of its points.
        is_exact: Ask the target for every point, whatever the ledger says.
    """

    def __init__(
        self,
        context: PushContext,
        local: LocalRun,
        entry: RunEntry,
        *,
        remote: Mapping[str, Any] | None = None,
        is_exact: bool = False,
    ) -> None:
        self.context = context
        self.local = local
        self.entry = entry
        self.remote = remote
        self.is_exact = is_exact
        self.remote_id = entry.remote_id or ""
        self.points_sent = 0
        self.losses: list[Loss] = []
        self._is_new = False
        self._has_points = False
        self._claim: Claim | None = None
        self._artifact_uri = ""
        self._links: dict[Any, dict[str, str]] = {}

    def run(self) -> SentRun:
        """Send what the target lacks.

        Raises:
            SyncError: The target refused, or cannot be reached; the ledger knows how far it came.
            StoppedError: The push was asked to stop.
        """
        context = self.context
        context.require_going()
        found = context.source.read(self.local.folder)
        if found is None:
            raise SyncError(f"Run {self.local.run_id} vanished from the store, or cannot be read any more.")
        reading, signature = found
        is_dead = context.source.is_dead(reading, context.options)
        translation = translate_run(
            reading.state,
            context.limits,
            store_id=context.store_id,
            remote_ids=context.remote_ids,
            is_dead=is_dead,
            changed_ms=reading.changed_ms,
        )
        self.losses += translation.losses
        positions = reading.positions
        self._has_points = any(points > self.entry.acked.get(w, 0) for w, (_, points) in positions.items())
        self._find_or_create(translation)
        if self.remote is not None and self._claim is None and self._is_in_doubt(has_ended=translation.has_ended):
            self.remote = self._read_claimed(self.remote_id, may_send=True) or self.remote
        params, tags = self._open_state(translation)
        self._links, losses = ensure_models_of_run(context, reading.state)
        self.losses += losses
        history = RunHistory(
            reading,
            context.options.thinning,
            context.limits,
            has_ended=reading.state.status in TERMINAL_STATUSES or is_dead,
        )
        rows = self._open_rows(history, reading, has_ended=translation.has_ended)
        batches = pack_rows(self.remote_id, context.limits, rows, params=params, tags=tags, links=self._links)
        if self._claim is not None and not self._claim.ends_with_run:
            batches = release_with_last(batches, self._claim, context.limits)
        for batch, writer, end in ahead(batches):
            if batch is not None:
                self._send(batch, writer)
            if writer and end > self.entry.acked.get(writer, 0):
                self._note_acked(writer, end)
        push_entities(context, reading.state, self.remote_id, self.remote)
        try:
            artifacts = self._push_artifacts(reading)
        finally:
            # Also of a run whose artifacts cannot be brought there: it has ended, and should not show as RUNNING.
            self._end(translation)
        return SentRun(
            local=self.local,
            remote_id=self.remote_id,
            experiment=context.experiments[self.local.experiment_id],
            translation=translation,
            signature=signature,
            positions=positions,
            counts=dict(history.counts),
            last=last_points(reading, context.limits)
            if context.options.thinning.is_off or translation.has_ended
            else {},
            artifacts=artifacts,
            points_sent=self.points_sent,
            is_new=self._is_new,
            losses=self.losses,
        )

    # -- the run itself

    def _find_or_create(self, translation: Translation) -> None:
        context = self.context
        if self.remote is None and self.remote_id:
            self.remote = self._read_claimed(self.remote_id)
            if self.remote is None:
                raise SyncError(
                    f"The target has no run {self.remote_id} any more, which run {self.local.run_id} was sent to.",
                    hint="If it was removed there for good, `localtrack sync --forget` sends it as a new one.",
                )
        if self.remote is not None:
            info = self.remote["info"]
            if info.get("lifecycle_stage") == "deleted":
                self.remote = self._replace_deleted(self.remote)
                info = self.remote["info"]
            self._artifact_uri = str(info.get("artifact_uri", ""))
            if self._claim is None:
                self.remote = self._read_claimed(str(info["run_id"])) or self.remote
            if not self.remote_id:
                self.remote_id = str(info["run_id"])
                self._note_remote()
            context.remote_ids[self.local.run_id] = self.remote_id
            return
        info = self._create(translation)
        if info is None:
            self._find_or_create(translation)
            return
        self.remote_id, self._artifact_uri = str(info["run_id"]), str(info.get("artifact_uri", ""))
        self._is_new = True
        if self._claim is not None:
            self._claim.remote_id = self.remote_id
        self._note_remote()
        context.remote_ids[self.local.run_id] = self.remote_id

    def _read_claimed(self, remote_id: str, *, may_send: bool = False) -> Mapping[str, Any] | None:
        """Return a run of the target, claimed if there are points to be sent, or may be."""
        tracking = self.context.tracking
        if not (self._has_points or self.is_exact or may_send):
            return tracking.get_run(remote_id)
        try:
            claim = Claim(self.context, remote_id)
            remote = claim.take()
        except RefusedError:
            return tracking.get_run(remote_id)  # one that is deleted there takes no tags
        self._claim = claim
        return remote

    def _replace_deleted(self, remote: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the run to go on with where the one that is known was deleted on the target.

        Two pushers may have made it, and the other one stayed.
        """
        context = self.context
        other = find_by_tag(context, self.local)
        if other is not None and other["info"].get("lifecycle_stage") != "deleted":
            self.remote_id, self.is_exact = str(other["info"]["run_id"]), True
            self.entry = RunEntry(remote_id=self.remote_id)
            self._note_remote()
            return other
        if context.options.does_delete:
            context.tracking.restore_run(str(remote["info"]["run_id"]))
            return remote
        raise SyncError(
            f"Run {self.local.run_id} is deleted on the target.",
            code=ErrorCode.RUN_DELETED,
            hint="Restore it there, or push with --deletions to restore what is not deleted here.",
        )

    def _create(self, translation: Translation) -> Mapping[str, Any] | None:
        """Make the run, and return its info; after an unsure answer ask whether it was made.

        None where another copy of the store has made it meanwhile: then it is `remote`.
        """
        context = self.context
        tags = first_tags(translation.tags)
        self._claim = Claim(context, "", ends_with_run=translation.has_ended) if self._has_points else None
        if self._claim is not None:
            tags |= self._claim.tag()
        document = {
            "experiment_id": context.experiments[self.local.experiment_id],
            "start_time": translation.start_ms,
            "run_name": translation.name,
            "user_id": translation.user,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        patience = context.tracking.http.patience
        for number in range(patience.tries_count):
            try:
                return context.tracking.create_run(document)
            except UnsureError as error:
                context.tracking.http.sleep(patience.before_asking_s(number, error))
                remote = find_by_tag(context, self.local)
                if remote is not None:
                    if self._claim is None or self._claim.is_in(remote):
                        info: Mapping[str, Any] = remote["info"]
                        return info
                    self.remote, self._claim = remote, None
                    return None
                if number == patience.tries_count - 1:
                    raise
        raise AssertionError("not reached")

    def _note_remote(self) -> None:
        self.context.ledger.append(
            "run",
            {
                "run": self.local.run_id,
                "remote": self.remote_id,
                "experiment": self.context.experiments[self.local.experiment_id],
                "thin": self.context.options.thinning.fingerprint,
            },
        )

    def _open_state(self, translation: Translation) -> tuple[dict[str, str], dict[str, str]]:
        """Return the params and tags that the target lacks, and delete tags that are gone here."""
        if self.remote is None:
            at_first = first_tags(translation.tags)
            return dict(translation.params), {k: v for k, v in translation.tags.items() if k not in at_first}
        data = self.remote.get("data", {})
        there = {row["key"]: row.get("value", "") for row in data.get("params", [])}
        tags_there = {row["key"]: row.get("value", "") for row in data.get("tags", [])}
        params: dict[str, str] = {}
        for key, value in list(translation.params.items()):
            if key not in there:
                params[key] = value
            elif there[key] != value:
                self._take_conflict(translation, key, there[key])
        if STORE_ID_TAG in tags_there:  # another copy of the store has brought the run there
            translation.tags[STORE_ID_TAG] = tags_there[STORE_ID_TAG]
        tags = {key: value for key, value in translation.tags.items() if tags_there.get(key) != value}
        for key in self.entry.done.get("tags", []):
            if key in tags_there and key not in translation.tags:
                self.context.tracking.delete_tag(self.remote_id, key)
        return params, tags

    def _take_conflict(self, translation: Translation, key: str, there: str) -> None:
        """A param never changes: the target keeps its value, and a tag says what it is here."""
        value = translation.params.pop(key)
        self.losses.append(
            Loss(
                self.local.run_id, "conflict", f"Param {key!r} is {there[:80]!r} on the target and {value[:80]!r} here."
            )
        )
        tag = f"{CONFLICT_TAG_PREFIX}{key}"[:250]
        translation.tags[tag] = value[: self.context.limits.tag_value_chars]

    # -- points

    def _open_rows(self, history: RunHistory, reading: RunReading, *, has_ended: bool) -> Iterator[Rows]:
        """Yield the points that the target lacks, having asked it where the ledger cannot tell."""
        if self._is_new:
            self.entry = RunEntry(remote_id=self.remote_id)
            yield from history.iter_rows({})
            return
        assert self.remote is not None
        must_ask = self._must_ask_all(has_ended=has_ended)
        if self._is_other_choice:
            self._note_remote()  # from here on what was received before is no position any more
        if self._is_other_choice or not remote_metrics(self.remote):
            self.entry.acked, self.entry.sent = {}, {}
        if must_ask:
            yield from self._ask_all(history, reading)
            return
        acked = dict(self.entry.acked)
        unsure = {w: number for w, number in self.entry.sent.items() if number > acked.get(w, 0)}
        for rows in history.iter_rows(acked):
            limit = unsure.get(rows.writer, 0)
            doubtful = [point for point in rows.points if point.number < limit]
            if doubtful:
                missing = find_missing_points(self.context.tracking, self.remote_id, doubtful)
                rows = rows._replace(points=missing + [point for point in rows.points if point.number >= limit])
            yield rows

    @property
    def _is_other_choice(self) -> bool:
        """Whether what the target has received was thinned out in another way."""
        return self.entry.remote_id is not None and self.entry.thin != self.context.options.thinning.fingerprint

    def _is_in_doubt(self, *, has_ended: bool) -> bool:
        """Return whether points may have to be sent although the ledger says that all have been received."""
        assert self.remote is not None
        is_emptied = bool(self.entry.acked) and not remote_metrics(self.remote)
        return is_emptied or self._must_ask_all(has_ended=has_ended)

    def _must_ask_all(self, *, has_ended: bool) -> bool:
        """Return whether the target may have points that the ledger does not know of."""
        assert self.remote is not None
        there = remote_metrics(self.remote)
        if self.is_exact:
            return True
        if not there:
            return False
        if self.entry.remote_id is None or self._is_other_choice:
            return True
        if digest_other_claims(self.remote, self.context.claim_key) != self.entry.done.get("claims", ""):
            return True  # another copy of the store has sent some since
        if not self.context.options.thinning.is_off and has_ended and self.entry.acked:
            return True  # the last, least and greatest points were not known to be that when they were passed
        if not self.entry.is_claimed:
            # Else somebody else has sent some.
            return bool(self.entry.done.get("seen", "") != digest_metrics(there.items()))
        # The record of a batch is written, not synced: it is sure as long as that machine has not gone down.
        if not self.entry.claim_boot or self.entry.claim_boot != boot_id():
            return True
        unsure_count = sum(number - self.entry.acked.get(w, 0) for w, number in self.entry.sent.items())
        return unsure_count > _MOST_UNSURE_COUNT

    def _ask_all(self, history: RunHistory, reading: RunReading) -> Iterator[Rows]:
        history.count()
        positions = {writer: points for writer, (_, points) in reading.positions.items()}
        self.context.ledger.append("sending", {"run": self.local.run_id, "positions": positions})
        assert self.remote is not None
        there = remote_metrics(self.remote)
        for key in sorted(history.counts):
            rows = history.rows_of_key(key)
            if key in there:
                rows = find_missing_rows(self.context.tracking, self.remote_id, key, rows)
            points = to_points(rows)
            for first in range(0, len(points), self.context.limits.batch_metrics_count):
                yield Rows("", 0, points[first : first + self.context.limits.batch_metrics_count])
        for writer, number in positions.items():
            yield Rows(writer, number, [])

    def _send(self, batch: Batch, writer: str) -> None:
        """Send one batch so that no point of it arrives twice, whatever the answer."""
        context = self.context
        context.require_going()
        if self._claim is not None and batch.points:
            self._claim.keep()
        end = batch.points[-1].number + 1 if batch.points and writer else 0
        if end:
            self.context.ledger.append("sending", {"run": self.local.run_id, "positions": {writer: end}})
        patience = context.tracking.http.patience
        todo = batch
        for number in range(patience.tries_count):
            try:
                context.tracking.log_batch(todo.body, has_metrics=bool(todo.points))
                break
            except UnsureError as error:
                if number == patience.tries_count - 1:
                    raise
                context.tracking.http.sleep(patience.before_asking_s(number, error))
                todo = self._rest(todo, todo.params)
            except RefusedError as error:
                if not todo.params or "param" not in str(error).lower() or number == patience.tries_count - 1:
                    raise
                params = self._params_without_conflicts(todo.params)
                if params == dict(todo.params):
                    raise
                todo = self._rest(todo, params)
            if not (todo.points or todo.params or todo.tags):
                break
        self.points_sent += len(batch.points)
        if end:
            self._note_acked(writer, end)

    def _rest(self, batch: Batch, params: Mapping[str, str]) -> Batch:
        """Return what of a batch the target lacks."""
        missing: Sequence[SentPoint] = find_missing_points(self.context.tracking, self.remote_id, batch.points)
        rest = Batch(missing, params, batch.tags, links=batch.links)
        rest.body = encode_batch(self.remote_id, rest)
        return rest

    def _params_without_conflicts(self, params: Mapping[str, str]) -> dict[str, str]:
        """Return the params that the target does not have with another value."""
        run = self.context.tracking.get_run(self.remote_id)
        there = {row["key"]: row.get("value", "") for row in (run or {}).get("data", {}).get("params", [])}
        kept: dict[str, str] = {}
        for key, value in params.items():
            if there.get(key, value) == value:
                kept[key] = value
            else:
                self.losses.append(
                    Loss(self.local.run_id, "conflict", f"Param {key!r} has another value on the target already.")
                )
        return kept

    def _note_acked(self, writer: str, end: int) -> None:
        self.context.ledger.append("points", {"run": self.local.run_id, "positions": {writer: end}})
        self.entry.acked[writer] = max(self.entry.acked.get(writer, 0), end)

    # -- artifacts

    def _push_artifacts(self, reading: RunReading) -> ArtifactOutcome:
        context = self.context
        tracking = context.tracking
        return push_artifacts(
            context.source.site.storage,
            self.local.folder,
            records=reading.state.artifacts,
            choice=context.options.artifacts,
            limits=context.limits,
            known=self.entry.done.get("artifacts", {}),
            open_place=lambda: open_place(tracking.http, self._artifact_uri, base_url=context.base_url),
            list_there=lambda: tracking.list_artifacts(self.remote_id),
            require_going=context.require_going,
        )

    # -- the end

    def _end(self, translation: Translation) -> None:
        """Set status, end and name where they differ."""
        info = self.remote["info"] if self.remote is not None else {"status": "RUNNING", "run_name": translation.name}
        wanted: dict[str, Any] = {}
        if info.get("status") != translation.status or (
            translation.end_ms is not None and int(info.get("end_time") or 0) != translation.end_ms
        ):
            wanted["status"] = translation.status
            if translation.end_ms is not None:
                wanted["end_time"] = translation.end_ms
        if info.get("run_name", "") != translation.name and translation.name:
            wanted["run_name"] = translation.name
        if wanted:
            self.context.require_going()
            self.context.tracking.update_run({"run_id": self.remote_id, **wanted})


def last_points(reading: RunReading, limits: Limits = MLFLOW) -> dict[str, Point]:
    """Return the last point of each metric, as the target keeps it."""
    return {
        key: (fold.last_timestamp_ms, fold.last_step, value_bits(to_target_value(fold.last_value)))
        for key, fold in reading.folds.items()
        if limits.takes_key(key)
    }
