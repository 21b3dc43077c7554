/** Counts requests and bytes by kind. */
import type { Around, Request } from './filter.ts';

export interface RequestCounts {
  requests: number;
  bytes: number;
  /** That failed. */
  errors: number;
}

export class Stats {
  readonly counts = new Map<Request['kind'], RequestCounts>();
  /** Requests under way, and the most there were. */
  inFlight = 0;
  mostInFlight = 0;

  of(kind: Request['kind']): RequestCounts {
    let counts = this.counts.get(kind);
    if (counts === undefined) {
      counts = { requests: 0, bytes: 0, errors: 0 };
      this.counts.set(kind, counts);
    }
    return counts;
  }

  readonly around: Around = async ({ bytes, kind }, next) => {
    const counts = this.of(kind);
    counts.requests++;
    counts.bytes += bytes;
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    try {
      await next();
    } catch (error) {
      counts.errors++;
      throw error;
    } finally {
      this.inFlight--;
    }
  };
}
