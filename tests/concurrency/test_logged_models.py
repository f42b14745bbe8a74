"""Any number of processes make logged models and change one of them, without a lock: nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conformance.library_reading import assert_agreement
from tests.independent.validate import validate_tree

from localtrack import Store

PROCESSES_COUNT = 6
ROUNDS_COUNT = 15

PROGRAM = """
import sys
from localtrack import Store
from localtrack.types import Metric

root, number, shared, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
store = Store.open(root)
run = store.start_run("together", context=False)
for count in range(rounds):
    store.set_logged_model_tags(shared, {f"tag {number}": count, "last": f"{number}.{count}"})
    store.log_logged_model_params(shared, {f"param {number}.{count}": count})
    run.log_batch([Metric("acc", number + count / 100, count, count, shared, "iris", "1")])
    store.create_logged_model(run.experiment_id, f"net {number}-{count}", run.run_id)
store.finalize_logged_model(shared, "READY" if number % 2 else "FAILED")
run.end()
store.close()
"""


def test_processes_share_a_model(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        shared = store.create_logged_model(name="shared").model_id
    started = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), str(number), shared, str(ROUNDS_COUNT)])
        for number in range(PROCESSES_COUNT)
    ]
    assert [process.wait(timeout=240) for process in started] == [0] * PROCESSES_COUNT
    with Store.open(root, create=False) as store:
        findings = []
        models = {model.name: model for model in store.list_logged_models(findings=findings)}
        assert findings == []
        model = models.pop("shared")
        pairs = [(number, count) for number in range(PROCESSES_COUNT) for count in range(ROUNDS_COUNT)]
        assert models.keys() == {f"net {number}-{count}" for number, count in pairs}
        assert model.params == {f"param {number}.{count}": str(count) for number, count in pairs}
        last = model.tags["last"].split(".")
        assert int(last[1]) == ROUNDS_COUNT - 1, "the last tag of some process"
        assert {key: value for key, value in model.tags.items() if key != "last"} == {
            f"tag {number}": str(ROUNDS_COUNT - 1) for number in range(PROCESSES_COUNT)
        }
        assert sorted(metric.value for metric in model.metrics) == sorted(n + c / 100 for n, c in pairs)
        assert len({metric.run_id for metric in model.metrics}) == PROCESSES_COUNT
        assert model.status in ("READY", "FAILED")
    assert len(list(root.glob(f"models/*/{shared}/*.jsonl"))) == PROCESSES_COUNT + 1, "one log for each process"
    assert validate_tree(root) == []
    assert_agreement(root)
