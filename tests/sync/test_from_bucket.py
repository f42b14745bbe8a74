"""A push from a store in a bucket, and from one that was spooled."""

from __future__ import annotations

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
        report = push(bucket, front.url)
        assert report.is_complete
        assert report.count("sent") == 4
        assert compare_store(front.url, bucket) == []
        front.reset()
        again = push(bucket, front.url)
        assert (again.unchanged_count, front.requests) == (4, [])
        add_to_store(bucket)
        assert push(bucket, front.url).is_complete
        assert compare_store(front.url, bucket) == []
