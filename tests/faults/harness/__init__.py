"""The crash harness (`make faults`): each row of the fault matrix, seed by seed, under load, judged from outside."""
