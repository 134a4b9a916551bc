"""A topic as slices of offsets: read by workers, each answering with a part, and the parts merged in order."""
