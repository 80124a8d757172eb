"""A workload posted to the APIs of all regions at once, and what became of it."""
