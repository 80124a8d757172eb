"""Changing host rows: pure operations, and the protocol that applies them by LWT."""
