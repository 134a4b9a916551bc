"""Apache Kafka from its jars, owned by a supervisor process of its own."""
