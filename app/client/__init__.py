"""Speaking Kafka: a connection and its security, preflight, topics, one broker connection, metadata."""

from streaming_lab.skipped_imports import defer_kafka

defer_kafka()
