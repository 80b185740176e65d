"""Embedders: texts to vectors, offline or at an OpenAI-compatible endpoint."""

from convex_memory.embedders.embedder import Embedder, Embeddings
from convex_memory.embedders.opening import DEFAULT_EMBEDDER, open_embedder

__all__ = ["DEFAULT_EMBEDDER", "Embedder", "Embeddings", "open_embedder"]
