"""Damaged stores about logged models, and about what runs read and make."""

from __future__ import annotations

from tests.independent.damage_lines import FOLDER, RUN, begun, the_run
from tests.independent.expected import Json, a_model, a_store
from tests.independent.golden_models import IRIS, metric
from tests.independent.golden_models import begun as begun_model
from tests.independent.hand import DAY, NOON_MS, A, HandStore, model_id, model_log

T = NOON_MS
MODEL, OTHER = model_id(1), model_id(2)
KEY = f"models/{DAY}/{MODEL}/{A}.jsonl"


def _beside() -> tuple[HandStore, dict[str, Json]]:
    """A store with a sound model: whatever happens to another, it is read."""
    store = HandStore()
    store.log(f"models/{DAY}/{OTHER}", begun_model(model_log(OTHER), name="sound"))
    return store, {OTHER: a_model(name="sound")}


def model_records_damaged() -> tuple[HandStore, Json]:
    """Known types of other shapes, and types of run logs: each is reported, and what stands behind it counts."""
    store, models = _beside()
    log = begun_model(model_log(MODEL))
    log.add(
        ["metric", T + 1, {"key": "acc"}],
        metric(T + 1, 1, dataset=["iris"]),
        metric(T + 1, "nan"),
        metric(T + 1, None),
        ["info", T + 1, {"status": "RUNNING"}],
        ["info", T + 1, {"status": ["READY"]}],
        ["model", T + 1, {"name": "x"}],
        ["param", T + 1, {"p": 1}],
        ["k", 0, ["a"]],
        [0, 0, 0, 1.5],
        ["batch", T + 1, {}],
        ["fold", {}],
        ["dataset", T + 1, IRIS],
        ["tag", T + 2, {"a": "1"}],
    )
    store.log(f"models/{DAY}/{MODEL}", log)
    return store, a_store(models=models | {MODEL: a_model(tags={"a": "1"})}, findings=[(KEY, "damaged")])


def model_header_damaged() -> tuple[HandStore, Json]:
    """Without a sound header the model is reported, and not shown."""
    store, models = _beside()
    store.log(f"models/{DAY}/{MODEL}", begun_model(model_log(MODEL, generation="0")))
    return store, a_store(models=models, findings=[(KEY, "damaged")])


def run_log_in_a_model_folder() -> tuple[HandStore, Json]:
    """The header is of another kind."""
    store, models = _beside()
    store.put(KEY, begun().data)
    return store, a_store(models=models, findings=[(KEY, "damaged")])


def model_under_another_id() -> tuple[HandStore, Json]:
    """A folder that lies elsewhere than its id says is reported, not shown."""
    store, models = _beside()
    store.put(KEY, begun_model(model_log(model_id(3))).data)
    return store, a_store(models=models, findings=[(f"models/{DAY}/{MODEL}", "misplaced")])


def model_of_newer_format() -> tuple[HandStore, Json]:
    """Its log has a greater format: the model is reported, and the others are shown."""
    store, models = _beside()
    store.log(f"models/{DAY}/{MODEL}", begun_model(model_log(MODEL, format=2)))
    return store, a_store(models=models, findings=[(KEY, "newer")])


def model_with_unknown_upper_case_type() -> tuple[HandStore, Json]:
    """Makes the model unreadable for this reader."""
    store, models = _beside()
    store.log(f"models/{DAY}/{MODEL}", begun_model(model_log(MODEL)).add(["Encrypted", {}]))
    return store, a_store(models=models, findings=[(KEY, "unknown_type")])


def model_log_cut() -> tuple[HandStore, Json]:
    """A closed log that lost bytes in its middle: the line is reported, the end does not fit, the rest counts."""
    store, models = _beside()
    log = begun_model(model_log(MODEL)).add(["tag", T + 1, {"a": "1"}], ["tag", T + 2, {"b": "2"}])
    log.close(T + 3, points=0, chunks=0, points_all=0)
    store.put(KEY, log.data.replace(b'["tag",%d,{"a":"1"}]' % (T + 1), b'["tag",%d,{"a":"1' % (T + 1)))
    expected = a_model(tags={"b": "2"})
    return store, a_store(models=models | {MODEL: expected}, findings=[(KEY, "crc"), (KEY, "damaged")])


def inputs_damaged() -> tuple[HandStore, Json]:
    """Data sets, inputs and outputs of other shapes, and records of models, in a run log."""
    store = HandStore()
    log = begun()
    log.add(
        ["dataset", T + 1, IRIS | {"tags": {"a": None}}],
        ["dataset", T + 1, {"name": "iris"}],
        ["input", T + 1, {"model": None}],
        ["output", T + 1, {"model": "m-1"}],
        ["output", T + 1, {"model": "m-1", "step": 0.5}],
        metric(T + 1, 1),
        ["output", T + 2, {"model": "m-1", "step": 0}],
    )
    key = store.log(FOLDER, log)
    expected = the_run(model_outputs=[["m-1", 0]])
    return store, a_store({RUN: expected}, findings=[(key, "damaged")])


MODEL_DAMAGES = (
    model_records_damaged,
    model_header_damaged,
    run_log_in_a_model_folder,
    model_under_another_id,
    model_of_newer_format,
    model_with_unknown_upper_case_type,
    model_log_cut,
    inputs_damaged,
)
