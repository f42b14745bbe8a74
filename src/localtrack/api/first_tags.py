"""The tags with which a run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localtrack.errors import InvalidInputError
from localtrack.format.ids import parse_run_id
from localtrack.format.names import MAX_TAG_VALUE_CHARS, validate_key, validate_value
from localtrack.format.run_fold import RUN_NAME_TAG

PARENT_TAG: Final = "mlflow.parentRunId"
NOTE_TAG: Final = "mlflow.note.content"


def plan_first_tags(
    tags: Mapping[str, Any] | None,
    *,
    run_name: str | None,
    description: str | None,
    parent_run_id: str | None,
    context: bool,
    truncate: bool,
) -> dict[str, str]:
    """Return the tags with which a run begins, checked.

    Args:
        tags: What the caller gave.
        run_name: Its name; a random readable one where neither this nor a tag says one.
        description: The tag `mlflow.note.content`.
        parent_run_id: The tag `mlflow.parentRunId`.
        context: Add where the run comes from.
        truncate: Cut values that are too long.

    Raises:
        InvalidInputError: They contradict each other, or one breaks a rule.
    """
    wanted: dict[str, Any] = {}
    if context:
        from localtrack.api.context import capture_context

        wanted.update(capture_context())
    wanted.update(tags or {})
    if description is not None:
        if NOTE_TAG in (tags or {}):
            raise InvalidInputError(f"Both description and the tag {NOTE_TAG} are given.", hint="Give one of them.")
        wanted[NOTE_TAG] = description
    if parent_run_id is not None:
        wanted[PARENT_TAG] = parse_run_id(parent_run_id)
    tag_name = wanted.get(RUN_NAME_TAG)
    if run_name and tag_name and run_name != tag_name:
        raise InvalidInputError(
            f"The run is named {run_name!r} by run_name and {tag_name!r} by the tag {RUN_NAME_TAG}.",
            hint="Give one of them.",
        )
    if not (run_name or tag_name):
        from localtrack.api.run_names import random_run_name

        run_name = random_run_name()
    wanted[RUN_NAME_TAG] = run_name or tag_name
    return {
        validate_key(key, "tag"): validate_value(value, "tag", key, MAX_TAG_VALUE_CHARS, truncate=truncate)
        for key, value in wanted.items()
    }
