from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.tracking_store import LocaltrackStore

GROUPS = ["mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository"]


@pytest.mark.parametrize("group", GROUPS)
def test_entry_points_lead_to_something(group: str) -> None:
    ours = [point for point in entry_points(group=group) if point.name.startswith("localtrack")]
    assert {"localtrack", "localtrack+s3"} <= {point.name for point in ours}
    for point in ours:
        assert callable(point.load())


def test_the_module_that_mlflow_loads_on_import_loads_little() -> None:
    script = (
        "import sys, localtrack.mlflow_plugin.entry\n"
        "heavy = {'mlflow', 'duckdb', 'pyarrow', 'fsspec', 'orjson', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_a_store_does_not_do_is_refused_with_501(tmp_path: Path) -> None:
    store = LocaltrackStore(f"localtrack://{tmp_path}/store")
    refused = [name for name in host.raising_methods() if not _is_ours(name)]
    assert {"start_trace", "get_trace_info", "_delete_traces"} <= set(refused)
    for name in refused:
        with pytest.raises(MlflowException, match=name) as caught:
            getattr(store, name)()
        assert caught.value.get_http_status_code() == 501
        assert isinstance(caught.value, NotImplementedError), "MLflow's tracing passes over these"
    assert store.search_traces(["0"]) == ([], None)
    store.store.close()


def _is_ours(name: str) -> bool:
    return getattr(LocaltrackStore, name).__qualname__ != name
