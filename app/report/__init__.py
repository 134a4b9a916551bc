"""The notebooks as a pipeline: parameters, the run, its record, the page."""
