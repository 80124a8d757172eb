"""Faults and load together, by a seed: what breaks, what clients see of it, and whether every promise held. See __main__.py."""
