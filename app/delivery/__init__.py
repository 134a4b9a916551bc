"""From the game to the topic: one event log, five guarantees."""
