/** The printer port beside QEMU's: the same accesses, the same answers, the same bytes printed. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { FakeBus, FakeIrq, FakeSink } from '../../test/support/fakes.ts';
import { requireProgram } from '../../test/support/programs.ts';
import { QtestMachine } from '../../test/support/qtest.ts';
import { IsaParallel } from './isa-parallel.ts';

const BASE = 0x378;
const folder = mkdtempSync(join(tmpdir(), 'ambervm-parallel-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function port() {
  const irq = new FakeIrq();
  const sink = new FakeSink();
  const device = new IsaParallel({ base: BASE, irq, sink });
  return { device, irq, sink, bus: new FakeBus(device) };
}

/** As a BIOS prints: data, strobe, and until the printer is ready. */
function print(bus: FakeBus, byte: number): number {
  bus.out8(BASE, byte);
  bus.out8(BASE + 2, 0x0d);
  bus.out8(BASE + 2, 0x0c);
  for (let polls = 0; polls < 5; polls++) if (bus.in8(BASE + 1) & 0x80) return polls;
  return -1;
}

test('prints, and is busy while the host takes nothing', () => {
  const { bus, sink } = port();
  expect(print(bus, 0x41)).toBeGreaterThan(0);
  sink.room = 0;
  expect(print(bus, 0x42)).toBe(-1);
  sink.open();
  expect(print(bus, 0x43)).toBeGreaterThan(0);
  expect(sink.received).toEqual([0x41, 0x42, 0x43]);
});

test.skipIf(!requireProgram('qemu-system-i386'))('answers as QEMU does (skipped without it)', async () => {
  const file = join(folder, 'printed');
  await using qemu = await QtestMachine.start(['-parallel', `file:${file}`]);
  const { bus, sink } = port();
  const access = fc.oneof(
    fc.tuple(fc.constantFrom(0, 1, 2, 3, 7), fc.nat(255)),
    fc.tuple(fc.constant(2), fc.constantFrom(0x0c, 0x0d, 0x1c, 0x1d, 0x08, 0x2c)),
    fc.tuple(fc.nat(7), fc.constant(-1)),
  );
  for (const [offset, value] of fc.sample(access, 2000)) {
    if (value < 0) expect(bus.in8(BASE + offset)).toBe(await qemu.inb(BASE + offset));
    else {
      bus.out8(BASE + offset, value);
      qemu.outb(BASE + offset, value);
    }
  }
  await qemu.sync();
  expect([...readFileSync(file)]).toEqual(sink.received);
});
