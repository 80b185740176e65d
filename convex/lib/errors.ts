/**
 * Refusals: what a function answers with when it does not do what it was asked.
 *
 * Each has a `code` that callers can act on (`errorData.code`), the same as in
 * `convex_memory/errors.py`, and a message that says what was wrong and what to do. A
 * `ConvexError` reaches the caller in full also on production deployments, which show nothing of
 * any other error; and it rolls the transaction back.
 */
import { ConvexError, type Value } from "convex/values";

/** What a refusal can be about. */
export type RefusalCode =
  | "invalid_argument"
  | "dimension_mismatch"
  | "not_found"
  | "conflict"
  | "forbidden"
  | "limit_exceeded";

/** What a refusal carries. */
export type RefusalData = {
  code: RefusalCode;
  message: string;
  details?: Record<string, Value>;
};

/** A function's refusal of a call. */
export type Refusal = ConvexError<RefusalData>;

function refusal(
  code: RefusalCode,
  message: string,
  details?: Record<string, Value>,
): Refusal {
  const data = details === undefined ? { code, message } : { code, message, details };
  const refused = new ConvexError<RefusalData>(data);
  // Convex writes this into `errorMessage`, the only part that some clients show. ConvexError puts
  // the JSON of its data there.
  refused.message = message;
  return refused;
}

/** The refusal of an argument that is malformed or out of range. */
export function invalidArgument(message: string, details?: Record<string, Value>): Refusal {
  return refusal("invalid_argument", message, details);
}

/** The refusal of a vector of another length than its index. */
export function dimensionMismatch(message: string, dimension: number, received: number): Refusal {
  return refusal("dimension_mismatch", message, { dimension, received });
}

/** The refusal of a name that is absent, or somebody else's. */
export function notFound(message: string): Refusal {
  return refusal("not_found", message);
}

/** The refusal of what contradicts what is stored. */
export function conflict(message: string, details?: Record<string, Value>): Refusal {
  return refusal("conflict", message, details);
}

/** The refusal of what callers of this kind may not do. */
export function forbidden(message: string): Refusal {
  return refusal("forbidden", message);
}

/** A refusal in other words. */
export function refusedAnew({ data }: Refusal, message: string): Refusal {
  return refusal(data.code, message, data.details);
}

/** The refusal of what would pass a limit of the platform. */
export function limitExceeded(message: string, details?: Record<string, Value>): Refusal {
  return refusal("limit_exceeded", message, details);
}

/** Whether an error is one of these refusals. */
export function isRefusal(error: unknown): error is Refusal {
  if (!(error instanceof ConvexError)) return false;
  const data: unknown = error.data;
  return typeof data === "object" && data !== null && "code" in data && "message" in data;
}
