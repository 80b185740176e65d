"""Measurements: where the figures in the documents come from. See README.md beside this."""
