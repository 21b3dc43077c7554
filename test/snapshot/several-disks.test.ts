/** savevm over several disks is all or nothing: whichever write or flush of whichever disk fails, wherever the process dies. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Injector, injectErrors } from '../../src/block/filters/inject-error.ts';
import { type BlockFile, openFile } from '../../src/block/file.ts';
import { openImage } from '../../src/block/open.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { findLoadable, loadvm, savevm, type SnapshotDisk } from '../../src/migration/savevm.ts';
import { findSet } from '../../src/migration/snapshot-set.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { isLongRun } from '../support/guests.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';

const NAMES = ['ide0-hd0', 'ide0-hd1', 'ide1-hd0'];
const DISK_BYTES = 1 << 20;
const TEST_MS = 600_000;
const moment = (second: number) => ({ dateSec: second, dateNsec: 0, vmClockNs: second * 1000, icount: -1 });

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

interface Disk extends SnapshotDisk {
  readonly node: Qcow2;
  readonly path: string;
  readonly injector: Injector;
}

async function openDisks(paths: readonly string[], spy: (file: BlockFile) => BlockFile): Promise<Disk[]> {
  return Promise.all(
    paths.map(async (path, i) => {
      let injector: Injector | undefined;
      const node = (await openImage(path, {
        openFile: async (...args) => {
          injector = injectErrors(spy(await openFile(...args)));
          return injector.file;
        },
      })) as Qcow2;
      return { device: NAMES[i]!, node, path, injector: injector! };
    }),
  );
}

async function fill(disks: readonly Disk[], value: number): Promise<void> {
  for (const { node } of disks) await node.write(0, Buffer.alloc(200_000, value));
}

/** What the disks' snapshot of the tag holds: the same value everywhere, or a list of what differs. */
async function contents(paths: readonly string[], machine: FakeMachine): Promise<number[]> {
  const disks = await openDisks(paths, (file) => file);
  try {
    await loadvm(machine, disks, 'tag');
    const byte = Buffer.alloc(1);
    const found: number[] = [];
    for (const { node } of disks) {
      await node.read(150_000, byte);
      found.push(byte[0]!);
    }
    return found;
  } finally {
    for (const { node } of disks) await node.close();
  }
}

/** Three images with snapshot `tag` of disks that are all 1, then written with 2. */
async function prepare(name: string): Promise<{ paths: string[]; first: string }> {
  const paths = NAMES.map((device) => join(folder.path, `${name}-${device}.qcow2`));
  for (const path of paths) qemuImg('create', '-q', '-f', 'qcow2', path, String(DISK_BYTES));
  const disks = await openDisks(paths, (file) => file);
  const machine = new FakeMachine().randomize(1, 0.1);
  await fill(disks, 1);
  await savevm(machine, disks, moment(1), 'tag');
  await fill(disks, 2);
  for (const { node } of disks) await node.close();
  return { paths, first: machine.fingerprint() };
}

describe.skipIf(!hasQemuImg)('savevm over three disks with an existing tag', () => {
  for (const operation of ['write', 'flush'] as const) {
    it(`fails as a whole at any ${operation} of any disk`, { timeout: TEST_MS }, async () => {
      const { paths, first } = await prepare(`fail-${operation}`);
      const copies = paths.map((path) => `${path}.copy`);
      for (const which of NAMES.keys()) {
        for (let number = 0, failed = true; failed; number += isLongRun ? 1 : 3) {
          for (const [i, path] of paths.entries()) copyFileSync(path, copies[i]!);
          const disks = await openDisks(copies, (file) => file);
          const where = `${operation} ${number} of ${NAMES[which]}`;
          disks[which]!.injector.failAt(operation, number);
          const machine = new FakeMachine().randomize(2, 0.1);
          failed = await savevm(machine, disks, moment(2), 'tag').then(
            () => false,
            () => true,
          );
          for (const { injector } of disks) injector.heal();
          const tags = disks.map(({ node }) => node.listSnapshots().map(({ tag }) => tag));
          expect(tags, where).toEqual([['tag'], ['tag'], ['tag']]);
          // They can be written and saved as if nothing had happened.
          if (failed && number % 3 === 0) {
            await fill(disks, 3);
            await savevm(machine, disks, moment(3), 'other');
          }
          for (const { node } of disks) await node.close();
          const loaded = new FakeMachine();
          const found = await contents(copies, loaded);
          expect(new Set(found).size, where).toBe(1);
          expect(found[0], where).toBe(failed ? 1 : 2);
          expect(loaded.fingerprint() === first, where).toBe(failed);
          if (number % 4 === 0) for (const path of copies) expect(qemuCheck(path).corruptions).toBe(0);
        }
      }
    });
  }

  it('leaves a complete set wherever the process dies, and QEMU never a mixed one', {
    timeout: TEST_MS,
  }, async () => {
    const { paths } = await prepare('crash');
    const copies = paths.map((path) => `${path}.copy`);
    for (const [i, path] of paths.entries()) copyFileSync(path, copies[i]!);
    // Images as they are after each flush of any disk: every state that the order of steps allows.
    const states: Buffer[][] = [];
    const spy = (file: BlockFile): BlockFile => ({
      ...file,
      filename: file.filename,
      readOnly: file.readOnly,
      size: () => file.size(),
      read: (offset, target) => file.read(offset, target),
      write: (offset, source) => file.write(offset, source),
      writev: (offset, parts) => file.writev(offset, parts),
      truncate: (bytes) => file.truncate(bytes),
      close: () => file.close(),
      flush: async () => {
        await file.flush();
        states.push(copies.map((path) => readFileSync(path)));
      },
    });
    const disks = await openDisks(copies, spy);
    states.length = 0;
    await savevm(new FakeMachine().randomize(2, 0.1), disks, moment(2), 'tag');
    for (const { node } of disks) await node.close();
    const seen = new Set<string>();
    for (const state of states) {
      for (const [i, bytes] of state.entries()) writeFileSync(copies[i]!, bytes);
      const after = await openDisks(copies, (file) => file);
      expect(findSet(after, 'tag')).toHaveLength(3);
      expect(findLoadable(after, 'tag').info.vmStateBytes).toBeGreaterThan(0);
      // QEMU takes the first snapshot of the name on each disk.
      const firsts = after.map(({ node }) => node.listSnapshots().find(({ tag }) => tag === 'tag')?.dateSec);
      seen.add(firsts.join());
      expect(firsts[0] === undefined || new Set(firsts).size === 1, firsts.join()).toBe(true);
      for (const { node } of after) await node.close();
      if (isLongRun) for (const path of copies) expect(qemuCheck(path).corruptions).toBe(0);
      const found = await contents(copies, new FakeMachine());
      expect(new Set(found).size).toBe(1);
    }
    expect([...seen]).toEqual(expect.arrayContaining(['1,1,1', '2,2,2']));
    // Saved over what a crash left behind, nothing of it stays.
    const [middle] = states.slice(Math.floor(states.length / 2));
    for (const [i, bytes] of middle!.entries()) writeFileSync(copies[i]!, bytes);
    const again = await openDisks(copies, (file) => file);
    await savevm(new FakeMachine().randomize(4, 0.1), again, moment(4), 'tag');
    for (const { node } of again) {
      expect(node.listSnapshots().map(({ tag, dateSec }) => [tag, dateSec])).toEqual([['tag', 4]]);
      await node.close();
    }
    for (const path of copies) expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
