"""Data sets as users have them, to what a run's log says of them.

Taken are localtrack's own types, MLflow's entities, and any object that looks like an `mlflow.data` data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from localtrack.errors import InvalidInputError
from localtrack.types import DATASET_CONTEXT_TAG, Dataset, DatasetInput, InputTag

_LIMITS_CHARS: Final = {"name": 500, "digest": 36, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
_TAG_LIMITS_CHARS: Final = {"key": 255, "value": 500}
"""Source of the limits: `mlflow/utils/validation.py` of MLflow 3.17."""
_REQUIRED: Final = ("name", "digest", "source_type", "source")


def encode_dataset_input(dataset_input: Any) -> dict[str, Any]:
    """Return the payload of the `dataset` record of a data set that a run read.

    Args:
        dataset_input: A `DatasetInput`, or anything with `dataset` and `tags` as MLflow's has.

    Raises:
        InvalidInputError: Something is missing, no text, or too long.
    """
    dataset = getattr(dataset_input, "dataset", None)
    if dataset is None:
        raise InvalidInputError("Dataset cannot be None", hint="Give a DatasetInput.")
    payload: dict[str, Any] = {name: getattr(dataset, name, None) for name in (*_REQUIRED, "schema", "profile")}
    for name in _REQUIRED:
        if payload[name] is None:
            raise InvalidInputError(f"Dataset {name} cannot be None", hint="A data set has name, digest and source.")
    for name, value in payload.items():
        if value is not None:
            _require_text(name, value, _LIMITS_CHARS.get(name))
    payload["tags"] = {}
    for tag in _tags_of(dataset_input):
        _require_text("key", tag.key, _TAG_LIMITS_CHARS["key"])
        _require_text("value", tag.value, _TAG_LIMITS_CHARS["value"])
        payload["tags"][tag.key] = tag.value
    return payload


def describe_dataset(dataset: Any, context: str | None, tags: Mapping[str, Any] | None) -> DatasetInput:
    """Return what a run says of a data set that it read.

    Args:
        dataset: An `mlflow.data` data set, or anything with `name`, `digest` and `source`, and perhaps `schema` and
            `profile`; or a `Dataset`.
        context: What it is read for.
        tags: Other input tags.

    Raises:
        InvalidInputError: It is nothing of that kind.
    """
    input_tags = [InputTag(key, str(value)) for key, value in (tags or {}).items()]
    if context:
        input_tags.append(InputTag(DATASET_CONTEXT_TAG, context))
    convert = getattr(dataset, "_to_mlflow_entity", None)
    if convert is not None:
        dataset = convert()
    elif not isinstance(dataset, Dataset):
        dataset = _look_at(dataset)
    fields = {name: getattr(dataset, name) for name in Dataset.__slots__}
    return DatasetInput(Dataset(**fields), tuple(input_tags))


def _look_at(dataset: Any) -> Dataset:
    missing = [name for name in ("name", "digest", "source") if getattr(dataset, name, None) is None]
    if missing:
        raise InvalidInputError(
            f"A {type(dataset).__name__} is not a data set: it has no {' and no '.join(missing)}.",
            hint="Give an mlflow.data data set, or a localtrack.types.Dataset.",
        )
    source = dataset.source
    source_type = getattr(dataset, "source_type", None) or getattr(source, "_get_source_type", lambda: "local")()
    to_json = getattr(source, "to_json", None)
    return Dataset(
        dataset.name,
        dataset.digest,
        source_type,
        str(source) if to_json is None else to_json(),
        _to_text(getattr(dataset, "schema", None)),
        _to_text(getattr(dataset, "profile", None)),
    )


def _to_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    import json

    to_dict = getattr(value, "to_dict", None)
    try:
        return json.dumps(value if to_dict is None else to_dict())
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{type(value).__name__} cannot be written as JSON: {error}.") from error


def _tags_of(dataset_input: Any) -> Iterable[Any]:
    tags = getattr(dataset_input, "tags", None) or ()
    return [InputTag(*item) for item in tags.items()] if isinstance(tags, Mapping) else tags


def _require_text(name: str, value: Any, limit_chars: int | None) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name!r} must be a text, not {type(value).__name__}.")
    if limit_chars is not None and len(value) > limit_chars:
        raise InvalidInputError(f"{name!r} exceeds the maximum length of {limit_chars} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name!r} holds a lone surrogate, which is no text.") from None
