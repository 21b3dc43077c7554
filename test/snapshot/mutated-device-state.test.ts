/**
 * The device part of a snapshot with one byte changed, each byte in turn: a typed error and a machine that goes on as if
 * nothing had been asked, or a load that QEMU accepts too. Of QEMU's own snapshot, which has no checksums.
 */
import { closeSync, cpSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { supportsSnapshots, type VmStateHandle } from '../../src/block/block-node.ts';
import { openImage } from '../../src/block/open.ts';
import { Qemu, hasQemu } from '../support/qemu.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { CHURN_MIB, hasChurn, makeChurnImage, openChurn, runFor } from './churn.ts';
import { fingerprint } from './fingerprint.ts';

const isLong = process.env['AMBERVM_LONG'] !== undefined;
/** Every so manieth byte in CI. */
const STEP = isLong ? 1 : 211;
/** Every so manieth load of ours is tried in QEMU. */
const QEMU_STEP = isLong ? 40 : 4;
const TAG = 'theirs';
const MASKS = [0x01, 0x80, 0xff];
/** QEMU_VM_SECTION_FULL, section 2 …, then the name of the first device section. */
const FIRST_DEVICE = Buffer.from('\x05timer', 'latin1');
/** QEMU_VM_EOF and the description behind it. */
const DESCRIPTION = Buffer.from('{"page_size"', 'latin1');
const MAX_DEVICE_BYTES = 1 << 20;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

/** A file whose bytes of VM state can be changed where they lie. */
class Patcher {
  readonly #fd: number;
  readonly #handle: Pick<VmStateHandle, 'clusterBytes' | 'hostOffsets'>;

  constructor(image: string, handle: Pick<VmStateHandle, 'clusterBytes' | 'hostOffsets'>) {
    this.#fd = openSync(image, 'r+');
    this.#handle = handle;
  }

  /** Returns the byte that was there. */
  xor(offset: number, mask: number): void {
    const { clusterBytes, hostOffsets } = this.#handle;
    const at = hostOffsets[Math.floor(offset / clusterBytes)]! + (offset % clusterBytes);
    const byte = Buffer.alloc(1);
    readSync(this.#fd, byte, 0, 1, at);
    byte[0] = byte[0]! ^ mask;
    writeSync(this.#fd, byte, 0, 1, at);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Where the device sections lie in the VM state, and where its clusters lie in the file. */
async function layoutOf(image: string) {
  const node = await openImage(image, { readOnly: true });
  try {
    if (!supportsSnapshots(node)) throw new Error('no snapshots');
    const handle = await node.openVmState!(TAG);
    const size = handle.info.vmStateBytes;
    const tail = Buffer.alloc(Math.min(size, MAX_DEVICE_BYTES));
    await handle.read(size - tail.length, tail);
    const start = tail.indexOf(FIRST_DEVICE);
    const end = tail.indexOf(DESCRIPTION);
    expect(start).toBeGreaterThan(0);
    expect(end).toBeGreaterThan(start);
    const { clusterBytes, hostOffsets } = handle;
    return { first: size - tail.length + start, last: size - tail.length + end, clusterBytes, hostOffsets };
  } finally {
    await node.close();
  }
}

describe.skipIf(!hasChurn || !hasQemu)(
  'device state with a byte changed (skipped without QEMU, SeaBIOS, nasm)',
  () => {
    it('is refused without a trace, or loaded as QEMU loads it', { timeout: 7_200_000 }, async () => {
      const image = join(folder.path, 'ours.qcow2');
      makeChurnImage(image);
      {
        await using qemu = await Qemu.start({ memoryMiB: CHURN_MIB, image });
        await qemu.serial.waitFor('C', 60_000);
        await qemu.savevm(TAG);
      }
      const copy = join(folder.path, 'qemu.qcow2');
      cpSync(image, copy);
      const layout = await layoutOf(image);
      await using pc = await openChurn(image, { loadvm: TAG });
      await using qemu = await Qemu.start({ memoryMiB: CHURN_MIB, image: copy, loadvm: TAG, stopped: true });
      const [here, there] = [new Patcher(image, layout), new Patcher(copy, layout)];
      let refused = 0;
      const loadedAt: (readonly [number, number])[] = [];
      const disagreements: string[] = [];
      let turn = 0;
      for (let offset = layout.first; offset < layout.last; offset += STEP) {
        const mask = MASKS[turn++ % MASKS.length]!;
        await runFor(pc, 1000);
        const before = await fingerprint(pc);
        here.xor(offset, mask);
        try {
          await pc.machine.loadvm(TAG);
          loadedAt.push([offset, mask]);
        } catch (error) {
          expect((error as Error).name, `offset ${offset}`).toBe('MigrationError');
          const after = await fingerprint(pc);
          if (after['instructions'] === before['instructions'])
            expect(after, `offset ${offset}`).toEqual(before);
          else {
            // A disk request was in flight: with -icount the guest ran on to a moment without one. From there: without a trace.
            await expect(pc.machine.loadvm(TAG)).rejects.toThrow();
            expect(await fingerprint(pc), `offset ${offset}`).toEqual(after);
          }
          refused++;
        } finally {
          here.xor(offset, mask);
        }
        // Whatever came of it, the machine can go on and load the good snapshot.
        if (turn % 50 === 0) await pc.machine.loadvm(TAG);
      }
      for (let i = 0; i < loadedAt.length; i += QEMU_STEP) {
        const [offset, mask] = loadedAt[i]!;
        there.xor(offset, mask);
        await qemu.loadvm(TAG).catch((error: Error) => {
          disagreements.push(`offset ${offset - layout.first} ^ ${mask}: ${error.message}`);
        });
        there.xor(offset, mask);
      }
      here.close();
      there.close();
      console.log(`${turn} bytes: ${refused} refused, ${loadedAt.length} loaded`);
      expect(disagreements).toEqual([]);
      await pc.machine.loadvm(TAG);
      await runFor(pc, 100_000);
      expect(pc.machine.state).toBe('paused');
    });
  },
);
