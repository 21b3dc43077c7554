import { describe, expect, it } from 'vitest';
import { FakeChip, FakeMachine } from '../../test/support/fake-machine.ts';
import { MemoryDisk } from '../../test/support/memory-disk.ts';
import type { SnapshotInfo } from '../block/block-node.ts';
import { MigrationError } from './errors.ts';
import { groupRange, pageOffsetInUnit } from './ram-layout.ts';
import { checkSavevm, defaultTag, delvm, listSnapshots, loadvm, savevm, vmStateSource } from './savevm.ts';
import { SNAPSHOT_TABLE_HEADER, sizeText, snapshotRow, snapshotTable } from './snapshot-table.ts';
import { readTrailer, tailOffset } from './trailer.ts';
import { crc32 } from './crc32.ts';

const moment = { dateSec: 1795247307, dateNsec: 5000, vmClockNs: 33_686_814, icount: -1 };
const disk = (name: string, node = new MemoryDisk(`${name}.qcow2`)) => ({ device: name, node });

describe('savevm and loadvm', () => {
  for (const clusterBytes of [512, 4096, 65536, 1 << 20]) {
    it(`bring machine and disk back, clusters of ${clusterBytes} bytes`, async () => {
      const machine = new FakeMachine().randomize(1);
      const d = disk('ide0-hd0', new MemoryDisk('a.qcow2', { clusterBytes }));
      d.node.data.fill(7);
      const saved = machine.fingerprint();
      const { fifo } = machine.chips[0]!.state;
      await savevm(machine, [d], moment, 'a');
      machine.randomize(2);
      d.node.data.fill(8);
      const { info } = await loadvm(machine, [d], 'a');
      expect(machine.fingerprint()).toBe(saved);
      expect(machine.chips[0]!.state.fifo).toBe(fifo);
      expect(machine.chips[0]!.calls).toEqual(['beforeSave', 'afterLoad 2']);
      expect(d.node.data[0]).toBe(7);
      expect(info.vmStateBytes).toBe(d.node.listSnapshots()[0]!.vmStateBytes);
      expect(d.node.open).toBe(0);
    });
  }

  it('save of a load of a save is the same, byte for byte', async () => {
    const machine = new FakeMachine().randomize(3);
    const d = disk('ide0-hd0');
    await savevm(machine, [d], moment, 'a');
    const other = new FakeMachine().randomize(4);
    await loadvm(other, [d], 'a');
    await savevm(other, [d], moment, 'b');
    expect(Buffer.compare(await d.node.vmState('a'), await d.node.vmState('b'))).toBe(0);
  });

  it('share the clusters of unchanged groups with the parent snapshot', async () => {
    const machine = new FakeMachine({ ramPages: 300 }).randomize(5, 1);
    const d = disk('ide0-hd0');
    const first = await savevm(machine, [d], moment, 'a');
    machine.ramBlocks[0]!.bytes[20 * 4096] = 1;
    const dirty = (group: number) => group === 1;
    const parent = { idOrTag: 'a', index: first.index, isDirty: dirty };
    const second = await savevm(machine, [d], moment, 'b', { parent });
    expect(first.writtenBytes).toBeGreaterThan(20 * 65536);
    expect(second.writtenBytes).toBeLessThanOrEqual(4 * 65536);
    const saved = machine.fingerprint();
    machine.randomize(6);
    await loadvm(machine, [d], 'b');
    expect(machine.fingerprint()).toBe(saved);
  });

  it('leave the index of RAM units behind, which checks', async () => {
    const machine = new FakeMachine().randomize(7, 0.05);
    const d = disk('ide0-hd0');
    const { index, info } = await savevm(machine, [d], moment, 'a');
    const source = vmStateSource(d.node, info);
    expect(await readTrailer(source, crc32)).toEqual({ index });
    expect(index.ramUnits).toBeGreaterThan(0);
    expect(index.unitOfGroup).toContain(0);
    expect(info.vmStateBytes).toBeGreaterThan(tailOffset(index));
  });

  it('place every page where the index says', async () => {
    const machine = new FakeMachine().randomize(9, 0.2);
    const d = disk('ide0-hd0');
    const { index } = await savevm(machine, [d], moment, 'a');
    const bytes = await d.node.vmState('a');
    for (const [group, unit] of index.unitOfGroup.entries()) {
      if (unit === 0) continue;
      const { block, start, end } = groupRange(index.geometry, group);
      const { name, bytes: ram } = machine.ramBlocks[block]!;
      for (let at = start; at < end; at += 4096) {
        const from = unit * 65536 + pageOffsetInUnit(name, (at - start) / 4096);
        expect(Buffer.compare(bytes.subarray(from, from + 4096), ram.subarray(at, at + 4096))).toBe(0);
      }
    }
  });

  it('load straight into RAM for a fresh machine, too', async () => {
    const machine = new FakeMachine().randomize(10);
    const d = disk('ide0-hd0');
    await savevm(machine, [d], moment, 'a');
    const fresh = new FakeMachine();
    await loadvm(fresh, [d], 'a', { directRam: true });
    expect(fresh.fingerprint()).toBe(machine.fingerprint());
  });

  it('report progress up to the total', async () => {
    const calls: [number, number][] = [];
    await savevm(new FakeMachine().randomize(8), [disk('d')], moment, 'a', {
      onProgress: (...c) => calls.push(c),
    });
    expect(calls.at(-1)![0]).toBe(calls.at(-1)![1]);
  });
});

describe('a failed savevm', () => {
  for (const operation of ['writeClusters', 'commit', 'createSnapshot']) {
    it(`at ${operation} leaves no snapshot on any disk`, async () => {
      const disks = [disk('ide0-hd0'), disk('ide0-hd1'), disk('ide1-hd0')];
      const failing = disks[operation === 'createSnapshot' ? 2 : 0]!;
      failing.node.shouldFail = (name) => name === operation;
      const error = await rejection(savevm(new FakeMachine().randomize(1), disks, moment, 'a'));
      expect(error.code).toBe('io');
      for (const { node } of disks) {
        expect(node.listSnapshots()).toEqual([]);
        expect(node.open).toBe(0);
      }
    });
  }

  it('by cancelling leaves no snapshot', async () => {
    const abort = new AbortController();
    const d = disk('ide0-hd0');
    const onProgress = () => abort.abort();
    const options = { signal: abort.signal, onProgress, writeBytes: 65536, queueDepth: 1 };
    const error = await rejection(savevm(new FakeMachine().randomize(1), [d], moment, 'a', options));
    expect(error.code).toBe('cancelled');
    expect(d.node.listSnapshots()).toEqual([]);
    expect(d.node.open).toBe(0);
  });

  it('keeps the snapshot of the same tag', async () => {
    const d = disk('ide0-hd0');
    const machine = new FakeMachine().randomize(1);
    await savevm(machine, [d], moment, 'a');
    const before = await d.node.vmState('a');
    d.node.shouldFail = (name) => name === 'commit';
    await rejection(savevm(machine.randomize(2), [d], moment, 'a'));
    expect(Buffer.compare(await d.node.vmState('a'), before)).toBe(0);
  });
});

describe('a failed loadvm leaves machine and disks as they were', () => {
  async function prepared() {
    const machine = new FakeMachine().randomize(1);
    const disks = [disk('ide0-hd0'), disk('ide0-hd1')];
    await savevm(machine, disks, moment, 'a');
    machine.randomize(2);
    for (const { node } of disks) node.data.fill(9);
    for (const chip of machine.chips) chip.calls.length = 0;
    return { machine, disks, before: machine.fingerprint() };
  }

  it('when a device refuses its state', async () => {
    const { machine, disks, before } = await prepared();
    machine.chips[1]!.validate = () => 'fifo level, found 17, expected 0 to 16';
    const error = await rejection(loadvm(machine, disks, 'a'));
    expect(error).toMatchObject({ code: 'rejected', context: { section: 'chip', instance: 1 } });
    expect(machine.fingerprint()).toBe(before);
    expect(machine.chips[0]!.calls).toEqual([]);
    expect(disks.map(({ node }) => node.data[0])).toEqual([9, 9]);
  });

  it('when a disk cannot be reverted, even the second one', async () => {
    const { machine, disks, before } = await prepared();
    let first = true;
    disks[1]!.node.shouldFail = (name) => name === 'applySnapshot' && first && !(first = false);
    const error = await rejection(loadvm(machine, disks, 'a'));
    expect(error.message).toMatch(/Could not load snapshot 'a' on 'ide0-hd1': injected/);
    expect(machine.fingerprint()).toBe(before);
    expect(disks.map(({ node }) => node.data[0])).toEqual([9, 9]);
    expect(disks.map(({ node }) => node.listSnapshots().length)).toEqual([1, 1]);
  });

  it('when the machine lacks a device, naming all that is missing and the options', async () => {
    const saved = new FakeMachine({ chips: [new FakeChip('hpet'), new FakeChip('0000:00:03.0/e1000')] });
    const d = disk('ide0-hd0');
    await savevm(saved, [d], moment, 'a');
    const machine = new FakeMachine({ chips: [] }).randomize(1);
    const before = machine.fingerprint();
    const error = await rejection(loadvm(machine, [d], 'a'));
    expect(error.text).toMatch(/^Unknown savevm section or instance 'hpet' 0\. Make sure/);
    expect(error.message).toContain('-machine hpet=off -nic none');
    expect(error.message).toContain('0000:00:03.0/e1000 0');
    expect(machine.fingerprint()).toBe(before);
  });

  it('when the snapshot lacks a device; or the device is reset, if so wished', async () => {
    const d = disk('ide0-hd0');
    await savevm(new FakeMachine({ chips: [] }), [d], moment, 'a');
    const machine = new FakeMachine({ chips: [new FakeChip()] }).randomize(1);
    expect((await rejection(loadvm(machine, [d], 'a'))).code).toBe('missing-section');
    const { notices } = await loadvm(machine, [d], 'a', { missingSections: 'reset' });
    expect(notices).toEqual(["No saved state for 'chip': it is reset"]);
    expect(machine.chips[0]!.calls).toEqual(['reset']);
  });

  it('when RAM has another size, in QEMU’s words and with what to change', async () => {
    const d = disk('ide0-hd0');
    await savevm(new FakeMachine({ ramPages: 8192 }), [d], moment, 'a');
    const error = await rejection(loadvm(new FakeMachine({ ramPages: 16384 }), [d], 'a'));
    expect(error.message.split('\n').slice(0, 2)).toEqual([
      'Size mismatch: pc.ram: 0x2000000 != 0x4000000: Invalid argument',
      'The snapshot was saved with -m 32M: start this machine with -m 32M',
    ]);
  });

  it('when a RAM cluster is damaged, naming its offset', async () => {
    const machine = new FakeMachine().randomize(1, 1);
    const d = disk('ide0-hd0');
    const { index } = await savevm(machine, [d], moment, 'a');
    const read = d.node.readVmState.bind(d.node);
    const bad = index.headUnits * 65536 + 5000;
    d.node.readVmState = async (tag, offset, target) => {
      await read(tag, offset, target);
      if (offset <= bad && bad < offset + target.length) target[bad - offset]! ^= 1;
    };
    const error = await rejection(loadvm(machine, [d], 'a'));
    expect(error).toMatchObject({ code: 'checksum', context: { offset: index.headUnits * 65536 } });
  });
});

describe('disks that take part', () => {
  it('are every writable one; one that cannot is refused with the command that converts it', async () => {
    const node = { filename: 'disk.img', format: 'raw', readOnly: false } as unknown as MemoryDisk;
    expect(() => checkSavevm([{ device: 'ide0-hd0', node }])).toThrow(
      "Device 'ide0-hd0' is writable but does not support snapshots\n" +
        "Convert it: qemu-img convert -O qcow2 'disk.img' 'disk.qcow2'\n",
    );
    const readOnly = { ...node, readOnly: true } as MemoryDisk;
    expect(() => checkSavevm([{ device: 'ide0-hd0', node: readOnly }])).toThrow(
      /^no block device can store vmstate for snapshot\n/,
    );
    checkSavevm([{ device: 'ide0-hd0', node: readOnly }, disk('ide0-hd1')]);
  });

  it('all get the tag; the first holds the VM state; delvm removes it everywhere', async () => {
    const disks = [disk('ide0-hd0'), disk('ide0-hd1')];
    await savevm(new FakeMachine(), disks, moment, 'a');
    expect(disks.map(({ node }) => node.listSnapshots()[0]!.vmStateBytes > 0)).toEqual([true, false]);
    expect(await delvm(disks, 'a')).toBe(true);
    expect(await delvm(disks, 'a')).toBe(false);
    expect(disks.flatMap(({ node }) => node.listSnapshots())).toEqual([]);
  });

  it('must all have what loadvm asks for', async () => {
    const disks = [disk('ide0-hd0'), disk('ide0-hd1')];
    await savevm(new FakeMachine(), disks.slice(0, 1), moment, 'a');
    const error = await rejection(loadvm(new FakeMachine(), disks, 'a'));
    expect(error.text).toBe("Snapshot 'a' does not exist in one or more devices");
    expect(error.message).toContain("none on 'ide0-hd1'");
    expect((await rejection(loadvm(new FakeMachine(), disks.slice(0, 1), 'zz'))).text).toContain(
      "Snapshot 'zz'",
    );
  });
});

describe('the table of snapshots', () => {
  const info = (tag: string, vmStateBytes: number): SnapshotInfo => ({
    id: '4',
    tag,
    vmStateBytes,
    ...moment,
  });

  it('has QEMU’s columns', () => {
    expect(SNAPSHOT_TABLE_HEADER).toBe(
      'ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT',
    );
    const row = snapshotRow(info('s1', 579022), '--');
    expect(row.replace(/\d{4}-.{14}/, 'DATE')).toBe(
      '--        s1                565 KiB DATE 00:00:00.033           ',
    );
    expect(row).toHaveLength(79);
  });

  it('lists what is on all disks, and what is not', async () => {
    const disks = [disk('ide0-hd0'), disk('ide0-hd1')];
    expect(snapshotTable(listSnapshots(disks))).toBe('There is no snapshot available.\n');
    await savevm(new FakeMachine(), disks.slice(0, 1), moment, 'only');
    expect(snapshotTable(listSnapshots(disks))).toContain(
      "List of snapshots present on all disks:\nNone\n\nList of partial (non-loadable) snapshots on 'ide0-hd0':\nID ",
    );
    await savevm(new FakeMachine(), disks, moment, 'both');
    expect(snapshotTable(listSnapshots(disks))).toMatch(/disks:\nID .*\n-- {8}both /);
  });

  it('shortens sizes and names as QEMU does', () => {
    const sizes = [0, 999, 1000, 390652, 579022, 1_048_576, 148_000_000, 1_073_741_824];
    const texts = ['0 B', '999 B', '0.977 KiB', '381 KiB', '565 KiB', '1 MiB', '141 MiB', '1 GiB'];
    expect(sizes.map(sizeText)).toEqual(texts);
    expect(defaultTag(moment.dateSec)).toMatch(/^vm-202611\d{8}$/);
  });
});

async function rejection(promise: Promise<unknown>): Promise<MigrationError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof MigrationError) return error;
  throw error ?? new Error('nothing was thrown');
}
