"""A topic's daily commands for any Kafka: read, tail, describe, lag, write, create."""
