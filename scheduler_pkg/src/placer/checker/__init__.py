"""Proves the invariants from what every writer recorded and from the rows as they are in the end."""
