"""The same runs and searches, here and in MLflow's SQLite store: the same run ids in the same order, or both an error.

Accepted differences are the table `DIFFERENCES`, each with its reason; a test holds both sides of each.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tests.conformance.filter_mutations import hold_against, mutate
from tests.unit.query.rows import BASE_MS, data_set, metric, run

from localtrack import types
from localtrack.errors import InvalidInputError
from localtrack.query.search import search_runs

METRIC_KEYS = ["acc", "loss", "a.b", "val/loss", "x-y z", "é"]
PARAM_KEYS = ["lr", "opt", "a.b.c", "with space", "p/q"]
TAG_KEYS = ["team", "order", "in", "k:v"]
TEXTS = ["", "a", "A", "ab", "a_b", "a%b", "aXb", "0.1", "x y", "line\nbreak", "it's", 'q"q', "\\", "ça"]
NUMBERS = [0.0, -1.5, 1.0, 2.0, 1e-9, 1e300, 3.25, float("nan")]
STATUSES = ["RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED"]
ATTRIBUTES = ["status", "user_id", "artifact_uri", "run_id", "run_name", "`Run name`"]


def _rows(dice: random.Random) -> list[types.RunRow]:
    rows = []
    for number in range(60):
        start_ms = BASE_MS + dice.randrange(8) * 1_000
        is_over = dice.random() < 0.8
        datasets = tuple(
            data_set(
                dice.choice(["iris", "wine", "Wine"]),
                # MLflow knows a data set by name and digest: the same two twice in a run would be one.
                f"d{number}-{place}" if place else "d0",
                dice.choice([None, "train", "eval"]),
            )
            for place in range(dice.choice([0, 0, 1, 2, 3]))
        )
        rows.append(
            run(
                f"{dice.getrandbits(128):032x}",
                metrics={k: dice.choice(NUMBERS) for k in METRIC_KEYS if dice.random() < 0.6},
                params={k: dice.choice(TEXTS[1:]) for k in PARAM_KEYS if dice.random() < 0.6},
                tags={k: dice.choice(TEXTS[1:]) for k in TAG_KEYS if dice.random() < 0.6},
                datasets=datasets,
                run_name=dice.choice(["calm-owl-1", "Calm-owl-2", "bold_fox", "x%"]),
                user_id=dice.choice(["ada", "Bob", "eve"]),
                status=dice.choice(STATUSES),
                start_time=start_ms,
                end_time=start_ms + dice.randrange(3) * 500 if is_over else None,
                lifecycle_stage="active" if dice.random() < 0.85 else "deleted",
            )
        )
    return rows


class Both:
    """One set of runs in both places."""

    def __init__(self, folder: Path) -> None:
        self.mlflow = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
        self.ids: dict[str, str] = {}
        rows = []
        for row in _rows(random.Random(12)):
            info = row.info
            made = self.mlflow.create_run("0", info.user_id, info.start_time, [], info.run_name)
            run_id = made.info.run_id
            self.mlflow.log_batch(
                run_id,
                [Metric(k, m.value, m.timestamp, m.step) for k, m in row.metrics.items()],
                [Param(k, v) for k, v in row.params.items()],
                [RunTag(k, v) for k, v in row.tags.items()],
            )
            inputs = [
                DatasetInput(
                    Dataset(d.dataset.name, d.dataset.digest, d.dataset.source_type, d.dataset.source),
                    [InputTag(tag.key, tag.value) for tag in d.tags],
                )
                for d in row.datasets
            ]
            if inputs:
                self.mlflow.log_inputs(run_id, inputs)
            self.mlflow.update_run_info(run_id, RunStatus.from_string(info.status), info.end_time, None)
            if info.lifecycle_stage == "deleted":
                self.mlflow.delete_run(run_id)
            # MLflow chooses the id and where artifacts lie, and sets the end of a run with a final status.
            theirs = self.mlflow.get_run(run_id).info
            rows.append(
                run(
                    run_id,
                    metrics={k: metric(m.value) for k, m in row.metrics.items()},
                    params=row.params,
                    tags=row.tags,
                    datasets=row.datasets,
                    run_name=info.run_name,
                    user_id=info.user_id,
                    status=info.status,
                    start_time=info.start_time,
                    end_time=theirs.end_time,
                    lifecycle_stage=info.lifecycle_stage,
                    artifact_uri=theirs.artifact_uri,
                )
            )
        self.rows = rows

    def theirs(self, text: str, order: list[str], view: int, *, page: int, token: object = None) -> object:
        try:
            answer = self.mlflow.search_runs(["0"], text, view, page, order, token)
        except (MlflowException, StopIteration):  # MLflow's parser runs past the end of some texts
            return "error"
        return [r.info.run_id for r in answer], answer.token

    def ours(self, text: str, order: list[str], view: int, *, page: int, token: object = None) -> object:
        try:
            answer = search_runs(
                self.rows,
                filter_string=text,
                order_by=order,
                max_results=page,
                page_token=token,  # type: ignore[arg-type]
                view_type=view,
            )
        except InvalidInputError:
            return "error"
        return [r.info.run_id for r in answer], answer.token


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("search"))


def _key(dice: random.Random, key: str) -> str:
    is_plain = key.replace(".", "").replace("_", "").isalnum() and key.isascii()
    quotes = ["`{}`", '"{}"'] + (["{}"] if is_plain and key not in ("order", "in") else [])
    return dice.choice(quotes).format(key)


def _text(dice: random.Random, text: str) -> str:
    quotes = [q for q in ("'", '"') if q not in text]
    quote = dice.choice(quotes) if quotes else "'"
    return f"{quote}{text}{quote}"


def _condition(dice: random.Random, rows: list[types.RunRow]) -> str:
    texts = [t for t in TEXTS if "'" not in t or '"' not in t]
    pattern = dice.choice(["%", "a%", "%b", "a_b", "A%", "_", "%x%", "", "a%b", "c%", "%\n%"])
    match dice.randrange(7):
        case 0 | 1:
            comparator = dice.choice([">", ">=", "=", "!=", "<", "<="])
            number = dice.choice(["0", "1", "-1.5", "2.0", "1e-9", "1e300", "3.25", "-7", "1E2", ".5"])
            return f"{dice.choice(['metrics', 'metric'])}.{_key(dice, dice.choice(METRIC_KEYS))} {comparator} {number}"
        case 2:
            entity, keys = dice.choice(
                [("params", PARAM_KEYS), ("param", PARAM_KEYS), ("parameter", PARAM_KEYS), ("tags", TAG_KEYS)]
            )
            field = f"{entity}.{_key(dice, dice.choice(keys))}"
            if dice.random() < 0.25:
                return f"{field} {dice.choice(['IS NULL', 'IS NOT NULL', 'is null', 'is not null'])}"
            return _text_condition(dice, field, texts, pattern)
        case 3:
            name = dice.choice(ATTRIBUTES)
            prefix = dice.choice(["", "attributes.", "attr.", "run."])
            values = [*STATUSES, "ada", "calm-owl-1", "Calm-owl-2", rows[0].info.run_id, rows[1].info.artifact_uri]
            return _text_condition(dice, prefix + name, values, dice.choice(["calm%", "%o%", "F%", "a_a", "%1"]))
        case 4:
            ids = ", ".join(_text(dice, dice.choice(rows).info.run_id) for _ in range(dice.randrange(1, 6)))
            return f"{dice.choice(['', 'attributes.'])}run_id {dice.choice(['IN', 'NOT IN', 'in', 'not in'])} ({ids})"
        case 5:
            moment = BASE_MS + dice.randrange(9) * 500
            name = dice.choice(["start_time", "attributes.end_time", "created", "attr.Created"])
            return f"{name} {dice.choice(['>', '>=', '=', '!=', '<', '<='])} {dice.choice([moment, f'{moment}.5'])}"
        case _:
            name = dice.choice(["name", "digest", "context"])
            values = ["iris", "wine", "d0", "train", "eval", "none"]
            field = f"{dice.choice(['dataset', 'datasets'])}.{name}"
            if dice.random() < 0.3:
                listed = ", ".join(_text(dice, v) for v in dice.sample(values, 3))
                return f"{field} {dice.choice(['IN', 'NOT IN'])} ({listed})"
            return _text_condition(dice, field, values, dice.choice(["%i%", "W%", "t%", "d0%"]))


def _text_condition(dice: random.Random, field: str, values: list[str], pattern: str) -> str:
    operator = dice.choice(["=", "!=", "LIKE", "ILIKE", "like", "ilike"])
    return f"{field} {operator} {_text(dice, pattern if operator.upper().endswith('LIKE') else dice.choice(values))}"


def _order(dice: random.Random) -> list[str]:
    fields = [
        *(f"metrics.{_key(dice, k)}" for k in METRIC_KEYS),
        *(f"params.{_key(dice, k)}" for k in PARAM_KEYS),
        *(f"tags.{_key(dice, k)}" for k in TAG_KEYS),
        *("start_time", "end_time", "attributes.status", "run_name", "run_id", "attribute.user_id", "Created"),
    ]
    return [f + dice.choice(["", " ASC", " DESC", " asc", " desc"]) for f in dice.sample(fields, dice.randrange(4))]


@pytest.mark.parametrize("seed", range(20))
def test_generated_searches_find_the_same_runs_in_the_same_order(both: Both, seed: int) -> None:
    dice = random.Random(seed)
    found_count = 0
    for _ in range(25):
        joint = dice.choice([" AND ", " and "])
        text = joint.join(_condition(dice, both.rows) for _ in range(dice.choice([0, 1, 1, 1, 2, 3])))
        order = _order(dice)
        view = dice.choice([1, 1, 2, 3])
        theirs = both.theirs(text, order, view, page=1_000)
        assert both.ours(text, order, view, page=1_000) == theirs, (text, order, view)
        found_count += len(theirs[0]) if isinstance(theirs, tuple) else 0
    assert found_count  # else the generator tries nothing


@pytest.mark.parametrize("page", [1, 7, 50])
def test_pages_are_the_same_and_end_at_the_same_place(both: Both, page: int) -> None:
    theirs_token = ours_token = None
    seen: list[str] = []
    for _ in range(100):
        theirs = both.theirs("metrics.acc != 99", ["params.lr DESC"], 3, page=page, token=theirs_token)
        ours = both.ours("metrics.acc != 99", ["params.lr DESC"], 3, page=page, token=ours_token)
        assert isinstance(theirs, tuple)
        assert isinstance(ours, tuple)
        assert ours[0] == theirs[0]
        assert (ours[1] is None) == (theirs[1] is None)
        seen += ours[0]
        theirs_token, ours_token = theirs[1], ours[1]
        if ours_token is None:
            break
    assert len(seen) == len(set(seen)) == len(both.ours("metrics.acc != 99", [], 3, page=1_000)[0])  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        "metrics.acc",
        "metrics.acc >",
        "metrics.acc = 'a'",
        "metrics.acc = abc",
        "metrics.acc LIKE 'a'",
        "params.lr = abc",
        "params.lr > '0.1'",
        "params.lr = `a`",
        "tags.team < 'x' OR",
        "attributes.nothing = 'a'",
        "nothing = 'a'",
        "model.acc > 1",
        "status = 5",
        "status = FINISHED",
        "run_id IN ()",
        "run_id IN 'a'",
        "start_time > 'yesterday'",
        "start_time LIKE '1'",
        "dataset.color = 'red'",
        "dataset.name > 5",
        "dataset.name IS NULL",
        "metrics.acc > 1;",
        "metrics.acc > 1; metrics.loss > 1",
        "metrics.x-y > 1",
        "metrics.val/loss > 1",
        "metrics.acc > 1 /* why */ AND",
        "1 = 1",
        "(",
        "'a'",
        "metrics.acc > 1 OR OR metrics.loss > 1",
        "params.lr = 'a",
    ],
)
def test_nonsense_is_refused_by_both(both: Both, text: str) -> None:
    assert both.theirs(text, [], 1, page=10) == "error"
    assert both.ours(text, [], 1, page=10) == "error"


@pytest.mark.parametrize(
    "order",
    [
        ["metrics.acc", "metrics.acc DESC"],
        ["start_time", "created DESC"],
        ["metrics.acc UP"],
        ["metrics.acc ASC DESC"],
        ["nothing"],
        ["dataset.name"],
        ["model.acc"],
        [""],
        ["1"],
    ],
)
def test_orders_without_meaning_are_refused_by_both(both: Both, order: list[str]) -> None:
    try:
        theirs = both.theirs("", order, 1, page=10)
    except IndexError:  # of MLflow, for the empty text
        theirs = "error"
    assert theirs == "error"
    assert both.ours("", order, 1, page=10) == "error"


@pytest.mark.parametrize("page", [0, -1, 50_001])
def test_page_lengths_are_refused_by_both(both: Both, page: int) -> None:
    assert both.theirs("", [], 1, page=page) == both.ours("", [], 1, page=page) == "error"


@pytest.mark.parametrize("token", ["e30=", "bm9uc2Vuc2U=", "eyJvZmZzZXQiOiAieCJ9", "eyJvZmZzZXQiOiAwfQ=="])
def test_foreign_tokens_are_refused_by_both(both: Both, token: str) -> None:
    assert both.theirs("", [], 1, page=5, token=token) == both.ours("", [], 1, page=5, token=token) == "error"


DIFFERENCES = {
    "alternatives": ("metrics.acc > 1 OR metrics.loss > 1", "an extension: MLflow has AND only"),
    "negation": ("NOT metrics.acc > 1", "an extension"),
    "parentheses": ("(metrics.acc > 1)", "an extension"),
    "double equals": ("metrics.acc == 1", "can only mean ="),
    "angle brackets": ("metrics.acc <> 1", "SQL's !="),
    "number for a param": ("params.lr = 0.1", "an extension: compared as numbers"),
    "list for a metric": ("metrics.acc IN (1, 2)", "an extension"),
    "null attribute": ("end_time IS NULL", "an extension: runs that go on"),
    "life cycle": ("lifecycle_stage = 'active'", "an extension"),
    "upper-case entity": ("Metrics.acc > 1", "can only mean metrics"),
    "date": ("start_time > '2020-01-01'", "an extension"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_mlflow_refuses_and_has_a_meaning_is_accepted(both: Both, name: str) -> None:
    text, _reason = DIFFERENCES[name]
    assert both.theirs(text, [], 1, page=1_000) == "error"
    assert both.ours(text, [], 1, page=1_000) != "error"


@pytest.mark.parametrize("text", ["metrics.acc > 1 AND", "AND metrics.acc > 1", "metrics.acc > 1 metrics.loss > 1"])
def test_what_mlflow_overlooks_is_refused(both: Both, text: str) -> None:
    """A word left out or left over is a mistake; no filter should mean something else than it looks."""
    assert both.theirs(text, [], 1, page=10) != "error"
    assert both.ours(text, [], 1, page=10) == "error"


def test_a_doubled_quote_is_one_quote(both: Both) -> None:
    """As in SQL. In MLflow it stays doubled, and a text with both kinds of quotes cannot be asked for."""
    expected = both.theirs('params.lr = "it\'s"', [], 1, page=1_000)
    assert expected[0]  # type: ignore[index]
    assert both.ours("params.lr = 'it''s'", [], 1, page=1_000) == expected
    assert both.theirs("params.lr = 'it''s'", [], 1, page=1_000) != expected


def test_ilike_knows_the_case_of_all_letters(both: Both) -> None:
    """As in MLflow on PostgreSQL; SQLite knows that of ASCII letters only."""
    assert both.ours("params.lr ILIKE 'ÇA'", [], 3, page=99) == both.ours("params.lr = 'ça'", [], 3, page=99)
    assert both.theirs("params.lr ILIKE 'ÇA'", [], 3, page=99) != both.theirs("params.lr = 'ça'", [], 3, page=99)


@pytest.mark.parametrize("seed", range(4))
def test_runs_are_found_alike_page_by_page_whatever_is_done_to_the_filter(both: Both, seed: int) -> None:
    dice = random.Random(seed)
    answered_count = 0
    for _ in range(30):
        text = " AND ".join(_condition(dice, both.rows) for _ in range(dice.choice([1, 1, 2])))
        for _ in range(dice.choice([0, 1, 1, 2])):
            text = mutate(dice, text)
        answered_count += hold_against(both, text, _order(dice), dice.choice([1, 3]), dice.choice([20, 60]))
    assert answered_count > 5


@pytest.mark.parametrize("text", ["metrics.'acc' > 1", "params.'with space' = 'a'", "datasets.'name' = 'iris'"])
def test_keys_may_stand_in_single_quotes(both: Both, text: str) -> None:
    assert both.ours(text, [], 1, page=99) == both.theirs(text, [], 1, page=99) != "error"
