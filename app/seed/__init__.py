"""The assignment's own programs, as the lesson shows them, and its commands then and now."""
