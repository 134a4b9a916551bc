"""A game that is not the lab's: hosted unmodified, played, accounted for, and put under the same faults."""
