"""`python -m tools.make_store`."""

import sys

from tools.make_store.cli import main

sys.exit(main())
