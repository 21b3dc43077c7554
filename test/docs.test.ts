/**
 * The documentation: examples are run as they stand, command lines are read by the program, monitor commands exist, links lead
 * somewhere, the API reference builds.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { parseCommandLine } from '../src/cli/options.ts';
import { EarlyExit } from '../src/cli/early-exit.ts';
import { isTool } from '../src/cli/tools/tools.ts';
import { findCommand } from '../src/monitor/hmp.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
// Inside the project, so that it is transformed like the other sources.
const folder = mkdtempSync(join(ROOT, 'test', '.docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SOURCES: Readonly<Record<string, string>> = {
  ambervm: join(ROOT, 'src/index.ts'),
  'ambervm/qcow2': join(ROOT, 'src/qcow2.ts'),
};

const text = readFileSync(join(ROOT, 'docs/programs.md'), 'utf8');
const examples = [...text.matchAll(/```ts run\n([\s\S]*?)```/g)].map(([, code]) => code!);

test('there are examples', () => {
  expect(examples.length).toBeGreaterThan(1);
});

test.each(examples.map((code, i) => [i + 1, code] as const))(
  'example %i of docs/programs.md',
  async (n, code) => {
    const file = join(folder, `example${n}.ts`);
    const source = code.replace(/from '(ambervm[^']*)'/g, (_all, name: string) => `from '${SOURCES[name]}'`);
    writeFileSync(file, `${source}\nexport {};\n`);
    await import(pathToFileURL(file).href);
  },
  240_000,
);

const PAGES = [
  ...['README.md', 'HACKING.md', 'CHANGELOG.md', 'examples/guest-tests/README.md'],
  ...readdirSync(join(ROOT, 'docs')).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])),
];

/** Lines of code blocks, those that end in a backslash joined; what stands behind several blanks is a remark. */
function codeLines(page: string): string[] {
  const lines = readFileSync(join(ROOT, page), 'utf8').replaceAll('\\\n', ' ').split('\n');
  return lines.flatMap((line) => (line.startsWith('    ') ? [line.trim().replace(/(\S) {3,}.*/, '$1')] : []));
}

const COMMAND_LINE = /^(?:node bin\/ambervm\.js|npm start --|npx ambervm|ambervm) (.*)/;

test.each(PAGES)('%s: command lines are ones, monitor commands exist, links lead somewhere', (page) => {
  for (const line of codeLines(page)) {
    const words = COMMAND_LINE.exec(line)?.[1]?.match(/'[^']*'|\S+/g);
    const args = words?.map((word) => word.replace(/^'|'$/g, '')) ?? [];
    if (args.length > 0 && !isTool(args)) {
      try {
        parseCommandLine(args);
      } catch (error) {
        if (!(error instanceof EarlyExit)) throw new Error(`${page}: ${line}`, { cause: error });
      }
    }
    const command = /^\(qemu\) (.*)/.exec(line)?.[1];
    if (command !== undefined) expect(typeof findCommand(command), line).toBe('object');
  }
  const text = readFileSync(join(ROOT, page), 'utf8');
  for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#\s]+)/g)) {
    expect(existsSync(join(ROOT, dirname(page), target!)), `${page}: link to ${target}`).toBe(true);
  }
});

const isAsked = process.env['CI'] === 'true' || process.env['AMBERVM_LONG'] === '1';

test.skipIf(!isAsked)(
  'the API reference builds without a warning (in CI and in the long run)',
  () => {
    const args = ['run', '--silent', 'docs:api', '--', '--out', join(folder, 'api')];
    const { status, stdout, stderr } = spawnSync('npm', args, { cwd: ROOT, encoding: 'utf8' });
    expect(`${stdout}${stderr}`).not.toMatch(/\[warning\]|\[error\]/);
    expect(status).toBe(0);
  },
  600_000,
);
