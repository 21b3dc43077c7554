/**
 * A file under an image that records what is written and flushed, for tests of the order in which it happens. Each
 * request has two times: when it was made and when it was done. What a flush makes durable is what was done when it was
 * made; everything else may have reached the disk or not.
 */
import type { BlockFile } from '../file.ts';
import { filterFile } from './filter.ts';

export type LogEntry = {
  readonly begun: number;
  /** Infinity: not done, or failed. */
  readonly ended: number;
} & (
  | { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }
  | { readonly kind: 'flush' }
);

type Recorded = { kind: 'flush' } | { kind: 'truncate'; sizeBytes: number } | WriteRecord;
type WriteRecord = { kind: 'write'; offset: number; data: Uint8Array };

export class Log {
  /** In the order in which they were made. */
  readonly entries: LogEntry[] = [];
  #time = 0;

  /** A time later than all before. */
  tick(): number {
    return ++this.#time;
  }

  /** Runs a request between its two times. */
  async record(requests: readonly Recorded[], action: () => Promise<void>): Promise<void> {
    const added = requests.map((request) => ({ ...request, begun: this.tick(), ended: Infinity }));
    this.entries.push(...added);
    await action();
    for (const entry of added) entry.ended = this.tick();
  }
}

/** Data is copied when the request is made. */
export function logged(below: BlockFile, log: Log): BlockFile {
  return filterFile(below, ({ kind, offset, parts }, next) => {
    if (kind === 'truncate') return log.record([{ kind, sizeBytes: offset }], next);
    if (kind === 'flush') return log.record([{ kind }], next);
    if (kind === 'read') return next();
    let at = offset;
    const requests = parts.map((part): WriteRecord => {
      at += part.length;
      return { kind: 'write', offset: at - part.length, data: Uint8Array.from(part) };
    });
    return log.record(requests, next);
  });
}
