"""Frozen values and the arithmetic on them. No I/O, no clock, no randomness."""
