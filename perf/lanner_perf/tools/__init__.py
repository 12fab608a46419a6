"""Programs for those who work on Lanner: `python -m lanner_perf.tools.NAME`."""
