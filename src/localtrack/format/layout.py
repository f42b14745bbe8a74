"""Spells every key of a store, and reads them back. FORMAT.md section 4."""

from __future__ import annotations

import datetime
import re
from typing import Final, Literal, NamedTuple

from localtrack.format.ids import is_safe_id, parse_model_time_ms, parse_run_time_ms

STORE_FILE: Final = "localtrack.json"
EXPERIMENTS: Final = "experiments"
EDITS: Final = "edits"
INBOX: Final = "inbox"
RUNS: Final = "runs"
MODELS: Final = "models"
LOCKS: Final = "locks"
QUARANTINE: Final = "quarantine"
PACKS: Final = "packs"
INDEX: Final = "index/v1"
"""Where the index of this version lies. FORMAT.md appendix A."""
USE: Final = "index/use.json"
"""What was last measured of the use of limits. A cache, too."""
COVERED_SUFFIX: Final = ".covered"
"""Of the file in the inbox by which whoever keeps an index sees that nobody emptied it."""
ARTIFACTS: Final = "artifacts"
TEMPORARY_PREFIX: Final = ".tmp-"
RESERVED: Final = frozenset([PACKS, "index", "sync", QUARANTINE, LOCKS, "registry.db"])
TOP: Final = frozenset([STORE_FILE, EXPERIMENTS, EDITS, INBOX, RUNS, MODELS])

_DAY_FOLDER: Final = re.compile(r"\d{4}-\d{2}-\d{2}|x[0-9a-f]{2}")
_PACK_NAME: Final = re.compile(r"[0-9a-f]{64}\.zip")
_PART: Final = r"(?:\.part(?P<part>\d{8}))?"
_LOG_NAME: Final = re.compile(r"(?P<writer>[0-9a-f]{20})\.jsonl" + _PART)
_CHUNK_NAME: Final = re.compile(r"(?P<writer>[0-9a-f]{20})\.(?P<n>0|[1-9]\d{0,8})\.points\.jsonl" + _PART)
_SEGMENT_NAME: Final = re.compile(
    r"(?P<writer>[0-9a-f]{20})\.(?P<a>0|[1-9]\d{0,8})-(?P<b>0|[1-9]\d{0,8})\.(?P<hash>[0-9a-f]{16})\.parquet"
)

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class RunFile(NamedTuple):
    """What the name of a file in a run folder says."""

    name: str
    kind: Literal["log", "chunk", "segment"]
    writer: str
    first: int = 0
    """Number of the chunk, or of the segment's first chunk."""
    last: int = 0
    digest: str = ""
    part: int | None = None
    """On a medium without append, which part of the file this is."""


def parse_run_file(name: str) -> RunFile | None:
    """Return what a file name in a run folder says; None if it is none of the format's names."""
    if match := _LOG_NAME.fullmatch(name):
        return RunFile(name, "log", match["writer"], part=_part(match))
    if match := _CHUNK_NAME.fullmatch(name):
        return RunFile(name, "chunk", match["writer"], int(match["n"]), int(match["n"]), part=_part(match))
    if match := _SEGMENT_NAME.fullmatch(name):
        a, b = int(match["a"]), int(match["b"])
        return RunFile(name, "segment", match["writer"], a, b, match["hash"]) if a <= b else None
    return None


def _part(match: re.Match[str]) -> int | None:
    return None if match["part"] is None else int(match["part"])


def run_folder(run_id: str) -> str:
    """Return the key of a run's folder: a function of its id alone (FORMAT.md section 4.2)."""
    return _dated_folder(RUNS, run_id, parse_run_time_ms(run_id))


def model_folder(model_id: str) -> str:
    """Return the key of a logged model's folder: a function of its id alone (FORMAT.md section 4.3)."""
    return _dated_folder(MODELS, model_id, parse_model_time_ms(model_id))


def _dated_folder(top: str, entity_id: str, time_ms: int | None) -> str:
    if time_ms is not None:
        day = (_EPOCH + datetime.timedelta(milliseconds=time_ms)).date().isoformat()
        return f"{top}/{day}/{entity_id}"
    import hashlib

    digest = hashlib.sha256(entity_id.encode()).hexdigest()
    name = entity_id if is_safe_id(entity_id) else f"~{digest[:40]}"
    return f"{top}/x{digest[:2]}/{name}"


def is_day_folder(name: str) -> bool:
    """Return whether `name` can be a folder directly below `runs/` or `models/`."""
    return bool(_DAY_FOLDER.fullmatch(name))


def is_pack_name(name: str) -> bool:
    """Return whether a file below `packs/` can be a pack."""
    return bool(_PACK_NAME.fullmatch(name))


def log_name(writer: str) -> str:
    """Return the file name of a writer's log (in a run folder, `edits/` or `inbox/`)."""
    return f"{writer}.jsonl"


def chunk_name(writer: str, number: int) -> str:
    """Return the file name of a chunk of points."""
    return f"{writer}.{number}.points.jsonl"


def segment_name(writer: str, first: int, last: int, digest: str) -> str:
    """Return the file name of the segment of the chunks `first` … `last`."""
    return f"{writer}.{first}-{last}.{digest[:16]}.parquet"


def part_name(name: str, part: int) -> str:
    """Return the name of one part of a log on a medium that cannot append."""
    return f"{name}.part{part:08d}"


def experiment_key(experiment_id: str) -> str:
    """Return the key of an experiment's document."""
    return f"{EXPERIMENTS}/{experiment_id}.json"


def edits_key(writer: str) -> str:
    """Return the key of a writer's edits."""
    return f"{EDITS}/{log_name(writer)}"


def inbox_key(writer: str) -> str:
    """Return the key of a writer's notices."""
    return f"{INBOX}/{log_name(writer)}"
