"""Where things are kept: Apache Cassandra, a keyspace per cell and one global keyspace."""
