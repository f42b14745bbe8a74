"""How many requests a store in a bucket takes: what README says of 10,000 runs, counted at a server.

`python -m pytest --long -s -n 0 tests/concurrency/test_request_counts.py` counts that many and prints what it found.
"""

from __future__ import annotations

import faulthandler
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from math import ceil
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tests.s3 import S3Server, s3, s3_server, s3_url

from localtrack import Store
from localtrack.api import store_search
from localtrack.storage import packed

__all__ = ["s3", "s3_server", "s3_url"]

README = Path(__file__).parents[2] / "README.md"
FILTER = "metrics.loss >= 10"


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take away what a machine has kept of a store: cached objects and the index."""

    def begin() -> None:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    begin()
    return begin


def fill(url: str, runs_count: int) -> None:
    """Put runs into a bucket: objects as one process writes them, by a shorter way than one request for each."""
    from moto.s3.models import s3_backends

    place = f"/requests-{uuid.uuid4().hex}"
    with Store.open(f"memory:/{place}") as store:
        for number in range(runs_count):
            with store.start_run("e", context=False) as run:
                run.log_metric("loss", float(number))
    bucket, _, root = url.removeprefix("s3://").partition("/")
    for path, file in list(MemoryFileSystem.store.items()):
        if path.startswith(f"{place}/"):
            s3_backends["123456789012"]["aws"].put_object(bucket, root + path.removeprefix(place), file.getvalue())
            del MemoryFileSystem.store[path]


def search(store: Store) -> None:
    assert len(store.search_runs(filter_string=FILTER, max_results=50)) == 50


@pytest.mark.long
def test_searches(
    s3: S3Server,
    s3_url: str,
    new_machine: Callable[[], None],
    rounds: Callable[[int, int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "_LOOK_S", 1e9)  # each half a minute one LIST: of a slow server that would be many
    count, new_count = rounds(120, 10_000), rounds(20, 100)
    if count == 10_000:
        faulthandler.cancel_dump_traceback_later()  # it is meant to take its time
    fill(s3_url, count)
    found: dict[str, Counter[str]] = {}
    with Store.open(s3_url, create=False) as store:
        with s3.counted() as found["first"]:
            search(store)
        with s3.counted() as found["warm"]:
            search(store)
        with s3.counted() as found["frame"]:
            store.search_runs(filter_string=FILTER, max_results=None).to_pandas()
    with Store.open(s3_url, create=False) as store, s3.counted() as found["indexed"]:
        search(store)
    store = Store.open(s3_url, create=False)
    search(store)
    with Store.open(s3_url) as other:
        for _ in range(new_count):
            with other.start_run("e", context=False) as run:
                run.log_metric("loss", 1.0)
    with s3.counted() as found["after more"]:
        search(store)
    store.close()
    for name, counts in found.items():
        print(f"{count} runs, {name}: {dict(counts)}")
    # Objects below runs/ and inbox/ are listed by thousands; experiments/, edits/ and packs/ beside them. An index that
    # is made and written lists all of it three times.
    pages = 2 * ceil(count / 1_000)
    assert found["first"]["LIST"] <= 8 + 3 * pages
    assert found["indexed"]["LIST"] <= 6 + pages
    assert max(found["warm"]["LIST"], found["frame"]["LIST"]) <= 4 + pages
    assert found["after more"]["LIST"] <= 4 + 2 * ceil((count + new_count) / 1_000)
    # The log of each run, and the notice of it.
    assert found["first"]["GET"] <= 2 * count + 6
    assert found["indexed"]["GET"] <= 2
    assert (found["warm"]["GET"], found["frame"]["GET"]) == (0, 0)
    assert found["after more"]["GET"] <= 2 * new_count + 2
    assert all(counts["HEAD"] <= 4 for counts in found.values())
    assert {kind for counts in found.values() for kind in counts} <= {"LIST", "GET", "HEAD", "PUT"}
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert "over 10,000 runs 20,006 GETs and 68 LISTs the first time on a machine" in text
    assert "2 GETs and 25 LISTs by the next process there" in text
    assert "24 LISTs by one that stays" in text


def test_logging(s3: S3Server, s3_url: str, new_machine: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_search, "COMPACT_EVERY", 10)  # writers look after an index in the store, so not here
    fill(s3_url, 70)
    began = time.monotonic()
    with s3.counted() as opened:
        store = Store.open(s3_url)
        store.start_run("e", context=False).end()
    with s3.counted() as short:
        for _ in range(20):
            with store.start_run("e", context=False) as run:
                run.log_params({"a": 1})
                run.log_metrics({"loss": 1.0, "accuracy": 0.5})
    run = store.start_run("e", context=False)
    with s3.counted() as first_flush:
        run.log_metric("loss", 1.0)
        store.flush()
    with s3.counted() as next_flush:
        run.log_metric("loss", 2.0)
        store.flush()
    with s3.counted() as empty_flush:
        store.flush()
    with s3.counted() as end:
        run.end()
        store.close()
    looks_count = int(time.monotonic() - began) + 1  # at experiments and edits, once a second
    assert short["PUT"] == 2 * 20  # the run, and the notice of it
    assert short.keys() <= {"PUT", "LIST"}
    assert short["LIST"] <= 2 * looks_count
    assert (first_flush["PUT"], next_flush["PUT"], sum(empty_flush.values())) == (2, 1, 0)
    assert end["PUT"] <= 2
    assert end["GET"] == 0  # nobody's runs are fetched because a job ends
    assert opened["GET"] <= 8
    assert "A short run takes 2 PUTs" in README.read_text(encoding="utf-8")
