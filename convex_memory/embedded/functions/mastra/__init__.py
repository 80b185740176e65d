"""Functions under `mastra/`."""
