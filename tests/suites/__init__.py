"""The checks of this repository, as suites that ./test runs: each counts what it checked and what failed."""
