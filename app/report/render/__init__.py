"""From executed notebooks to one HTML page."""
