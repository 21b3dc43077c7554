/** The same commands on the same machine, stopped before its first instruction: our monitor beside QEMU's, to the letter. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Machine } from '../../src/index.ts';
import { hasQemu, hasSeabios, Qemu, SEABIOS } from '../support/qemu.ts';

const COMMANDS = [
  'info lapic',
  'info mem',
  'info tlb',
  'info pic',
  'info status',
  'sum 0xf0000 0x10000',
  'xp/40i 0xfe05b',
  'x/4i 0xfe0c0',
  'xp/8xw 0xf0000',
  'p $eip',
  'trace-event nosuch on',
  'commit nosuch',
  'commit ide1-cd0',
  'info tlb',
  'info bogus',
];

describe.skipIf(!hasQemu || !hasSeabios)('beside QEMU', () => {
  let qemu: Qemu;
  let ours: Machine;

  beforeAll(async () => {
    qemu = await Qemu.start({
      memoryMiB: 32,
      stopped: true,
      more: ['-drive', 'if=ide,index=2,media=cdrom'],
    });
    ours = await Machine.create({ bios: SEABIOS, memory: '32M' });
  }, 60_000);
  afterAll(async () => {
    await ours?.close();
    await qemu?.[Symbol.asyncDispose]();
  });

  test.each(COMMANDS)('%s', async (line) => {
    const theirs = await qemu.hmp(line);
    expect(await ours.monitor(line)).toBe(theirs.replaceAll('\r\n', '\n'));
  });

  test('all of monitor-lines.txt, one after the other', async () => {
    const lines = readFileSync(new URL('monitor-lines.txt', import.meta.url), 'utf8')
      .trim()
      .split('\n');
    const different: object[] = [];
    for (const line of lines) {
      const theirs = (await qemu.hmp(line)).replaceAll('\r\n', '\n');
      const own = await ours.monitor(line);
      if (own !== theirs) different.push({ line, theirs, own });
    }
    expect(different).toEqual([]);
  }, 120_000);

  test('the fields of info blockstats', async () => {
    const fields = (text: string, device: string) =>
      [
        ...(new RegExp(`^${device}: (.*)$`, 'm').exec(text.replaceAll('\r', ''))?.[1] ?? '').matchAll(
          /(\w+)=/g,
        ),
      ].map((match) => match[1]);
    const theirs = fields(await qemu.hmp('info blockstats'), 'ide1-cd0');
    expect(theirs.length).toBeGreaterThan(8);
    expect(fields(await ours.monitor('info blockstats'), 'ide1-cd0').slice(0, theirs.length)).toEqual(theirs);
  });
});
