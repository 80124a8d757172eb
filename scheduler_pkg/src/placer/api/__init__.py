"""The HTTP APIs. They decide nothing: a request is logged, then handed to a scheduler of the cell."""
