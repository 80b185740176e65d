/** Reads that do not depend on each other, side by side. */

/** Reads that one call has under way at a time. */
const GROUP = 25;

/**
 * What `read` gives for each item, in the order of the items.
 *
 * Only for reading: when one fails the others go on, and must not be writing by then.
 */
export async function readEach<Item, Result>(
  items: Iterable<Item>,
  read: (item: Item) => Promise<Result>,
  together = GROUP,
): Promise<Result[]> {
  const waiting = [...items];
  const results: Result[] = [];
  for (let at = 0; at < waiting.length; at += together) {
    results.push(...(await Promise.all(waiting.slice(at, at + together).map(read))));
  }
  return results;
}
