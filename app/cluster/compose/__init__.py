"""Kafka in containers: docker compose, and old compose files explained."""
