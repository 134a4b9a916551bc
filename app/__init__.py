"""The reproducible streaming lab: a real Kafka, a game that logs to it, and a DataFrame that accounts for every event."""
