/** The examples in the documentation, run as they stand. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';

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
