"""Makes stores of many runs, quickly and always the same: `python -m tools.make_store --help`."""
