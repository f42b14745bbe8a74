"""One run folder (4.2, 6, 11, 12.3): what its logs say together; and what a model folder has alike."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.independent.logs import RUN_LOG_KIND, Kind, Log, read_log
from tests.independent.points import CHUNK_NAME, SEGMENT_NAME, Point, as_set, last_rank, read_writer_points
from tests.independent.words import WINDOWS_DEVICES, Finding, to_json

LOG_NAME = re.compile(r"([0-9a-f]{20})\.jsonl")
PART = re.compile(r"\.part[0-9]{8}$")
UUID7 = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def is_safe_name(text: str) -> bool:
    """4.2, rule 2."""
    return SAFE_NAME.fullmatch(text) is not None and text not in WINDOWS_DEVICES


def run_key(run: str) -> str:
    """Return where the folder of a run lies (4.2)."""
    return _key("runs", run, uuid=run)


def model_key(model: str) -> str:
    """Return where the folder of a model lies (4.3)."""
    return _key("models", model, uuid=model[2:] if model.startswith("m-") else "")


def _key(top: str, id_: str, *, uuid: str) -> str:
    if UUID7.fullmatch(uuid):
        try:
            day = EPOCH + datetime.timedelta(milliseconds=int(uuid[:12], 16))
        except OverflowError:
            day = EPOCH
        if 2000 <= day.year <= 2199:
            return f"{top}/{day:%Y-%m-%d}/{id_}"
    digest = hashlib.sha256(id_.encode()).hexdigest()
    return f"{top}/x{digest[:2]}/{id_ if is_safe_name(id_) else '~' + digest[:40]}"


@dataclass
class RunFolder:
    """What was read of one folder."""

    key: str
    run: str | None = None
    """None: the folder holds no run that may be shown."""
    experiment_id: str = ""
    headers: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Writer → (bytes of its log, points)."""
    findings: list[Finding] = field(default_factory=list)


def is_artifact(name: str) -> bool:
    return name == "artifacts"


def read_logs(folder: Path, *, key: str, kind: Kind) -> tuple[dict[str, Log], list[str]]:
    """Return the logs in a folder by writer, and the other names in it."""
    names = sorted({PART.sub("", path.name) for path in folder.iterdir() if not path.name.startswith(".tmp-")})
    logs = {m[1]: read_log(folder, name, key=key, kind=kind) for name in names if (m := LOG_NAME.fullmatch(name))}
    return logs, [name for name in names if not LOG_NAME.fullmatch(name)]


def logs_at_home(
    logs: dict[str, Log], *, key: str, key_of: Callable[[dict[str, Any]], str], creation: str
) -> tuple[dict[str, Log], list[Finding]]:
    """Return the logs that count, the one first that says which experiment it is, and what is to be reported.

    None if there is nothing that may be shown.
    """
    findings = [finding for log in logs.values() for finding in log.findings]
    refused = [log.refused for log in logs.values() if log.refused is not None]
    if refused:  # 5.3, 16
        return {}, findings + refused
    sound = {writer: log for writer, log in logs.items() if log.header is not None}
    if not sound:
        return {}, findings or [Finding(key, "empty")]
    at_home = {writer: log for writer, log in sound.items() if log.header and key_of(log.header) == key}
    if not at_home:
        return {}, [*findings, Finding(key, "misplaced")]
    findings += [Finding(log.key, "name") for writer, log in sound.items() if writer not in at_home]
    return dict(sorted(at_home.items(), key=lambda item: _owner_rank(item, creation))), findings


def read_run(store: Path, key: str) -> RunFolder:
    """Read the run folder with this key."""
    folder = store / key
    result = RunFolder(key)
    logs, names = read_logs(folder, key=key, kind=RUN_LOG_KIND)
    for name in names:
        if not (CHUNK_NAME.fullmatch(name) or SEGMENT_NAME.fullmatch(name) or is_artifact(name)):
            result.findings.append(Finding(f"{key}/{name}", "other"))
    at_home, findings = logs_at_home(logs, key=key, key_of=lambda header: run_key(header["run"]), creation="run")
    result.findings += findings
    if not at_home:
        return result

    result.headers = [log.header for log in at_home.values() if log.header is not None]
    result.experiment_id = result.headers[0]["experiment_id"]
    run = result.headers[0]["run"]
    with_points = {m[1] for name in names if (m := CHUNK_NAME.fullmatch(name) or SEGMENT_NAME.fullmatch(name))}
    result.positions = {writer: (log.whole_bytes, 0) for writer, log in logs.items()}
    for writer in sorted(at_home.keys() | with_points):
        log = at_home.get(writer)
        points = read_writer_points(folder, writer, log, run=run, key=key)
        result.findings += points.findings
        result.points += [*points.by_number.values(), *points.colliding]
        result.positions[writer] = (result.positions.get(writer, (0, 0))[0], points.points_count)
    result.run = run
    result.state = fold_state(at_home, key=key, findings=result.findings)
    result.state["artifacts"] = read_artifacts(folder, at_home, key=key, findings=result.findings)
    return result


def _owner_rank(item: tuple[str, Log], creation: str) -> tuple[Any, ...]:
    """Order logs by which one names the experiment: that of the lowest record of creation, else the first begun."""
    writer, log = item
    stamps = [record[1] for _, record in log.records if record[0] == creation]
    assert log.header is not None
    return not stamps, min(stamps, default=log.header["base_ms"]), writer


def in_order(logs: dict[str, Log]) -> list[tuple[str, dict[str, Any]]]:
    """Return (type, payload) of all records with a stamp, by (stamp, writer, offset) (12.1)."""
    stamped = [
        (record[1], writer, offset, record[0], record[2])
        for writer, log in logs.items()
        for offset, record in log.records
        if len(record) == 3 and isinstance(record[0], str) and isinstance(record[2], dict)
    ]
    stamped.sort(key=lambda it: it[:3])
    return [(type_, payload) for *_, type_, payload in stamped]


def settle_shared(records: list[tuple[str, dict[str, Any]]], *, key: str, findings: list[Finding]) -> dict[str, Any]:
    """Settle params and tags, which runs and models have alike (12.3)."""
    params: dict[str, str] = {}
    tags: dict[str, str | None] = {}
    for type_, payload in records:
        parts = {"param": {"params": payload}, "tag": {"tags": payload}, "batch": payload}.get(type_, {})
        for param, value in parts.get("params", {}).items():
            if params.setdefault(param, value) != value:
                findings.append(Finding(key, "param"))
        tags |= parts.get("tags", {})
    return {
        "params": dict(sorted(params.items())),
        "tags": {tag: value for tag, value in sorted(tags.items()) if value is not None},
    }


def fold_state(logs: dict[str, Log], *, key: str, findings: list[Finding]) -> dict[str, Any]:
    """Settle what the state records of all writers say (12.3)."""
    created: dict[str, Any] | None = None
    info: dict[str, Any] = {}
    name = ""
    records = in_order(logs)
    for type_, payload in records:
        if type_ == "run" and created is None:
            created = payload
        if type_ == "info":
            info |= {part: payload[part] for part in ("status", "start_ms", "end_ms") if part in payload}
        tags = {"tag": payload, "batch": payload.get("tags", {})}.get(type_, {})
        given = tags.get("mlflow.runName")
        name = name if given is None else given  # who deletes the tag leaves the name
    if created is None:
        findings.append(Finding(key, "no_run"))
        least_ms = min(log.header["base_ms"] for log in logs.values() if log.header is not None)
        created = {"start_ms": least_ms, "status": "RUNNING", "user": ""}
    return {
        "name": name,
        "user": created.get("user", ""),
        "status": info.get("status", created["status"]),
        "start_ms": info.get("start_ms", created["start_ms"]),
        "end_ms": info.get("end_ms"),
        **settle_shared(records, key=key, findings=findings),
        **_settle_links(records),
    }


def _settle_links(records: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Settle data sets and models of a run (6.2), in the order of their lowest records; none where it has none."""
    datasets: dict[tuple[str, str], dict[str, Any]] = {}
    inputs: dict[str, str] = {}
    outputs: dict[tuple[str, int], list[Any]] = {}
    known = ("name", "digest", "source_type", "source", "schema", "profile", "tags")
    for type_, payload in records:
        match type_:
            case "dataset":
                fields = {field: payload.get(field) for field in known}
                datasets.setdefault((payload["name"], payload["digest"]), fields)
            case "input":
                inputs.setdefault(payload["model"], payload["model"])
            case "output":
                outputs.setdefault((payload["model"], payload["step"]), [payload["model"], payload["step"]])
    links = {"datasets": datasets, "model_inputs": inputs, "model_outputs": outputs}
    return {name: list(found.values()) for name, found in links.items() if found}


def read_artifacts(folder: Path, logs: dict[str, Log], *, key: str, findings: list[Finding]) -> dict[str, int]:
    """Return path → size in bytes of the files that are there; report those that a record describes otherwise (S6)."""
    root = folder / "artifacts"
    found = {
        path.relative_to(root).as_posix(): path.stat().st_size
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".tmp-") and path.resolve().is_relative_to(root.resolve())
    }
    promised = {payload["path"]: payload for type_, payload in in_order(logs) if type_ == "artifact"}
    for path, payload in sorted(promised.items()):
        sound = found.get(path) == payload["bytes"] and (
            hashlib.sha256((root / path).read_bytes()).hexdigest() == payload["sha256"]
        )
        if not sound:
            findings.append(Finding(f"{key}/artifacts/{path}", "artifact"))
    return found


def describe(folder: RunFolder, *, lifecycle: str) -> dict[str, Any]:
    """Return the run as plain JSON."""
    points = as_set(folder.points)
    last = {}
    for point in sorted(points, key=last_rank):
        last[point.key] = [to_json(point.value), point.step, point.timestamp_ms]
    return {
        "experiment_id": folder.experiment_id,
        **folder.state,
        "lifecycle": lifecycle,
        "points": [[point.key, point.timestamp_ms, point.step, to_json(point.value)] for point in points],
        "last": dict(sorted(last.items())),
    }
