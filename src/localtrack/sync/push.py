"""Runs a plan: experiments first, then runs side by side, each verified before it counts as done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Final

from localtrack.errors import (
    ErrorCode,
    LocaltrackError,
    StoppedError,
    SyncError,
    ThrottledError,
    UnreachableError,
    UnsureError,
)
from localtrack.storage.process import this_process
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site
from localtrack.sync.asking import digest_metrics, remote_metrics
from localtrack.sync.checking import check_runs
from localtrack.sync.claims import claim_key, digest_other_claims
from localtrack.sync.context import PushContext
from localtrack.sync.experiment_push import ensure_experiment
from localtrack.sync.http import Http, Patience
from localtrack.sync.ledger import RunEntry
from localtrack.sync.ledger_file import LedgerFile
from localtrack.sync.model_push import find_source_runs, push_model
from localtrack.sync.options import PushOptions
from localtrack.sync.parents import has_old_parent, link_children
from localtrack.sync.plan import DeleteRun, EnsureExperiment, Plan, SendModel, SendRun
from localtrack.sync.planning import Planning
from localtrack.sync.remote_runs import choose_remote, is_living
from localtrack.sync.report import PushProgress, PushReport, RunOutcome, encode_report
from localtrack.sync.run_push import RunPush, SentRun
from localtrack.sync.source import Source, state_digest
from localtrack.sync.target import Target
from localtrack.sync.tracking import Tracking
from localtrack.sync.translation import MLFLOW_PARENT_TAG
from localtrack.sync.use_there import UseThere, ask_use
from localtrack.sync.verify import compare_runs, read_remote_runs, search_by_ids

_CLAIM_COUNT: Final = 100
"""So many runs are claimed with one sync to the disk."""
_VERIFY_COUNT: Final = 200
"""So many runs are verified together."""
_GLANCE_S: Final = 5.0
"""How long a dry run waits for the target."""

Progress = Callable[["PushProgress"], None]


class Push:
    """One push to one target.

    Args:
        site: The store, only read but for the ledger.
        catalog: Its experiments.
        target: Where to.
        options: What was asked for.
        progress: Told after each run.
    """

    def __init__(
        self, site: Site, catalog: Catalog, target: Target, options: PushOptions, *, progress: Progress | None = None
    ) -> None:
        self.site = site
        self.target = target
        self.options = options
        self.source = Source(site, catalog)
        self.report = PushReport(target.shown, target.identity)
        self.stop = threading.Event()
        """Set it, from any thread, and the push ends after the requests that are under way."""
        self._progress = progress
        self._limits = target.limits

    def dry_run(self) -> tuple[Plan, PushReport]:
        """Return what `run` would do; the target is asked what it takes and has, if it answers at once."""
        self.report.is_dry_run = True
        ledger = LedgerFile(self.site, self.ledger_key)
        http = Http(
            self.target.connection,
            patience=Patience(tries_count=1, timeout_s=_GLANCE_S),
            requests_per_s=self.target.limits.requests_per_s,
            sleep=self._sleep,
        )
        try:
            plan = self._plan(ledger, http)
        finally:
            http.close()
        self._take_plan(plan)
        return plan, self.report

    def run(self) -> PushReport:
        """Push.

        Raises:
            LockedError: Another process pushes to this target.
            SyncError: The target cannot be reached or refuses everything. What a single run met is in the report.
        """
        ledger = LedgerFile(self.site, self.ledger_key)
        with self._connected() as tracking, ledger.hold():
            ledger.forget(self.options.forgotten)
            plan = self._plan(ledger, tracking.http)
            self._take_plan(plan)
            try:
                self._run(plan, ledger, tracking)
            except SyncError as error:
                self.report.failure = str(error)  # for the log of the push
                raise
            except BaseException:  # an interrupt, or a mistake of ours
                self.report.is_interrupted = True
                raise
            finally:
                if plan.operations:
                    ledger.write_log(encode_report(self.report))
        return self.report

    def verify(self) -> PushReport:
        """Compare the chosen runs with the target, whatever the ledger says, and change nothing.

        Raises:
            SyncError: The target cannot be reached or refuses to answer.
        """
        ledger = LedgerFile(self.site, self.ledger_key)
        with self._connected() as tracking:
            plan = self._plan(ledger, tracking.http, is_check=True)
            context = self._context(ledger, tracking)
            for operation in plan.operations:
                remote = tracking.find_experiment(operation.name) if isinstance(operation, EnsureExperiment) else None
                if isinstance(operation, EnsureExperiment) and remote is not None:
                    context.experiments[operation.experiment_id] = str(remote["experiment_id"])
            self.report.skipped = {why: count for why, count in plan.skipped.items() if why != "unchanged"}
            self.report.runs = check_runs(context, plan.sends)
        return self.report

    def ask_use(self, names: Mapping[str, str], run_ids: Collection[str]) -> UseThere:
        """Return what the target has already, as `use_there.ask_use`.

        Args:
            names: Experiments of the store by id: their names there.
            run_ids: Those runs of the store whose counterparts are no other runs.

        Raises:
            SyncError: It cannot be reached, or refuses to answer.
        """
        with self._connected() as tracking:
            return ask_use(tracking, names, run_ids)

    @contextmanager
    def _connected(self) -> Iterator[Tracking]:
        began_s = time.monotonic()
        http = Http(
            self.target.connection,
            patience=self.options.patience,
            requests_per_s=self.target.limits.requests_per_s,
            connections_count=self.options.workers_count + 1,
            is_compressed=self.options.is_compressed,
            sleep=self._sleep,
        )
        try:
            self.report.identity = self.target.identify(http)
            yield Tracking(http)
        finally:
            http.close()
            self.report.requests_count = http.traffic.requests_count
            self.report.sent_bytes = http.traffic.sent_bytes
            self.report.throttled_count = http.throttled_count
            self.report.duration_s = time.monotonic() - began_s

    def _context(self, ledger: LedgerFile, tracking: Tracking) -> PushContext:
        context = PushContext(
            self.source,
            tracking,
            ledger,
            self._limits,
            self.options,
            self.site.document.store_id,
            base_url=self.target.connection.base_url,
            claim_key=self._claim_key(ledger),
            stop=self.stop,
        )
        for run_id, entry in ledger.state.runs.items():
            if entry.remote_id is not None:
                context.remote_ids[run_id] = entry.remote_id
        for model_id, known in ledger.state.models.items():
            context.model_ids[model_id] = known["remote"]
        return context

    @property
    def ledger_key(self) -> str:
        """Name of the ledger's folder: runs under other names of experiments are other runs of the target."""
        naming = self.options.naming.fingerprint
        return f"{self.target.key}-{state_digest(naming)[:8]}" if naming else self.target.key

    @property
    def claim_key(self) -> str:
        """The tag by which this copy of the store says on the target that it sends the points of a run."""
        return self._claim_key(LedgerFile(self.site, self.ledger_key))

    def _claim_key(self, ledger: LedgerFile) -> str:
        return claim_key(this_process().host, self._place(ledger))

    def _place(self, ledger: LedgerFile) -> str:
        """Return what tells this copy of the store from others on this host."""
        return ledger.storage.path(ledger.folder)

    def _sleep(self, seconds: float) -> None:
        self.stop.wait(seconds)

    def _plan(self, ledger: LedgerFile, http: Http, *, is_check: bool = False) -> Plan:
        planning = Planning(self.source, self.target, self.options, is_dry_run=self.report.is_dry_run)
        plan = planning.make_plan(
            ledger.state, http, claim_key=self._claim_key(ledger), is_whole=is_check, asks_use=not is_check
        )
        self._limits = planning.limits
        self.report.notes += planning.notes
        return plan

    def _take_plan(self, plan: Plan) -> None:
        self.report.unchanged_count = plan.skipped.get("unchanged", 0)
        self.report.skipped = {why: count for why, count in plan.skipped.items() if why != "unchanged"}
        self.report.losses = list(plan.losses)
        self.report.plan = {
            "experiments": [op.name for op in plan.operations if isinstance(op, EnsureExperiment)],
            "runs": len(plan.sends),
            "new_runs": sum(not send.is_known for send in plan.sends),
            "points": plan.points_count,
            "artifacts": sum(send.run.artifacts_count for send in plan.sends),
            "claim_tags": sum(send.leaves_claim for send in plan.sends),
            "requests": plan.requests_count,
            "bytes": plan.bytes_count,
            "expected_s": round(plan.expected_s, 1),
        }

    # -- running

    def _run(self, plan: Plan, ledger: LedgerFile, tracking: Tracking) -> None:
        context = self._context(ledger, tracking)
        refused = self._ensure_experiments(plan, context)
        sends = [send for send in plan.sends if send.run.experiment_id not in refused]
        for send in plan.sends:
            if send.run.experiment_id in refused:
                self.report.runs.append(RunOutcome(send.run.run_id, "failed", reason=refused[send.run.experiment_id]))
        adopted = self._find_known(sends, context)
        for deletion in (op for op in plan.operations if isinstance(op, DeleteRun)):
            self._delete(deletion, context)
        self._send_all(sends, adopted, context, PushProgress(runs_count=len(sends), points_count=plan.points_count))
        if not context.stop.is_set() and not self.report.failure:
            link_children(plan, context)
            self._push_models(plan, context)
        self.report.notes += context.notes

    def _ensure_experiments(self, plan: Plan, context: PushContext) -> dict[str, str]:
        """Make sure of the experiments, and return why those are not there that the target refuses."""
        refused: dict[str, str] = {}
        for operation in plan.operations:
            if not isinstance(operation, EnsureExperiment):
                continue
            try:
                remote_id = ensure_experiment(context, self.target, operation)
            except (UnreachableError, UnsureError, ThrottledError):
                raise
            except SyncError as error:
                if error.code == ErrorCode.SYNC_DENIED:
                    raise
                refused[operation.experiment_id] = str(error)
            else:
                context.experiments[operation.experiment_id] = remote_id
                self.report.experiments[operation.name] = remote_id
        return refused

    def _find_known(self, sends: Sequence[SendRun], context: PushContext) -> dict[str, dict[str, Any]]:
        """Return runs that are on the target although the ledger does not know: it was lost, or another copy sent."""
        found: dict[str, dict[str, Any]] = {}
        by_experiment: dict[str, list[str]] = {}
        for send in sends:
            if not send.is_known:
                by_experiment.setdefault(context.experiments[send.run.experiment_id], []).append(send.run.run_id)
        for experiment, run_ids in by_experiment.items():
            for run_id, candidates in search_by_ids(context.tracking, experiment, run_ids).items():
                remote = choose_remote(candidates)
                if remote is not None:
                    found[run_id] = remote
                    context.remote_ids[run_id] = str(remote["info"]["run_id"])
        return found

    def _delete(self, operation: DeleteRun, context: PushContext) -> None:
        run = operation.run
        context.tracking.delete_run(operation.remote_id)
        entry = context.ledger.state.runs[run.run_id]
        if entry.done:
            context.ledger.append(
                "done",
                {**entry.done, "deleted": True, "deleted_here": True, "signature": run.signature},
            )
        self.report.runs.append(RunOutcome(run.run_id, "sent", operation.remote_id, reason="deleted on the target"))

    def _send_all(
        self,
        sends: Sequence[SendRun],
        adopted: Mapping[str, dict[str, Any]],
        context: PushContext,
        progress: PushProgress,
    ) -> None:
        pool = ThreadPoolExecutor(self.options.workers_count, thread_name_prefix="localtrack-sync")
        try:
            waiting: list[SentRun] = []
            for first in range(0, len(sends), _CLAIM_COUNT):
                group = sends[first : first + _CLAIM_COUNT]
                context.ledger.append("claim", [send.run.run_id for send in group], is_durable=True)
                for sent in self._send_group(pool, group, adopted, context, progress):
                    waiting.append(sent)
                    if len(waiting) >= _VERIFY_COUNT:
                        self._verify(waiting, context, progress)
                        waiting = []
            self._verify(waiting, context, progress)
        except StoppedError:
            self.report.is_interrupted = True
        except SyncError as error:
            context.stop.set()
            if error.code == ErrorCode.SYNC_DENIED:
                raise
            self.report.failure = str(error)
        except BaseException:  # an interrupt, or a mistake of ours: the threads that send must not go on without us
            context.stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _send_group(
        self,
        pool: ThreadPoolExecutor,
        group: Sequence[SendRun],
        adopted: Mapping[str, dict[str, Any]],
        context: PushContext,
        progress: PushProgress,
    ) -> Iterator[SentRun]:
        """Send runs side by side, a child not before its parent is there; yield each that was sent."""
        open_sends = list(group)
        running: dict[Future[SentRun], SendRun] = {}
        in_group = {send.run.run_id for send in group}
        while open_sends or running:
            started: list[SendRun] = []
            for send in open_sends:
                if len(running) >= self.options.workers_count:
                    break
                if any(need in in_group and need not in context.remote_ids for need in send.run.needs):
                    continue
                entry = context.ledger.state.runs.get(send.run.run_id) or RunEntry()
                work = RunPush(context, send.run, entry, remote=adopted.get(send.run.run_id))
                running[pool.submit(work.run)] = send
                started.append(send)
            for send in started:
                open_sends.remove(send)
            if not running:
                # Runs need each other in a circle: they go without.
                in_group = set()
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                send = running.pop(future)
                try:
                    yield future.result()
                except (StoppedError, UnreachableError):
                    raise
                except LocaltrackError as error:
                    self._finish(RunOutcome(send.run.run_id, "failed", reason=str(error)), progress)
                    in_group.discard(send.run.run_id)
                    if isinstance(error, SyncError) and error.code == ErrorCode.SYNC_DENIED:
                        raise

    def _verify(self, sent: Sequence[SentRun], context: PushContext, progress: PushProgress) -> None:
        """Compare runs with the target; what differs is sent once more, asking for every point."""
        if not sent:
            return
        remote, doubled = read_remote_runs(context, sent)
        differences = compare_runs(context, sent, remote)
        again: list[SentRun] = []
        for run in sent:
            if run.local.run_id in doubled:
                remote[run.local.run_id] = self._settle(run, context)
        for run in sent:
            run_id = run.local.run_id
            if run_id not in doubled and not differences[run_id] and not has_old_parent(run, context):
                self._note_done(run, remote[run_id], context, progress)
                continue
            try:
                again.append(self._mend(run, remote.get(run_id), context))
            except (StoppedError, UnreachableError):
                raise
            except LocaltrackError as error:
                self._finish(RunOutcome(run_id, "failed", run.remote_id, reason=str(error)), progress)
        if not again:
            return
        remote, doubled = read_remote_runs(context, again)
        differences = compare_runs(context, again, remote)
        for run in again:
            problems = differences[run.local.run_id]
            if run.local.run_id in doubled:
                problems = [*problems, "the target has it twice"]
            if problems:
                reason = "after it was sent, " + "; ".join(problems[:5]) + "."
                self._finish(RunOutcome(run.local.run_id, "failed", run.remote_id, reason=reason), progress)
            else:
                self._note_done(run, remote[run.local.run_id], context, progress)

    def _settle(self, run: SentRun, context: PushContext) -> dict[str, Any]:
        """Two pushers have made the same run: all of them keep the same one, and delete the others; return that one."""
        found = search_by_ids(context.tracking, run.experiment, [run.local.run_id]).get(run.local.run_id, [])
        made_models = find_source_runs(context, run.local.run_id)
        # A model names the run that made it, and nothing can change that.
        kept = choose_remote([one for one in found if str(one["info"]["run_id"]) in made_models and is_living(one)])
        kept = kept or choose_remote(found)
        if kept is None:
            raise SyncError(f"The target had run {run.local.run_id} twice, and now it does not have it at all.")
        kept_id = str(kept["info"]["run_id"])
        for other in found:
            other_id = str(other["info"]["run_id"])
            if other_id != kept_id and is_living(other):
                context.tracking.delete_run(other_id)
                self.report.notes.append(f"Run {run.local.run_id} was there twice; {other_id} was deleted there.")
        context.remote_ids[run.local.run_id] = kept_id
        return kept

    def _mend(self, run: SentRun, remote: Mapping[str, Any] | None, context: PushContext) -> SentRun:
        """Send a run again, asking for each point whether it is there; to the one that stays if there were two."""
        stays = remote is None or str(remote["info"]["run_id"]) == run.remote_id
        entry = RunEntry(remote_id=run.remote_id if stays else None)
        return RunPush(context, run.local, entry, remote=remote, is_exact=True).run()

    def _note_done(self, run: SentRun, remote: Mapping[str, Any], context: PushContext, progress: PushProgress) -> None:
        local, translation = run.local, run.translation
        parent = translation.tags.get(MLFLOW_PARENT_TAG)
        context.ledger.append(
            "done",
            {
                "run": local.run_id,
                "remote": run.remote_id,
                "experiment": run.experiment,
                "local": local.experiment_id,
                "folder": local.folder,
                "signature": run.signature,
                "positions": {writer: list(position) for writer, position in run.positions.items()},
                "thin": self.options.thinning.fingerprint,
                "options": state_digest(self.options.fingerprint),
                "status": local.status,
                "there": translation.status,
                "start_ms": local.start_ms,
                "tags": sorted(translation.tags),
                "artifacts": run.artifacts.known,
                "seen": digest_metrics(remote_metrics(remote).items()),
                "claims": digest_other_claims(remote, context.claim_key),
                "deleted_here": local.is_deleted,
                "deleted": False,
                **({"orphan_of": translation.parent_id} if translation.is_parent_missing else {}),
                **({"child_of": [translation.parent_id, parent]} if parent is not None else {}),
            },
        )
        for path, reason in run.artifacts.left_out.items():
            self.report.left_out.append(f"{local.run_id}: {path}: {reason}")
        self.report.losses += [loss for loss in run.losses if loss not in self.report.losses]
        self._finish(
            RunOutcome(local.run_id, "sent", run.remote_id, run.points_sent, run.artifacts.sent_count), progress
        )

    def _finish(self, outcome: RunOutcome, progress: PushProgress) -> None:
        self.report.runs.append(outcome)
        self.report.points_sent += outcome.points_sent
        self.report.artifacts_sent += outcome.artifacts_sent
        progress.runs_done += 1
        progress.points_sent += outcome.points_sent
        progress.last = outcome
        if self._progress is not None:
            self._progress(progress)

    def _push_models(self, plan: Plan, context: PushContext) -> None:
        for operation in plan.operations:
            if not isinstance(operation, SendModel):
                continue
            if operation.experiment_id not in context.experiments:
                reason = "the target refuses its experiment"
                self.report.runs.append(RunOutcome(operation.model_id, "failed", reason=reason))
                continue
            try:
                push_model(context, operation.folder, signature=operation.signature)
                self.report.models_sent += 1
            except StoppedError:
                self.report.is_interrupted = True
                return
            except UnreachableError as error:
                self.report.failure = str(error)
                return
            except LocaltrackError as error:
                self.report.runs.append(RunOutcome(operation.model_id, "failed", reason=str(error)))
