/** A new, empty qcow2 image, laid out as QEMU does: header, refcount table, one refcount block, L1 table. */
import { BlockError } from '../errors.ts';
import { createFile } from '../file.ts';
import { setEntry, writeU64 } from './be64.ts';
import {
  EXT_BACKING_FORMAT,
  EXT_FEATURE_NAMES,
  l1EntriesFor,
  QCOW2_MAGIC,
  V2_HEADER_BYTES,
  V3_HEADER_BYTES,
} from './header.ts';
import { MAX_BACKING_NAME_BYTES, MAX_CLUSTER_BITS, MAX_L1_BYTES, MIN_CLUSTER_BITS } from './limits.ts';
import { setRefcount } from './refcount.ts';

export interface CreateQcow2Options {
  readonly sizeBytes: number;
  /** A power of two, 512 bytes to 2 MiB; default 64 KiB. */
  readonly clusterSize?: number;
  /** Default 3. */
  readonly version?: 2 | 3;
  /** 1, 2, 4 … 64; default 16. */
  readonly refcountBits?: number;
  readonly backingFile?: string;
  readonly backingFormat?: string;
}

/** What QEMU 7.2 writes into the feature name table: type, bit, name. */
const FEATURE_NAMES: readonly (readonly [number, number, string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

/** Overwrites `filename` if it exists (and nobody uses it). */
export async function createQcow2(
  filename: string,
  options: CreateQcow2Options,
  { lock = true }: { lock?: boolean } = {},
): Promise<void> {
  const tables = layOut(filename, options);
  const file = await createFile(filename, lock);
  try {
    await file.write(0, tables);
    await file.flush();
  } finally {
    await file.close();
  }
}

/** The bytes of the image. */
export function layOut(filename: string, options: CreateQcow2Options): Buffer {
  const { sizeBytes, clusterSize = 65_536, version = 3, refcountBits = 16 } = options;
  const clusterBits = Math.log2(clusterSize);
  const order = Math.log2(refcountBits);
  const bad = (field: string, found: number | string, expected: string): never => {
    throw new BlockError('invalid-format', `Could not create '${filename}': invalid ${field}`, {
      file: filename,
      field,
      found,
      expected,
    });
  };
  if (!Number.isInteger(clusterBits) || clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    bad('cluster size', clusterSize, 'a power of two between 512 and 2097152');
  }
  if (!Number.isInteger(order) || order < 0 || order > 6) bad('refcount width', refcountBits, '1, 2, 4 … 64');
  if (version === 2 && order !== 4) bad('refcount width', refcountBits, '16 with version 2');
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0) {
    bad('size', sizeBytes, 'a multiple of 512');
  }
  const l1Entries = l1EntriesFor(sizeBytes, clusterBits);
  if (l1Entries * 8 > MAX_L1_BYTES) bad('size', sizeBytes, `an L1 table of at most ${MAX_L1_BYTES} bytes`);
  if (Buffer.byteLength(options.backingFile ?? '') > MAX_BACKING_NAME_BYTES) {
    bad('backing file name', options.backingFile!, `at most ${MAX_BACKING_NAME_BYTES} bytes`);
  }
  const l1Clusters = Math.ceil((l1Entries * 8) / clusterSize);
  const blockEntries = (clusterSize * 8) >> order;
  // Blocks that cover header, table, themselves and the L1 table.
  let blocks = 1;
  while (1 + tableClusters(blocks, clusterSize) + blocks + l1Clusters > blocks * blockEntries) blocks++;
  const refTable = tableClusters(blocks, clusterSize);
  const used = 1 + refTable + blocks + l1Clusters;
  const bytes = Buffer.alloc(used * clusterSize);
  for (let i = 0; i < blocks; i++)
    setEntry(bytes.subarray(clusterSize), i, (1 + refTable + i) * clusterSize, 0, 0);
  const blockArea = bytes.subarray((1 + refTable) * clusterSize);
  for (let i = 0; i < used; i++) setRefcount(blockArea, i, order, 1);
  writeFixed(bytes, version, clusterBits, order);
  writeU64(bytes, sizeBytes, 24);
  bytes.writeUInt32BE(l1Entries, 36);
  writeU64(bytes, (1 + refTable + blocks) * clusterSize, 40);
  writeU64(bytes, clusterSize, 48);
  bytes.writeUInt32BE(refTable, 56);
  const end = writeExtensions(bytes, version, options.backingFormat, clusterSize);
  if (options.backingFile !== undefined) {
    const length = Buffer.byteLength(options.backingFile);
    if (end + length > clusterSize)
      bad('backing file name', options.backingFile, 'one that fits the first cluster');
    bytes.write(options.backingFile, end, 'utf8');
    writeU64(bytes, end, 8);
    bytes.writeUInt32BE(length, 16);
  }
  return bytes;
}

function tableClusters(blocks: number, clusterSize: number): number {
  return Math.ceil((blocks * 8) / clusterSize);
}

function writeFixed(bytes: Buffer, version: 2 | 3, clusterBits: number, order: number): void {
  bytes.writeUInt32BE(QCOW2_MAGIC, 0);
  bytes.writeUInt32BE(version, 4);
  bytes.writeUInt32BE(clusterBits, 20);
  if (version === 2) return;
  bytes.writeUInt32BE(order, 96);
  bytes.writeUInt32BE(V3_HEADER_BYTES + 8, 100);
}

/** Gives the offset behind the end marker. */
function writeExtensions(
  bytes: Buffer,
  version: 2 | 3,
  backingFormat: string | undefined,
  clusterSize: number,
): number {
  let at = version === 2 ? V2_HEADER_BYTES : V3_HEADER_BYTES + 8;
  const put = (type: number, data: Buffer): void => {
    bytes.writeUInt32BE(type, at);
    bytes.writeUInt32BE(data.length, at + 4);
    data.copy(bytes, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  };
  if (backingFormat !== undefined) put(EXT_BACKING_FORMAT, Buffer.from(backingFormat, 'utf8'));
  // A 512-byte cluster has no room for the names, and they are optional.
  if (version === 3 && clusterSize >= 4096) {
    const names = Buffer.alloc(FEATURE_NAMES.length * 48);
    for (const [i, [type, bit, name]] of FEATURE_NAMES.entries()) {
      names[i * 48] = type;
      names[i * 48 + 1] = bit;
      names.write(name, i * 48 + 2, 'latin1');
    }
    put(EXT_FEATURE_NAMES, names);
  }
  return at + 8;
}
