"""Whether the process that writes to a run is alive. FORMAT.md section 15."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localtrack.format.runlog import RunLog
from localtrack.storage.base import Storage
from localtrack.storage.process import boot_id, pid_namespace, process_start, this_process
from localtrack.store.run_reading import RunReading
from localtrack.types import TERMINAL_STATUSES, Liveness

REBOOT_QUIET_MS: Final = 5 * 60_000
"""A writer from before this host's last boot is dead if its files have been still for so long."""

_RANK: Final[dict[Liveness, int]] = {"alive": 2, "silent": 1, "dead": 0}


def judge_run(reading: RunReading, *, now_ms: int) -> tuple[Liveness, int | None]:
    """Return whether a run goes on, and since when it is silent if it is.

    Args:
        reading: The run.
        now_ms: Milliseconds since 1970, UTC.
    """
    if reading.state.status in TERMINAL_STATUSES:
        return "ended", None
    verdicts = [judge_writer(reading, log, now_ms=now_ms) for log in reading.logs.values() if log.lines.closed is None]
    if not verdicts:
        return "dead", None
    best = max(verdicts, key=_RANK.__getitem__)
    silent_since = max(
        reading.changed_by_writer_ms.get(log.writer, 0) for log in reading.logs.values() if log.lines.closed is None
    )
    return best, silent_since if best == "silent" else None


def judge_writer(reading: RunReading, log: RunLog, *, now_ms: int) -> Liveness:
    """Return whether the writer of an open log is alive."""
    quiet_ms = now_ms - reading.changed_by_writer_ms.get(log.writer, 0)
    return judge_process(reading.storage, f"{reading.folder}/{log.writer}.jsonl", log.header, quiet_ms=quiet_ms)


def judge_process(storage: Storage, key: str, header: Mapping[str, Any], *, quiet_ms: int) -> Liveness:
    """Return whether the process that appends to a log is alive.

    Args:
        storage: The store's bytes.
        key: The log.
        header: What its first line says.
        quiet_ms: How long its writer's files have been still.
    """
    host, boot, pidns = (str(header.get(name, "")) for name in ("host", "boot", "pidns"))
    if boot and boot == boot_id():
        if header.get("flock") is True:
            is_locked = storage.is_log_locked(key)
            if is_locked is not None:
                return "alive" if is_locked else "dead"
        pid, start = header.get("pid"), str(header.get("start", ""))
        if pidns and pidns == pid_namespace() and type(pid) is int and start:
            return "alive" if process_start(pid) == start else "dead"
        return "silent"
    is_this_host = bool(host) and host == this_process().host
    if boot and boot_id() and is_this_host and quiet_ms >= REBOOT_QUIET_MS:
        return "dead"
    return "silent"
