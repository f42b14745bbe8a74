"""The providers: each gives the tags that it knows of, or raises, which costs only these."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, NamedTuple

from localtrack.api import environment
from localtrack.api.context import repository
from localtrack.redaction import redact_command

MAX_VALUE_LENGTH: Final = 8000
"""Characters; what a tag may hold."""

_UNKNOWN: Final = "unknown"
_CONSOLE: Final = "<console>"
_NOTEBOOK: Final = "<notebook>"
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_*")


class Checkout(NamedTuple):
    """The repository that the program lies in, and what was checked out."""

    worktree: str
    commit: str
    tags: dict[str, str]


def process_tags() -> dict[str, str]:
    """Return who runs what where. It stays the same while the process lives."""
    command = " ".join(_quote(argument) for argument in redact_command(sys.orig_argv))
    return {
        "mlflow.user": _user(),
        "localtrack.host": os.uname().nodename if hasattr(os, "uname") else environment.computer_name() or _UNKNOWN,
        "localtrack.command": command,
        "localtrack.python": sys.version.partition(" ")[0],
    }


def source_tags() -> dict[str, str]:
    """Return the script, as MLflow names it: `sys.argv[0]` as it is."""
    main = sys.argv[0] if getattr(sys, "argv", None) else ""
    return {"mlflow.source.name": main or _CONSOLE, "mlflow.source.type": "LOCAL"}


def notebook_tags() -> dict[str, str]:
    """Return the notebook's file name, as MLflow does; nothing outside of a notebook."""
    if not is_notebook():
        return {}
    name = os.path.basename(_notebook_path() or "")
    return {"mlflow.source.name": name or _NOTEBOOK, "mlflow.source.type": "NOTEBOOK"}


def databricks_tags() -> dict[str, str]:
    """Return the workspace notebook or job, where this process is one on a Databricks cluster."""
    # Loaded by their kernel at its start. Importing it elsewhere, or asking the JVM instead, takes long.
    module: Any = sys.modules.get("dbruntime.databricks_repl_context")
    context = module.get_context() if module is not None and environment.is_databricks() else None
    if context is None:
        return {}
    if getattr(context, "isInJob", False):
        job, run = getattr(context, "jobId", None), getattr(context, "idInJob", None)
        found = {"mlflow.databricks.jobID": job, "mlflow.databricks.jobRunID": run, "mlflow.source.type": "JOB"}
        if job and run:
            found["mlflow.source.name"] = f"jobs/{job}/run/{run}"
    elif getattr(context, "isInNotebook", False):
        path = getattr(context, "notebookPath", None)
        found = {
            "mlflow.databricks.notebookID": getattr(context, "notebookId", None),
            "mlflow.databricks.notebookPath": path,
            "mlflow.source.name": path,
            "mlflow.source.type": "NOTEBOOK",
        }
    else:
        return {}
    return {name: str(value) for name, value in found.items() if value}


def notebook_experiment_name() -> str | None:
    """Return the experiment that a notebook's runs go to: its workspace path, else its file name; None elsewhere."""
    try:
        path = databricks_tags().get("mlflow.databricks.notebookPath")
        if path is None and is_notebook():
            path = os.path.basename(_notebook_path() or "").removesuffix(".ipynb")
    except Exception:  # whatever a notebook's front end has put in place, a run starts in it
        return None
    return path or None


def read_checkout() -> Checkout | None:
    """Return the repository of the script's or notebook's folder; None where it lies in none that has a commit."""
    folder = _program_folder()
    found = repository.find_repository(folder) if folder is not None else None
    if folder is None or found is None or _is_in_environment(folder, found.worktree):
        return None
    head = repository.read_head(found)
    if head is None:
        return None
    tags = {"mlflow.source.git.commit": head.commit}
    if head.branch:
        tags["mlflow.source.git.branch"] = head.branch
    url = repository.read_remote_url(found)
    if url:
        tags["mlflow.source.git.repoURL"] = url
    return Checkout(found.worktree, head.commit, tags)


def is_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook. Never imports IPython: a kernel has done so."""
    shell = _ipython_shell()
    return shell is not None and hasattr(shell, "kernel")


def _user() -> str:
    user = environment.user_name()
    if user is not None:
        return user
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, OSError):
        # In a container the user id often has no name.
        return _UNKNOWN


def _ipython_shell() -> Any:
    module: Any = sys.modules.get("IPython")
    get_ipython = getattr(module, "get_ipython", None)
    return get_ipython() if get_ipython is not None else None


def _notebook_path() -> str | None:
    shell = _ipython_shell()
    candidates = (getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__"), environment.notebook_path())
    # Sessions that share one document, and consoles, have an id there.
    return next((path for path in candidates if isinstance(path, str) and path.endswith(".ipynb")), None)


def _program_folder() -> str | None:
    if is_notebook():
        path = _notebook_path()
        return os.path.dirname(path) if path is not None and os.path.isfile(path) else os.getcwd()
    main = sys.argv[0] if getattr(sys, "argv", None) else ""
    # A relative name means nothing any more once the program has changed its folder.
    for path in (main, getattr(sys.modules.get("__main__"), "__file__", None)):
        if path and os.path.isfile(path):
            return os.path.dirname(os.path.abspath(path))
    return main if main and os.path.isdir(main) else None


def _is_in_environment(folder: str, worktree: str) -> bool:
    """Tell whether the program is a tool (`pytest`, `torchrun`) of a virtual environment inside of the repository."""
    prefix = os.path.realpath(sys.prefix) + os.sep
    return prefix.startswith(worktree + os.sep) and (os.path.realpath(folder) + os.sep).startswith(prefix)


def _quote(argument: str) -> str:
    # shlex would do; it loads `re`.
    if argument and _PLAIN.issuperset(argument):
        return argument
    return "'" + argument.replace("'", "'\"'\"'") + "'"
