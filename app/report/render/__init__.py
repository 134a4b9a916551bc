"""Renders executed notebooks and the record of their run as one HTML page."""
