"""Functions under `memory/`."""
