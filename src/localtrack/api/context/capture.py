"""What is captured when a run starts."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Final

from localtrack.api import environment
from localtrack.api.context import providers
from localtrack.api.context.dirty import DirtyProbe

GIT_DIRTY_TAG: Final = "mlflow.source.git.dirty"


def capture_context() -> dict[str, str]:
    """Return the tags that tell where this process comes from, and have git look for changed files meanwhile.

    What cannot change while a process lives is captured once. It takes a millisecond or two, waits for nothing and
    never raises; what fails is left out and reported to the logger `localtrack` at level debug.

    Returns:
        Tags by name, none longer than a tag may be: `mlflow.user`, `mlflow.source.name`, `mlflow.source.type`, where
        the program lies in a git repository `mlflow.source.git.commit`, `.branch` and `.repoURL`, then
        `localtrack.host`, `localtrack.command` (without the values of secret-looking options), `localtrack.python`, in
        a batch job `localtrack.job`, and what LOCALTRACK_RUN_CONTEXT or MLFLOW_RUN_CONTEXT asks for, which wins over
        all others.

    Concurrency: may be called from any thread, and in a forked child.
    """
    tags: dict[str, str] = {}
    for provider in _PROVIDERS:
        try:
            tags.update(_clean(provider()))
        except Exception as error:  # whatever is wrong with a machine, a run starts on it
            _report(provider, error)
    return tags


def dirty_probe() -> DirtyProbe | None:
    """Return the probe of this process for its repository, started if it was not; None outside of a repository."""
    try:
        checkout = _checkout()
        return _probe_of(checkout) if checkout is not None else None
    except Exception as error:  # as above; a thread that cannot be started is among these
        _report(dirty_probe, error)
        return None


def dirty_tags(timeout_s: float = 0.0) -> dict[str, str]:
    """Return the tag that tells whether tracked files were changed when git looked; empty where it is not known.

    Args:
        timeout_s: How long to wait for git.

    Returns:
        `mlflow.source.git.dirty`, `true` or `false`. Files that git does not track do not count.
    """
    probe = dirty_probe()
    dirty = probe.result(timeout_s) if probe is not None else None
    return {} if dirty is None else {GIT_DIRTY_TAG: str(dirty).lower()}


def _git_tags() -> Mapping[str, str]:
    checkout = _checkout()
    if checkout is None:
        return {}
    dirty_probe()
    return checkout.tags


def _job_tags() -> Mapping[str, str]:
    job_id = environment.job_id()
    return {"localtrack.job": job_id} if job_id is not None else {}


def _checkout() -> providers.Checkout | None:
    # A script runs what was there when it was loaded; the code of a notebook changes while its kernel lives.
    return providers.read_checkout() if providers.is_notebook() else _checkout_at_start()


_process_tags = functools.cache(providers.process_tags)
_checkout_at_start = functools.cache(providers.read_checkout)

# Later ones win, as in MLflow.
_PROVIDERS: Final[tuple[Callable[[], Mapping[str, str]], ...]] = (
    _process_tags,
    providers.source_tags,
    _git_tags,
    providers.notebook_tags,
    providers.databricks_tags,
    _job_tags,
    environment.run_context,
)

_probes: dict[tuple[str, str], DirtyProbe] = {}


def _probe_of(checkout: providers.Checkout) -> DirtyProbe:
    key = (checkout.worktree, checkout.commit)
    probe = _probes.get(key)
    if probe is None or probe.is_orphan:
        fresh = DirtyProbe(checkout.worktree)
        if probe is not None:
            _probes.pop(key, None)
        # Of two threads that get here, one's probe is kept, and only that one started.
        probe = _probes.setdefault(key, fresh)
        if probe is fresh:
            probe.start()
    return probe


def _clean(tags: Mapping[str, str]) -> dict[str, str]:
    cleaned: dict[str, str] = {}
    for name, value in tags.items():
        if value:
            # Arguments and paths that are no UTF-8 come as lone surrogates, which nothing could write.
            text = value.encode("utf-8", "replace").decode("utf-8")
            limit = providers.MAX_VALUE_LENGTH
            cleaned[name] = text if len(text) <= limit else text[: limit - 1] + "…"
    return cleaned


def _report(provider: Callable[..., object], error: Exception) -> None:
    import logging

    name = getattr(provider, "__name__", str(provider))
    logging.getLogger("localtrack").debug(
        "%s (process %d) gave no context: %s", name, os.getpid(), error, exc_info=error
    )
