/** The snapshot table as bytes. Source: qcow2 specification, "Snapshots". Extra data that we do not know is kept. */
import { BlockError } from '../errors.ts';
import { checkTable, type Geometry, l1EntriesFor, type Qcow2Header } from './header.ts';
import {
  MAX_L1_BYTES,
  MAX_SNAPSHOT_EXTRA_BYTES,
  MAX_SNAPSHOT_ID_BYTES,
  MAX_SNAPSHOT_NAME_BYTES,
  MAX_SNAPSHOT_TABLE_BYTES,
  MAX_VM_STATE_BYTES,
  MAX_VM_STATE_RATIO,
  MIN_SNAPSHOT_BYTES,
  SNAPSHOT_EXTRA_BYTES,
} from './limits.ts';

const FIXED_BYTES = MIN_SNAPSHOT_BYTES;
const U32_MAX = 0xffff_ffff;

export interface Snapshot {
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly id: string;
  readonly tag: string;
  readonly dateSec: number;
  readonly dateNsec: number;
  /** May exceed the safe integers (104 days); then it is near enough for a list. */
  readonly vmClockNs: number;
  readonly vmStateBytes: number;
  /** Guest disk size when it was taken. */
  readonly diskBytes: number;
  /** -1: none. */
  readonly icount: number;
  /** Extra data behind the fields above. */
  readonly unknownExtra: Buffer;
}

/** Index of the first L1 entry of the VM state. */
export function vmStateL1Index(snapshot: Snapshot, geometry: Geometry): number {
  return l1EntriesFor(snapshot.diskBytes, geometry);
}

export function serializeSnapshots(snapshots: readonly Snapshot[]): Buffer {
  return Buffer.concat(snapshots.map(serializeSnapshot));
}

function serializeSnapshot(snapshot: Snapshot): Buffer {
  const id = Buffer.from(snapshot.id, 'utf8');
  const tag = Buffer.from(snapshot.tag, 'utf8');
  const extraBytes = SNAPSHOT_EXTRA_BYTES + snapshot.unknownExtra.length;
  const bytes = Buffer.alloc(Math.ceil((FIXED_BYTES + extraBytes + id.length + tag.length) / 8) * 8);
  bytes.writeBigUInt64BE(BigInt(snapshot.l1Offset), 0);
  bytes.writeUInt32BE(snapshot.l1Entries, 8);
  bytes.writeUInt16BE(id.length, 12);
  bytes.writeUInt16BE(tag.length, 14);
  bytes.writeUInt32BE(snapshot.dateSec >>> 0, 16);
  bytes.writeUInt32BE(snapshot.dateNsec >>> 0, 20);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(snapshot.vmClockNs)), 24);
  bytes.writeUInt32BE(snapshot.vmStateBytes > U32_MAX ? 0 : snapshot.vmStateBytes, 32);
  bytes.writeUInt32BE(extraBytes, 36);
  bytes.writeBigUInt64BE(BigInt(snapshot.vmStateBytes), 40);
  bytes.writeBigUInt64BE(BigInt(snapshot.diskBytes), 48);
  bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(snapshot.icount)), 56);
  snapshot.unknownExtra.copy(bytes, FIXED_BYTES + SNAPSHOT_EXTRA_BYTES);
  id.copy(bytes, FIXED_BYTES + extraBytes);
  tag.copy(bytes, FIXED_BYTES + extraBytes + id.length);
  return bytes;
}

/** Bytes that the snapshots take in the file. */
export function snapshotTableBytes(snapshots: readonly Snapshot[]): number {
  let bytes = 0;
  for (const s of snapshots) {
    const extra = SNAPSHOT_EXTRA_BYTES + s.unknownExtra.length;
    bytes += Math.ceil((FIXED_BYTES + extra + Buffer.byteLength(s.id) + Buffer.byteLength(s.tag)) / 8) * 8;
  }
  return bytes;
}

export interface ParsedSnapshots {
  readonly snapshots: Snapshot[];
  /** Length of the table as it lies in the file (older programs write shorter entries than we). */
  readonly bytes: number;
}

/** `read` gives bytes of the table from an offset within it; what is beyond the file's end reads as zero. */
export async function parseSnapshots(
  header: Qcow2Header,
  file: string,
  fileBytes: number,
  read: (offset: number, length: number) => Promise<Buffer>,
): Promise<ParsedSnapshots> {
  const snapshots: Snapshot[] = [];
  const window = new TableWindow(read);
  let at = 0;
  let l1Bytes = 0;
  for (let index = 0; index < header.snapshotCount; index++) {
    const fixed = await window.bytes(at, FIXED_BYTES);
    const extraBytes = fixed.readUInt32BE(36);
    const idBytes = fixed.readUInt16BE(12);
    const tagBytes = fixed.readUInt16BE(14);
    const bad = (field: string, fieldAt: number, found: number, expected: string): never => {
      throw new BlockError('invalid-format', `'${file}': snapshot table entry ${index} is invalid`, {
        file,
        section: 'snapshot table',
        field,
        offset: header.snapshotsOffset + at + fieldAt,
        found,
        expected,
      });
    };
    if (extraBytes > MAX_SNAPSHOT_EXTRA_BYTES) {
      bad('extra_data_size', 36, extraBytes, `at most ${MAX_SNAPSHOT_EXTRA_BYTES}`);
    }
    if (idBytes > MAX_SNAPSHOT_ID_BYTES) bad('id_str_size', 12, idBytes, `at most ${MAX_SNAPSHOT_ID_BYTES}`);
    if (tagBytes > MAX_SNAPSHOT_NAME_BYTES * 4)
      bad('name_size', 14, tagBytes, `at most ${MAX_SNAPSHOT_NAME_BYTES * 4}`);
    const total = FIXED_BYTES + extraBytes + idBytes + tagBytes;
    if (at + total > MAX_SNAPSHOT_TABLE_BYTES)
      bad('size', 0, at + total, `at most ${MAX_SNAPSHOT_TABLE_BYTES}`);
    const entry = await window.bytes(at, total);
    const snapshot = decode(entry, extraBytes, idBytes, tagBytes, header.sizeBytes);
    checkSnapshot(snapshot, header, file, fileBytes, header.snapshotsOffset + at, bad);
    // Tables of their own, all in the file: a thousand snapshots cannot share a large one.
    l1Bytes += snapshot.l1Entries * 8;
    if (l1Bytes > fileBytes + 2 ** header.clusterBits)
      bad('l1_size', 8, l1Bytes, `at most ${fileBytes} in all`);
    snapshots.push(snapshot);
    at += Math.ceil(total / 8) * 8;
  }
  return { snapshots, bytes: at };
}

/** Reads the table in large pieces. */
class TableWindow {
  readonly #read: (offset: number, length: number) => Promise<Buffer>;
  #start = 0;
  #data: Buffer = Buffer.alloc(0);

  constructor(read: (offset: number, length: number) => Promise<Buffer>) {
    this.#read = read;
  }

  async bytes(offset: number, length: number): Promise<Buffer> {
    if (offset < this.#start || offset + length > this.#start + this.#data.length) {
      this.#start = offset;
      this.#data = await this.#read(offset, Math.max(length, 64 * 1024));
    }
    return this.#data.subarray(offset - this.#start, offset - this.#start + length);
  }
}

function decode(
  entry: Buffer,
  extraBytes: number,
  idBytes: number,
  tagBytes: number,
  diskBytes: number,
): Snapshot {
  const id = FIXED_BYTES + extraBytes;
  return {
    l1Offset: Number(entry.readBigUInt64BE(0)),
    l1Entries: entry.readUInt32BE(8),
    id: entry.toString('utf8', id, id + idBytes),
    tag: entry.toString('utf8', id + idBytes, id + idBytes + tagBytes),
    dateSec: entry.readUInt32BE(16),
    dateNsec: entry.readUInt32BE(20),
    vmClockNs: Number(entry.readBigUInt64BE(24)),
    vmStateBytes: extraBytes >= 8 ? Number(entry.readBigUInt64BE(40)) : entry.readUInt32BE(32),
    diskBytes: extraBytes >= 16 ? Number(entry.readBigUInt64BE(48)) : diskBytes,
    icount: extraBytes >= 24 ? Number(entry.readBigInt64BE(56)) : -1,
    unknownExtra: Buffer.from(entry.subarray(Math.min(FIXED_BYTES + SNAPSHOT_EXTRA_BYTES, id), id)),
  };
}

function checkSnapshot(
  snapshot: Snapshot,
  header: Qcow2Header,
  file: string,
  fileBytes: number,
  at: number,
  bad: (field: string, fieldAt: number, found: number, expected: string) => never,
): void {
  const clusterSize = 2 ** header.clusterBits;
  checkTable(
    file,
    {
      section: 'Snapshot L1 table',
      offsetField: ['l1_table_offset', at],
      sizeField: ['l1_size', at + 8],
      offset: snapshot.l1Offset,
      bytes: snapshot.l1Entries * 8,
      limit: MAX_L1_BYTES,
    },
    clusterSize,
    fileBytes,
  );
  // A reader keeps a number for each cluster of it: a small file cannot hold much, compressed or not.
  const limit = Math.min(MAX_VM_STATE_BYTES, fileBytes * MAX_VM_STATE_RATIO);
  if (snapshot.vmStateBytes > limit) bad('vm_state_size', 40, snapshot.vmStateBytes, `at most ${limit}`);
  const l1Bytes = l1EntriesFor(snapshot.diskBytes, header) * 8;
  if (!(l1Bytes <= MAX_L1_BYTES)) {
    bad('disk size', 48, snapshot.diskBytes, `an L1 table of at most ${MAX_L1_BYTES} bytes`);
  }
}
