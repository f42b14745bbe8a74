#!/bin/sh
# Train real models, track them with localtrack, and show the best ones.
#
#   sh tools/demo.sh [--quick] [FOLDER]     FOLDER: where the runs go (default: LOCALTRACK_DEMO_DIR, else ./localtrack-demo)
#
# Makes its own environment first (see tools/env.sh); a second run reuses it and adds its runs to the same store. Needs a
# package index that pip can reach, and nothing else from the network: the data comes with scikit-learn.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
case ${1:-} in
-h | --help)
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
esac
. "$ROOT/tools/env.sh"

ensure_environment demo
exec "$PYTHON" "$ROOT/tools/demo" "$@"
