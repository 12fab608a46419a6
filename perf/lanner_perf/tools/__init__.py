"""Programs for developers of Lanner: `python -m lanner_perf.tools.NAME`."""
