/** The rows of one vector index (`mastra_vector_<index>`), as `ConvexVector` stores them. */
import type { Doc } from "../_generated/dataModel";
import type { Value } from "convex/values";
import type { Range, WritableDocuments } from "../lib/documents";
import { invalidArgument } from "../lib/errors";
import { READ_BYTES_MAX } from "../lib/limits";
import type { UncheckedObject } from "../lib/values";
import {
  cursorArgument,
  filtersArgument,
  matches,
  writeCursor,
  type Position,
  type Reply,
  type Request,
} from "./requests";
import { Route } from "./routes";

type VectorRow = Doc<"mastra_vectors">;

/** Bytes after which a page ends early: one more row of any size stays within the limit. */
const PAGE_BYTES_MAX = READ_BYTES_MAX - (3 << 20);

/** The rows of one index. */
export class VectorRoute extends Route<"mastra_vectors"> {
  protected readonly all: Range;
  protected readonly missingId = "Vector record is missing an id";

  constructor(
    documents: WritableDocuments,
    private readonly indexName: string,
  ) {
    super(documents, "mastra_vectors");
    this.all = { index: "by_index", equals: [indexName] };
  }

  async find(id: unknown): Promise<VectorRow | null> {
    if (id === undefined) return null;
    const range = { index: "by_index_id", equals: [this.indexName, id as Value] };
    return await this.documents.first(this.table, range);
  }

  /** Find nothing: vectors are loaded by id only. */
  protected override async findByKeys(): Promise<null> {
    return null;
  }

  protected async put(
    { id, embedding, metadata }: UncheckedObject,
    found: VectorRow | null,
  ): Promise<void> {
    // Both are set: metadata that is absent now was said of the vector before.
    const row = { id, indexName: this.indexName, embedding, metadata };
    await this.documents.upsert(this.table, row, found);
  }

  protected async change(row: VectorRow, record: UncheckedObject): Promise<void> {
    const { indexName: _indexName, ...changes } = record;
    await this.documents.patch(this.table, row, changes);
  }

  show(row: VectorRow): UncheckedObject {
    return row;
  }

  /** Read a page of the index, or its first rows. */
  override async queryTable(request: Request): Promise<Reply> {
    const { pageSize } = request;
    if (pageSize !== undefined && pageSize !== null) return await this.page(request);
    if (request["cursor"] !== undefined) {
      throw invalidArgument("queryTable cursor requires pageSize");
    }
    return await super.queryTable(request);
  }

  private async page(request: Request): Promise<Reply> {
    const { pageSize: size, limit } = request;
    if (typeof size !== "number" || !Number.isInteger(size) || size < 1) {
      throw invalidArgument("queryTable pageSize must be a positive integer");
    }
    if (limit !== undefined && limit !== null) {
      throw invalidArgument("queryTable limit cannot be combined with pageSize");
    }
    const after = cursorArgument(request["cursor"]);
    const filters = filtersArgument(request);
    const page: VectorRow[] = [];
    let hasMore = false;
    for await (const row of this.rowsAfter(after)) {
      hasMore = page.length >= size || this.documents.bytesRead > PAGE_BYTES_MAX;
      if (hasMore) break;
      page.push(row);
    }
    const last = page.at(-1);
    const continuationCursor = last === undefined ? textOf(request["cursor"]) : writeCursor(last);
    const result = page.filter((row) => matches(row, filters));
    return { ok: true, result, hasMore, continuationCursor };
  }

  private async *rowsAfter(after: Position | undefined): AsyncGenerator<VectorRow> {
    if (after === undefined) {
      yield* this.documents.scan(this.table, this.all);
      return;
    }
    // Rows written at the same moment by different calls have the same creation time. Of those,
    // the ones up to the cursor's row were seen. When it is gone they all come again.
    let tied: VectorRow[] | undefined = [];
    const range = { ...this.all, gte: after.created };
    for await (const row of this.documents.scan(this.table, range)) {
      if (tied !== undefined && row._creationTime === after.created) {
        if (row._id === after.id) tied = [];
        else tied.push(row);
        continue;
      }
      if (tied !== undefined) yield* tied;
      tied = undefined;
      yield row;
    }
    if (tied !== undefined) yield* tied;
  }
}

const textOf = (cursor: unknown) => (typeof cursor === "string" ? cursor : "");
