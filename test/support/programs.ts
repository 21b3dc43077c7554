/** Programs that some tests compare with. Missing ones skip their tests by name, but fail them in CI. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Full path of a program on PATH, or undefined. With CI=true a missing program is an error: tests must not vanish
 * there. Use: `describe.skipIf(!requireProgram('qemu-img'))('qemu-img: …', …)`.
 */
export function requireProgram(name: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  if (process.env['CI'] === 'true') throw new Error(`${name} is not installed, and CI is true`);
  return undefined;
}
