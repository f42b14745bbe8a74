from __future__ import annotations

from tests.unit.cli.conftest import Invoke, Place


def test_runs_stand_side_by_side(place: Place, invoke: Invoke) -> None:
    answer = invoke("compare", place.ids.good, place.ids.better, "--store", place.path)
    assert answer.exit_code == 0, answer.stderr
    lines = [line.split("  ") for line in answer.stdout.splitlines()]
    table = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in lines if cells[0]}
    assert table["RUN ID"] == [place.ids.good, place.ids.better]
    assert table["name"] == ["good", "better"]
    assert table["params.lr"] == ["0.1", "0.01"]
    assert table["metrics.loss"] == ["1", "0.25 (-0.75) *"]
    assert table["metrics.odd"] == ["-", "NaN"]
    assert "params.optimizer" not in answer.stdout
    assert answer.stdout.splitlines()[-2:] == ["* best", "1 more param is the same in all."]


def test_the_baseline_may_be_another_run(place: Place, invoke: Invoke) -> None:
    arguments = ("compare", place.ids.good, "--baseline", place.ids.better, "-m", "loss", "--maximize", "loss")
    document = invoke(*arguments, "--store", place.path, "--json").document
    assert document["baseline"] == place.ids.better
    (loss,) = document["compared_metrics"]
    assert loss == {
        "key": "loss",
        "direction": "max",
        "values": {place.ids.better: 0.25, place.ids.good: 1.0},
        "deltas": {place.ids.better: 0.0, place.ids.good: 0.75},
        "best": [place.ids.good],
    }


def test_what_is_not_there_is_an_error(place: Place, invoke: Invoke) -> None:
    assert invoke("compare", "--store", place.path).exit_code == 2
    assert invoke("compare", "0000", "--store", place.path).exit_code == 3
    assert invoke("compare", place.ids.good, "-m", "nothing", "--store", place.path).exit_code == 2
