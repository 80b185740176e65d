"""Platform limits, as named constants with their units.

The embedded deployment keeps Convex's limits, so that what is written here can move there.
Sources: Convex's documentation (https://docs.convex.dev/production/state/limits) and the
published source of its backend; the wire limits are those of npm `@mastra/convex` 1.5.
"""

from __future__ import annotations

from typing import Final

# --- Values and documents (Convex)
DOCUMENT_BYTES_MAX: Final = 1 << 20
"""One stored document, by Convex's size model (`values.size_of`)."""
ARGUMENTS_BYTES_MAX: Final = 16 << 20
"""The arguments of one call."""
REQUEST_BODY_BYTES_MAX: Final = (16 << 20) + 2000
"""One HTTP request body of the function API."""
DOCUMENT_NESTING_MAX: Final = 16
"""Levels of arrays and objects inside a stored document."""
VALUE_NESTING_MAX: Final = 64
"""Levels of arrays and objects inside arguments and results."""
ARRAY_ELEMENTS_MAX: Final = 8192
OBJECT_FIELDS_MAX: Final = 1024
FIELD_NAME_CHARS_MAX: Final = 1024
IDENTIFIER_CHARS_MAX: Final = 64
"""Table, index and declared field names: `[A-Za-z_][A-Za-z0-9_]*`."""
SAFE_INTEGER_MAX: Final = 2**53
"""Largest integer a float64 holds without loss; Convex numbers are float64."""

# --- The storage function
DELETE_BATCH_ROWS: Final = 25
"""Rows one `clearTable`, `dropTable` or `deleteScheduleTriggers` call removes."""
LOAD_MANY_IDS_MAX: Final = 10
QUERY_ROWS_MAX: Final = 10_000
"""Rows one `queryTable` or scanning `load` reads."""
DUE_SCHEDULES_DEFAULT: Final = 100
SCHEDULE_POLL_MS_DEFAULT: Final = 1000
"""How often a schedule runner looks for what is due."""

# --- The cache function
CACHE_DELETE_ITEMS_MAX: Final = 25
"""List items one cache call removes before it answers `hasMore`."""
CACHE_SWEEP_ROWS: Final = 256
"""Keys one sweep looks at, to remove those that have expired."""
CACHE_BATCHES_MAX: Final = 1000
"""Times an adapter repeats one cache operation while the answer says `hasMore`."""
CACHE_TTL_MS_DEFAULT: Final = 300_000
CACHE_PREFIX_DEFAULT: Final = "mastra:cache:"

# --- Vectors
VECTOR_DIMENSION_MIN: Final = 2
VECTOR_DIMENSION_MAX: Final = 4096
VECTOR_RESULTS_MAX: Final = 256
"""Most results of one Convex vector search."""
VECTOR_RESULTS_DEFAULT: Final = 10
VECTOR_UPSERT_BATCH: Final = 100
"""Vectors the adapters send per mutation: 100 of 1536 dims are 1.4 MB of arguments."""
VECTOR_PAGE_ROWS: Final = 256
DESCRIBE_COUNT_MAX: Final = 10_000

# --- Requests
REQUEST_TIMEOUT_MS_DEFAULT: Final = 30_000

# --- Our own functions (`memory/*`)
PAGE_MESSAGES_MAX: Final = 200
"""Messages one page of a thread may hold."""
PAGE_THREADS_MAX: Final = 200
SAVE_MESSAGES_MAX: Final = 100
"""Messages one `memory/messages:save` call takes."""
NEIGHBOURS_MAX: Final = 50
"""Messages before, and after, that one look-around may ask for."""
SEARCH_RESULTS_MAX: Final = 100
SEARCH_CANDIDATES_MAX: Final = 256
"""Hits of one search that answers with ids only."""
SEARCH_QUERY_CHARS_MAX: Final = 4096
CHANGES_PAGE_MAX: Final = 1000
CASCADE_DELETE_ROWS: Final = 2000
"""Messages one `memory/threads:remove` call deletes, so that other writers get their turn."""
TRANSFER_ROWS_MAX: Final = 500
"""Rows one `memory/transfer:page` answers with, and one `memory/transfer:restore` takes."""
TRANSFER_BYTES_MAX: Final = 1 << 20
"""Bytes of rows after which a page ends, and with which a restore is full (one row always fits)."""
CLONE_MESSAGES_MAX: Final = 5000
"""Messages one `memory/threads:clone` copies in its single transaction."""
MESSAGE_ID_CHARS_MAX: Final = 512
"""Ids made by callers: thread, message, resource, vector and index ids."""

RESTORABLE_MS_DEFAULT: Final = 604_800_000
"""How long what was deleted can be restored: seven days."""

# --- Embeddings that the server makes
EMBED_CLAIM_ROWS_MAX: Final = 256
"""Texts one `memory/embeddings:claim` call hands out."""
EMBED_CLAIM_CHARS_MAX: Final = 1 << 18
"""Characters after which it hands out no more; at least one text is."""
EMBED_LEASE_MS_MIN: Final = 100
EMBED_LEASE_MS_MAX: Final = 600_000
"""How long a claim may hold; a worker that dies delays its texts by that much at most."""
EMBED_TEXT_CHARS_MAX: Final = 1 << 18
"""Characters of one text that `memory/vectors:upsert` keeps."""
