// The JSON of Convex's HTTP function API: values out, values in, and the text of numbers.
import { convexToJson, jsonToConvex } from 'convex/values';

/**
 * A Convex value in the lossy `json` format: int64 as decimal text, NaN and the infinities as
 * their names, bytes as base64, undefined members left out.
 */
export function toCleanJson(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value instanceof ArrayBuffer) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(toCleanJson);
  if (typeof value !== 'object') return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([name, member]) => [name, toCleanJson(member)]));
}

const toEncodedJson = (value) => convexToJson(value ?? null);

/** How a result is exported, by the request's `format`. */
export const FORMATS = new Map([
  ['json', toCleanJson],
  ['convex_clean_json', toCleanJson],
  ['convex_encoded_json', toEncodedJson],
  ['convex_json', toEncodedJson],
]);

/** Function arguments from a request: one object, or the array around it that older clients send. */
export function argumentsFrom(args) {
  return jsonToConvex(Array.isArray(args) ? (args[0] ?? {}) : args);
}

function numberText(value) {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

const byCodePoint = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * JSON text as Convex's backend writes it: sorted member names, and a fraction on every number
 * (the PyPI client refuses bare integers).
 */
export function serialize(value) {
  if (typeof value === 'number') return numberText(value);
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(serialize).join(',')}]`;
  const names = Object.keys(value)
    .filter((name) => value[name] !== undefined)
    .sort(byCodePoint);
  return `{${names.map((name) => `${JSON.stringify(name)}:${serialize(value[name])}`).join(',')}}`;
}
