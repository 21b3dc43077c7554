/** What a header says beside sizes and offsets: bits that forbid, bits that a writer clears, extensions that nobody knows. */
import { describe, expect, it } from 'vitest';
import { Log, logged } from '../../src/block/filters/log.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { changeBackingFile } from '../../src/block/qcow2/rewrite-header.ts';
import { MemoryFile } from '../support/memory-file.ts';

const SIZE = 1 << 20;
const fresh = (): Buffer => layOut('t', { sizeBytes: SIZE, clusterSize: 4096 });
const meta = { tag: 'a', dateSec: 1, dateNsec: 2, vmClockNs: 3, icount: -1, vmStateBytes: 0 };

describe('the corrupt bit', () => {
  const CORRUPT = 2;

  it('forbids writing, not reading; repairing takes it away', async () => {
    const bytes = fresh();
    bytes[79]! |= CORRUPT;
    await expect(openQcow2(new MemoryFile(bytes))).rejects.toMatchObject({ code: 'corrupt' });
    const reader = await openQcow2(new MemoryFile(bytes, 't', true));
    await reader.read(0, new Uint8Array(SIZE));
    const file = new MemoryFile(bytes);
    const node = await openQcow2(file, { repair: true });
    await node.write(0, new Uint8Array(5000).fill(1));
    await node.close();
    expect(file.bytes[79]! & CORRUPT).toBe(0);
    const again = await openQcow2(new MemoryFile(file.bytes));
    expect(await checkImage(again.image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});

describe('unknown autoclear bits', () => {
  it('stay with a reader, and go, durably, before anything else changes', async () => {
    const bytes = fresh();
    bytes[88] = 0x80;
    bytes[95]! |= 0x20;
    const bits = (file: MemoryFile): number[] => [file.bytes[88]!, file.bytes[95]! & 0x20];
    const reader = new MemoryFile(bytes, 't', true);
    await (await openQcow2(reader)).read(0, new Uint8Array(SIZE));
    expect(bits(reader)).toEqual([0x80, 0x20]);
    const file = new MemoryFile(bytes);
    const log = new Log();
    const node = await openQcow2(logged(file, log));
    await node.write(0, new Uint8Array(5000).fill(1));
    await node.close();
    expect(bits(file)).toEqual([0, 0]);
    const [first, second] = log.entries;
    expect(first).toMatchObject({ kind: 'write', offset: 0 });
    expect(second).toMatchObject({ kind: 'flush' });
  });
});

describe('an unknown header extension', () => {
  const TYPE = 0x1234_5678;
  const DATA = Buffer.from('what nobody knows, 13'.padEnd(29, '.'));

  /** Where it is in the header's extensions. */
  function find(bytes: Buffer): Buffer | undefined {
    for (let at = bytes.readUInt32BE(100); bytes.readUInt32BE(at) !== 0; ) {
      const length = bytes.readUInt32BE(at + 4);
      if (bytes.readUInt32BE(at) === TYPE) return bytes.subarray(at + 8, at + 8 + length);
      at += 8 + Math.ceil(length / 8) * 8;
    }
    return undefined;
  }

  it('stays byte for byte through writes, snapshots, resize and another backing file', async () => {
    const bytes = fresh();
    let end = bytes.readUInt32BE(100);
    while (bytes.readUInt32BE(end) !== 0) end += 8 + Math.ceil(bytes.readUInt32BE(end + 4) / 8) * 8;
    bytes.writeUInt32BE(TYPE, end);
    bytes.writeUInt32BE(DATA.length, end + 4);
    DATA.copy(bytes, end + 8);
    const file = new MemoryFile(bytes);
    const node = await openQcow2(file);
    await node.write(1000, new Uint8Array(50_000).fill(1));
    await node.createSnapshot(meta);
    await node.resize(2 * SIZE);
    await node.deleteSnapshot('a');
    expect(find(file.bytes)?.equals(DATA)).toBe(true);
    for (const name of ['a backing file', undefined]) {
      await changeBackingFile(node.image, { file: name, format: name && 'raw' });
      expect(find(file.bytes)?.equals(DATA)).toBe(true);
    }
    await node.close();
    const again = await openQcow2(new MemoryFile(file.bytes));
    expect(await checkImage(again.image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
