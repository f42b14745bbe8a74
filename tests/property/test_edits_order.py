"""Folds do not depend on the order in which logs are listed, nor on how often a record came."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import Edit, fold_edits, read_edits
from localtrack.format.headers import WriterIdentity, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import EDITS, LOG
from localtrack.format.metric_fold import combine_folds
from localtrack.format.run_fold import fold_run
from localtrack.format.runlog import RunLog, read_run_log

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
RUN = {"run": "r", "experiment_id": "1", "experiment_name": "e", "generation": 0}

# Few of each, so that records meet.
stamps = st.integers(1, 6)
words = st.sampled_from(["a", "b", "c"])
ids = st.sampled_from(["1", "2", "3"])
tags = st.dictionaries(words, st.none() | words, max_size=2)


def record(kind: str, payload: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.just(kind), stamps, payload).map(list)


state_records = st.one_of(
    record("run", st.fixed_dictionaries({"start_ms": stamps, "status": st.just("RUNNING"), "user": words})),
    record("info", st.fixed_dictionaries({}, optional={"end_ms": st.none() | stamps, "start_ms": stamps})),
    record("info", st.fixed_dictionaries({"status": st.sampled_from(["FINISHED", "KILLED", "RUNNING"])})),
    record("param", st.dictionaries(words, words, max_size=2)),
    record("tag", tags),
    record("artifact", st.fixed_dictionaries({"path": words, "bytes": stamps, "sha256": words})),
    record("batch", st.fixed_dictionaries({}, optional={"params": st.dictionaries(words, words), "tags": tags})),
)
edit_records = st.one_of(
    record(
        "experiment",
        st.fixed_dictionaries({"id": ids, "op": st.sampled_from(["deleted", "restored"]), "time_ms": stamps}),
    ),
    record(
        "experiment", st.fixed_dictionaries({"id": ids, "op": st.just("renamed"), "name": words, "time_ms": stamps})
    ),
    record("experiment", st.fixed_dictionaries({"id": ids, "op": st.just("tagged"), "tags": tags, "time_ms": stamps})),
    record(
        "experiment",
        ids.flatmap(
            lambda id_: st.fixed_dictionaries(
                {
                    "id": st.just(id_),
                    "op": st.just("created"),
                    "name": st.just(f"e{id_}"),
                    "generation": st.just(0),
                    "time_ms": stamps,
                    "user": words,
                }
            )
        ),
    ),
    record(
        "runs",
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["deleted", "restored"]),
                "runs": st.lists(ids, max_size=2),
                "time_ms": stamps,
            }
        ),
    ),
    record(
        "models",
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["deleted", "restored"]),
                "models": st.lists(ids, max_size=2),
                "time_ms": stamps,
            }
        ),
    ),
    *(
        record(
            "tombstone",
            st.fixed_dictionaries(
                {
                    name: ids,
                    "positions": st.dictionaries(words, st.lists(stamps, min_size=2, max_size=2), max_size=2),
                    "time_ms": stamps,
                }
            ),
        )
        for name in ("run", "model")
    ),
    record("tombstone", st.fixed_dictionaries({"experiment": ids, "time_ms": stamps})),
)


@given(st.lists(st.lists(state_records, max_size=5), min_size=1, max_size=4), st.lists(stamps, min_size=4, max_size=4))
def test_a_run_is_the_same_whichever_log_comes_first(content: list[list[Any]], bases: list[int]) -> None:
    logs = [_log(f"w{number}", records, bases[number]) for number, records in enumerate(content)]
    expected = fold_run(logs)
    for seed in range(4):
        assert fold_run(random.Random(seed).sample(logs, len(logs))) == expected


@given(st.lists(state_records, max_size=6), st.data())
def test_what_a_new_writer_writes_again_changes_nothing(records: list[list[Any]], data: st.DataObject) -> None:
    """After a failed sync state records are written again with their stamps: FORMAT.md section 13."""
    records = [[kind, number + 1, payload] for number, (kind, _, payload) in enumerate(records)]
    again = records[data.draw(st.integers(0, len(records))) :]
    once, twice = fold_run([_log("w", records, 1)]), fold_run([_log("w", records, 1), _log("v", again, 1)])
    assert set(twice.problems) == set(once.problems)
    assert replace(twice, problems=[]) == replace(once, problems=[])


def _log(writer: str, records: list[list[Any]], base_ms: int) -> RunLog:
    header = encode_header(LOG, IDENTITY, writer=writer, base_ms=base_ms, stamp=1, flock=True, more=RUN)
    log = read_run_log(header + b"".join(map(encode_record, records)), writer=writer)
    assert isinstance(log, RunLog)
    assert log.problems == []
    return log


@given(
    st.lists(st.lists(edit_records, max_size=5), max_size=4),
    st.sets(ids).map(lambda found: {id_: ExperimentDocument(id_, f"e{id_}") for id_ in found}),
)
def test_a_catalog_is_the_same_whichever_file_comes_first(
    content: list[list[Any]], documents: dict[str, ExperimentDocument]
) -> None:
    edits: list[Edit] = []
    for number, records in enumerate(content):
        header = encode_header(EDITS, IDENTITY, writer=f"w{number}", base_ms=1, stamp=1, flock=True)
        found, lines = read_edits(header + b"".join(map(encode_record, records)), writer=f"w{number}")
        assert lines.problems == []
        edits += found
    expected = fold_edits(edits, documents)
    for seed in range(4):
        shuffled = dict(random.Random(seed).sample(sorted(documents.items()), len(documents)))
        assert fold_edits(random.Random(seed).sample(edits, len(edits)), shuffled) == expected
    names = [experiment.name for experiment in expected.experiments.values()]
    assert len(set(names)) == len(names)


@given(
    st.lists(
        st.lists(
            st.tuples(words, st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.0, -0.0, 1.5, -2.0, "NaN"])),
            max_size=8,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_points_add_up_to_the_same_however_they_are_shared_out(shares: list[list[Any]]) -> None:
    def log(writer: str, points: list[Any]) -> RunLog:
        sets = [["k", number, [key]] for number, key in enumerate("abc")]
        return _log(writer, [*sets, *([ord(key) - 97, dt, step, value] for key, step, dt, value in points)], 1)

    parts = [log(f"w{number}", points).points.fold() for number, points in enumerate(shares)]
    together = log("w", [point for points in shares for point in points]).points.fold()
    for seed in range(3):
        assert repr(sorted(combine_folds(random.Random(seed).sample(parts, len(parts))).items())) == repr(
            sorted(together.items())
        )
