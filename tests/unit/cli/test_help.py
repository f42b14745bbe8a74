"""Everything is explained, and what is explained is so."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from tests.unit.cli.conftest import Invoke, Place

from localtrack import errors
from localtrack.api.environment import VARIABLES
from localtrack.api.store import Store
from localtrack.cli import app
from localtrack.cli.commands.help import FILTER_PAGE, TOPICS, exit_codes
from localtrack.cli.documents import FIELDS, LISTS, PARTS
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter

COMMANDS = dict(app.commands)


def options() -> Iterator[tuple[str, click.Option]]:
    for name, command in {"localtrack": app, **COMMANDS}.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield f"{name} {parameter.opts[-1]}", parameter


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_a_short_sentence_what_it_does(name: str, invoke: Invoke) -> None:
    command = COMMANDS[name]
    assert command.help
    short = command.get_short_help_str(60)
    assert short.endswith(".")
    assert not short.endswith("...")
    answer = invoke(name, "--help")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Usage: ")
    assert answer.stdout == invoke(name, "-h").stdout


@pytest.mark.parametrize("option", [option for _, option in options()], ids=[name for name, _ in options()])
def test_every_option_says_what_it_is_for(option: click.Option) -> None:
    assert option.help
    assert option.help.endswith((".", "]"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_debug(name: str) -> None:
    given = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--json", "--debug"} <= given
    assert ("--store" in given) == (name not in ("version", "help"))


def test_the_help_of_a_command_is_a_topic(invoke: Invoke) -> None:
    for name in COMMANDS:
        answer = invoke("help", name)
        assert answer.exit_code == 0
        assert answer.stdout.startswith("Usage: ")
        assert f" {name} " in answer.stdout.splitlines()[0]


def test_help_alone_is_the_help_of_all(invoke: Invoke) -> None:
    assert invoke("help").stdout.rstrip() == invoke("--help").stdout.rstrip()


def test_an_unknown_topic_names_those_there_are(invoke: Invoke) -> None:
    answer = invoke("help", "life")
    assert answer.exit_code == 2
    assert all(topic in answer.stderr for topic in TOPICS)


def test_the_first_page_names_every_topic(invoke: Invoke) -> None:
    page = invoke("--help").stdout
    assert all(f"localtrack help {topic} " in page for topic in TOPICS)


def test_the_table_of_exit_codes_is_whole(invoke: Invoke) -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LocaltrackError)
    ]
    assert set(exit_codes()) == {kind.exit_code for kind in kinds} | {0, 12, 130, 141}
    shown = [line.split(maxsplit=1) for line in invoke("help", "exit-codes").stdout.splitlines()[1:]]
    assert {int(code): meaning for code, meaning in shown} == exit_codes()


def test_the_examples_of_filters_can_be_read() -> None:
    examples = [
        line.strip() for line in FILTER_PAGE.splitlines() if line.startswith("  ") and "." in line and line[2] != " "
    ]
    assert len(examples) == 5
    for example in examples:
        parse_filter(example, RUNS)


def test_the_fields_named_for_filters_are_those_there_are() -> None:
    fields = FILTER_PAGE[FILTER_PAGE.index("Fields") : FILTER_PAGE.index("Comparisons")]
    for name in RUNS.attributes:
        assert name in fields or name in ("created", "run name")
    for name in RUNS.datasets:
        assert f"datasets.{name}" in fields


@pytest.mark.parametrize(
    "arguments",
    [
        ["init"],
        ["runs"],
        ["show", "GOOD"],
        ["artifacts", "GOOD"],
        ["history", "GOOD"],
        ["compare", "GOOD", "DEAD"],
        ["sql", 'SELECT 1 AS "the columns of the query"'],
        ["experiments"],
        ["models"],
        ["merge", "STORE", "STORE"],
        ["seal"],
        ["quota", "--target", "databricks"],
        ["pack"],
        ["unpack"],
        ["check"],
        ["gc"],
        ["delete", "GOOD"],
        ["restore", "GOOD"],
        ["end", "DEAD"],
        ["doctor", "STORE"],
        ["drain", "SPOOL"],
        ["env"],
        ["version"],
        ["help", "json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_documents_have_the_fields_that_are_documented(place: Place, invoke: Invoke, arguments: list[str]) -> None:
    name = arguments[0]
    with Store.open("spooled", spool="spool") as spooled, spooled.start_run(context=False):
        pass
    with Store.open(place.path) as there:
        there.create_logged_model(name="net")
    places = {"SPOOL": "spool", "GOOD": place.ids.good, "DEAD": place.ids.dead, "STORE": str(place.path)}
    store = [] if name in ("merge", "doctor", "drain", "version", "help") else ["--store", str(place.path)]
    answer = invoke(*(places.get(a, a) for a in arguments), *store, "--json")
    assert answer.exit_code == 0, answer.stderr
    documents = answer.documents if name in LISTS else [answer.document]
    wanted = FIELDS[name].replace("the fields of runs, and", FIELDS["runs"] + ",").split(", ")
    assert documents
    for document in documents:
        assert list(document) == wanted
        for part, fields in PARTS.items():
            items = document.get(part.partition("[")[0].partition(".")[0], [])
            for item in items.values() if isinstance(items, dict) else items:
                assert list(item) == [field.partition(" (")[0] for field in fields.split(", ")]


def test_every_command_has_documented_fields() -> None:
    assert set(FIELDS) == set(COMMANDS)
    assert set(FIELDS) >= LISTS


def test_env_shows_every_variable_with_what_it_says(place: Place, invoke: Invoke) -> None:
    environment = {
        "LOCALTRACK_RUN_NAME": "mine",
        "MLFLOW_RUN_NAME": "theirs",
        "MLFLOW_RUN_ID": "abc",
        "MLFLOW_TRACKING_URI": "http://server:5000",
        "LOCALTRACK_EXPERIMENT_ID": "1",
        "MLFLOW_EXPERIMENT_NAME": "aside",
    }
    document = invoke("env", "--json", "--store", place.path, env=environment).document
    assert document["store"] == str(place.path)
    found = {v["name"]: (v["source"], v["value"], v["counts"]) for v in document["variables"]}
    assert list(found) == [variable.name for variable in VARIABLES]
    assert found["LOCALTRACK_RUN_NAME"] == ("LOCALTRACK_RUN_NAME", "mine", True)
    assert found["LOCALTRACK_RUN_ID"] == ("MLFLOW_RUN_ID", "abc", True)
    assert found["LOCALTRACK_TRACKING_URI"] == ("MLFLOW_TRACKING_URI", "http://server:5000", False)
    assert found["LOCALTRACK_EXPERIMENT_NAME"] == ("MLFLOW_EXPERIMENT_NAME", "aside", False)
    assert found["LOCALTRACK_DURABILITY"] == (None, None, False)
    table = invoke("env", "--store", place.path, env=environment).stdout
    assert "http://server:5000 (MLFLOW_TRACKING_URI, left aside)" in table
    assert "abc (MLFLOW_RUN_ID)" in table


def test_version(invoke: Invoke) -> None:
    document = invoke("version", "--json").document
    assert document["format"] == 1
    assert document["packages"]["click"]
    assert invoke("version").stdout.startswith(f"localtrack {document['version']}, format 1\n")
    assert invoke("--version").stdout == f"localtrack, version {document['version']}\n"
