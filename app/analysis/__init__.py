"""Frames in, tables and charts out: what a run's answers and rows say. No Kafka, no Flask in here."""
