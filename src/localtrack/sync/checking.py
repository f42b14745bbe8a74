"""Compares chosen runs of a store with the target, at any time, and changes nothing on either side."""

from __future__ import annotations

from collections.abc import Sequence

from localtrack.store.artifacts import iter_files
from localtrack.sync.context import PushContext
from localtrack.sync.history_rows import RunHistory
from localtrack.sync.plan import SendRun
from localtrack.sync.report import RunOutcome
from localtrack.sync.run_push import SentRun, last_points
from localtrack.sync.source import LocalRun
from localtrack.sync.translation import STORE_ID_TAG, translate_run
from localtrack.sync.verify import compare_runs, read_remote_runs, search_by_ids
from localtrack.types import TERMINAL_STATUSES

_GROUP_COUNT = 200


def check_runs(context: PushContext, sends: Sequence[SendRun]) -> list[RunOutcome]:
    """Return what became of each run: `already_there`, or `failed` with what differs on the target.

    A run that goes on is compared as far as the target can have it: its params, tags and whatever it shows as last.
    """
    outcomes: list[RunOutcome] = []
    by_experiment: dict[str, list[LocalRun]] = {}
    for send in sends:
        experiment = context.experiments.get(send.run.experiment_id)
        if experiment is None:
            reason = "the target does not have its experiment"
            outcomes.append(RunOutcome(send.run.run_id, "failed", reason=reason))
        elif not send.is_known:
            by_experiment.setdefault(experiment, []).append(send.run)
    for experiment, runs in by_experiment.items():
        for run_id, candidates in search_by_ids(context.tracking, experiment, [run.run_id for run in runs]).items():
            context.remote_ids[run_id] = str(candidates[0]["info"]["run_id"])
    known = [send.run for send in sends if send.run.experiment_id in context.experiments]
    for first in range(0, len(known), _GROUP_COUNT):
        group = known[first : first + _GROUP_COUNT]
        outcomes += _check_group(context, [run for run in group if run.run_id in context.remote_ids])
        outcomes += [
            RunOutcome(run.run_id, "failed", reason="the target does not have it")
            for run in group
            if run.run_id not in context.remote_ids
        ]
    return outcomes


def _check_group(context: PushContext, runs: Sequence[LocalRun]) -> list[RunOutcome]:
    expected = [sent for run in runs if (sent := _expect(context, run)) is not None]
    remote, doubled = read_remote_runs(context, expected)
    for run in expected:
        there = remote.get(run.local.run_id)
        if there is not None:
            # Which copy of the store brought it there is no difference.
            tags = {row["key"]: row.get("value", "") for row in there.get("data", {}).get("tags", [])}
            run.translation.tags[STORE_ID_TAG] = tags.get(STORE_ID_TAG, "")
    differences = compare_runs(context, expected, remote)
    outcomes: list[RunOutcome] = []
    for run in expected:
        run_id = run.local.run_id
        problems = differences[run_id] + (["the target has it twice"] if run_id in doubled else [])
        if run_id in remote:
            problems += _compare_artifacts(context, run)
        outcome = RunOutcome(run_id, "failed" if problems else "already_there", run.remote_id)
        outcome.reason = "; ".join(problems)
        outcomes.append(outcome)
    return outcomes


def _expect(context: PushContext, local: LocalRun) -> SentRun | None:
    found = context.source.read(local.folder)
    if found is None:
        return None
    reading, signature = found
    is_dead = context.source.is_dead(reading, context.options)
    has_ended = is_dead or reading.state.status in TERMINAL_STATUSES
    history = RunHistory(reading, context.options.thinning, context.limits, has_ended=has_ended)
    if has_ended:
        history.count()
    translation = translate_run(
        reading.state,
        context.limits,
        store_id=context.store_id,
        remote_ids=context.remote_ids,
        is_dead=is_dead,
        changed_ms=reading.changed_ms,
    )
    return SentRun(
        local=local,
        remote_id=context.remote_ids[local.run_id],
        experiment=context.experiments[local.experiment_id],
        translation=translation,
        signature=signature,
        positions={},
        counts=dict(history.counts),
        last=last_points(reading, context.limits) if context.options.thinning.is_off or has_ended else {},
        is_new=True,  # read by search, which finds doubled ones
    )


def _compare_artifacts(context: PushContext, run: SentRun) -> list[str]:
    choice = context.options.artifacts
    files = [] if choice.is_skipped else list(iter_files(context.source.site.storage, run.local.folder))
    wanted = {f.path: f.file_size for f in files if choice.reason_against(f.path, f.file_size or 0) is None}
    if not wanted:
        return []
    there = context.tracking.list_artifacts(run.remote_id)
    return [f"artifact {path!r} differs" for path, size in wanted.items() if there.get(path, -1) not in (size, None)]
