/** Programs that some tests compare with. Absent on a developer's machine: skipped by name; absent in CI: an error. */
import { spawnSync } from 'node:child_process';

const found = new Map<string, boolean>();

/** Whether `name` can be run. In CI (environment variable CI=true) an absent program fails the test file. */
export function requireProgram(name: string): boolean {
  let present = found.get(name);
  if (present === undefined) {
    present = spawnSync('sh', ['-c', 'command -v "$0"', name]).status === 0;
    found.set(name, present);
  }
  if (!present && process.env['CI'] === 'true') throw new Error(`${name} is not installed, and this is CI`);
  return present;
}
