/** Damaged VM state: a MigrationError and an untouched machine, or a load that is whole. Nothing else, ever. */
import { beforeAll, describe, expect, it } from 'vitest';
import { FakeMachine } from '../../test/support/fake-machine.ts';
import { MemoryDisk } from '../../test/support/memory-disk.ts';
import { memorySource } from '../../test/support/qemu-snapshot.ts';
import { describeVmState } from './describe.ts';
import { MigrationError } from './errors.ts';
import { loadVmState } from './load-vmstate.ts';
import { savevm } from './savevm.ts';

const ROUNDS = process.env['AMBERVM_LONG'] === '1' ? 10_000 : 2500;
const MOMENT = { dateSec: 0, dateNsec: 0, vmClockNs: 0, icount: -1 };
const newMachine = () => new FakeMachine({ ramPages: 20 });

/** A small generator with a seed, so that a failure can be repeated. */
function generator(seed: number): (limit: number) => number {
  let x = seed >>> 0;
  return (limit) => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

/** One to four changes of the kinds that disks, programs and people make. */
function mutate(
  original: Uint8Array,
  interesting: readonly number[],
  next: (limit: number) => number,
): Uint8Array {
  let bytes = original.slice();
  for (let changes = 1 + next(4); changes > 0; changes--) {
    // Mostly near structure: a change inside of a page is only another page.
    const base = next(4) > 0 ? interesting[next(interesting.length)]! : next(bytes.length);
    const at = Math.min(base + next(64), bytes.length - 1);
    const kind = next(8);
    if (kind < 3) bytes[at]! ^= 1 << next(8);
    else if (kind < 5) bytes[at] = [0, 1, 5, 0x7e, 0x7f, 0x80, 0xff][next(7)]!;
    else if (kind === 5) bytes.fill(0xff, at, at + 1 + next(8));
    else if (kind === 6) bytes.copyWithin(at, next(bytes.length), next(bytes.length));
    else if (next(3) === 0) bytes = bytes.slice(0, at);
    else bytes = Uint8Array.from(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + next(9))]));
    if (bytes.length === 0) return bytes;
  }
  return bytes;
}

describe('mutated VM state', () => {
  let streams: Uint8Array[];
  let interesting: number[];

  beforeAll(async () => {
    const node = new MemoryDisk('a.qcow2');
    const machine = newMachine().randomize(1, 0.3);
    const { index } = await savevm(machine, [{ device: 'd', node }], MOMENT, 'a');
    const ours = await node.vmState('a');
    // Without the footer's last byte nobody looks at checksums, as in QEMU's own streams.
    const plain = ours.slice();
    plain[plain.length - 1] = 0;
    streams = [plain, ours];
    const tail = (index.headUnits + index.ramUnits) * 65536;
    interesting = [
      0,
      8,
      40,
      100,
      400,
      index.headUnits * 65536,
      tail,
      tail + 20,
      tail + 50,
      tail + 100,
      tail + 160,
    ];
    interesting.push(ours.length - 24, ours.length - 200, ours.length - 60);
  });

  it(`gives a MigrationError or a valid load, ${ROUNDS} times`, async () => {
    const machine = newMachine();
    const results = { loaded: 0, refused: 0 };
    for (let seed = 0; seed < ROUNDS; seed++) {
      const bytes = mutate(streams[seed % 2 ? 1 : 0]!, interesting, generator(seed));
      const before = seed % 16 === 0 ? machine.fingerprint() : undefined;
      try {
        await loadVmState(machine, memorySource(bytes), { readBytes: 65536 });
        results.loaded++;
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(MigrationError);
        if (before) expect(machine.fingerprint(), `seed ${seed}`).toBe(before);
        results.refused++;
      }
    }
    expect(results.refused).toBeGreaterThan(ROUNDS / 4);
    expect(results.loaded).toBeGreaterThan(0);
  });

  it('is described, or refused by a MigrationError', async () => {
    for (let seed = 0; seed < ROUNDS / 5; seed++) {
      const bytes = mutate(streams[0]!, interesting, generator(seed + 1e6));
      await describeVmState(memorySource(bytes)).catch((error: unknown) => {
        expect(error, `seed ${seed}`).toBeInstanceOf(MigrationError);
      });
    }
  });

  it('that is cut anywhere in its device part is refused, the machine untouched', async () => {
    const machine = newMachine().randomize(5);
    const before = machine.fingerprint();
    const plain = streams[0]!;
    const tail = interesting[6]!;
    const end = Buffer.from(plain.buffer, plain.byteOffset, plain.length).indexOf('{"page_size"');
    for (let length = tail; length < end - 6; length += 3) {
      const error = await loadVmState(machine, memorySource(plain.subarray(0, length))).catch(
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(MigrationError);
    }
    expect(machine.fingerprint()).toBe(before);
  });
});
