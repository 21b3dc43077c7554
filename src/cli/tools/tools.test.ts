/** `--progress=json`: where a tool shows a line, a program gets objects. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { layOut } from '../../block/qcow2/create.ts';
import { runTool, takeProgress, toolOutput } from './tools.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-tools-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('--progress=json', () => {
  it('is found anywhere before --', () => {
    expect(takeProgress(['img', 'convert', '--progress=json', 'a', 'b'])).toEqual({
      rest: ['img', 'convert', 'a', 'b'],
      json: true,
    });
    expect(takeProgress(['img', 'info', '--', '--progress=json'])).toEqual({
      rest: ['img', 'info', '--', '--progress=json'],
      json: false,
    });
    expect(() => takeProgress(['img', 'info', '--progress=xml'])).toThrow('only --progress=json is known');
  });

  it('is an object a line on standard error, up to 100', async () => {
    const from = join(folder, 'a.qcow2');
    writeFileSync(from, layOut('a', { sizeBytes: 1 << 20 }));
    const written: string[] = [];
    const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      written.push(String(text));
      return true;
    });
    try {
      const to = join(folder, 'b.raw');
      expect(await runTool(['img', 'convert', '-O', 'raw', from, to], toolOutput(undefined, true))).toBe(0);
    } finally {
      stderr.mockRestore();
    }
    const percents = written.map((line) => (JSON.parse(line) as { percent: number }).percent);
    expect(percents.at(-1)).toBe(100);
    expect(percents).toEqual([...new Set(percents)].sort((a, b) => a - b));
  });
});
