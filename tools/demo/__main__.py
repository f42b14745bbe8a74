"""Runs as `python -m tools.demo` from the repository, or as `python tools/demo` from anywhere."""

import sys
from pathlib import Path

if not __package__:  # started as a folder: the package is not on the path yet
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools.demo.cli import main

sys.exit(main())
