"""From the game to the topic: one event log, and a guarantee for each way to deliver."""
