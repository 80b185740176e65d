// The clock that the functions see: the real one, or one that stands until a test moves it.

const RealDate = Date;
let stopped_at_ms = null;

/** `Date`, by the clock that the functions see. */
class BridgeDate extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(BridgeDate.now());
    else super(...args);
  }

  static now() {
    return stopped_at_ms ?? RealDate.now();
  }
}

globalThis.Date = BridgeDate;

/**
 * Set the clock.
 *
 * @param now_ms Whole milliseconds since the epoch at which it stands from now on; null lets it
 *   run again.
 */
export function setClock(now_ms) {
  if (now_ms !== null && !Number.isSafeInteger(now_ms)) {
    throw new TypeError('now_ms must be a whole number of milliseconds, or null.');
  }
  stopped_at_ms = now_ms;
}
