/** The shells' completions, in the shells: options and their values. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { requireProgram } from '../support/programs.ts';

const FOLDER = fileURLToPath(new URL('../../completions/', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'ambervm-completions-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const pty = await import('node-pty').catch(() => undefined);

const CASES = [
  ['-loadv', ['-loadvm']],
  ['-no-re', ['-no-reboot']],
  ['-vga ', ['none', 'std']],
  ['-cpu pentium', ['pentium', 'pentium2', 'pentium3']],
] as const;

test.skipIf(!requireProgram('bash')).each(CASES)('bash: ambervm %s', (typed, expected) => {
  const script = `. ${FOLDER}ambervm.bash; before=ambervm; words=(ambervm "$@"); COMP_CWORD=$#
    _ambervm ambervm "\${words[$#]}" "\${words[$#-1]}"; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = spawnSync('bash', ['-c', script, 'bash', ...typed.split(' ')], { encoding: 'utf8' });
  expect(stdout.trim().split('\n').sort()).toEqual(expected);
});

test.skipIf(!requireProgram('fish')).each(CASES)(
  'fish: ambervm %s (skipped without fish)',
  (typed, expected) => {
    const { stdout } = spawnSync(
      'fish',
      ['-N', '-c', `source ${FOLDER}ambervm.fish; complete -C "ambervm ${typed}"`],
      { encoding: 'utf8', env: { ...process.env, HOME: scratch } },
    );
    const words = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('\t')[0]!);
    expect(words.sort()).toEqual(expected);
  },
);

test.skipIf(!requireProgram('zsh') || pty === undefined)(
  'zsh completes options and values (skipped without zsh, node-pty)',
  async () => {
    const shell = pty!.spawn('zsh', ['-f'], {
      cwd: scratch,
      env: { ...process.env, HOME: scratch, TERM: 'dumb' },
    });
    let output = '';
    shell.onData((text) => {
      output += text;
    });
    const until = async (text: string | RegExp) =>
      expect.poll(() => output, { timeout: 60_000 }).toMatch(text);
    shell.write(
      `PS1='READY> '; fpath=(${FOLDER} $fpath); autoload -Uz compinit; compinit -u -d ${scratch}/dump; echo begun-$((6*7))\n`,
    );
    await until(/begun-42/);
    shell.write('ambervm -loadv\t');
    await until(/ambervm -loadvm /);
    shell.write('\x15ambervm -vga s\t');
    await until(/ambervm -vga std /);
    shell.write('\x15exit\n');
    await new Promise<void>((resolve) => shell.onExit(() => resolve()));
  },
  120_000,
);
