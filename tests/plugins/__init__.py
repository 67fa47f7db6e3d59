"""What every test run of Worka brings with it."""
