"""One byte changed, one file cut, one file gone: a check tells it with that file's name, once; the rest answers.

What cannot be told is listed in FORMAT.md section 17, and again here, as narrowly.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.library_reading import assert_agreement, read_with_library
from tests.independent.golden_models import begun, metric
from tests.independent.golden_packs import pack
from tests.independent.golden_points import FOLDER, RUN, put_chunk, put_segment, unsealed
from tests.independent.hand import (
    A,
    B,
    HandLog,
    HandStore,
    created,
    dump,
    experiment_id,
    model_id,
    model_log,
    run_id,
    run_log,
)

from localtrack import Store
from localtrack.api.store_cleanup import check_document_at
from localtrack.errors import FormatError, NotFoundError
from localtrack.store.checking.corrections import correct_file
from localtrack.types import CheckFinding

DATA = Path(__file__).parents[1] / "data"
T = 1_790_000_000_000
BYSTANDER = "/a/bystander"
SHORT = f"runs/2026-09-21/{run_id(2)}"
LONG = f"runs/2026-09-21/{run_id(3)}"
MODEL = f"models/2026-09-21/{model_id(1)}"
PACKED = (11, 12)


def make_store(root: Path) -> None:
    """A store with every kind of file, all that can be closed closed."""
    store = HandStore()
    document = {"created_by": "by hand", "created_ms": T, "format": 1, "store": "5f" * 16}
    store.put("localtrack.json", dump(document | {"crc": f"{zlib.crc32(dump(document)):08x}"}))
    name = "/Shared/churn"
    store.experiment(name)
    store.edits(created(T, name), created(T + 1, "kept"))
    store.experiment("kept")
    short = run_log(run_id(2), experiment=(experiment_id(name), name))
    short.add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}], ["param", T + 1, {"lr": "0.01"}])
    short.add(["k", 0, ["loss"]], [0, 1, 1, 0.5])
    short.add(["artifact", T + 2, {"path": "a.txt", "bytes": 5, "sha256": _sha256(b"hello")}])
    short.add(["info", T + 3, {"status": "FINISHED", "end_ms": T + 3}])
    short.close(T + 4, points=1, fold={"loss": [1, 0.5, 1, T + 1, 0.5, 0.5]}, chunks=0, points_all=1)
    store.log(SHORT, short)
    store.put(f"{SHORT}/artifacts/a.txt", b"hello")
    store.put(f"inbox/{A}.jsonl", HandLog("Inbox", A).add(["open", run_id(2), "0"], ["bye", 0]).data)
    chunks, _ = unsealed(has_fold=False)
    store.files |= {key: data for key, data in chunks.files.items() if key.startswith(FOLDER)}
    log = run_log(run_id(3), B)
    log.add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    log.add(["info", T + 3, {"status": "FINISHED", "end_ms": T + 3}]).close(T + 4, points=0, chunks=2, points_all=3)
    store.log(LONG, log)
    rows = [("loss", n, n, T + n, n / 2) for n in range(3)]
    from tests.independent.hand import segment

    keys = {"loss": [3, 1.0, 2, T + 2, 0.0, 1.0]}
    store.segment(LONG, B, (0, 1), segment(rows, run=run_id(3), writer=B, chunks=(0, 1), keys=keys))
    bystander = run_log(run_id(9))
    bystander.add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "eve"}], ["k", 0, ["m"]], [0, 1, 1, 7.0])
    bystander.close(T + 4, points=1, chunks=0, points_all=1)
    store.log(f"runs/2026-09-21/{run_id(9)}", bystander)
    model = begun(model_log(model_id(1)), name="forest")
    model.add(["artifact", T + 1, {"path": "MLmodel", "bytes": 5, "sha256": _sha256(b"model")}], metric(T + 2, 0.5))
    store.log(MODEL, model.close(T + 3, points=0, chunks=0, points_all=0))
    store.put(f"{MODEL}/artifacts/MLmodel", b"model")
    packed = {}
    for number in PACKED:
        log = run_log(run_id(number)).add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "eve"}])
        log.add(["k", 0, ["m"]], [0, 1, 1, 7.0], ["info", T + 1, {"status": "FINISHED", "end_ms": T + 1}])
        log.close(T + 4, points=1, chunks=0, points_all=1)
        packed[f"runs/2026-09-21/{run_id(number)}/{A}.jsonl"] = log.data
    store.put(*pack(packed))
    store.write(root)


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound") / "store"
    make_store(root)
    with Store.open(root, create=False) as store:
        assert store.check().findings == []
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def check(root: Path) -> list[CheckFinding]:
    report = check_document_at(root)
    if report.findings:
        return report.findings
    with Store.open(root, create=False) as store:
        return store.check(sizes_only=False).findings


def names(finding: CheckFinding, key: str) -> bool:
    """Whether a finding names a file. That of a segment that is gone cannot know its digest."""
    head, _, ending = key.rpartition("/")[2].partition(".")
    wanted = key if not key.endswith(".parquet") else key.rpartition("/")[0] + f"/{head}.{ending.split('.')[0]}.parquet"
    return finding.key in (key, wanted)


def cannot_be_told(key: str, how: str, data: bytes, at: int) -> bool:
    """FORMAT.md, section 17: the damage that a writer leaves that was killed, or never was."""
    if how == "changed" and at == len(data) - 1 and data.endswith(b"\n"):
        how = "cut"  # the last line is torn then
    closed_at = data.rfind(b'["Closed"')
    if key.startswith("inbox/"):
        return how in ("cut", "gone") or at > 0
    if key.startswith("edits/") and how in ("cut", "gone"):
        return True
    if how == "gone":  # a closed log without chunks: with no notice there is nothing that speaks of it; a pack
        alone = (SHORT, f"runs/2026-09-21/{run_id(9)}", MODEL)
        return key in [f"{folder}/{A}.jsonl" for folder in alone] or key.startswith("packs/")
    if how == "cut" and key.endswith(".jsonl") and ".points." not in key:
        whole = data.rfind(b"\n", 0, at) + 1
        has_lost_points = any(line.startswith(b"[0,") for line in data[whole:].splitlines())
        return b'"end_ms"' not in data[:whole] and not (has_lost_points and key.startswith(FOLDER))
    if key == "localtrack.json":
        return how == "changed" and 1 <= at <= data.index(b":")  # the name of the field `crc`
    return how == "changed" and data[closed_at : closed_at + 9] == b'["Closed"' and closed_at + 9 < at < closed_at + 24


def damages(files: dict[str, bytes], how: str, *, is_long: bool) -> Iterator[tuple[str, int, bytes | None]]:
    """Give the damages of one kind to try: which file, where, and what is in it then; None if it is gone."""
    for key, data in files.items():
        if how == "gone":
            yield key, 0, None
            continue
        stride = 1 if is_long else max(len(data) // 15, 1)
        for at in range(0 if how == "changed" else 1, len(data), stride):
            yield key, at, data[:at] + (bytes([data[at] ^ 1]) + data[at + 1 :] if how == "changed" else b"")


def judge(root: Path, key: str, how: str, at: int, data: bytes) -> tuple[str, CheckFinding | None]:
    """Say what is wrong with what a check finds in a store with one damage, "" if nothing is; and what it finds."""
    findings = check(root)
    if cannot_be_told(key, how, data, at) and not findings:
        return "", None
    if len(findings) != 1:
        return f"{len(findings)} findings: {[(it.key, it.what) for it in findings]}", None
    (finding,) = findings
    # A killed writer leaves a run whose state is incomplete: that is said of its folder.
    is_of_folder = cannot_be_told(key, how, data, at) and key.startswith(finding.key + "/")
    if not (names(finding, key) or is_of_folder):
        return f"it is said of {finding.key}: {finding.what}", finding
    is_whole = finding.remedy and finding.invariant[0] in "MS"
    return "" if is_whole else f"no remedy, or no invariant: {finding}", finding


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_one_damage_is_one_finding(sound: Path, tmp_path: Path, how: str, long_form: bool) -> None:
    files = files_of(sound)
    told: Counter[str] = Counter()
    wrong: list[str] = []
    root = tmp_path / "store"
    shutil.copytree(sound, root)
    for key, at, damaged in damages(files, how, is_long=long_form):
        if damaged is None:
            (root / key).unlink()
        else:
            (root / key).write_bytes(damaged)
        problem, finding = judge(root, key, how, at, files[key])
        if problem:
            wrong.append(f"{key}, {how} at {at}: {problem}")
        assert files_of(root).keys() - {key} == files.keys() - {key}, "a look changes nothing"
        if finding is not None:
            told[key.partition("/")[0]] += 1
        # Who may not read the edits may not read the store: section 5.3. Else all other runs answer.
        is_unreadable = key == "localtrack.json" or (finding is not None and finding.invariant == "M8")
        if finding is not None and not is_unreadable and not key.startswith(f"runs/2026-09-21/{run_id(9)}"):
            with Store.open(root, create=False) as store:
                row = store.get_run(run_id(9))
                assert (row.info.user_id, row.data.metrics) == ("eve", {"m": 7.0})
        (root / key).write_bytes(files[key])
    assert wrong == []
    kinds = {"localtrack.json", "experiments", "runs", "models"} | ({"edits"} if how == "changed" else set())
    kinds |= {"packs"} if how != "gone" else set()
    assert set(told) >= kinds


def test_a_part_of_a_log_that_is_gone_is_one_finding(tmp_path: Path) -> None:
    """As an object store keeps logs: a part is named; of the last one only its log can be, since nobody counts them."""
    root = tmp_path / "store"
    shutil.copytree(DATA / "golden/format1/in_parts/store", root)
    assert check(root) == []
    parts = {key: data for key, data in files_of(root).items() if ".part" in key and key.startswith("runs/")}
    assert len(parts) > 5
    for key, data in parts.items():
        (root / key).unlink()
        log, _, number = key.rpartition(".part")
        is_last = f"{log}.part{int(number) + 1:08}" not in parts
        findings = check(root)
        if is_last and ".points." not in log:
            assert findings == [], "as a killed writer leaves it"
        else:
            assert [finding.key for finding in findings] == [log if is_last else key]
        if log.endswith(".points.jsonl"):  # what else there is of the run is shown
            with Store.open(root, create=False) as store:
                assert store.get_run(RUN).data.metrics.keys() == {"loss", "acc"}
                assert store.metric_history(RUN).num_rows >= 6
            assert_agreement(root)
        (root / key).write_bytes(data)


INVARIANTS = {
    "artifact_changed": "S6",
    "artifact_missing": "S6",
    "bytes_behind_closed": "M5",
    "check_beyond_itself": "M5",
    "chunk_missing": "M4",
    "chunk_of_another_run": "M7",
    "chunk_of_newer_format": "M8",
    "closed_chunk_cut": "M4",
    "closed_log_of_two_writers_cut": "S7",
    "cut_within_closed_record": "S7",
    "digit_in_closed_log": "M5",
    "digit_under_check": "M5",
    "edit_damaged": "M3",
    "empty_line": "M3",
    "experiment_file_damaged": "M7",
    "experiment_file_of_another": "M7",
    "last_chunk_missing": "M4",
    "log_emptied": "M2",
    "log_of_another_run": "M7",
    "inputs_damaged": "M3",
    "model_of_newer_format": "M8",
    "model_records_damaged": "M3",
    "model_under_another_id": "M7",
    "model_with_unknown_upper_case_type": "M8",
    "newer_format": "M8",
    "newer_store": "M8",
    "only_an_empty_log": "S3",
    "part_missing": "M2",
    "run_under_another_day": "M7",
    "run_under_another_id": "M7",
    "segment_cut": "M6",
    "segment_cut_beside_its_chunks": "M6",
    "segment_of_another_range": "M6",
    "segment_of_another_run": "M6",
    "segment_that_is_no_parquet": "M6",
    "segment_with_a_flipped_byte": "M6",
    "store_document_cut": "M7",
    "store_document_missing": "M7",
    "syntax_in_closed_log": "M3",
    "unknown_upper_case_edit": "M8",
    "unknown_upper_case_type": "M8",
    "writer_in_header": "M7",
    "wrong_count_in_closed": "M5",
}


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "damaged").iterdir()))
def test_of_every_damaged_store_one_finding_says_it(name: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(DATA / "damaged" / name / "store", root)
    findings = [f for f in check(root) if f.invariant != "S4"]
    several = {"names_of_no_rule": 7, "inbox_of_newer_format": 2, "experiment_of_second_writer": 0}
    assert len(findings) == several.get(name, 1), findings
    if name in INVARIANTS:
        assert findings[0].invariant == INVARIANTS[name]


@pytest.mark.parametrize("case", sorted(DATA.glob("golden/*/*/store")), ids=lambda path: path.parent.name)
def test_a_sound_store_has_no_error(case: Path, tmp_path: Path) -> None:
    shutil.copytree(case, tmp_path / "store")
    before = read_with_library(tmp_path / "store")
    with Store.open(tmp_path / "store", create=False) as store:
        report = store.check(repair=True)
    assert [f for f in report.findings if f.severity == "error"] == []
    after = read_with_library(tmp_path / "store")
    assert without_findings(after) == without_findings(before)


def without_findings(answers: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in answers.items() if key != "findings"}, sort_keys=True)


def test_repair_writes_documents_of_experiments_anew(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "store")
    files = files_of(sound)
    documents = [key for key in files if key.startswith("experiments/")]
    assert len(documents) == 3
    (tmp_path / "store" / documents[0]).unlink()
    (tmp_path / "store" / documents[1]).write_bytes(files[documents[1]][:-1])
    with Store.open(tmp_path / "store", create=False) as store:
        report = store.check(repair=True)
        assert {finding.key for finding in report.repaired} == set(documents[:2])
        assert report.is_sound
        assert store.check().findings == []
    after = files_of(tmp_path / "store")
    assert {key: after[key] for key in files} == files
    assert after[f"quarantine/{documents[1]}"] == files[documents[1]][:-1]


def test_repair_brings_a_run_home(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "store")
    before = read_with_library(sound)
    (tmp_path / "store/runs/2001-01-01").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("kept")
    (tmp_path / "store" / SHORT / "artifacts/link").symlink_to(outside)
    (tmp_path / "store" / SHORT).rename(tmp_path / "store/runs/2001-01-01" / run_id(2))
    with Store.open(tmp_path / "store", create=False) as store:
        with pytest.raises(NotFoundError):
            store.get_run(run_id(2))
        report = store.check(repair=True)
        assert [finding.invariant for finding in report.repaired] == ["M7"]
    assert without_findings(read_with_library(tmp_path / "store")) == without_findings(before)
    assert (outside / "precious.txt").read_text() == "kept"
    kept = files_of(tmp_path / "store/quarantine")
    assert kept[f"runs/2001-01-01/{run_id(2)}/artifacts/a.txt"] == b"hello"


def test_repair_sets_a_damaged_segment_aside_where_its_chunks_are(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(DATA / "damaged/segment_cut_beside_its_chunks/store", root)
    before = read_with_library(root)
    with Store.open(root, create=False) as store:
        (repaired,) = store.check(repair=True).repaired
        assert repaired.invariant == "M6"
        assert store.check().findings == []
    assert without_findings(read_with_library(root)) == without_findings(before)
    assert (root / "quarantine" / repaired.key).is_file()


def test_what_a_damaged_header_says_moves_nothing(sound: Path, tmp_path: Path) -> None:
    """The run id in the header has two other digits: the log is damaged, and no run is made of it."""
    shutil.copytree(sound, tmp_path / "store")
    path = tmp_path / "store" / SHORT / f"{A}.jsonl"
    path.write_bytes(path.read_bytes().replace(run_id(2).encode(), run_id(0x44).encode(), 1))
    with Store.open(tmp_path / "store", create=False) as store:
        report = store.check(repair=True)
        assert [(f.key, f.invariant) for f in report.findings] == [(f"{SHORT}/{A}.jsonl", "M5")]
        assert report.repaired == []
        with pytest.raises(NotFoundError):
            store.get_run(run_id(0x44))


def test_a_notice_tells_of_a_log_that_is_gone_or_cut(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, store.start_run(context=False) as run:
        run.log_metric("m", 1.0)
    (log,) = (tmp_path / "store/runs").glob("*/*/*.jsonl")
    data = log.read_bytes()
    log.write_bytes(data[: data.index(b'["info"')])
    with Store.open(tmp_path / "store") as store:
        (finding,) = store.check().findings
        assert (finding.key, finding.invariant) == (log.relative_to(tmp_path / "store").as_posix(), "M2")
        shutil.rmtree(log.parent)
        (finding,) = store.check().findings
        assert (finding.key, finding.severity) == (log.parent.relative_to(tmp_path / "store").as_posix(), "warning")


def test_a_chunk_beside_its_segment_is_removed_by_repair(tmp_path: Path) -> None:
    store_ = HandStore()
    store_.files |= unsealed(has_fold=False)[0].files
    put_segment(store_, 0, 1)
    put_chunk(store_, 1)
    store_.write(tmp_path)
    before = read_with_library(tmp_path)
    with Store.open(tmp_path, create=False) as store:
        report = store.check(repair=True)
        assert {f.invariant for f in report.repaired} == {"S2"}
        assert store.check().findings == []
    assert without_findings(read_with_library(tmp_path)) == without_findings(before)
    assert RUN in before["runs"]


def test_a_document_that_is_damaged_stops_all_else(tmp_path: Path) -> None:
    shutil.copytree(DATA / "damaged/store_document_cut/store", tmp_path / "store")
    with pytest.raises(FormatError):
        Store.open(tmp_path / "store")
    (finding,) = check(tmp_path / "store")
    assert (finding.key, finding.severity) == ("localtrack.json", "error")


def test_repair_puts_back_a_byte_that_changed(sound: Path, tmp_path: Path) -> None:
    """Of closed logs, chunks, segments and the store's document: their checksums tell which byte, and what it was."""
    root = tmp_path / "store"
    shutil.copytree(sound, root)
    files = files_of(sound)
    told: Counter[str] = Counter()
    for key, data in files.items():
        is_open_chunk = key.endswith(".2.points.jsonl") and b'["Closed"' not in data
        if not key.endswith((".jsonl", ".parquet", "localtrack.json")) or key.startswith("inbox/") or is_open_chunk:
            continue
        for at in (len(data) // 3, len(data) - 2):
            (root / key).write_bytes(data[:at] + bytes([data[at] ^ 0x21]) + data[at + 1 :])
            report = check_document_at(root, repair=True)
            if not report.repaired:
                with Store.open(root, create=False) as store:
                    report = store.check(repair=True)
            assert [finding.key for finding in report.repaired] == [key], (key, at, report.findings)
            assert report.is_sound
            after = files_of(root)
            assert {k: after[k] for k in files} == files
            kept = [name for name in after if name.startswith(f"quarantine/{key}")]
            assert len(kept) == 1
            (root / kept[0]).unlink()
            for name in [name for name in after if name.startswith("inbox/") and name not in files]:
                (root / name).unlink()
            told[key.rpartition(".")[2] if key.startswith("runs/") else key.partition("/")[0]] += 1
    assert told.keys() == {"localtrack.json", "edits", "models", "jsonl", "parquet"}


def test_a_letter_that_makes_the_store_unreadable_is_put_back(sound: Path, tmp_path: Path) -> None:
    """A record of an unknown type in capitals may mean anything (5.3), unless a checksum says what it was."""
    root = tmp_path / "store"
    shutil.copytree(sound, root)
    (path,) = (root / "edits").iterdir()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'["experiment"', b'["Experiment"', 1))
    key = f"edits/{path.name}"
    with Store.open(root, create=False) as store:
        with pytest.raises(FormatError) as caught:
            store.list_experiments()
        assert key in str(caught.value)
        assert "localtrack check" in caught.value.hint
        (finding,) = store.check().findings
        assert (finding.key, finding.invariant, finding.is_repairable) == (key, "M8", True)
        assert store.check(repair=True).is_sound
        assert {experiment.name for experiment in store.list_experiments()} == {"Default", "/Shared/churn", "kept"}
    assert path.read_bytes() == data

    # Of a log that was not closed nobody can tell; nor where more than a byte has changed.
    for damaged in (
        data[: data.rindex(b'["Closed"')].replace(b'["experiment"', b'["Experiment"', 1),
        data.replace(b'["experiment"', b'["Experiment"'),
    ):
        path.write_bytes(damaged)
        with Store.open(root, create=False) as store:
            report = store.check(repair=True)
            assert [(f.key, f.invariant) for f in report.findings] == [(key, "M8")]
            assert report.repaired == []
            assert "newer" in report.findings[0].what
        assert path.read_bytes() == damaged


def test_a_chunk_too_many_in_the_end_of_a_log_is_damage_of_the_log(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(sound, root)
    for folder, changed in ((SHORT, b'"chunks":1'), (LONG, b'"chunks":3')):
        (path,) = (root / folder).glob("*.jsonl")
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b'"chunks":')] + changed + data[data.rindex(b'"chunks":') + 10 :])
        with Store.open(root, create=False) as store:
            (finding,) = store.check().findings
            assert (finding.key, finding.invariant) == (f"{folder}/{path.name}", "M5")
            assert store.check(repair=True).is_sound
        assert path.read_bytes() == data


def test_what_nobody_can_tell_is_not_put_back(sound: Path) -> None:
    key, data = next(it for it in files_of(sound).items() if it[0].startswith(f"{SHORT}/") and it[0].endswith(".jsonl"))
    assert correct_file(key, data[:200] + b"xy" + data[202:]) is None, "two bytes"
    assert correct_file(key, data[:-30]) is None, "cut"
    at = data.rindex(b'["Closed",') + 12
    assert correct_file(key, data[:at] + b"x" + data[at + 1 :]) is None, "a digit of a stamp: any may have stood there"
    open_log = data[: data.rindex(b'["Closed",')]
    assert correct_file(key, open_log[:200] + b"x" + open_log[201:]) is None, "without a checksum"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("indexed") / "store"
    with Store.open(root) as store:
        for number in range(70):
            with store.start_run("e", context=False, tags={"n": number}) as run:
                run.log_metric("loss", number / 7, 1)
                run.log_param("p", number)
        store.compact()
        assert store.check().findings == []
    return root


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_damage_of_the_index_is_told_and_changes_no_answer(
    indexed: Path, tmp_path: Path, how: str, rounds: Callable[[int, int], int]
) -> None:
    root = tmp_path / "store"
    shutil.copytree(indexed, root)
    with Store.open(root, create=False) as store:
        expected = [row.to_run().to_dictionary() for row in store.search_runs(order_by=["metrics.loss ASC"])]
    files = {key: data for key, data in files_of(root).items() if key.startswith("index/v1/")}
    assert len(files) == 7, sorted(files)
    for key, data in files.items():
        places = range(0, len(data), max(len(data) // rounds(7, 200), 1)) if how != "gone" else [0]
        for at in places:
            if how == "gone":
                (root / key).unlink()
            else:
                changed = data[:at] + (bytes([data[at] ^ 1]) + data[at + 1 :] if how == "changed" else b"")
                (root / key).write_bytes(changed)
            with Store.open(root, create=False) as store:
                report = store.check()
            if how == "gone" and key.endswith("manifest.json"):
                assert report.findings == [], "there is no index"
            else:
                assert [(f.key, f.severity) for f in report.findings] == [(key, "info")], (key, at)
            (root / key).write_bytes(data)
    (root / key).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with Store.open(root, create=False) as store:
        assert [f.key for f in store.check(repair=True).repaired] == [key]
        found = [row.to_run().to_dictionary() for row in store.search_runs(order_by=["metrics.loss ASC"])]
        assert found == expected
        store.compact()
        assert store.check().findings == []


def test_damage_of_a_ledger_is_told(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(sound, root)
    header = HandLog("Ledger", A, store="5f" * 16, target="there")
    ledger = header.add(["claim", T, [run_id(2)]], ["bye", T + 1, 0]).data
    path = root / f"sync/there/{A}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(ledger)
    with Store.open(root, create=False) as store:
        assert store.check().findings == []
        for damaged in (ledger.replace(b'["claim"', b'[;claim"'), b"x" + ledger[1:]):
            path.write_bytes(damaged)
            (finding,) = store.check().findings
            assert (finding.key, finding.severity) == (f"sync/there/{A}.jsonl", "info")
