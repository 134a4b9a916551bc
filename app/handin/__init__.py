"""A hand-in: packed by who ran the report, and checked by who receives it. Nothing of a hand-in is ever executed."""
