/** The terminal is as it was after every way out, seen through a pseudo-terminal: `stty -g` before and after. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const pty = await import('node-pty').catch(() => undefined);

const folder = mkdtempSync(join(tmpdir(), 'ambervm-terminal-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Goes raw, says so, then does what is named. */
const PROGRAM = `
import { execSync } from 'node:child_process';
import { rawTerminal, restoreTerminal } from ${JSON.stringify(join(import.meta.dirname, 'terminal.ts'))};
rawTerminal();
rawTerminal();
console.log('RAW ' + execSync('stty -g', { stdio: ['inherit', 'pipe', 'inherit'] }).toString().trim() + ' ');
const ways = {
  end: () => restoreTerminal(),
  exit: () => process.exit(3),
  exception: () => { throw new Error('ours'); },
  rejection: () => Promise.reject(new Error('ours')),
  SIGTERM: () => process.kill(process.pid, 'SIGTERM'),
  SIGINT: () => process.kill(process.pid, 'SIGINT'),
  SIGHUP: () => process.kill(process.pid, 'SIGHUP'),
  SIGQUIT: () => process.kill(process.pid, 'SIGQUIT'),
};
setTimeout(ways[process.argv[2]], 20);
if (process.argv[2].startsWith('SIG')) setTimeout(() => {}, 60_000);
`;

beforeAll(async () => {
  const entry = join(folder, 'entry.mjs');
  writeFileSync(entry, PROGRAM);
  await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: join(folder, 'run.mjs'),
    logLevel: 'error',
  });
});

function run(way: string): Promise<string> {
  const script = `echo "BEFORE $(stty -g) "; "${process.execPath}" run.mjs ${way} 2>/dev/null; echo "AFTER $(stty -g) "`;
  return new Promise((resolve) => {
    let output = '';
    const shell = pty!.spawn('sh', ['-c', script], { cwd: folder });
    shell.onData((text) => {
      output += text;
    });
    shell.onExit(() => resolve(output));
  });
}

describe.skipIf(pty === undefined || process.platform === 'win32')('the terminal after', () => {
  test.each(['end', 'exit', 'exception', 'rejection', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'])(
    '%s',
    async (way) => {
      const output = await run(way);
      const mode = (name: string) => new RegExp(`${name} (\\S+) `).exec(output)?.[1];
      expect(mode('BEFORE')).toBeDefined();
      expect(mode('RAW')).not.toBe(mode('BEFORE'));
      expect(mode('AFTER')).toBe(mode('BEFORE'));
    },
    60_000,
  );
});
