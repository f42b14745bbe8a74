"""What the environment says. Only this module of the package reads or sets `os.environ` (sync has its own for remotes).

Every setting has a LOCALTRACK_ name; where MLflow has the same setting its name works too, and LOCALTRACK_ wins. A
variable that is set to nothing counts as not set. Nothing is remembered: a variable that a program sets while it runs
is seen by the next call.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError

if TYPE_CHECKING:
    from localtrack.api.ranks import Rank

Durability = Literal["process", "call"]
OnError = Literal["raise", "warn"]

DEFAULT_SEARCH_MEMORY_BYTES: Final = 512 * 1024**2
_UNITS: Final = {"K": 1024, "M": 1024**2, "G": 1024**3}

STORE_MARKER: Final = "localtrack.json"


class Variable(NamedTuple):
    """One setting, for the documentation and for `localtrack env`."""

    name: str
    twin: str
    """MLflow's name for the same setting; empty where it has none."""
    meaning: str


VARIABLES: Final[tuple[Variable, ...]] = (
    Variable(
        "LOCALTRACK_TRACKING_URI",
        "MLFLOW_TRACKING_URI",
        "Which store is used: a folder or a URI. MLflow's name counts only where it names a localtrack store.",
    ),
    Variable(
        "LOCALTRACK_EXPERIMENT_NAME",
        "MLFLOW_EXPERIMENT_NAME",
        "Experiment of new runs, by name; made if it is not there.",
    ),
    Variable("LOCALTRACK_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_ID", "Experiment of new runs, by id; it must exist."),
    Variable("LOCALTRACK_RUN_ID", "MLFLOW_RUN_ID", "Run that the next start_run resumes; used once."),
    Variable(
        "LOCALTRACK_JOIN_RUN_ID",
        "",
        "Run of another process that start_run joins, as `ActiveRun.hand_over` says it; it is not ended here.",
    ),
    Variable("LOCALTRACK_METRIC_PREFIX", "", "What is put in front of metrics' names in a run that was joined."),
    Variable("LOCALTRACK_RUN_NAME", "MLFLOW_RUN_NAME", "Name of new runs that are given none."),
    Variable(
        "LOCALTRACK_ACTIVE_MODEL_ID",
        "MLFLOW_ACTIVE_MODEL_ID",
        "Logged model that fluent metrics belong to until set_active_model names another.",
    ),
    Variable(
        "LOCALTRACK_DURABILITY",
        "",
        "What logged values survive: process (kill -9; default) or call (also the death of the host).",
    ),
    Variable(
        "LOCALTRACK_ON_ERROR", "", "What a logging call does when the file system refuses: raise (default) or warn."
    ),
    Variable(
        "LOCALTRACK_SPOOL",
        "",
        "Folder on a local disk: runs are written there first, and moved to the store in the background.",
    ),
    Variable(
        "LOCALTRACK_TRUNCATE_LONG_VALUES",
        "MLFLOW_TRUNCATE_LONG_VALUES",
        "Whether too long values of params and tags are cut (true, default) or refused (false).",
    ),
    Variable(
        "LOCALTRACK_JOB_ID",
        "",
        "Which batch job this is, for resuming a requeued one; by default what the scheduler says.",
    ),
    Variable("LOCALTRACK_RUN_CONTEXT", "MLFLOW_RUN_CONTEXT", "A JSON object of tags for every new run."),
    Variable(
        "LOCALTRACK_SEARCH_MEMORY",
        "",
        "How much memory searches keep for columns of the index, such as 512MB (default) or 2GB.",
    ),
    Variable(
        "LOCALTRACK_CACHE_DIR",
        "",
        "Where the search index of stores goes that cannot be written to; by default localtrack in the user's cache "
        "folder.",
    ),
    Variable(
        "LOCALTRACK_DEBUG", "", "Whether the command line shows the traceback of an error (true, or false, default)."
    ),
)


class Setting(NamedTuple):
    """What the environment says for one variable."""

    variable: Variable
    source: str
    """The name that is set; empty where neither is."""
    value: str
    """As it may be shown: without a password in a URL."""
    counts: bool
    """False where something is set that localtrack leaves aside."""


def settings() -> list[Setting]:
    """Return every variable with its value, in the order of `VARIABLES`."""
    return [_setting(variable) for variable in VARIABLES]


class ExperimentSetting(NamedTuple):
    """Which experiment the environment names. Where both are set, they must be the same experiment."""

    name: str | None
    experiment_id: str | None


def tracking_uri() -> str | None:
    """Return the store that the environment names, or None.

    MLFLOW_TRACKING_URI is ignored where it names anything but a localtrack store (a server, a database, a workspace, a
    folder without `localtrack.json`): it is there for other programs.
    """
    own = _get("LOCALTRACK_TRACKING_URI")
    if own is not None:
        return own
    foreign = _get("MLFLOW_TRACKING_URI")
    return foreign if foreign is not None and names_store(foreign) else None


def names_store(uri: str) -> bool:
    """Tell whether a tracking URI is localtrack's by its scheme, or a folder that holds a localtrack store."""
    scheme = _scheme(uri)
    if scheme == "localtrack" or scheme.startswith("localtrack+"):
        return True
    if scheme == "file":
        return os.path.isfile(os.path.join(_path_of_file_uri(uri), STORE_MARKER))
    # To MLflow these three words are schemes, not folders.
    if scheme or uri in ("databricks", "databricks-uc", "uc"):
        return False
    return os.path.isfile(os.path.join(os.path.expanduser(uri), STORE_MARKER))


def experiment() -> ExperimentSetting:
    """Return which experiment new runs go to. One LOCALTRACK_ variable is enough to leave both of MLflow's aside."""
    own = ExperimentSetting(_get("LOCALTRACK_EXPERIMENT_NAME"), _get("LOCALTRACK_EXPERIMENT_ID"))
    if own != (None, None):
        return own
    return ExperimentSetting(_get("MLFLOW_EXPERIMENT_NAME"), _get("MLFLOW_EXPERIMENT_ID"))


def run_id() -> str | None:
    """Return the run to resume, or None, and leave it in the environment."""
    return _get("LOCALTRACK_RUN_ID") or _get("MLFLOW_RUN_ID")


def take_run_id() -> str | None:
    """Return the run to resume and remove it from the environment, so that only one `start_run` resumes it.

    Both names are removed: else the second `start_run` would resume what was meant for the first.
    """
    own, foreign = os.environ.pop("LOCALTRACK_RUN_ID", ""), os.environ.pop("MLFLOW_RUN_ID", "")
    return own or foreign or None


def join_run_id() -> str | None:
    """Return the run of another process that this one writes to, or None."""
    return _get("LOCALTRACK_JOIN_RUN_ID")


def metric_prefix() -> str:
    """Return what is put in front of the keys of metrics in a run that was joined."""
    return _get("LOCALTRACK_METRIC_PREFIX") or ""


def hand_over(uri: str, run_id: str, prefix: str) -> dict[str, str]:
    """Return the variables with which another process joins a run."""
    variables = {"LOCALTRACK_TRACKING_URI": uri, "LOCALTRACK_JOIN_RUN_ID": run_id}
    variables |= {"LOCALTRACK_METRIC_PREFIX": prefix} if prefix else {}
    for name in ("LOCALTRACK_SPOOL", "LOCALTRACK_ON_ERROR", "LOCALTRACK_DURABILITY"):
        value = _get(name)
        if value is not None:
            variables[name] = value
    return variables


def hand_down_store(uri: str | None) -> None:
    """Name the store that child processes use; None takes it back. MLflow's variable is for MLflow."""
    if uri is None:
        os.environ.pop("LOCALTRACK_TRACKING_URI", None)
    else:
        os.environ["LOCALTRACK_TRACKING_URI"] = uri


def hand_down_experiment(experiment_id: str) -> None:
    """Name the experiment of runs that child processes start. A name set before would contradict it, and goes."""
    os.environ.pop("LOCALTRACK_EXPERIMENT_NAME", None)
    os.environ["LOCALTRACK_EXPERIMENT_ID"] = experiment_id


def active_model_id() -> str | None:
    """Return the logged model that metrics belong to where a program names none, or None."""
    return _get("LOCALTRACK_ACTIVE_MODEL_ID") or _get("MLFLOW_ACTIVE_MODEL_ID")


def run_name() -> str | None:
    """Return the name for new runs that are given none, or None."""
    return _get("LOCALTRACK_RUN_NAME") or _get("MLFLOW_RUN_NAME")


def durability() -> Durability:
    """Return when a logging call may return.

    Raises:
        InvalidInputError: LOCALTRACK_DURABILITY is neither `process` nor `call`.
    """
    value = _choice("LOCALTRACK_DURABILITY", ("process", "call"))
    return "call" if value == "call" else "process"


def on_error() -> OnError:
    """Return what a logging call does when the file system refuses.

    Raises:
        InvalidInputError: LOCALTRACK_ON_ERROR is neither `raise` nor `warn`.
    """
    value = _choice("LOCALTRACK_ON_ERROR", ("raise", "warn"))
    return "warn" if value == "warn" else "raise"


def spool() -> str | None:
    """Return the folder of the spool, or None."""
    return _get("LOCALTRACK_SPOOL")


def truncate_long_values() -> bool:
    """Tell whether too long values of params and tags are cut instead of refused.

    Raises:
        InvalidInputError: The variable is none of `true`, `false`, `1`, `0`.
    """
    name = "LOCALTRACK_TRUNCATE_LONG_VALUES"
    if _get(name) is None:
        name = "MLFLOW_TRUNCATE_LONG_VALUES"
    return _choice(name, ("true", "false", "1", "0")) not in ("false", "0")


def job_id() -> str | None:
    """Return a text that is the same each time a batch scheduler starts this job again, or None outside of a job.

    Returns:
        LOCALTRACK_JOB_ID as it is, else `slurm:1234`, `slurm:1234_5` for a job of an array, `slurm:1234_5@cluster`
        where the cluster is known. All processes and all steps of one job have the same.
    """
    from localtrack.api import batch_job

    return named_job() or batch_job.job_id(os.environ)


def named_job() -> str | None:
    """Return what LOCALTRACK_JOB_ID says, or None."""
    return _get("LOCALTRACK_JOB_ID")


def rank() -> Rank | None:
    """Return which process of a distributed launch this is; None outside of any."""
    from localtrack.api.ranks import find_rank

    return find_rank(os.environ)


def is_debug() -> bool:
    """Tell whether the command line shows tracebacks. A value that is neither yes nor no counts as yes."""
    return (_get("LOCALTRACK_DEBUG") or "false").lower() not in ("false", "0")


def search_memory_bytes() -> int:
    """Return how many bytes of the search index a process keeps in memory in columns.

    Raises:
        InvalidInputError: LOCALTRACK_SEARCH_MEMORY is no number with or without KB, MB or GB behind it.
    """
    name = "LOCALTRACK_SEARCH_MEMORY"
    text = _get(name)
    if text is None:
        return DEFAULT_SEARCH_MEMORY_BYTES
    digits = text.upper().removesuffix("B").strip()
    factor = _UNITS.get(digits[-1:], 1)
    digits = digits.rstrip("".join(_UNITS)).strip()
    if not digits.isascii() or not digits.isdigit():
        raise _invalid(name, "a number of bytes such as 512MB or 2GB", text)
    return int(digits) * factor


def cache_folder() -> str | None:
    """Return the user's folder for what can be made anew, or None where there is no such place."""
    own = _get("LOCALTRACK_CACHE_DIR")
    if own is not None:
        return os.path.expanduser(own)
    base = _get("LOCALAPPDATA") if os.name == "nt" else _get("XDG_CACHE_HOME")
    if base is None:
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "localtrack") if os.path.isabs(base) else None


def run_context() -> dict[str, str]:
    """Return the tags that LOCALTRACK_RUN_CONTEXT, else MLFLOW_RUN_CONTEXT, asks for.

    Raises:
        InvalidInputError: The variable is no JSON object.
    """
    name = "LOCALTRACK_RUN_CONTEXT" if _get("LOCALTRACK_RUN_CONTEXT") is not None else "MLFLOW_RUN_CONTEXT"
    text = _get(name)
    if text is None:
        return {}
    import json

    try:
        tags = json.loads(text)
    except (ValueError, RecursionError):
        tags = None
    if not isinstance(tags, dict):
        raise _invalid(name, "a JSON object of tags", text)
    return {key: str(value) for key, value in tags.items()}


def user_name() -> str | None:
    """Return the user that the environment names, in the order of `getpass.getuser`, or None."""
    return next((user for name in ("LOGNAME", "USER", "LNAME", "USERNAME") if (user := _get(name))), None)


def computer_name() -> str | None:
    """Return the host name that Windows keeps in the environment, or None."""
    return _get("COMPUTERNAME")


def notebook_path() -> str | None:
    """Return the notebook that this kernel runs, or None where the front end does not say (or there is none).

    Source: jupyter_server sets JPY_SESSION_NAME for each kernel; VS Code __vsc_ipynb_file__; IPYNB_FILE as MLflow reads
    it.
    """
    return _get("__vsc_ipynb_file__") or _get("IPYNB_FILE") or _get("JPY_SESSION_NAME")


def is_databricks() -> bool:
    """Tell whether this process runs on a Databricks cluster."""
    return _get("DATABRICKS_RUNTIME_VERSION") is not None


def find_program(name: str) -> str | None:
    """Return the absolute path of a program, or None.

    Relative entries of PATH are skipped, the empty one included: they would run what lies in the current folder, which
    may be a clone of anybody's repository.
    """
    names = (f"{name}.exe",) if os.name == "nt" else (name,)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for file in names:
            path = os.path.join(folder, file)
            if os.path.isabs(folder) and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


def git_environment() -> dict[str, str]:
    """Return the environment for running git on a repository found by path: no GIT_ variable of the caller, no prompts.

    GIT_DIR and GIT_INDEX_FILE, as a hook has them, would name another repository. System and user settings stay: git
    refuses the repositories of other owners but for the `safe.directory` in them, and without their line-ending rules
    every file may look changed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("GIT_")}
    return kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


def _setting(variable: Variable) -> Setting:
    from localtrack.redaction import mask_url

    own = _get(variable.name)
    if own is not None:
        return Setting(variable, variable.name, mask_url(own), True)
    foreign = _get(variable.twin) if variable.twin else None
    if foreign is None:
        return Setting(variable, "", "", False)
    if variable.name == "LOCALTRACK_TRACKING_URI":
        counts = names_store(foreign)
    elif variable.name in ("LOCALTRACK_EXPERIMENT_NAME", "LOCALTRACK_EXPERIMENT_ID"):
        counts = not (_get("LOCALTRACK_EXPERIMENT_NAME") or _get("LOCALTRACK_EXPERIMENT_ID"))
    else:
        counts = True
    return Setting(variable, variable.twin, mask_url(foreign), counts)


def _get(name: str) -> str | None:
    return os.environ.get(name) or None


def _choice(name: str, allowed: tuple[str, ...]) -> str | None:
    value = _get(name)
    if value is not None and value.lower() not in allowed:
        raise _invalid(name, ", ".join(allowed[:-1]) + " or " + allowed[-1], value)
    return value and value.lower()


def _invalid(name: str, wanted: str, value: str) -> InvalidInputError:
    shown = value if len(value) <= 60 else value[:60] + "…"
    return InvalidInputError(
        f"The environment variable {name} must be {wanted}, not {shown!r}.",
        code=ErrorCode.INVALID_SETTING,
        hint=f"Correct or unset {name}.",
    )


def _scheme(uri: str) -> str:
    head, colon, _ = uri.partition(":")
    # A single letter is a Windows drive.
    if not colon or len(head) < 2 or not head[0].isalpha() or not all(c.isalnum() or c in "+-." for c in head):
        return ""
    return head.lower()


def _path_of_file_uri(uri: str) -> str:
    from urllib.parse import unquote

    path = uri[len("file:") :]
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]
    path = unquote(path)
    # "/C:/x" is how a URI writes a Windows path.
    return path[1:] if os.name == "nt" and path[2:3] == ":" else path


_SERVER_STORE: Final = "_MLFLOW_SERVER_FILE_STORE"
_SERVER_ARTIFACTS: Final = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"
_SERVER_DEFAULT_ARTIFACTS: Final = "./mlartifacts"
_SERVER_ARTIFACT_ROOT: Final = "_MLFLOW_SERVER_ARTIFACT_ROOT"


def served_artifact_root() -> str | None:
    """Return the artifact root that `mlflow server` gave to this process, its worker; None in other processes."""
    return _get(_SERVER_ARTIFACT_ROOT)


def serve_artifacts_from_store() -> None:
    """In a worker of `mlflow server` on a localtrack store: keep artifacts in the store, unless told otherwise.

    Source: mlflow.server.constants, and the default of `--artifacts-destination`, in MLflow 3.1 to 3.17.
    """
    uri = os.environ.get(_SERVER_STORE, "")
    scheme = _scheme(uri)
    if scheme != "localtrack" and not scheme.startswith("localtrack+"):
        return
    if os.environ.get(_SERVER_ARTIFACTS) == _SERVER_DEFAULT_ARTIFACTS:
        os.environ[_SERVER_ARTIFACTS] = uri
