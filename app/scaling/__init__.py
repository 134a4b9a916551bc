"""Experiments on three brokers: a leader killed under load, keys and partitions, consumer groups, commits."""
