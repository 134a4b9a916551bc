"""Speaking Kafka: connection and security, preflight, topics, one broker connection, metadata."""
