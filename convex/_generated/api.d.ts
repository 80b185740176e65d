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
import type * as crons from "../crons.js";
import type * as lib_cacheRows from "../lib/cacheRows.js";
import type * as lib_changes from "../lib/changes.js";
import type * as lib_documents from "../lib/documents.js";
import type * as lib_errors from "../lib/errors.js";
import type * as lib_groups from "../lib/groups.js";
import type * as lib_limits from "../lib/limits.js";
import type * as lib_mastraTables from "../lib/mastraTables.js";
import type * as lib_messageText from "../lib/messageText.js";
import type * as lib_metadata from "../lib/metadata.js";
import type * as lib_quoted from "../lib/quoted.js";
import type * as lib_rowCheck from "../lib/rowCheck.js";
import type * as lib_tables from "../lib/tables.js";
import type * as lib_upkeepCrons from "../lib/upkeepCrons.js";
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
import type * as memory_embeddings from "../memory/embeddings.js";
import type * as memory_forgetting from "../memory/forgetting.js";
import type * as memory_lib_adoption from "../memory/lib/adoption.js";
import type * as memory_lib_arguments from "../memory/lib/arguments.js";
import type * as memory_lib_automaton from "../memory/lib/automaton.js";
import type * as memory_lib_clones from "../memory/lib/clones.js";
import type * as memory_lib_conditions from "../memory/lib/conditions.js";
import type * as memory_lib_conversations from "../memory/lib/conversations.js";
import type * as memory_lib_cosine from "../memory/lib/cosine.js";
import type * as memory_lib_counts from "../memory/lib/counts.js";
import type * as memory_lib_cursors from "../memory/lib/cursors.js";
import type * as memory_lib_embeddingQueue from "../memory/lib/embeddingQueue.js";
import type * as memory_lib_expiries from "../memory/lib/expiries.js";
import type * as memory_lib_filter from "../memory/lib/filter.js";
import type * as memory_lib_followed from "../memory/lib/followed.js";
import type * as memory_lib_forgetting from "../memory/lib/forgetting.js";
import type * as memory_lib_history from "../memory/lib/history.js";
import type * as memory_lib_isoText from "../memory/lib/isoText.js";
import type * as memory_lib_jsonText from "../memory/lib/jsonText.js";
import type * as memory_lib_lexical from "../memory/lib/lexical.js";
import type * as memory_lib_messageConditions from "../memory/lib/messageConditions.js";
import type * as memory_lib_messageFollowing from "../memory/lib/messageFollowing.js";
import type * as memory_lib_messageTexts from "../memory/lib/messageTexts.js";
import type * as memory_lib_namespaces from "../memory/lib/namespaces.js";
import type * as memory_lib_nativeVectors from "../memory/lib/nativeVectors.js";
import type * as memory_lib_notes from "../memory/lib/notes.js";
import type * as memory_lib_patterns from "../memory/lib/patterns.js";
import type * as memory_lib_policy from "../memory/lib/policy.js";
import type * as memory_lib_principals from "../memory/lib/principals.js";
import type * as memory_lib_queryDates from "../memory/lib/queryDates.js";
import type * as memory_lib_queueing from "../memory/lib/queueing.js";
import type * as memory_lib_removals from "../memory/lib/removals.js";
import type * as memory_lib_rows from "../memory/lib/rows.js";
import type * as memory_lib_saving from "../memory/lib/saving.js";
import type * as memory_lib_searchWords from "../memory/lib/searchWords.js";
import type * as memory_lib_semanticSearch from "../memory/lib/semanticSearch.js";
import type * as memory_lib_speakers from "../memory/lib/speakers.js";
import type * as memory_lib_stemmer from "../memory/lib/stemmer.js";
import type * as memory_lib_sweeping from "../memory/lib/sweeping.js";
import type * as memory_lib_textVectors from "../memory/lib/textVectors.js";
import type * as memory_lib_threadMessages from "../memory/lib/threadMessages.js";
import type * as memory_lib_threadRemoval from "../memory/lib/threadRemoval.js";
import type * as memory_lib_transferNotes from "../memory/lib/transferNotes.js";
import type * as memory_lib_transferSources from "../memory/lib/transferSources.js";
import type * as memory_lib_transferTables from "../memory/lib/transferTables.js";
import type * as memory_lib_transferTarget from "../memory/lib/transferTarget.js";
import type * as memory_lib_transferTargets from "../memory/lib/transferTargets.js";
import type * as memory_lib_transferText from "../memory/lib/transferText.js";
import type * as memory_lib_trash from "../memory/lib/trash.js";
import type * as memory_lib_vectorIndexes from "../memory/lib/vectorIndexes.js";
import type * as memory_lib_vectorRemoval from "../memory/lib/vectorRemoval.js";
import type * as memory_lib_vectorSearch from "../memory/lib/vectorSearch.js";
import type * as memory_lib_vectorSelection from "../memory/lib/vectorSelection.js";
import type * as memory_lib_windows from "../memory/lib/windows.js";
import type * as memory_messages from "../memory/messages.js";
import type * as memory_meta from "../memory/meta.js";
import type * as memory_principal from "../memory/principal.js";
import type * as memory_principalRows from "../memory/principalRows.js";
import type * as memory_schedules from "../memory/schedules.js";
import type * as memory_search from "../memory/search.js";
import type * as memory_searchRows from "../memory/searchRows.js";
import type * as memory_threads from "../memory/threads.js";
import type * as memory_transfer from "../memory/transfer.js";
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
  crons: typeof crons;
  "lib/cacheRows": typeof lib_cacheRows;
  "lib/changes": typeof lib_changes;
  "lib/documents": typeof lib_documents;
  "lib/errors": typeof lib_errors;
  "lib/groups": typeof lib_groups;
  "lib/limits": typeof lib_limits;
  "lib/mastraTables": typeof lib_mastraTables;
  "lib/messageText": typeof lib_messageText;
  "lib/metadata": typeof lib_metadata;
  "lib/quoted": typeof lib_quoted;
  "lib/rowCheck": typeof lib_rowCheck;
  "lib/tables": typeof lib_tables;
  "lib/upkeepCrons": typeof lib_upkeepCrons;
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
  "memory/embeddings": typeof memory_embeddings;
  "memory/forgetting": typeof memory_forgetting;
  "memory/lib/adoption": typeof memory_lib_adoption;
  "memory/lib/arguments": typeof memory_lib_arguments;
  "memory/lib/automaton": typeof memory_lib_automaton;
  "memory/lib/clones": typeof memory_lib_clones;
  "memory/lib/conditions": typeof memory_lib_conditions;
  "memory/lib/conversations": typeof memory_lib_conversations;
  "memory/lib/cosine": typeof memory_lib_cosine;
  "memory/lib/counts": typeof memory_lib_counts;
  "memory/lib/cursors": typeof memory_lib_cursors;
  "memory/lib/embeddingQueue": typeof memory_lib_embeddingQueue;
  "memory/lib/expiries": typeof memory_lib_expiries;
  "memory/lib/filter": typeof memory_lib_filter;
  "memory/lib/followed": typeof memory_lib_followed;
  "memory/lib/forgetting": typeof memory_lib_forgetting;
  "memory/lib/history": typeof memory_lib_history;
  "memory/lib/isoText": typeof memory_lib_isoText;
  "memory/lib/jsonText": typeof memory_lib_jsonText;
  "memory/lib/lexical": typeof memory_lib_lexical;
  "memory/lib/messageConditions": typeof memory_lib_messageConditions;
  "memory/lib/messageFollowing": typeof memory_lib_messageFollowing;
  "memory/lib/messageTexts": typeof memory_lib_messageTexts;
  "memory/lib/namespaces": typeof memory_lib_namespaces;
  "memory/lib/nativeVectors": typeof memory_lib_nativeVectors;
  "memory/lib/notes": typeof memory_lib_notes;
  "memory/lib/patterns": typeof memory_lib_patterns;
  "memory/lib/policy": typeof memory_lib_policy;
  "memory/lib/principals": typeof memory_lib_principals;
  "memory/lib/queryDates": typeof memory_lib_queryDates;
  "memory/lib/queueing": typeof memory_lib_queueing;
  "memory/lib/removals": typeof memory_lib_removals;
  "memory/lib/rows": typeof memory_lib_rows;
  "memory/lib/saving": typeof memory_lib_saving;
  "memory/lib/searchWords": typeof memory_lib_searchWords;
  "memory/lib/semanticSearch": typeof memory_lib_semanticSearch;
  "memory/lib/speakers": typeof memory_lib_speakers;
  "memory/lib/stemmer": typeof memory_lib_stemmer;
  "memory/lib/sweeping": typeof memory_lib_sweeping;
  "memory/lib/textVectors": typeof memory_lib_textVectors;
  "memory/lib/threadMessages": typeof memory_lib_threadMessages;
  "memory/lib/threadRemoval": typeof memory_lib_threadRemoval;
  "memory/lib/transferNotes": typeof memory_lib_transferNotes;
  "memory/lib/transferSources": typeof memory_lib_transferSources;
  "memory/lib/transferTables": typeof memory_lib_transferTables;
  "memory/lib/transferTarget": typeof memory_lib_transferTarget;
  "memory/lib/transferTargets": typeof memory_lib_transferTargets;
  "memory/lib/transferText": typeof memory_lib_transferText;
  "memory/lib/trash": typeof memory_lib_trash;
  "memory/lib/vectorIndexes": typeof memory_lib_vectorIndexes;
  "memory/lib/vectorRemoval": typeof memory_lib_vectorRemoval;
  "memory/lib/vectorSearch": typeof memory_lib_vectorSearch;
  "memory/lib/vectorSelection": typeof memory_lib_vectorSelection;
  "memory/lib/windows": typeof memory_lib_windows;
  "memory/messages": typeof memory_messages;
  "memory/meta": typeof memory_meta;
  "memory/principal": typeof memory_principal;
  "memory/principalRows": typeof memory_principalRows;
  "memory/schedules": typeof memory_schedules;
  "memory/search": typeof memory_search;
  "memory/searchRows": typeof memory_searchRows;
  "memory/threads": typeof memory_threads;
  "memory/transfer": typeof memory_transfer;
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
