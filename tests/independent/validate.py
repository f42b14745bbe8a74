"""Hold every file of a store against the JSON Schemas, and against what a schema cannot say (5.3, 6.5, 8, 9.1, 17)."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
from referencing import Registry, Resource

from tests.independent.logs import RUN_LOG_KIND, drop_torn, parse_log, split_lines
from tests.independent.packs import unpacked
from tests.independent.points import CHUNK_NAME, SEGMENT_NAME, Point, fold, points_of_log, read_writer_points
from tests.independent.reader import KNOWN, RESERVED, read_store
from tests.independent.runs import LOG_NAME, PART, is_safe_name, model_key, run_key
from tests.independent.words import Finding, Refused, parse_json

SCHEMAS = Path(__file__).parents[2] / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
KEYS_LIMIT = 10_000
_STRICT = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    # JSON Schema takes 1.0 for an integer; FORMAT.md does not.
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)
BY_RIGHT = {"param", "no_run", "no_model", "same_name", "empty"}
"""Findings that writers who do all right can bring about: by not seeing each other, by dying, by being merged."""
_EVERYWHERE = {"torn": "torn", "c": "check"}
_OF_POINTS = {"k": "key_set", "p": "points"}
_OF_STATE = {"param": "param", "tag": "tag", "artifact": "artifact", "imported": "imported", "Closed": "closed_log"}
_SHARED = {
    "chunk": _EVERYWHERE | _OF_POINTS,
    "run_log": _EVERYWHERE | _OF_POINTS | _OF_STATE,
    "model_log": _EVERYWHERE | _OF_STATE,
}
"""Which definitions of the common schema may stand in a kind of log."""


@functools.cache
def load_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


@functools.cache
def _registry() -> Registry[Any]:
    schemas = [load_schema(path.name.split(".")[0]) for path in SCHEMAS.glob("*.schema.json")]
    return Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)


@functools.cache
def validator(name: str, definition: str = "") -> Any:
    """Return a validator for a whole schema, or for one of its definitions."""
    schema: dict[str, Any] = load_schema(name)
    if definition:
        schema = {"$schema": DRAFT, "$ref": f"{schema['$id']}#/$defs/{definition}"}
    return _STRICT(schema, registry=_registry())


def record_problems(name: str, record: Any) -> Iterator[str]:
    """Hold one record against the definition of its type. The whole schema would try them all, ten times as long."""
    type_ = record[0] if isinstance(record, list) and record else None
    own = load_schema(name)["$defs"]
    if type(type_) is int and name in ("run_log", "chunk"):
        chosen = validator("common", "point")
    elif isinstance(type_, str) and type_ != "later" and type_ in own:
        chosen = validator(name, type_)
    elif isinstance(type_, str) and type_ in _SHARED.get(name, _EVERYWHERE):
        chosen = validator("common", _SHARED.get(name, _EVERYWHERE)[type_])
    else:
        chosen = validator(name)
    for error in chosen.iter_errors(record):
        yield f"{error.json_path}: {error.message[:200]}"


def validate_tree(path: str | Path) -> list[str]:
    """Return what is wrong with the files of a store, as `<key>: <problem>`.

    The tests call it on all that the library writes. Torn ends are no problem; damage is.
    """
    with unpacked(Path(path), []) as store:
        return _validate_unpacked(store)


def _validate_unpacked(store: Path) -> list[str]:
    problems: list[str] = []
    names = sorted({PART.sub("", it.relative_to(store).as_posix()) for it in store.rglob("*") if it.is_file()})
    for key in names:
        parts = key.split("/")
        if any(part.startswith(".tmp-") for part in parts) or parts[0] in RESERVED or "artifacts" in parts[3:4]:
            continue
        problems += [f"{key}: {problem}" for problem in _file_problems(store, key, parts)]
    try:
        findings = [Finding(key, kind) for key, kind in read_store(store)["findings"]]
    except Refused as error:
        findings = [error.finding]
    return problems + [f"{it.key}: reads as {it.kind}" for it in findings if it.kind not in BY_RIGHT]


def _file_problems(store: Path, key: str, parts: list[str]) -> Iterator[str]:
    name = parts[-1]
    match parts:
        case ["localtrack.json"]:
            yield from _document_problems(store / key, "store")
        case ["experiments", _]:
            problems = list(_document_problems(store / key, "experiment"))
            yield from problems or _experiment_problems(store / key)
        case ["edits" | "inbox", _] if LOG_NAME.fullmatch(name):
            yield from _log_problems(store, key, parts[0])
        case ["runs", _, _, _] if LOG_NAME.fullmatch(name):
            yield from _log_problems(store, key, "run_log")
            yield from _fold_problems(store, key)
        case ["models", _, _, _] if LOG_NAME.fullmatch(name):
            yield from _log_problems(store, key, "model_log")
        case ["runs", _, _, _] if CHUNK_NAME.fullmatch(name):
            yield from _log_problems(store, key, "chunk")
        case ["runs", _, _, _] if SEGMENT_NAME.fullmatch(name):
            yield from _segment_problems(store / key)
        case _:
            yield "no rule gives this name" if parts[0] in KNOWN else "unknown at the top"


def _document_problems(path: Path, name: str) -> Iterator[str]:
    try:
        document = parse_json(path.read_bytes())
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    for problem in validator(name).iter_errors(document):
        yield f"{problem.json_path}: {problem.message[:200]}"


def _experiment_problems(path: Path) -> Iterator[str]:
    """Whoever makes an experiment writes the same bytes (9.1)."""
    document = json.loads(path.read_bytes())
    if path.name != f"{document['id']}.json":
        yield "its id is not that in its name"
    if path.read_bytes() != json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode():
        yield "not the bytes that everybody writes"


def _bytes(store: Path, key: str) -> bytes:
    plain = store / key
    if plain.exists():
        return plain.read_bytes()
    return b"".join(it.read_bytes() for it in sorted(plain.parent.glob(f"{plain.name}.part*")))


def _log_problems(store: Path, key: str, name: str) -> Iterator[str]:
    data = _bytes(store, key)
    lines, tail = split_lines(data)
    lines = drop_torn(lines, data)
    for number, line in enumerate(lines):
        try:
            record = parse_json(line.data)
        except ValueError as error:
            yield f"byte {line.offset}: no JSON: {error}"
            continue
        if number == 0 and (not isinstance(record, list) or record[:1] != [_header_type(name)]):
            yield "its first line is no header of its kind"
        if number > 0 and isinstance(record, list) and record[:1] == [_header_type(name)]:
            yield f"byte {line.offset}: a second header"
        for problem in record_problems(name, record):
            yield f"byte {line.offset}: {problem}"
        if not isinstance(record, list) or not record:
            continue
        if number == 0:
            yield from _header_problems(key, record)
        if record[0] == "c" and zlib.crc32(data[record[1] : record[2]]) != record[3]:
            yield f"byte {line.offset}: its CRC does not fit"
        if record[0] == "Closed":
            if number != len(lines) - 1 or tail:
                yield f"byte {line.offset}: something stands behind the end"
            if record[2]["bytes"] != line.offset or record[2]["crc"] != zlib.crc32(data[: line.offset]):
                yield f"byte {line.offset}: the log does not fit its end"


def _header_type(name: str) -> str:
    return {"run_log": "Log", "chunk": "Points", "model_log": "Model", "edits": "Edits", "inbox": "Inbox"}[name]


def _header_problems(key: str, record: list[Any]) -> Iterator[str]:
    """M7."""
    header = record[1] if len(record) > 1 and isinstance(record[1], dict) else {}
    folder, _, name = key.rpartition("/")
    if header.get("writer") != name.split(".")[0]:
        yield "its header is of another writer"
    if "run" in header and run_key(header["run"]) != folder:
        yield "its header is of another run"
    if "model" in header and model_key(header["model"]) != folder:
        yield "its header is of another model"
    if "chunk" in header and str(header["chunk"]) != name.split(".")[1]:
        yield "its header is of another chunk"


def _fold_problems(store: Path, key: str) -> Iterator[str]:
    """What a closed run log says of the points of its writer (6.5). No fold stands in one that is not closed."""
    log = parse_log(_bytes(store, key), key=key, kind=RUN_LOG_KIND)
    records = [record for _, record in log.records]
    folds = [record[1] for record in records if record[0] == "fold"]
    if len(folds) > (log.closed is not None) or (folds and records[-1][0] != "fold"):
        yield "a fold stands elsewhere than before the end"
    if log.header is None or log.closed is None:
        return
    folder = store / key.rpartition("/")[0]
    writer = Path(key).name.split(".")[0]
    found = read_writer_points(folder, writer, log, run=log.header["run"], key=key.rpartition("/")[0])
    if log.closed["points_all"] != len(found.by_number):
        yield f"it ended with {log.closed['points_all']} points, {len(found.by_number)} are there"
    if log.closed["points"] != len(points_of_log(log)[0]):
        yield "it does not hold as many points as its end says"
    if folds and folds[-1] != fold(found.by_number.values()):
        yield "its points do not fold to what it says"


def _segment_problems(path: Path) -> Iterator[str]:
    """Section 8. How it reads is the reader's business."""
    data = path.read_bytes()
    if path.name.split(".")[-2] != hashlib.sha256(data).hexdigest()[:16]:
        yield "its name is not that of its content"
        return
    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except pa.ArrowException as error:
        yield f"no Parquet: {error}"
        return
    metadata = parse_json((file.metadata.metadata or {}).get(b"localtrack", b"null"))
    for error in validator("segment").iter_errors(metadata):
        yield f"metadata {error.json_path}: {error.message[:200]}"
    match = SEGMENT_NAME.fullmatch(path.name)
    assert match is not None
    if (metadata["writer"], metadata["chunks"]) != (match[1], [int(match[2]), int(match[3])]):
        yield "its metadata is not that of its name"
    if metadata["run"] != path.parent.name and is_safe_name(metadata["run"]):
        yield "its metadata is of another run"
    table = file.read()
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    numbers = sorted(row[1] for row in rows)
    if numbers != list(range(metadata["first"], metadata["first"] + metadata["points"])):
        yield "its point numbers are not those that its metadata gives"
    order = [(row[0].encode(), row[1]) for row in rows]
    if order != sorted(order):
        yield "its rows are not in order"
    points = [Point(key, step, timestamp_ms, value) for key, _, step, timestamp_ms, value in rows]
    if metadata["distinct"] and len({point.identity() for point in points}) != len(points):
        yield "its points are not distinct"
    folds = fold(points)
    if ("keys" in metadata) != (len(folds) <= KEYS_LIMIT):
        yield "it has folds and too many keys, or neither"
    if "keys" in metadata and metadata["keys"] != folds:
        yield "its points do not fold to what its metadata says"
