"""The benchmarks run, and count right; how fast anything is, no test says."""
