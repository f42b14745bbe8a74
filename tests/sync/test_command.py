"""`localtrack sync` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from localtrack.cli import app
from localtrack.cli.documents import FIELDS, PARTS
from tests.sync.front import Front
from tests.sync.stand_in import StandIn
from tests.sync.stores import make_store


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sync", *map(str, arguments)])


def test_it_says_where_to_and_what_became_of_it(tmp_path: Path) -> None:
    make_store(tmp_path / "store").close()
    with Front(StandIn()) as front:
        answer = invoke("--to", front.url, "--store", tmp_path / "store", "--prefix", "all/", "--rename", "elsewhere=x")
        assert answer.exit_code == 0, answer.output
        assert answer.stderr.startswith(f"Target: {front.url}, signed in as nobody")
        assert answer.stdout.startswith("4 runs sent, 0 already there, 0 failed; ")
        document = json.loads(invoke("--to", front.url, "--store", tmp_path / "store", "--json").stdout)
    assert list(document) == FIELDS["sync"].split(", ")
    assert list(document["plan"]) == PARTS["plan"].split(", ")
    assert (document["complete"], document["unchanged"]) == (True, 0)  # other names: other experiments


def test_a_dry_run_tells_counts_and_losses(tmp_path: Path) -> None:
    with make_store(tmp_path / "store") as store:
        store.set_run_tags(store.search_runs()[0].info.run_id, {"mlflow.runName": "n" * 300})
    answer = invoke("--to", "http://127.0.0.1:9", "--store", tmp_path / "store", "--dry-run")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Would send 4 runs (4 new), ")
    assert "Its name has 300 characters; the target takes 250." in answer.stdout
    document = json.loads(
        invoke("--to", "http://127.0.0.1:9", "--store", tmp_path / "store", "--dry-run", "--json").stdout
    )
    assert all(list(loss) == PARTS["losses[]"].split(", ") for loss in document["losses"])


def test_what_fails_is_told_and_ends_with_the_code_of_sync(tmp_path: Path) -> None:
    make_store(tmp_path / "store").close()
    stand_in = StandIn()
    with Front(stand_in) as front:
        front.faults = dict.fromkeys(range(13, 1000), "refuse")
        answer = invoke("--to", front.url, "--store", tmp_path / "store")
    assert answer.exit_code == 11
    assert "Error: " in answer.stderr


def test_secrets_do_not_show(tmp_path: Path) -> None:
    make_store(tmp_path / "store").close()
    with Front(StandIn()) as front:
        uri = front.url.replace("http://", "http://ada:sesame-4711@")
        answer = invoke("--to", uri, "--store", tmp_path / "store")
        assert answer.exit_code == 0
        assert "ada (password from the URI)" in answer.stderr
        assert front.requests[0].headers["authorization"].startswith("Basic ")
    written = b"".join(path.read_bytes() for path in (tmp_path / "store" / "sync").rglob("*") if path.is_file())
    assert b"sesame" not in written + answer.output.encode()
    assert written
