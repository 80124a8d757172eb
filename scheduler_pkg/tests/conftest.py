"""Fixtures and paths shared by the package's tests."""
