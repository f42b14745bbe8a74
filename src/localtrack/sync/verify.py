"""Compares what the target says of runs with what was sent: a run is done when nothing differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from localtrack.sync.asking import count_history, remote_metrics
from localtrack.sync.context import PushContext
from localtrack.sync.remote_runs import choose_remote, is_living, local_id_of
from localtrack.sync.run_push import SentRun
from localtrack.sync.tracking import Tracking
from localtrack.sync.translation import RUN_ID_TAG

_ONE_BY_ONE_COUNT: Final = 4
"""So many runs are read one by one; more of one experiment by a search."""
_BULK_POINTS_COUNT: Final = 2_000
"""Shorter histories are counted for many runs in one request."""


def search_by_ids(tracking: Tracking, experiment: str, run_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of the target that carry one of these local ids, deleted ones too, in one paged search.

    Run ids begin with their time, so that what they have in common at the beginning leaves most other runs out.
    """
    wanted = set(run_ids)
    prefix = _common_start(min(wanted), max(wanted))
    found: dict[str, list[dict[str, Any]]] = {}
    condition = f"tags.`{RUN_ID_TAG}` LIKE '{prefix}%'" if len(wanted) > 1 else f"tags.`{RUN_ID_TAG}` = '{prefix}'"
    if len(wanted) == 1 and prefix not in wanted:
        condition = f"tags.`{RUN_ID_TAG}` LIKE '{prefix}%'"
    for run in tracking.search_runs(experiment, condition):
        local_id = local_id_of(run)
        if local_id in wanted:
            found.setdefault(local_id, []).append(run)
    return found


def _common_start(first: str, last: str) -> str:
    """Return the beginning that two texts share, up to what means something in a filter."""
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length] and first[length] not in "'\"\\%_":
        length += 1
    return first[:length]


def read_remote_runs(context: PushContext, sent: Sequence[SentRun]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return what the target says of runs that were sent, by local id, and which local ids have several runs there."""
    found: dict[str, dict[str, Any]] = {}
    doubled: list[str] = []
    by_experiment: dict[str, list[SentRun]] = {}
    for run in sent:
        by_experiment.setdefault(run.experiment, []).append(run)
    for experiment, runs in by_experiment.items():
        if len(runs) <= _ONE_BY_ONE_COUNT and not any(run.is_new for run in runs):
            for run in runs:
                remote = context.tracking.get_run(run.remote_id)
                if remote is not None:
                    found[run.local.run_id] = remote
            continue
        for local_id, candidates in search_by_ids(
            context.tracking, experiment, [run.local.run_id for run in runs]
        ).items():
            living = [c for c in candidates if is_living(c)]
            if len(living) > 1:
                doubled.append(local_id)
            chosen = choose_remote(candidates)
            if chosen is not None:
                found[local_id] = chosen
    return found, doubled


def compare_runs(
    context: PushContext, sent: Sequence[SentRun], remote: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Return what differs of each run, as sentences; nothing for a run that is equal."""
    differences: dict[str, list[str]] = {run.local.run_id: [] for run in sent}
    for run in sent:
        there = remote.get(run.local.run_id)
        if there is None:
            differences[run.local.run_id].append("the target does not have it")
        elif str(there["info"]["run_id"]) != run.remote_id:
            differences[run.local.run_id].append("it was sent to another run of the target")
        else:
            differences[run.local.run_id] += compare_state(run, there)
    whole = [run for run in sent if not differences[run.local.run_id] and run.counts]
    for run_id, problem in _compare_counts(context, whole):
        differences[run_id].append(problem)
    return differences


def compare_state(run: SentRun, there: Mapping[str, Any]) -> list[str]:
    """Return what differs of info, params, tags and last values."""
    problems: list[str] = []
    info, data = there["info"], there.get("data", {})
    wanted = run.translation
    if not is_living(there):
        problems.append("it is deleted there")
    if info.get("status") != wanted.status:
        problems.append(f"its status is {info.get('status')}, not {wanted.status}")
    if int(info.get("start_time") or 0) != wanted.start_ms:
        problems.append(f"it started at {info.get('start_time')}, not {wanted.start_ms}")
    if wanted.end_ms is not None and int(info.get("end_time") or 0) != wanted.end_ms:
        problems.append(f"it ended at {info.get('end_time')}, not {wanted.end_ms}")
    params = {row["key"]: row.get("value", "") for row in data.get("params", [])}
    tags = {row["key"]: row.get("value", "") for row in data.get("tags", [])}
    problems += [f"param {k!r} differs" for k, v in wanted.params.items() if params.get(k) != v]
    problems += [f"tag {k!r} differs" for k, v in wanted.tags.items() if tags.get(k) != v]
    last = remote_metrics(there)
    for key, point in run.last.items():
        if key not in last:
            problems.append(f"metric {key!r} is missing")
        elif last[key] != point:
            problems.append(f"the last value of {key!r} differs")
    return problems


def _compare_counts(context: PushContext, sent: Sequence[SentRun]) -> Iterator[tuple[str, str]]:
    open_counts: dict[str, list[SentRun]] = {}
    for run in sent:
        for key in run.counts:
            open_counts.setdefault(key, []).append(run)
    for key, runs in open_counts.items():
        short = [run for run in runs if run.counts[key] <= _BULK_POINTS_COUNT]
        known: dict[str, int] = {}
        for group in _groups(short, key):
            if len(group) > 1:
                rows = context.tracking.history_of_many([run.remote_id for run in group], key)
                known.update({run_id: len(points) for run_id, points in rows.items()})
        for run in runs:
            expected = run.counts[key]
            count = known.get(run.remote_id)
            if count is None:
                count = count_history(context.tracking, run.remote_id, key, expected_count=expected)
            if count != expected and not (count > expected and not context.options.thinning.is_off):
                yield run.local.run_id, f"metric {key!r} has {count} points, not {expected}"


def _groups(runs: Sequence[SentRun], key: str) -> Iterator[list[SentRun]]:
    """Yield groups of runs whose histories fit into one answer."""
    group: list[SentRun] = []
    total = 0
    for run in runs:
        if group and (total + run.counts[key] >= 20_000 or len(group) >= 100):
            yield group
            group, total = [], 0
        group.append(run)
        total += run.counts[key]
    if group:
        yield group
