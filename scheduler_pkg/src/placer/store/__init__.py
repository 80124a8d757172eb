"""Where things are kept: Apache Cassandra, a keyspace per cell and one global keyspace."""

from placer.store.cassandra import Stores, open_cells

__all__ = ["Stores", "open_cells"]
