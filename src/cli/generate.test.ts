/** Files made from the tables are what the tables say now. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GENERATED_KINDS, generate } from './generate.ts';
import { OPTION_GROUPS } from './options.ts';

const FILES: Readonly<Record<string, string>> = {
  monitor: 'docs/monitor.md',
  trace: 'docs/trace-events.md',
  man: 'docs/ambervm.1',
  bash: 'completions/ambervm.bash',
  zsh: 'completions/_ambervm',
  fish: 'completions/ambervm.fish',
};

test.each(GENERATED_KINDS)('%s: `ambervm --generate` makes the file that is checked in', (kind) => {
  const path = new URL(`../../${FILES[kind]}`, import.meta.url);
  expect(generate(kind, OPTION_GROUPS)).toBe(readFileSync(path, 'utf8'));
});

const hasBash = spawnSync('bash', ['-c', 'true']).status === 0;

test.skipIf(!hasBash)('bash completes an option', () => {
  const script = `${generate('bash', OPTION_GROUPS)}
COMP_CWORD=1; _ambervm ambervm -loadv ambervm; echo "\${COMPREPLY[*]}"`;
  expect(spawnSync('bash', ['-c', script], { encoding: 'utf8' }).stdout).toBe('-loadvm\n');
});

test('an unknown kind', () => {
  expect(generate('nosuch', OPTION_GROUPS)).toBeUndefined();
});
