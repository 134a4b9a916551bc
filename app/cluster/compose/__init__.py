"""Kafka in containers: docker compose, and explanations of old compose files."""
