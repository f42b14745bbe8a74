"""Children whose parent came to the target after them, or is another run there by now: they are told."""

from __future__ import annotations

import orjson

from localtrack.errors import RefusedError
from localtrack.sync.context import PushContext
from localtrack.sync.ledger import RunEntry
from localtrack.sync.plan import LinkParent, Plan
from localtrack.sync.run_push import SentRun
from localtrack.sync.translation import MLFLOW_PARENT_TAG


def has_old_parent(run: SentRun, context: PushContext) -> bool:
    """Return whether the parent that a run was given turned out to be there twice, and another one stays."""
    parent = run.translation.tags.get(MLFLOW_PARENT_TAG)
    return parent is not None and parent != context.remote_ids.get(run.translation.parent_id or "", parent)


def link_children(plan: Plan, context: PushContext) -> None:
    """Set the parent of children that were not sent now, and are not on the target as its children."""
    sent = {send.run.run_id for send in plan.sends}
    runs = context.ledger.state.runs
    for operation in plan.operations:
        if isinstance(operation, LinkParent):
            entry = runs[operation.run_id]
            _link(context, entry, entry.done["orphan_of"], operation.remote_id)
    # Of a parent that two pushes made another one may have stayed than the child was told of.
    for run_id, entry in runs.items():
        parent_id, told = entry.done.get("child_of") or ("", "")
        if parent_id and entry.remote_id and run_id not in sent and told != context.remote_ids.get(parent_id, told):
            _link(context, entry, parent_id, entry.remote_id)


def _link(context: PushContext, entry: RunEntry, parent_id: str, remote_id: str) -> None:
    parent = context.remote_ids.get(parent_id)
    if parent is None:
        return
    tags = [{"key": MLFLOW_PARENT_TAG, "value": parent}]
    try:
        context.tracking.log_batch(orjson.dumps({"run_id": remote_id, "tags": tags}), has_metrics=False)
    except RefusedError as error:
        context.notes.append(f"Run {entry.done['run']} could not be told who its parent is there: {error}")
        return
    done = {key: value for key, value in entry.done.items() if key != "orphan_of"}
    done["tags"] = sorted({*done["tags"], MLFLOW_PARENT_TAG})
    done["child_of"] = [parent_id, parent]
    context.ledger.append("done", done)
