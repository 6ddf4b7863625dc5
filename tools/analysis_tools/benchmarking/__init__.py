"""Models, operators and timing for `benchmark.py`."""
