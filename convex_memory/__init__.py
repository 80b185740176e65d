"""Convex Memory, the library: adapters over Convex functions, embedded or remote."""
