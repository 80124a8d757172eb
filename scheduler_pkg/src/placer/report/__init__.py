"""The report of a run: its parts put together, written with stable keys, printed for people.

Imports little on purpose: it also runs where only the deployment's own tools are installed.
"""
