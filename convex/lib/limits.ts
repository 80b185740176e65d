/**
 * Platform limits, as named constants with their units; the same as `convex_memory/limits.py`.
 */

// --- Values and documents (Convex)

/** One stored document, by Convex's size model. */
export const DOCUMENT_BYTES_MAX = 1 << 20;
/** Levels of arrays and objects inside a stored document. */
export const DOCUMENT_NESTING_MAX = 16;
export const ARRAY_ELEMENTS_MAX = 8192;
export const OBJECT_FIELDS_MAX = 1024;
export const FIELD_NAME_CHARS_MAX = 1024;

// --- One call (Convex). Each is a little less than what Convex allows, so that a call ends with
// a refusal that says what to do before the platform stops it with an error that does not.

/** Bytes of the rows that one call reads; Convex stops at 16 MiB. */
export const READ_BYTES_MAX = 15 << 20;
/** Bytes of the rows that one call writes; Convex stops at 16 MiB. */
export const WRITTEN_BYTES_MAX = 15 << 20;
/** Rows that one call reads; Convex stops at 32,000. */
export const READ_ROWS_MAX = 31_000;
/** Rows that one call writes; Convex stops at 16,000. */
export const WRITTEN_ROWS_MAX = 15_500;
/** Index ranges and single rows that one call looks up; Convex stops at 4,096. */
export const LOOKUPS_MAX = 4050;

// --- The storage function

/** Rows one `clearTable`, `dropTable` or `deleteScheduleTriggers` call removes. */
export const DELETE_BATCH_ROWS = 25;
export const LOAD_MANY_IDS_MAX = 10;
/** Rows one `queryTable` or scanning `load` reads. */
export const QUERY_ROWS_MAX = 10_000;
export const DUE_SCHEDULES_DEFAULT = 100;

// --- The cache function

/** List items one cache call removes before it answers `hasMore`. */
export const CACHE_DELETE_ITEMS_MAX = 25;

// --- Vectors

export const VECTOR_DIMENSION_MIN = 2;
export const VECTOR_DIMENSION_MAX = 4096;
/** Most results of one Convex vector search. */
export const VECTOR_RESULTS_MAX = 256;
export const VECTOR_RESULTS_DEFAULT = 10;
/** Vectors one `memory/vectors:upsert` call takes. */
export const VECTOR_UPSERT_BATCH = 100;
/** Vector indexes that one answer lists, or counts; each is a small row, made by hand. */
export const VECTOR_INDEXES_MAX = 8000;
/** Equalities one Convex vector filter may have. */
export const VECTOR_FILTER_VALUES_MAX = 64;
export const DESCRIBE_COUNT_MAX = 10_000;

// --- Our own functions (`memory/*`)

/** Messages one page of a thread may hold. */
export const PAGE_MESSAGES_MAX = 200;
/** Threads one page may hold. */
export const PAGE_THREADS_MAX = 200;
/** Messages one `memory/messages:save` call takes. */
export const SAVE_MESSAGES_MAX = 100;
/** Messages before, and after, that one look-around may ask for. */
export const NEIGHBOURS_MAX = 50;
export const SEARCH_RESULTS_MAX = 100;
/** Hits of one search that answers with ids only. */
export const SEARCH_CANDIDATES_MAX = 256;
export const SEARCH_QUERY_CHARS_MAX = 4096;
export const CHANGES_PAGE_MAX = 1000;
/** Rows one `memory/transfer:page` answers with, and one `memory/transfer:restore` takes. */
export const TRANSFER_ROWS_MAX = 500;
/** Bytes of rows after which a page ends, and a restore leaves the rest to another call. */
export const TRANSFER_BYTES_MAX = 1 << 20;
/** Messages one `memory/threads:clone` copies in its single transaction. */
export const CLONE_MESSAGES_MAX = 5000;
/** Ids made by callers: thread, message, resource, vector and index ids. */
export const MESSAGE_ID_CHARS_MAX = 512;

// --- Embeddings that the server makes

/** Texts one `memory/embeddings:claim` call hands out. */
export const EMBED_CLAIM_ROWS_MAX = 256;
/** Characters after which it hands out no more; at least one text is. */
export const EMBED_CLAIM_CHARS_MAX = 1 << 18;
/** How long a claim may hold; a worker that dies delays its texts by that much at most. */
export const EMBED_LEASE_MS_MIN = 100;
export const EMBED_LEASE_MS_MAX = 600_000;
/** Characters of one text that `memory/vectors:upsert` keeps. */
export const EMBED_TEXT_CHARS_MAX = 1 << 18;
