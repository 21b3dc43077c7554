/**
 * A line on the terminal for a savevm, loadvm or delvm that takes its time: on standard error only, only where that is a
 * terminal, after a quarter of a second, and gone at the end. Background saves have none: the prompt is there meanwhile
 * (QMP's query-jobs tells).
 */
import type { Job, Jobs } from '../machine/jobs.ts';

/** Before the first line, and between two, ms. */
const QUIET_MS = 250;
const STEP_MS = 100;
const VERBS = {
  'snapshot-save': 'savevm',
  'snapshot-load': 'loadvm',
  'snapshot-delete': 'delvm',
  stream: 'block_stream',
} as const;
const MIB = 2 ** 20;

export interface ProgressTerminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Returns a function that ends it. `now`: ms. */
export function showProgress(jobs: Jobs, terminal: ProgressTerminal, now: () => number): () => void {
  if (terminal.isTTY !== true) return () => {};
  const begun = new Map<Job, number>();
  let isShown = false;
  let last = 0;
  const clear = (): void => {
    if (isShown) terminal.write('\r\x1b[K');
    isShown = false;
  };
  const stop = jobs.on('change', (job) => {
    if (job.isBackground) return;
    if (job.isOver) {
      begun.delete(job);
      clear();
      return;
    }
    const start = begun.get(job) ?? now();
    begun.set(job, start);
    if (job.totalBytes === 0 || now() - start < QUIET_MS || now() - last < STEP_MS) return;
    last = now();
    isShown = true;
    terminal.write(`\r\x1b[K${lineOf(job).slice(0, (terminal.columns ?? 80) - 1)}`);
  });
  return () => {
    stop();
    clear();
  };
}

function lineOf({ currentBytes, tag, totalBytes, type }: Job): string {
  const percent = Math.floor((currentBytes / totalBytes) * 100);
  return `${VERBS[type]} ${tag}: ${percent} % (${Math.floor(currentBytes / MIB)} of ${Math.ceil(totalBytes / MIB)} MiB)`;
}
