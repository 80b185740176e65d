/** Instants as rows hold them: `2025-01-31T12:00:00.000Z`. */
import { invalidArgument } from "../../lib/errors";

const ISO =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?$/;

/**
 * An instant as rows hold it, cut to milliseconds.
 *
 * @param text ISO-8601; without a zone it is read as UTC.
 * @param name How to name it in a refusal.
 * @throws `invalid_argument` when it is not a date.
 */
export function isoText(text: string, name: string): string {
  const instant = milliseconds(text);
  if (Number.isNaN(instant)) {
    throw invalidArgument(`${name} must be an ISO-8601 date such as 2025-01-31T12:00:00.000Z.`);
  }
  return new Date(instant).toISOString();
}

/** The milliseconds since the epoch that an ISO-8601 text says; NaN when it says none. */
export function milliseconds(text: string): number {
  const found = ISO.exec(text);
  if (found === null) return Number.NaN;
  const [day = "", minute = "00:00", second = "00", fraction = "", zone = "Z"] = found.slice(1);
  return Date.parse(`${day}T${minute}:${second}.${`${fraction}000`.slice(0, 3)}${offset(zone)}`);
}

function offset(zone: string): string {
  const [hours = "00", minutes = "00"] = zone.match(/\d\d/g) ?? [];
  return zone === "Z" ? zone : `${zone.charAt(0)}${hours}:${minutes}`;
}
