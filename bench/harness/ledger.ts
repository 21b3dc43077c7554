/**
 * What was measured so far, in a file: a benchmark that takes longer than a machine stays quiet is run again and again until
 * nothing is left to measure, and then prints everything. Without a file nothing is kept.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { performance } from 'node:perf_hooks';

/** The time given for this run is up; what was measured is in the file. */
export class TimeIsUp extends Error {}

export class Ledger {
  readonly #file: string | undefined;
  readonly #end: number;
  readonly #entries: Record<string, unknown>;
  #measured = 0;

  /** `limitSeconds`: no measurement begins later than that after now. */
  constructor(file?: string, limitSeconds = Number.POSITIVE_INFINITY) {
    this.#file = file;
    this.#end = performance.now() + limitSeconds * 1000;
    this.#entries =
      file !== undefined && existsSync(file)
        ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)
        : {};
  }

  /** What is in the file under `key`, or what `run` gives, which then is there: something that JSON can hold. */
  async measure<T>(key: string, run: () => Promise<T>): Promise<T> {
    if (key in this.#entries) return this.#entries[key] as T;
    // One in any case, or a limit that is too short would never come to an end.
    if (this.#measured > 0 && performance.now() > this.#end) throw new TimeIsUp(`next: ${key}`);
    this.#measured++;
    const value = await run();
    this.#entries[key] = value;
    if (this.#file !== undefined) {
      mkdirSync(dirname(this.#file), { recursive: true });
      writeFileSync(this.#file, `${JSON.stringify(this.#entries, null, 1)}\n`);
    }
    return value;
  }
}
