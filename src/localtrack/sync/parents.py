"""Children that came to the target before their parent: once it is there they are told."""

from __future__ import annotations

import orjson

from localtrack.sync.context import PushContext
from localtrack.sync.plan import LinkParent, Plan
from localtrack.sync.translation import MLFLOW_PARENT_TAG


def link_children(plan: Plan, context: PushContext) -> None:
    """Set the parent of children that came to the target before their parent."""
    for operation in plan.operations:
        if not isinstance(operation, LinkParent):
            continue
        entry = context.ledger.state.runs[operation.run_id]
        parent = context.remote_ids.get(entry.done["orphan_of"])
        if parent is None:
            continue
        tags = [{"key": MLFLOW_PARENT_TAG, "value": parent}]
        context.tracking.log_batch(orjson.dumps({"run_id": operation.remote_id, "tags": tags}), has_metrics=False)
        done = {key: value for key, value in entry.done.items() if key != "orphan_of"}
        done["tags"] = sorted({*done["tags"], MLFLOW_PARENT_TAG})
        context.ledger.append("done", done)
