"""One run folder (4.2, 6, 11, 12.3): what its logs say together."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.independent.logs import RUN_LOG_KIND, Log, read_log
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
    if UUID7.fullmatch(run):
        try:
            day = EPOCH + datetime.timedelta(milliseconds=int(run[:12], 16))
        except OverflowError:
            day = EPOCH
        if 2000 <= day.year <= 2199:
            return f"runs/{day:%Y-%m-%d}/{run}"
    digest = hashlib.sha256(run.encode()).hexdigest()
    return f"runs/x{digest[:2]}/{run if is_safe_name(run) else '~' + digest[:40]}"


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


def read_run(store: Path, key: str) -> RunFolder:
    """Read the run folder with this key."""
    folder = store / key
    result = RunFolder(key)
    names = sorted({PART.sub("", path.name) for path in folder.iterdir() if not path.name.startswith(".tmp-")})
    logs: dict[str, Log] = {}
    for name in names:
        if match := LOG_NAME.fullmatch(name):
            logs[match[1]] = read_log(folder, name, key=key, kind=RUN_LOG_KIND)
        elif not (CHUNK_NAME.fullmatch(name) or SEGMENT_NAME.fullmatch(name) or name == "artifacts"):
            result.findings.append(Finding(f"{key}/{name}", "other"))
    for log in logs.values():
        result.findings += log.findings
    refused = [log.refused for log in logs.values() if log.refused is not None]
    if refused:  # 5.3, 16
        result.findings += refused
        return result
    sound = {writer: log for writer, log in logs.items() if log.header is not None}
    if not sound:
        if not result.findings:
            result.findings.append(Finding(key, "empty"))
        return result
    at_home = {writer: log for writer, log in sound.items() if run_key(log.header["run"]) == key}
    if not at_home:
        result.findings.append(Finding(key, "misplaced"))
        return result
    result.findings += [Finding(log.key, "name") for writer, log in sound.items() if writer not in at_home]

    result.headers = [log.header for _, log in sorted(at_home.items(), key=_owner_rank)]
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
    result.state["artifacts"] = read_artifacts(folder, result, at_home)
    return result


def _owner_rank(item: tuple[str, Log]) -> tuple[Any, ...]:
    """Order logs by which one names the run's experiment: that of the lowest `run` record, else the first begun."""
    writer, log = item
    stamps = [record[1] for _, record in log.records if record[0] == "run"]
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


def fold_state(logs: dict[str, Log], *, key: str, findings: list[Finding]) -> dict[str, Any]:
    """Settle what the state records of all writers say (12.3)."""
    created: dict[str, Any] | None = None
    info: dict[str, Any] = {}
    params: dict[str, str] = {}
    tags: dict[str, str | None] = {}
    name = ""
    for type_, payload in in_order(logs):
        if type_ == "run" and created is None:
            created = payload
        if type_ == "info":
            info |= {part: payload[part] for part in ("status", "start_ms", "end_ms") if part in payload}
        parts = {"param": {"params": payload}, "tag": {"tags": payload}, "batch": payload}.get(type_, {})
        for param, value in parts.get("params", {}).items():
            if params.setdefault(param, value) != value:
                findings.append(Finding(key, "param"))
        tags |= parts.get("tags", {})
        given = parts.get("tags", {}).get("mlflow.runName")
        name = name if given is None else given  # who deletes the tag leaves the name
    if created is None:
        findings.append(Finding(key, "no_run"))
        created = {"start_ms": min(log.header["base_ms"] for log in logs.values()), "status": "RUNNING", "user": ""}
    return {
        "name": name,
        "user": created.get("user", ""),
        "status": info.get("status", created["status"]),
        "start_ms": info.get("start_ms", created["start_ms"]),
        "end_ms": info.get("end_ms"),
        "params": dict(sorted(params.items())),
        "tags": {tag: value for tag, value in sorted(tags.items()) if value is not None},
    }


def read_artifacts(folder: Path, result: RunFolder, logs: dict[str, Log]) -> dict[str, int]:
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
            result.findings.append(Finding(f"{result.key}/artifacts/{path}", "artifact"))
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
