import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { UsageError } from './grammar.ts';
import { parseCommandLine } from './options.ts';
import { parseConfig } from './read-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('groups are options, their id a property', () => {
  const text =
    '# comment\n[machine]\n  type = "pc"\n\n[drive "d0"]\n  file = "a,b.img"\n  if = "ide"\n[chardev "c"]\n  backend = "null"\n';
  expect(parseConfig(text, 'f')).toEqual([
    { name: 'machine', value: 'type=pc', where: 'f:2' },
    { name: 'drive', value: 'file=a,,b.img,if=ide,id=d0', where: 'f:5' },
    { name: 'chardev', value: 'null,id=c', where: 'f:8' },
  ]);
});

// Measured: QEMU 7.2.
test.each([
  ['x = "1"', 'f:1: no group defined'],
  ['[foo]\nx = "1"', "f:1: There is no option group 'foo'"],
  ['[memory]\nx', 'f:2: parse error'],
])('%j', (text, message) => {
  expect(() => parseConfig(text, 'f')).toThrow(message);
});

test('any text is read or refused', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('[', ']', '"', '=', 'memory', 'a', ' ', '\n', '\r', '#', '[drive "x"]\n')),
      (parts) => {
        try {
          parseConfig(parts.join(''), 'f');
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      },
    ),
  );
});

test('on the command line, with options of ours; later ones win', () => {
  const file = join(folder, 'a.cfg');
  writeFileSync(file, '[memory]\n  size = "64M"\n[ambervm]\n  hda = "x.img"\n  snapshot = "on"\n');
  const config = parseCommandLine(['-readconfig', file, '-m', '32']);
  expect(config.ramBytes).toBe(32 * 1024 * 1024);
  expect(config.snapshot).toBe(true);
  expect(config.drives).toHaveLength(1);
  expect(() => parseCommandLine(['-readconfig', '/nonexistent'])).toThrow(
    "-readconfig /nonexistent: Could not open '/nonexistent': No such file or directory",
  );
});

test('a file that reads itself is refused', () => {
  const file = join(folder, 'loop.cfg');
  writeFileSync(file, `[ambervm]\n  readconfig = "${file}"\n`);
  expect(() => parseCommandLine(['-readconfig', file])).toThrow('files read one another');
});
