/** `-d` and `-D`: lines about unusual events, to stderr or a file. Items: unimp (accesses that nobody handles), cpu_reset. */
import { createWriteStream } from 'node:fs';
import type { Machine } from '../machine/machine.ts';

/** Returns what ends it. */
export function startLog(machine: Machine, items: ReadonlySet<string>, file: string | undefined): () => void {
  if (items.size === 0) return () => {};
  const stream = file === undefined ? process.stderr : createWriteStream(file);
  const log = (line: string) => stream.write(`${line}\n`);
  if (items.has('unimp')) {
    machine.board.ports.onUnhandled = (port, bytes, value) => {
      const place = `port 0x${port.toString(16).padStart(4, '0')} size ${bytes}`;
      log(
        value < 0 ? `unassigned read: ${place}` : `unassigned write: ${place} value 0x${value.toString(16)}`,
      );
    };
  }
  if (items.has('cpu_reset'))
    machine.on('reset', ({ guest }) => log(`CPU Reset (by the ${guest ? 'guest' : 'host'})`));
  return () => {
    if (stream !== process.stderr) stream.end();
  };
}
