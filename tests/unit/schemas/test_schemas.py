"""The JSON Schemas say what FORMAT.md says: examples and golden stores fit them, and what breaks a rule does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.independent.hand import HandLog, chunk, created, edit, edit_runs, run_log
from tests.independent.logs import drop_torn, split_lines
from tests.independent.validate import SCHEMAS, load_schema, record_problems, validate_tree, validator

GOLDEN = sorted((Path(__file__).parents[2] / "data" / "golden").glob("*/*/store"))
DAMAGED = sorted((Path(__file__).parents[2] / "data" / "damaged").glob("*/store"))
NAMES = sorted(path.name.split(".")[0] for path in SCHEMAS.glob("*.schema.json"))
WRITER = "1f0e2d3c4b5a69788796"
T = 1_790_000_000_000
SHA = "0" * 64
# Shorter logs, or nothing: no reader can tell.
INVISIBLE = {"cut_within_closed_record", "closed_log_of_two_writers_cut", "only_an_empty_log"}
INVISIBLE |= {"experiment_of_second_writer"}


def _blocks() -> list[str]:
    text = (SCHEMAS / "FORMAT.md").read_text(encoding="utf-8")
    return re.findall(r"^```(?:json)?\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _examples() -> list[tuple[str, Any]]:
    """Every line of JSON in the code blocks of FORMAT.md, and the schema that it must fit."""
    found = []
    for block in _blocks():
        kind = "model_log" if block.lstrip().startswith('["Model"') else "run_log"
        records = [json.loads(line) for line in block.splitlines() if line.startswith(("[", "{"))]
        found += [("store" if isinstance(record, dict) else kind, record) for record in records]
    return found


def _definitions(schema: dict[str, Any]) -> set[str]:
    refs = {branch["$ref"].rpartition("/")[2] for branch in schema["oneOf"]}
    return {"Closed" if name == "closed_log" else name for name in refs - {"later"}}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_of_the_draft_it_names(name: str) -> None:
    schema = load_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:localtrack:format-1:{name}"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_examples_of_the_format_fit() -> None:
    examples = _examples()
    assert len(examples) >= 19, "FORMAT.md has lost its examples, or their blocks look otherwise"
    assert {kind for kind, _ in examples} == {"store", "run_log", "model_log"}
    for kind, example in examples:
        assert not list(validator(kind).iter_errors(example)), example
        assert kind == "store" or not list(record_problems(kind, example)), example


@pytest.mark.parametrize("store", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_stores_are_valid(store: Path) -> None:
    assert validate_tree(store) == []


@pytest.mark.parametrize("store", DAMAGED, ids=lambda path: path.parent.name)
def test_damaged_stores_are_not(store: Path) -> None:
    assert bool(validate_tree(store)) == (store.parent.name not in INVISIBLE)


def test_the_quick_way_agrees_with_the_whole_schema() -> None:
    """`record_problems` looks at the definition of a record's type only."""
    kinds = {"run_log": "runs/*/*/{}.jsonl", "chunk": "runs/*/*/*.points.jsonl", "model_log": "models/*/*/{}.jsonl"}
    kinds |= {"edits": "edits/*", "inbox": "inbox/*"}
    seen: dict[str, int] = dict.fromkeys(kinds, 0)
    for store in GOLDEN + DAMAGED:
        for kind, pattern in kinds.items():
            for path in store.glob(pattern.format("[0-9a-f]" * 20)):
                data = path.read_bytes()
                for line in drop_torn(split_lines(data)[0], data):
                    try:
                        record = json.loads(line.data)
                    except ValueError:
                        continue
                    seen[kind] += 1
                    whole = validator(kind).is_valid(record)
                    assert whole == (not list(record_problems(kind, record))), (kind, record)
    assert min(seen.values()) >= 4


def _header(log: HandLog) -> list[Any]:
    return json.loads(log.data)


def _without(record: list[Any], field: str) -> list[Any]:
    return [*record[:-1], {key: value for key, value in record[-1].items() if key != field}]


def _with(record: list[Any], **fields: Any) -> list[Any]:
    return [*record[:-1], record[-1] | fields]


LOG = _header(run_log("r"))
CHUNK = _header(chunk("r", 0, 2))
ARTIFACT = ["artifact", T, {"path": "a/b.csv", "bytes": 3, "sha256": SHA}]
CLOSED = ["Closed", T, {"bytes": 5, "crc": 7, "points": 0, "chunks": 0, "points_all": 0}]
NEEDED_BY_READERS = {"format", "writer", "base_ms", "stamp", "run", "experiment_id", "experiment_name", "generation"}
NEEDED_BY_READERS |= {"chunk", "first"}
DATASET = [
    "dataset",
    T,
    {
        "name": "iris",
        "digest": "9a1c",
        "source_type": "local",
        "source": "{}",
        "schema": None,
        "profile": None,
        "tags": {"mlflow.data.context": "training"},
    },
]
MODEL_LOG = ["Model", {key: value for key, value in LOG[1].items() if key != "run"} | {"model": "m-1"}]
MODEL = ["model", T, {"name": "net", "source_run": "r", "model_type": "x", "status": "PENDING", "created_ms": T}]
METRIC = [
    "metric",
    T,
    {"key": "acc", "value": 0.5, "step": 3, "timestamp_ms": T, "run": "r", "dataset": ["iris", "9a1c"]},
]
TOMBSTONE = ["tombstone", T, {"run": "r", "positions": {WRITER: [10, 2]}, "time_ms": T, "user": "ada"}]
QUOTA = ["quota", T, {"limits": {"run.params": [1600, "refuse"], "run.tags": None}, "time_ms": T, "user": "ada"}]

RIGHT: list[tuple[str, list[Any]]] = [
    ("run_log", LOG),
    *(("run_log", _without(LOG, field)) for field in LOG[1] if field not in NEEDED_BY_READERS),
    ("run_log", _with(LOG, later=1)),
    ("run_log", ["run", T, {"start_ms": T, "status": "RUNNING", "user": "", "later": []}]),
    ("run_log", ["info", T, {}]),
    ("run_log", ["info", T, {"end_ms": None}]),
    ("run_log", ["param", T, {}]),
    ("run_log", ["tag", T, {"a": None}]),
    ("run_log", ["imported", T, {"from": "mlflow"}]),
    ("edits", ["runs", T, {"op": "deleted", "runs": ["r"], "time_ms": T, "user": "ada", "imported": "mlflow"}]),
    ("run_log", ARTIFACT),
    ("run_log", _with(ARTIFACT, path="a/über uns/.hidden/x y.tar.gz")),
    ("run_log", ["batch", T, {}]),
    ("run_log", ["k", 0, ["loss"]]),
    ("run_log", ["k", 0, ["loss"], T, -5]),
    ("run_log", [0, -1, -(2**63), 0.5, 1, "NaN", "Infinity", "-Infinity"]),
    ("run_log", ["p", []]),
    ("run_log", ["torn", 1]),
    ("run_log", ["c", 0, 2**40, 2**32 - 1]),
    ("run_log", CLOSED),
    ("run_log", _with(CLOSED, later=1)),
    ("run_log", ["fold", {}]),
    ("run_log", ["fold", {"a": [1, "NaN", 0, T, "NaN", "NaN"], "b": [2, 0.5, -1, 0, "-Infinity", 7]}]),
    ("run_log", ["weather", {"any": "thing"}, 3]),
    ("run_log", DATASET),
    ("run_log", _with(DATASET, schema="{}", profile="{}", later=1)),
    ("run_log", ["input", T, {"model": "m-1"}]),
    ("run_log", ["output", T, {"model": "m-1", "step": -3}]),
    ("model_log", MODEL_LOG),
    ("model_log", MODEL),
    ("model_log", _with(MODEL, source_run=None, model_type=None, status="UNSPECIFIED", later=1)),
    ("model_log", ["info", T, {}]),
    ("model_log", ["info", T, {"status": "READY", "status_message": None, "updated_ms": T}]),
    ("model_log", ["param", T, {"a": "1"}]),
    ("model_log", ["tag", T, {"a": None}]),
    ("model_log", ARTIFACT),
    ("model_log", METRIC),
    ("model_log", _with(METRIC, value="NaN", run=None, dataset=None)),
    ("model_log", CLOSED),
    ("model_log", ["weather", 1]),
    ("chunk", CHUNK),
    ("chunk", [0, 0, 0, 1.5]),
    ("chunk", ["Closed", T, {"bytes": 5, "crc": 7, "points": 0}]),
    ("edits", created(T, "lab")),
    ("edits", edit(T, "0", "renamed", name="x")),
    ("edits", edit(T, "0", "tagged", tags={"a": None})),
    ("edits", edit(T, "team-a", "deleted")),
    ("edits", edit_runs(T, "restored", "a", "b")),
    ("edits", TOMBSTONE),
    ("edits", QUOTA),
    ("edits", _with(QUOTA, limits={"later.limit": [0, "later"]})),
    ("edits", ["models", T, {"op": "deleted", "models": ["m-1"], "time_ms": T, "user": ""}]),
    ("inbox", ["open", "r", "0"]),
    ("inbox", ["close", "r", WRITER, 5, {"any": "row"}]),
]

WRONG: list[tuple[str, list[Any]]] = [
    *(("run_log", _without(LOG, field)) for field in LOG[1] if field in NEEDED_BY_READERS),
    *(("chunk", _without(CHUNK, field)) for field in CHUNK[1] if field in NEEDED_BY_READERS),
    ("run_log", CHUNK),
    ("chunk", LOG),
    ("run_log", _with(LOG, format=2)),
    ("run_log", _with(LOG, writer=WRITER.upper())),
    ("run_log", _with(LOG, writer=WRITER[1:])),
    ("run_log", _with(LOG, base_ms=float(T))),
    ("run_log", _with(LOG, base_ms=2**63)),
    ("run_log", _with(LOG, flock=None)),
    ("run_log", _with(LOG, pid="7")),
    ("run_log", _with(LOG, start=7)),
    ("run_log", _with(LOG, experiment_id="../up")),
    ("run_log", _with(LOG, experiment_id="con")),
    ("run_log", _with(LOG, generation=-1)),
    ("run_log", ["run", T, {"start_ms": T, "status": "DONE", "user": "ada"}]),
    ("run_log", ["run", {"start_ms": T, "status": "RUNNING", "user": "ada"}]),
    ("run_log", ["info", T, {"start_ms": None}]),
    ("run_log", ["info", T, {"status": None}]),
    ("run_log", ["param", T, {"a": None}]),
    ("run_log", ["param", T, {"a": 1}]),
    ("run_log", ["param", str(T), {"a": "1"}]),
    ("run_log", ["param", T, {"a": "1"}, 1]),
    ("run_log", ["tag", T, ["a"]]),
    ("run_log", ["imported", T, {}]),
    ("run_log", ["imported", {"from": "mlflow"}]),
    *(
        ("run_log", _with(ARTIFACT, path=path))
        for path in ("", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "a/.", "a\\b", "c:a", "a\0b", "a\nb")
    ),
    *(("run_log", _with(ARTIFACT, path=path)) for path in ("nul", "a/CON/b", "Com1.tar.gz", "a.", "a /b", ".tmp-a/b")),
    ("run_log", _with(ARTIFACT, path="a/" + "b" * 256)),
    ("run_log", _with(ARTIFACT, bytes=-1)),
    ("run_log", _with(ARTIFACT, sha256=SHA[1:])),
    ("run_log", ["batch", T, {"points": [["k", 0, ["a"]]]}]),
    ("run_log", ["k", 0, []]),
    ("run_log", ["k", 0, ["a", "a"]]),
    ("run_log", ["k", -1, ["a"]]),
    ("run_log", ["k", 0, ["a"], T]),
    ("run_log", ["k", 0, ["a"], T, 0, 0]),
    ("run_log", ["k", 0, ["a"], None, 0]),
    ("run_log", [0, 0, 0]),
    ("run_log", [0, 0, 0, None]),
    ("run_log", [0, 0, 0, "nan"]),
    ("run_log", [0, 0, 0, True]),
    ("run_log", [0, 0.5, 0, 1]),
    ("run_log", [-1, 0, 0, 1]),
    ("run_log", ["p", [[0, 0, 0]]]),
    ("run_log", ["torn", 0]),
    ("run_log", ["c", 0, 5, 2**32]),
    ("run_log", ["Closed", T, {"bytes": 5, "crc": 7, "points": 0}]),
    *(("run_log", _without(CLOSED, field)) for field in CLOSED[2]),
    ("run_log", ["fold", None]),
    ("run_log", ["fold", T, {}]),
    ("run_log", ["fold", {"a": ["NaN", 0, T, "NaN", "NaN", 1]}]),
    ("run_log", ["fold", {"a": [0, 0.5, 0, T, 0.5, 0.5]}]),
    ("run_log", ["fold", {"a": [1, 0.5, 0, T, 0.5]}]),
    ("run_log", ["dataset", {"any": "thing"}, 3]),
    *(("run_log", _without(DATASET, field)) for field in DATASET[2]),
    ("run_log", _with(DATASET, tags={"a": None})),
    ("run_log", _with(DATASET, schema={})),
    ("run_log", ["input", T, {}]),
    ("run_log", ["input", T, {"model": ""}]),
    ("run_log", ["output", T, {"model": "m-1"}]),
    ("run_log", ["output", T, {"model": "m-1", "step": 0.5}]),
    ("run_log", MODEL),
    ("run_log", METRIC),
    ("run_log", MODEL_LOG),
    ("model_log", LOG),
    *(("model_log", _without(MODEL_LOG, field)) for field in ("model", "experiment_id", "generation", "stamp")),
    *(("model_log", _without(MODEL, field)) for field in MODEL[2]),
    ("model_log", _with(MODEL, status="FINISHED")),
    ("model_log", ["info", T, {"status": "RUNNING"}]),
    *(("model_log", _without(METRIC, field)) for field in METRIC[2]),
    *(
        ("model_log", _with(METRIC, dataset=dataset))
        for dataset in ([], ["iris"], ["a", "b", "c"], [None, "b"], "iris")
    ),
    ("model_log", _with(METRIC, value="nan")),
    ("model_log", _without(CLOSED, "points_all")),
    ("model_log", DATASET),
    ("model_log", ["k", 0, ["a"]]),
    ("model_log", [0, 0, 0, 0.5]),
    ("model_log", ["batch", T, {}]),
    ("model_log", ["fold", {}]),
    ("edits", ["models", T, {"op": "deleted", "runs": ["m-1"], "time_ms": T, "user": ""}]),
    ("run_log", TOMBSTONE),
    ("run_log", ["bye", 0]),
    ("run_log", ["Encrypted", {}]),
    ("run_log", ["_x", {}]),
    ("run_log", [None, 1]),
    ("run_log", ["bare"]),
    ("run_log", []),
    ("chunk", ["tag", T, {"a": "1"}]),
    ("chunk", ["batch", T, {}]),
    ("chunk", ["fold", {}]),
    ("edits", ["tag", T, {"a": "1"}]),
    ("edits", [0, 0, 0, 1.5]),
    ("edits", _without(created(T, "lab"), "name")),
    ("edits", _without(created(T, "lab"), "generation")),
    ("edits", edit(T, "0", "renamed")),
    ("edits", edit(T, "0", "tagged")),
    ("edits", edit(T, "0", "forgotten")),
    ("edits", edit(T, "A", "deleted")),
    ("edits", edit(T, "1" * 65, "deleted")),
    ("edits", _with(edit_runs(T, "deleted", "a"), op="created")),
    ("edits", _with(edit_runs(T, "deleted", "a"), runs="a")),
    ("edits", _with(TOMBSTONE, positions={WRITER: [10]})),
    ("run_log", QUOTA),
    ("edits", _with(QUOTA, limits={"run.params": 5})),
    ("edits", _with(QUOTA, limits={"run.params": [-1, "warn"]})),
    ("edits", _with(QUOTA, limits={"run.params": [5]})),
    ("edits", _with(TOMBSTONE, positions={WRITER: [10, 2.5]})),
    ("edits", _with(TOMBSTONE, positions={"me": [10, 2]})),
    ("inbox", ["open", "r"]),
    ("inbox", ["close", "r", WRITER, 5]),
    ("inbox", ["close", "r", WRITER, -5, None]),
]


@pytest.mark.parametrize(("name", "record"), RIGHT, ids=repr)
def test_a_right_record_fits(name: str, record: list[Any]) -> None:
    assert list(record_problems(name, record)) == []
    assert validator(name).is_valid(record)


@pytest.mark.parametrize(("name", "record"), WRONG, ids=repr)
def test_a_wrong_record_does_not(name: str, record: list[Any]) -> None:
    assert list(record_problems(name, record))
    assert not validator(name).is_valid(record)


def test_every_type_of_record_was_tried() -> None:
    for name in ("run_log", "chunk", "model_log", "edits", "inbox"):
        in_golden = {
            json.loads(line.data)[0]
            for store in GOLDEN
            for path in store.glob("**/*.jsonl")
            for line in drop_torn(split_lines(path.read_bytes())[0], path.read_bytes())
        }
        tried = {record[0] for kind, record in RIGHT if kind == name} | in_golden
        known = _definitions(load_schema(name)) - {"key_set", "point", "points", "check", "closed"}
        assert known <= tried, name


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("store", {"format": 1, "store": "0" * 31, "created_ms": 1, "created_by": "x"}),
        ("store", {"format": 2, "store": "0" * 32, "created_ms": 1, "created_by": "x"}),
        ("store", {"format": 1, "store": "0" * 32, "created_by": "x"}),
        ("experiment", {"format": 1, "generation": 0, "id": "1", "name": "a", "more": 1}),
        ("experiment", {"format": 1, "generation": 0, "id": "A", "name": "a"}),
        ("experiment", {"format": 1, "generation": 0, "id": "1", "name": ""}),
        (
            "segment",
            {"format": 1, "run": "r", "writer": WRITER, "chunks": [0], "first": 0, "points": 1, "distinct": True},
        ),
        ("segment", {"format": 1, "run": "r", "writer": WRITER, "chunks": [0, 0], "first": 0, "points": 1}),
    ],
    ids=repr,
)
def test_a_wrong_document_does_not_fit(name: str, document: dict[str, Any]) -> None:
    assert not validator(name).is_valid(document)
