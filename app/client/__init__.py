"""Speaking Kafka: a connection and its security, preflight, topics, one broker connection, metadata."""
