"""A push from a store in a bucket, and from one that was spooled."""

from __future__ import annotations

import itertools
from pathlib import Path

from localtrack import Store
from tests.s3 import S3Server, s3, s3_server, s3_url
from tests.sync.comparison import compare_store
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stores import add_to_store, make_store

__all__ = ["s3", "s3_server", "s3_url"]


def test_everything_arrives_once_from_a_bucket(s3: S3Server, s3_url: str, front: Front, tmp_path: Path) -> None:
    local = make_store(tmp_path / "store")
    local.close()
    with Store.open(s3_url) as bucket:
        bucket.merge(tmp_path / "store")
        be_unreliable(s3)
        report = push(bucket, front.url)
        assert report.is_complete
        assert report.count("sent") == 4
        assert compare_store(front.url, bucket) == []
        front.reset()
        again = push(bucket, front.url)
        assert (again.unchanged_count, front.requests) == (4, [])
        add_to_store(bucket)
        assert push(bucket, front.url).is_complete
        s3.be_well()
        assert compare_store(front.url, bucket) == []


def be_unreliable(s3: S3Server) -> None:
    """Fail each twentieth request, and list slowly."""
    turns = itertools.count()
    s3.fault = lambda kind, path: {7: "500", 27: "503"}.get(next(turns) % 40)
    s3.delays_s = {"LIST": 0.05}


def test_everything_is_done_in_a_bucket_that_fails_now_and_then(s3: S3Server, s3_url: str) -> None:
    with Store.open(s3_url) as store:
        be_unreliable(s3)
        store._site.log_points_bytes = store._site.chunk_bytes = 4_000
        for number in range(3):
            with store.start_run("e", context=False) as run:
                for step in range(400):
                    run.log_metric("loss", number + step / 2, step=step)
        store.flush()
        assert len(store.search_runs(filter_string="metrics.loss > 199.5")) == 2
        store.compact()
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 500.0)
        store.flush()
        assert len(store.search_runs(filter_string="metrics.loss > 199.5")) == 3
        assert store.metric_history(store.search_runs()[1].info.run_id).to_pydict()["step"] == list(range(400))
        s3.be_well()
        assert store.check().findings == []
