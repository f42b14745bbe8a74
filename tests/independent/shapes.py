"""The shape of each known record (5.3, 6.2, 6.3, 6.6, 9.2). A line of a known type without its shape is damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.independent.words import is_count, is_int, is_text, is_value

Shape = Callable[[list[Any]], bool]
MODEL_STATUSES = ("UNSPECIFIED", "PENDING", "READY", "FAILED")
STATUSES = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}


def header_is_sound(fields: Any) -> bool:
    """5.2, of the fields that all headers have those without which the rest cannot be read."""
    return (
        isinstance(fields, dict)
        and fields.get("format") == 1
        and is_text(fields.get("writer"))
        and is_int(fields.get("base_ms"))
        and is_int(fields.get("stamp"))
    )


def log_header_is_sound(fields: Any) -> bool:
    """6.1."""
    return (
        header_is_sound(fields)
        and all(is_text(fields.get(name)) for name in ("run", "experiment_id", "experiment_name"))
        and is_count(fields.get("generation"))
    )


def model_header_is_sound(fields: Any) -> bool:
    """6.6."""
    return (
        header_is_sound(fields)
        and all(is_text(fields.get(name)) for name in ("model", "experiment_id", "experiment_name"))
        and is_count(fields.get("generation"))
    )


def points_header_is_sound(fields: Any) -> bool:
    """7."""
    return (
        header_is_sound(fields)
        and is_text(fields.get("run"))
        and is_count(fields.get("chunk"))
        and is_count(fields.get("first"))
    )


def is_point(record: Any) -> bool:
    return (
        isinstance(record, list)
        and len(record) >= 4
        and is_count(record[0])
        and is_int(record[1])
        and is_int(record[2])
        and all(is_value(value) for value in record[3:])
    )


def _payload(record: list[Any]) -> dict[str, Any] | None:
    """Return the payload of `[type, stamp, {…}]`, or None if the record is not of that shape."""
    if len(record) == 3 and is_int(record[1]) and isinstance(record[2], dict):
        return record[2]
    return None


def _is_params(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(item) for item in value.values())


def _is_tags(value: Any) -> bool:
    return isinstance(value, dict) and all(item is None or is_text(item) for item in value.values())


def _run(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None and is_int(it.get("start_ms")) and it.get("status") in STATUSES and is_text(it.get("user", ""))
    )


def _info(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and it.get("status", "RUNNING") in STATUSES
        and (it.get("end_ms") is None or is_int(it["end_ms"]))
        and is_int(it.get("start_ms", 0))
    )


def _batch(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and _is_params(it.get("params", {}))
        and _is_tags(it.get("tags", {}))
        and isinstance(it.get("points", []), list)
    )


def _artifact(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and is_text(it.get("path")) and is_count(it.get("bytes")) and is_text(it.get("sha256"))


def _imported(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and is_text(it.get("from"))


def _dataset(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and all(is_text(it.get(name)) for name in ("name", "digest", "source_type", "source"))
        and all(it.get(name) is None or is_text(it[name]) for name in ("schema", "profile"))
        and _is_params(it.get("tags"))
    )


def _input(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and is_text(it.get("model"))


def _output(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and is_text(it.get("model")) and is_int(it.get("step"))


def _model(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and is_text(it.get("name"))
        and all(it.get(name) is None or is_text(it[name]) for name in ("source_run", "model_type"))
        and it.get("status") in MODEL_STATUSES
        and is_int(it.get("created_ms"))
    )


def _model_info(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and it.get("status", "READY") in MODEL_STATUSES
        and (it.get("status_message") is None or is_text(it["status_message"]))
        and is_int(it.get("updated_ms", 0))
    )


def _metric(record: list[Any]) -> bool:
    it = _payload(record)
    if it is None or not (it.get("run") is None or is_text(it["run"])):
        return False
    dataset = it.get("dataset")
    if not (dataset is None or (isinstance(dataset, list) and len(dataset) == 2 and all(map(is_text, dataset)))):
        return False
    return (
        is_text(it.get("key"))
        and "value" in it
        and is_value(it["value"])
        and is_int(it.get("step"))
        and is_int(it.get("timestamp_ms"))
    )


def _experiment(record: list[Any]) -> bool:
    it = _payload(record)
    if it is None or not is_text(it.get("id")) or not is_int(it.get("time_ms")):
        return False
    match it.get("op"):
        case "created":
            return is_text(it.get("name")) and is_count(it.get("generation"))
        case "renamed":
            return is_text(it.get("name"))
        case "tagged":
            return _is_tags(it.get("tags"))
        case "deleted" | "restored":
            return True
        case _:
            return False


def _runs_or_models(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and it.get("op") in ("deleted", "restored")
        and isinstance(it.get(record[0]), list)
        and all(is_text(id_) for id_ in it[record[0]])
        and is_int(it.get("time_ms"))
    )


def _quota(record: list[Any]) -> bool:
    it = _payload(record)
    return (
        it is not None
        and isinstance(it.get("limits"), dict)
        and all(
            limit is None or (isinstance(limit, list) and len(limit) == 2 and is_count(limit[0]) and is_text(limit[1]))
            for limit in it["limits"].values()
        )
        and is_int(it.get("time_ms"))
    )


def _tombstone(record: list[Any]) -> bool:
    it = _payload(record)
    if it is None or sum(name in it for name in ("run", "model", "experiment")) != 1:
        return False
    if "experiment" in it:
        return is_text(it["experiment"]) and is_int(it.get("time_ms"))
    return (
        is_text(it.get("run", it.get("model")))
        and isinstance(it.get("positions"), dict)
        and all(
            isinstance(position, list) and len(position) == 2 and all(is_count(item) for item in position)
            for position in it["positions"].values()
        )
        and is_int(it.get("time_ms"))
    )


def _closed(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and all(is_count(it.get(name)) for name in ("bytes", "crc", "points"))


def _closed_run_log(record: list[Any]) -> bool:
    it = _payload(record)
    return it is not None and _closed(record) and is_count(it.get("chunks")) and is_count(it.get("points_all"))


def _fold(record: list[Any]) -> bool:
    return len(record) == 2 and isinstance(record[1], dict) and all(map(_is_fold, record[1].values()))


def _is_fold(value: Any) -> bool:
    """6.5: count, last value, step, timestamp, least, greatest."""
    return (
        isinstance(value, list)
        and len(value) == 6
        and is_count(value[0])
        and is_int(value[2])
        and is_int(value[3])
        and all(is_value(value[i]) for i in (1, 4, 5))
    )


EVERY_LOG: dict[str, Shape] = {
    "torn": lambda record: len(record) == 2 and is_count(record[1]) and record[1] > 0,
    "c": lambda record: len(record) == 4 and all(is_count(item) for item in record[1:]),
    "Closed": _closed,
}
CHUNK: dict[str, Shape] = EVERY_LOG | {
    "k": lambda record: (
        len(record) in (3, 5)
        and all(is_int(base) for base in record[3:])
        and is_count(record[1])
        and isinstance(record[2], list)
        and bool(record[2])
        and all(is_text(key) for key in record[2])
    ),
    "p": lambda record: len(record) == 2 and isinstance(record[1], list),
}
OF_A_FOLDER: dict[str, Shape] = {
    "param": lambda record: _is_params(_payload(record)),
    "tag": lambda record: _is_tags(_payload(record)),
    "artifact": _artifact,
    "imported": _imported,
    "Closed": _closed_run_log,
}
"""What runs and models have alike."""
RUN_LOG: dict[str, Shape] = (
    CHUNK
    | OF_A_FOLDER
    | {
        "run": _run,
        "info": _info,
        "dataset": _dataset,
        "input": _input,
        "output": _output,
        "batch": _batch,
        "fold": _fold,
    }
)
MODEL_LOG: dict[str, Shape] = EVERY_LOG | OF_A_FOLDER | {"model": _model, "info": _model_info, "metric": _metric}
EDITS: dict[str, Shape] = EVERY_LOG | {
    "experiment": _experiment,
    "runs": _runs_or_models,
    "models": _runs_or_models,
    "tombstone": _tombstone,
    "quota": _quota,
}
HEADERS = {"Log", "Points", "Model", "Edits", "Inbox"}
ALL_TYPES = HEADERS | RUN_LOG.keys() | MODEL_LOG.keys() | EDITS.keys() | {"open", "close", "bye"}
"""Where one of them has no place it is damaged, not unknown (5.3)."""
