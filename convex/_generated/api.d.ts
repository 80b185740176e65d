/* eslint-disable */
/**
 * Generated `api` utility.
 *
 * THIS CODE IS AUTOMATICALLY GENERATED.
 *
 * To regenerate, run `npx convex dev`.
 * @module
 */

import type {
  ApiFromModules,
  FilterApi,
  FunctionReference,
} from "convex/server";
import type * as lib_changes from "../lib/changes.js";
import type * as lib_documents from "../lib/documents.js";
import type * as lib_errors from "../lib/errors.js";
import type * as lib_groups from "../lib/groups.js";
import type * as lib_limits from "../lib/limits.js";
import type * as lib_mastraTables from "../lib/mastraTables.js";
import type * as lib_messageText from "../lib/messageText.js";
import type * as lib_messageTexts from "../lib/messageTexts.js";
import type * as lib_metadata from "../lib/metadata.js";
import type * as lib_rowCheck from "../lib/rowCheck.js";
import type * as lib_tables from "../lib/tables.js";
import type * as lib_validators from "../lib/validators.js";
import type * as lib_values from "../lib/values.js";
import type * as lib_vectorTables from "../lib/vectorTables.js";
import type * as mastra_activation from "../mastra/activation.js";
import type * as mastra_backgroundTasks from "../mastra/backgroundTasks.js";
import type * as mastra_cache from "../mastra/cache.js";
import type * as mastra_memoryOperations from "../mastra/memoryOperations.js";
import type * as mastra_nativeVector from "../mastra/nativeVector.js";
import type * as mastra_nativeVectorRows from "../mastra/nativeVectorRows.js";
import type * as mastra_observations from "../mastra/observations.js";
import type * as mastra_requests from "../mastra/requests.js";
import type * as mastra_routes from "../mastra/routes.js";
import type * as mastra_schedules from "../mastra/schedules.js";
import type * as mastra_storage from "../mastra/storage.js";
import type * as mastra_vectorRoute from "../mastra/vectorRoute.js";
import type * as mastra_workflows from "../mastra/workflows.js";
import type * as memory_changes from "../memory/changes.js";
import type * as memory_lib_adoption from "../memory/lib/adoption.js";
import type * as memory_lib_arguments from "../memory/lib/arguments.js";
import type * as memory_lib_automaton from "../memory/lib/automaton.js";
import type * as memory_lib_clones from "../memory/lib/clones.js";
import type * as memory_lib_conditions from "../memory/lib/conditions.js";
import type * as memory_lib_cosine from "../memory/lib/cosine.js";
import type * as memory_lib_counts from "../memory/lib/counts.js";
import type * as memory_lib_cursors from "../memory/lib/cursors.js";
import type * as memory_lib_filter from "../memory/lib/filter.js";
import type * as memory_lib_followed from "../memory/lib/followed.js";
import type * as memory_lib_history from "../memory/lib/history.js";
import type * as memory_lib_jsonText from "../memory/lib/jsonText.js";
import type * as memory_lib_nativeVectors from "../memory/lib/nativeVectors.js";
import type * as memory_lib_patterns from "../memory/lib/patterns.js";
import type * as memory_lib_quoted from "../memory/lib/quoted.js";
import type * as memory_lib_ranking from "../memory/lib/ranking.js";
import type * as memory_lib_removals from "../memory/lib/removals.js";
import type * as memory_lib_rows from "../memory/lib/rows.js";
import type * as memory_lib_searchWords from "../memory/lib/searchWords.js";
import type * as memory_lib_stemmer from "../memory/lib/stemmer.js";
import type * as memory_lib_threadMessages from "../memory/lib/threadMessages.js";
import type * as memory_lib_threadRemoval from "../memory/lib/threadRemoval.js";
import type * as memory_lib_vectorIndexes from "../memory/lib/vectorIndexes.js";
import type * as memory_lib_vectorRemoval from "../memory/lib/vectorRemoval.js";
import type * as memory_lib_vectorSearch from "../memory/lib/vectorSearch.js";
import type * as memory_lib_vectorSelection from "../memory/lib/vectorSelection.js";
import type * as memory_messages from "../memory/messages.js";
import type * as memory_meta from "../memory/meta.js";
import type * as memory_schedules from "../memory/schedules.js";
import type * as memory_search from "../memory/search.js";
import type * as memory_threads from "../memory/threads.js";
import type * as memory_upkeep from "../memory/upkeep.js";
import type * as memory_vectorRows from "../memory/vectorRows.js";
import type * as memory_vectors from "../memory/vectors.js";
import type * as memory_working from "../memory/working.js";

/**
 * A utility for referencing Convex functions in your app's API.
 *
 * Usage:
 * ```js
 * const myFunctionReference = api.myModule.myFunction;
 * ```
 */
declare const fullApi: ApiFromModules<{
  "lib/changes": typeof lib_changes;
  "lib/documents": typeof lib_documents;
  "lib/errors": typeof lib_errors;
  "lib/groups": typeof lib_groups;
  "lib/limits": typeof lib_limits;
  "lib/mastraTables": typeof lib_mastraTables;
  "lib/messageText": typeof lib_messageText;
  "lib/messageTexts": typeof lib_messageTexts;
  "lib/metadata": typeof lib_metadata;
  "lib/rowCheck": typeof lib_rowCheck;
  "lib/tables": typeof lib_tables;
  "lib/validators": typeof lib_validators;
  "lib/values": typeof lib_values;
  "lib/vectorTables": typeof lib_vectorTables;
  "mastra/activation": typeof mastra_activation;
  "mastra/backgroundTasks": typeof mastra_backgroundTasks;
  "mastra/cache": typeof mastra_cache;
  "mastra/memoryOperations": typeof mastra_memoryOperations;
  "mastra/nativeVector": typeof mastra_nativeVector;
  "mastra/nativeVectorRows": typeof mastra_nativeVectorRows;
  "mastra/observations": typeof mastra_observations;
  "mastra/requests": typeof mastra_requests;
  "mastra/routes": typeof mastra_routes;
  "mastra/schedules": typeof mastra_schedules;
  "mastra/storage": typeof mastra_storage;
  "mastra/vectorRoute": typeof mastra_vectorRoute;
  "mastra/workflows": typeof mastra_workflows;
  "memory/changes": typeof memory_changes;
  "memory/lib/adoption": typeof memory_lib_adoption;
  "memory/lib/arguments": typeof memory_lib_arguments;
  "memory/lib/automaton": typeof memory_lib_automaton;
  "memory/lib/clones": typeof memory_lib_clones;
  "memory/lib/conditions": typeof memory_lib_conditions;
  "memory/lib/cosine": typeof memory_lib_cosine;
  "memory/lib/counts": typeof memory_lib_counts;
  "memory/lib/cursors": typeof memory_lib_cursors;
  "memory/lib/filter": typeof memory_lib_filter;
  "memory/lib/followed": typeof memory_lib_followed;
  "memory/lib/history": typeof memory_lib_history;
  "memory/lib/jsonText": typeof memory_lib_jsonText;
  "memory/lib/nativeVectors": typeof memory_lib_nativeVectors;
  "memory/lib/patterns": typeof memory_lib_patterns;
  "memory/lib/quoted": typeof memory_lib_quoted;
  "memory/lib/ranking": typeof memory_lib_ranking;
  "memory/lib/removals": typeof memory_lib_removals;
  "memory/lib/rows": typeof memory_lib_rows;
  "memory/lib/searchWords": typeof memory_lib_searchWords;
  "memory/lib/stemmer": typeof memory_lib_stemmer;
  "memory/lib/threadMessages": typeof memory_lib_threadMessages;
  "memory/lib/threadRemoval": typeof memory_lib_threadRemoval;
  "memory/lib/vectorIndexes": typeof memory_lib_vectorIndexes;
  "memory/lib/vectorRemoval": typeof memory_lib_vectorRemoval;
  "memory/lib/vectorSearch": typeof memory_lib_vectorSearch;
  "memory/lib/vectorSelection": typeof memory_lib_vectorSelection;
  "memory/messages": typeof memory_messages;
  "memory/meta": typeof memory_meta;
  "memory/schedules": typeof memory_schedules;
  "memory/search": typeof memory_search;
  "memory/threads": typeof memory_threads;
  "memory/upkeep": typeof memory_upkeep;
  "memory/vectorRows": typeof memory_vectorRows;
  "memory/vectors": typeof memory_vectors;
  "memory/working": typeof memory_working;
}>;
export declare const api: FilterApi<
  typeof fullApi,
  FunctionReference<any, "public">
>;
export declare const internal: FilterApi<
  typeof fullApi,
  FunctionReference<any, "internal">
>;
