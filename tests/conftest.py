"""What every test shares: the hypothesis profiles, the long form, and an environment without the machine's settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A shared machine may be slow at any moment: no example fails for the time that it took.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# In CI the same examples each time: what lands must not depend on luck. New ones are looked for with --long.
settings.register_profile("ci", parent=_UNTIMED, max_examples=100, stateful_step_count=30, derandomize=True)
settings.register_profile("long", parent=_UNTIMED, max_examples=5_000, stateful_step_count=100)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="run the long form of tests that have one (hours, not minutes)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("hypothesis_profile", None):
        settings.load_profile("long" if config.getoption("long") else "ci")
    for name in [name for name in os.environ if name.startswith(("LOCALTRACK_", "MLFLOW_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def long_form(request: pytest.FixtureRequest) -> bool:
    """Whether tests marked `long` are to run in their long form."""
    return bool(request.config.getoption("long"))


@pytest.fixture(scope="session")
def rounds(long_form: bool) -> Callable[[int, int], int]:
    """Choose a count: `rounds(50, 1_000)` is 50, and 1,000 with --long."""
    return lambda short, long: long if long_form else short


def _forget_owed(is_gone: Callable[[str | None], bool]) -> None:
    """Forget what is owed to places that are gone: the process tries them to its end, and warns whichever test is on.

    Args:
        is_gone: Whether a log is gone, by its path; None for a log on a server.
    """
    module = sys.modules.get("localtrack.storage.syncer")
    if module is not None:
        for log in module.syncer.logs():
            if is_gone(getattr(log, "path", None)):
                module.syncer.remove(log)


@pytest.fixture(autouse=True)
def owed_to_removed_folders() -> Iterator[None]:
    """Forget after each test what is owed to folders and mounts that went with it."""
    yield
    _forget_owed(lambda path: path is not None and not os.path.exists(path))


@pytest.fixture(scope="module", autouse=True)
def owed_to_stopped_servers() -> Iterator[None]:
    """Forget after each module what is owed to its servers."""
    yield
    _forget_owed(lambda path: path is None)


_SET_BY_MLFLOW = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def settings_that_mlflow_leaves() -> Iterator[None]:
    """Take back what MLflow's fluent functions wrote to the environment: localtrack's would go by it in later tests."""
    before = {name: os.environ.get(name) for name in _SET_BY_MLFLOW}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
