"""What a push will do: typed operations, made from what the store has and what the target is known to have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from localtrack.sync.distinct import GREATEST
from localtrack.sync.ledger import LedgerState, RunEntry
from localtrack.sync.limits import Limits
from localtrack.sync.options import PushOptions
from localtrack.sync.push_use import PushUse
from localtrack.sync.source import LocalRun
from localtrack.sync.translation import Loss, refused_key, translate_run
from localtrack.sync.use_there import UseThere

_POINT_BYTES: Final = 80
"""Of a point in a request, its key left out."""
_REQUEST_BYTES: Final = 400
_REQUEST_S: Final = 0.055
_POINT_S: Final = 0.00019
"""Of an MLflow server on SQLite with two cores; for an expectation, before anything was measured."""


@dataclass(frozen=True, slots=True)
class EnsureExperiment:
    """Make the experiment on the target if it is missing."""

    experiment_id: str
    name: str
    """On the target."""
    tag_keys: frozenset[str] = frozenset()
    """Of the tags that it gets."""


@dataclass(frozen=True, slots=True)
class SendRun:
    """Bring a run to the target: make it there, or add what is new."""

    run: LocalRun
    is_known: bool
    """The ledger knows its counterpart."""
    must_ask: bool
    """A push of it was cut short: the target is asked what it has."""
    points_count: int
    """To be sent, as far as it can be told beforehand."""
    total_points_count: int
    """That the target has of it then."""
    requests_count: int
    bytes_count: int

    @property
    def leaves_claim(self) -> bool:
        """Whether a tag stays on it that says which copy of the store has sent its points (`sync.claims`)."""
        return self.total_points_count > 0


@dataclass(frozen=True, slots=True)
class SendModel:
    """Bring a logged model to the target: make it there, or add what is new."""

    model_id: str
    folder: str
    experiment_id: str
    signature: str
    metrics_count: int = 0


@dataclass(frozen=True, slots=True)
class DeleteRun:
    """Delete a run on the target that is deleted here."""

    run: LocalRun
    remote_id: str


@dataclass(frozen=True, slots=True)
class LinkParent:
    """Tell a child that is on the target who its parent is there, which came later."""

    run_id: str
    remote_id: str
    parent_remote_id: str


Operation = EnsureExperiment | SendRun | SendModel | DeleteRun | LinkParent
SkipReason = Literal["unchanged", "deleted"]


@dataclass(slots=True)
class Plan:
    """What a push will do, in order."""

    operations: list[Operation] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Why runs are not sent → how many."""
    losses: list[Loss] = field(default_factory=list)

    @property
    def sends(self) -> list[SendRun]:
        """The runs to be sent, parents before their children."""
        return [operation for operation in self.operations if isinstance(operation, SendRun)]

    @property
    def points_count(self) -> int:
        """Points to be sent."""
        return sum(send.points_count for send in self.sends)

    @property
    def bytes_count(self) -> int:
        """Bytes to be sent, artifacts included."""
        return sum(send.bytes_count for send in self.sends)

    @property
    def requests_count(self) -> int:
        """Requests that this takes at least."""
        return sum(send.requests_count for send in self.sends) + len(self.operations) - len(self.sends)

    @property
    def expected_s(self) -> float:
        """About how long it takes a small server."""
        return self.requests_count * _REQUEST_S + self.points_count * _POINT_S


def plan_push(
    runs: Sequence[LocalRun],
    ledger: LedgerState,
    limits: Limits,
    options: PushOptions,
    *,
    store_id: str,
    experiments: Sequence[EnsureExperiment],
    models: Sequence[SendModel] = (),
    unchanged_count: int = 0,
    claim_key: str = "",
    there: UseThere | None = None,
) -> Plan:
    """Return what is to be done so that the target has these runs.

    Args:
        runs: Those that are chosen and may have changed.
        ledger: What the target is known to have.
        limits: Of the target.
        options: What was asked for.
        store_id: The store.
        experiments: Those of these runs and models.
        models: Logged models that are chosen and may have changed.
        unchanged_count: How many runs were left out before, because nothing of them has changed.
        claim_key: The tag by which this copy of the store says that it sends the points of a run.
        there: What the target said that it has already; None if it was not asked.
    """
    plan = Plan(skipped={"unchanged": unchanged_count} if unchanged_count else {})
    remote_ids = {run_id: entry.remote_id for run_id, entry in ledger.runs.items() if entry.remote_id is not None}
    living: list[LocalRun] = []
    for run in runs:
        if not run.is_deleted:
            living.append(run)
        elif options.does_delete and run.run_id in remote_ids:
            if not ledger.runs[run.run_id].done.get("deleted"):
                plan.operations.append(DeleteRun(run, remote_ids[run.run_id]))
        else:
            plan.skipped["deleted"] = plan.skipped.get("deleted", 0) + 1
    if models and not limits.has_models:
        what = f"{len(models)} logged models stay here: the target is of a version that has none."
        plan.losses.append(Loss("", "refused", what))
        models = ()
    used = {run.experiment_id for run in living} | {model.experiment_id for model in models}
    plan.operations += [experiment for experiment in experiments if experiment.experiment_id in used]
    known = remote_ids | {run.run_id: "" for run in living}
    use = PushUse(limits, ledger, there, claim_key)
    for run in order_by_family(living):
        send = _plan_send(run, ledger.runs.get(run.run_id), limits, options)
        translation = translate_run(run.state, limits, store_id=store_id, remote_ids=known)
        plan.losses += translation.losses + _foresee(run, limits)
        plan.operations.append(send)
        use.add_run(run, translation, points_count=send.total_points_count, leaves_claim=send.leaves_claim)
    plan.operations += models
    for operation in plan.operations:
        if isinstance(operation, EnsureExperiment):
            use.add_experiment(operation.experiment_id, operation.name, operation.tag_keys)
        elif isinstance(operation, SendModel):
            use.add_model(operation.model_id, operation.experiment_id, operation.metrics_count)
    plan.losses += use.foresee_breaches()
    _plan_links(plan, ledger, remote_ids)
    return plan


def _plan_send(run: LocalRun, entry: RunEntry | None, limits: Limits, options: PushOptions) -> SendRun:
    stride = options.thinning.stride(max(run.points_count // max(run.keys_count, 1), 1))
    points_there = sum(entry.acked.values()) if entry is not None else 0
    points_count = max(run.points_count - points_there, 0) // stride
    requests_count = 2 + max(
        -(-points_count // limits.batch_metrics_count), -(-run.params_count // limits.batch_params_count)
    )
    return SendRun(
        run,
        is_known=entry is not None and entry.remote_id is not None,
        must_ask=entry is not None and entry.is_claimed,
        points_count=points_count,
        total_points_count=run.points_count // stride,
        requests_count=requests_count + run.artifacts_count,
        bytes_count=points_count * _POINT_BYTES
        + run.params_bytes
        + requests_count * _REQUEST_BYTES
        + run.artifacts_bytes,
    )


def _foresee(run: LocalRun, limits: Limits) -> list[Loss]:
    """Return what the target will clamp or refuse of the points and artifacts of a run."""
    losses = [
        Loss(run.run_id, "clamped", f"Metric {key!r} has infinite values; the target keeps {GREATEST!r} for infinity.")
        for key in run.infinite_keys
    ]
    losses += [refused_key(run.run_id, "metric", key) for key in run.colon_keys if not limits.takes_key(key)]
    losses += [
        Loss(
            run.run_id, "refused", f"The artifact {path!r} is larger than the target takes ({limits.file_bytes} bytes)."
        )
        for path in run.too_large_artifacts
    ]
    return losses


def order_by_family(runs: Sequence[LocalRun]) -> list[LocalRun]:
    """Return runs in the order in which they started, but each after those that it needs: its parent, model makers."""
    by_id = {run.run_id: run for run in runs}
    ordered: dict[str, LocalRun] = {}
    begun: set[str] = set()
    for first in sorted(runs, key=lambda run: (run.start_ms, run.run_id)):
        stack = [first]
        while stack:
            run = stack[-1]
            begun.add(run.run_id)
            # Runs that need each other in a circle come in the order in which they were met.
            open_needs = [need for need in run.needs if need in by_id and need not in ordered and need not in begun]
            if open_needs:
                stack.append(by_id[open_needs[0]])
            else:
                ordered.setdefault(run.run_id, run)
                stack.pop()
    return list(ordered.values())


def _plan_links(plan: Plan, ledger: LedgerState, remote_ids: Mapping[str, str]) -> None:
    sent = {send.run.run_id for send in plan.sends}
    for run_id, entry in ledger.runs.items():
        parent_id = entry.done.get("orphan_of")
        if parent_id and run_id not in sent and entry.remote_id and (parent_id in remote_ids or parent_id in sent):
            plan.operations.append(LinkParent(run_id, entry.remote_id, remote_ids.get(parent_id, "")))
