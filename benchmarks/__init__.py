"""Each hot path against a named peer in one run. `benchmarks/run NAME` runs one; README.md holds the last table."""
