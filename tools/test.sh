#!/bin/sh
# Run everything that CI runs: ruff, mypy, import-linter, pytest.
#
#   sh tools/test.sh [PYTEST ARGUMENT ...]     e.g. --long, -k merge, -n 0, tests/unit (relative to the repository)
#
# Makes its own environment first (see tools/env.sh); a second run reuses it. Needs a package index that pip can reach, and
# nothing else from the network.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
case ${1:-} in
-h | --help)
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
esac
. "$ROOT/tools/env.sh"

ensure_environment test
bin=$(dirname -- "$PYTHON")
cd "$ROOT"

say "ruff check"
"$bin/ruff" check --quiet .
say "ruff format --check"
"$bin/ruff" format --quiet --check . || fail "Some files are not formatted: run $bin/ruff format in $ROOT."
say "mypy"
"$bin/mypy"
say "import-linter"
"$bin/lint-imports" --no-logo
say "pytest"
status=0
"$PYTHON" -m pytest -n auto --dist worksteal "$@" || status=$?
[ "$status" -eq 1 ] || exit "$status"
# Tests with real processes, servers and a browser share few cores in the run above, and may run out of patience there.
# A fault of the code shows again.
say "pytest: what failed, once more, one at a time"
exec "$PYTHON" -m pytest "$@" -n 0 --last-failed --last-failed-no-failures none
