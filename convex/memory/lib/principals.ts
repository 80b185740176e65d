/**
 * The name space of a principal: where the names that a principal chooses are stored. As
 * `convex_memory/principals.py`: a name space tells how long the principal's own name is, so none
 * is the beginning of another.
 */
import { MESSAGE_ID_CHARS_MAX } from "../../lib/limits";

/** What a name space begins with, and the name of no principal. */
export const NAMESPACE_MARK = "~";
export const PRINCIPAL_CHARS_MAX = 128;
/** Ids, index names and cache keys that a principal chooses; with the name space they still fit. */
export const PRINCIPAL_NAME_CHARS_MAX = MESSAGE_ID_CHARS_MAX - PRINCIPAL_CHARS_MAX - 12;
export const PRINCIPAL_RULE =
  `A principal has 1 to ${PRINCIPAL_CHARS_MAX} printable characters, no spaces around them and ` +
  `no ${NAMESPACE_MARK} before them.`;

/** Whether a name can be that of a principal. */
export function mayBePrincipal(name: string): boolean {
  const { length } = Array.from(name);
  return (
    length > 0 &&
    length <= PRINCIPAL_CHARS_MAX &&
    name === name.trim() &&
    !name.startsWith(NAMESPACE_MARK) &&
    // Only a space separates; control characters and such show nothing.
    !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(name)
  );
}

/** What stands before every name that a principal chooses. */
export function namespaceOf(principal: string): string {
  return `${NAMESPACE_MARK}${Array.from(principal).length}:${principal}:`;
}

/** The name space that a stored name is in; empty where it is in none. */
export function namespaceIn(name: string): string {
  const found = /^~(\d{1,3}):(.*)$/su.exec(name);
  if (found === null) return "";
  const characters = Array.from(found[2] ?? "");
  const length = Number(found[1]);
  if (characters[length] !== ":") return "";
  return namespaceOf(characters.slice(0, length).join(""));
}
