"""Faults over a link end as those over a socket do, so that tests may use either."""

from __future__ import annotations

import httpx
import pytest

from localtrack.errors import LocaltrackError, SyncError
from localtrack.sync.answers import judge_answer
from localtrack.sync.http import Connection, Http, Patience
from tests.sync.front import FAULTS, Answer, Front, Request
from tests.sync.link import TIMEOUT_S, Link


@pytest.mark.parametrize("body_bytes", [40, 900_000])
@pytest.mark.parametrize("fault", ["", "refuse", *FAULTS])
def test_a_fault_is_the_same_over_a_link_and_over_a_socket(fault: str, body_bytes: int) -> None:
    done: list[Request] = []

    def back(request: Request) -> Answer:
        done.append(request)
        return Answer(200, b'{"run": {"info": {}}}' + b" " * 1000)

    def ask(connection: Connection, patience: Patience) -> tuple[str, bool, int]:
        done.clear()
        http = Http(connection, patience=patience)
        try:
            content = b'{"x": "' + b"x" * body_bytes + b'"}'
            response = http.exchange("POST", "/a?b=c", content=content, headers={"Content-Type": "application/json"})
            judge_answer(response.status_code, response.headers, response.content, what="a")
        except SyncError as error:
            return type(error).__name__, bool(getattr(error, "is_late", False)), len(done)
        finally:
            http.close()
        return "", False, len(done)

    with Front(back, slow_s=0.5) as front:
        front.faults[0] = fault
        over_socket = ask(Connection(front.url), Patience(timeout_s=0.25))
    link = Link(back)
    link.faults[0] = fault
    over_link = ask(Connection("http://server.example", transport=link), Patience(timeout_s=TIMEOUT_S))
    assert over_link == over_socket
    if fault == "slow":
        assert not done
        link.sleep(TIMEOUT_S)
        assert len(done) == 1
    assert [(r.method, r.path, len(r.body)) for r in link.requests] == [("POST", "/a?b=c", body_bytes + 9)]
    assert issubclass(httpx.ReadTimeout, httpx.HTTPError)
    assert issubclass(SyncError, LocaltrackError)
