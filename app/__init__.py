"""The reproducible streaming lab: a real Kafka, a game that logs to it, a DataFrame that accounts for all."""

__version__ = "0.2.0"
