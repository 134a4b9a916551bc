"""From the leaders to record batches: connections, fetch requests, and kafka-python's consumer where need be."""
