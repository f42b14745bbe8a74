# Sourced by the other scripts of this folder: makes or reuses the project's virtual environment.
#
#   . tools/env.sh; ensure_environment EXTRAS    sets PYTHON to the interpreter of the environment
#
# LOCALTRACK_VENV    where the environment lies (default: .venv in the repository; demo and tests share it)
# LOCALTRACK_PYTHON  the interpreter to make it with (default: the first of python3.11 and up on the PATH)
#
# The caller sets ROOT, the repository's folder, before sourcing this.

say() { printf '== %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${LOCALTRACK_PYTHON:-}" ]; then
        is_new_enough "$LOCALTRACK_PYTHON" || fail "LOCALTRACK_PYTHON ($LOCALTRACK_PYTHON) is not a Python of version 3.11 or newer."
        printf '%s\n' "$LOCALTRACK_PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "No Python of version 3.11 or newer was found. On Debian: apt-get install python3 python3-venv."
}

ensure_environment() {
    extras=$1
    venv=${LOCALTRACK_VENV:-$ROOT/.venv}
    case $venv in
    /*) ;;
    *) venv=$(pwd)/$venv ;;
    esac
    PYTHON=$venv/bin/python
    base=$(find_python)

    # What decides the content of the environment. The folder counts: an editable install points at it.
    fingerprint=$({ "$base" -VV; printf '%s\n' "$ROOT"; cat "$ROOT/pyproject.toml" "$ROOT/tools/env.sh"; } | cksum)
    stamp=$venv/.localtrack-$extras
    if [ -x "$PYTHON" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ]; then
        say "environment: $venv (unchanged)"
        return
    fi

    say "environment: installing localtrack[$extras] into $venv"
    if ! [ -x "$PYTHON" ] || [ "$("$PYTHON" -VV)" != "$("$base" -VV)" ]; then
        "$base" -m venv --clear "$venv" || fail "$base cannot make a virtual environment. On Debian: apt-get install python3-venv."
    fi
    rm -f "$stamp"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --editable "$ROOT[$extras]"
    printf '%s\n' "$fingerprint" >"$stamp"
}
