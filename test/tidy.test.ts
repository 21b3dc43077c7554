/** Rules about the source that no compiler checks: who may import whom, what only the host may use, sizes. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SRC = join(ROOT, 'src');

interface Source {
  /** Relative to src, with slashes. */
  readonly path: string;
  readonly text: string;
  /** Without comments. */
  readonly code: string;
  readonly lines: number;
}

function sourcesOf(folder: string): Source[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      const text = readFileSync(file, 'utf8');
      const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
      return { path: relative(SRC, file), text, code, lines: text.split('\n').length - 1 };
    });
}

const SOURCES = sourcesOf(SRC);

/** Top-level folders of src, and which others each may import. Arrows point one way. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  devices: ['devices'],
  migration: ['migration', 'block', 'machine/clock.ts', 'machine/device.ts'],
  block: ['block', 'zstddec'],
  machine: ['machine', 'devices', 'migration', 'block'],
  monitor: ['monitor', 'machine', 'devices', 'migration', 'block'],
  host: ['ws', 'host', 'monitor', 'machine', 'devices', 'migration', 'block'],
  // A program's options become a command line, so that both have one grammar.
  api: ['api', 'cli', 'host', 'monitor', 'machine', 'devices', 'migration', 'block'],
  testing: ['vitest', 'testing', 'api', 'cli', 'host', 'monitor', 'machine', 'devices', 'migration', 'block'],
  cli: ['cli', 'host', 'monitor', 'machine', 'devices', 'migration', 'block'],
};
/** What devices know besides each other. */
const DEVICE_CONTRACT = ['machine/device.ts', 'machine/clock.ts', 'migration/vmstate.ts'];
/** Who may use Node, and all of it. */
const NODE_FOLDERS = ['host', 'cli', 'block', 'api', 'testing', 'index.ts'];
/** Who may use `console`, `process` and the wall clock. */
const PROCESS_FOLDERS = ['host', 'cli', 'testing'];
/** Look at the clock to see what compiling costs, what a read costs, or when it is time to give way; the guest never sees it. */
const CLOCK_USERS = [
  'block/at-once.ts: performance.now',
  'block/turns.ts: performance.now',
  'machine/cpu/cpu.ts: performance.now',
];
const MAX_LINES = 450;

const IMPORTS = [
  /^(?:import|export)\s[^;]*?\bfrom\s+'([^']+)'/gm,
  /^import\s+'([^']+)'/gm,
  /\bimport\('([^']+)'\)/g,
];

function importsOf({ path, code }: Source): string[] {
  const names = IMPORTS.flatMap((pattern) => [...code.matchAll(pattern)].map(([, name]) => name!));
  return names.map((name) => (name.startsWith('.') ? relative(SRC, join(SRC, dirname(path), name)) : name));
}

function violations(check: (source: Source) => readonly string[]): string[] {
  return SOURCES.flatMap((source) => check(source).map((what) => `${source.path}: ${what}`));
}

describe('imports', () => {
  test('point one way between the folders', () => {
    const wrong = violations((source) => {
      const folder = source.path.split('/')[0]!;
      const allowed = MAY_IMPORT[folder];
      if (allowed === undefined) return [];
      const more = folder === 'devices' ? DEVICE_CONTRACT : [];
      return importsOf(source).filter(
        (name) =>
          !name.startsWith('node:') &&
          ![...allowed, ...more].some((place) => name === place || name.startsWith(`${place}/`)),
      );
    });
    expect(wrong).toEqual([]);
  });

  test('node: only where the host is', () => {
    const wrong = violations((source) => {
      const folder = source.path.split('/')[0]!;
      if (NODE_FOLDERS.includes(folder)) return [];
      return importsOf(source).filter((name) => name.startsWith('node:'));
    });
    expect(wrong).toEqual([]);
  });

  test('name files with their ending', () => {
    const wrong = violations((source) =>
      [...source.code.matchAll(/\bfrom '(\.[^']+)'/g)]
        .map(([, name]) => name!)
        .filter((name) => !name.endsWith('.ts')),
    );
    expect(wrong).toEqual([]);
  });
});

describe('words that only the host may use', () => {
  const forbid = (pattern: RegExp, folders: readonly string[]) =>
    violations((source) => {
      if (folders.includes(source.path.split('/')[0]!)) return [];
      return [...source.code.matchAll(pattern)].map(([word]) => word);
    });

  test('console', () => {
    expect(forbid(/\bconsole\./g, PROCESS_FOLDERS)).toEqual([]);
  });
  test('process', () => {
    expect(forbid(/(?<![.\w'"`-])process\.\w+/g, [...PROCESS_FOLDERS, 'block'])).toEqual([]);
  });
  test('Date.now and performance.now', () => {
    expect([...new Set(forbid(/\b(Date|performance)\.now\b/g, PROCESS_FOLDERS))].sort()).toEqual(CLOCK_USERS);
  });
});

/** Longer than the limit, each with its reason. */
const LONG_FILES: Readonly<Record<string, string>> = {
  'block/qcow2/qcow2.ts': 'the face of an image: a short method a request, what they do is elsewhere',
  'devices/mc146818.ts': 'one chip: clock, alarm, periodic timer and both time bases share their state',
  'machine/board/pc-i440fx.ts': 'the wiring of the board, one list',
  'machine/cpu/cpu.ts': 'the run loop',
};

test(`no file is longer than ${MAX_LINES} lines, except by name`, () => {
  const long = SOURCES.filter(({ lines, path }) => lines > MAX_LINES && LONG_FILES[path] === undefined);
  expect(long.map(({ path, lines }) => `${path}: ${lines}`)).toEqual([]);
  for (const path of Object.keys(LONG_FILES)) {
    expect(SOURCES.find((source) => source.path === path)?.lines ?? 0, path).toBeGreaterThan(MAX_LINES);
  }
});

test('every file begins with what it is', () => {
  expect(violations(({ text }) => (/^(#!.*\n)?\/\*\*/.test(text) ? [] : ['no header']))).toEqual([]);
});
