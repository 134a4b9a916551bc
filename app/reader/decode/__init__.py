"""From record batches to columns: a native core and pure Python that give the same tables."""
