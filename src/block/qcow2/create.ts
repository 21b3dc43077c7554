/**
 * A new, empty qcow2 image, laid out as QEMU does: header, refcount table, one refcount block, L1 table; and an external
 * data file with it. Preallocation of metadata is a pass over the new image.
 */
import { BlockError } from '../errors.ts';
import { createFile, openFile } from '../file.ts';
import { setEntry, writeU64 } from './be64.ts';
import {
  AUTOCLEAR_RAW_DATA,
  COMPAT_LAZY_REFCOUNTS,
  EXT_BACKING_FORMAT,
  EXT_DATA_FILE,
  EXT_FEATURE_NAMES,
  INCOMPAT_COMPRESSION,
  INCOMPAT_DATA_FILE,
  INCOMPAT_EXTENDED_L2,
  l1EntriesFor,
  QCOW2_MAGIC,
  V2_HEADER_BYTES,
  V3_HEADER_BYTES,
} from './header.ts';
import {
  MAX_BACKING_NAME_BYTES,
  MAX_CLUSTER_BITS,
  MAX_HOST_OFFSET,
  MAX_L1_BYTES,
  MIN_CLUSTER_BITS,
  MIN_EXTENDED_CLUSTER_BITS,
} from './limits.ts';
import { preallocate } from './preallocate.ts';
import { openQcow2 } from './qcow2.ts';
import { setRefcount } from './refcount.ts';

/** What a new qcow2 image is like; defaults are qemu-img’s. */
export interface CreateQcow2Options {
  /** Virtual size, bytes. */
  readonly sizeBytes: number;
  /** A power of two, 512 bytes to 2 MiB; default 64 KiB. */
  readonly clusterSize?: number;
  /** Default 3. */
  readonly version?: 2 | 3;
  /** 1, 2, 4 … 64; default 16. */
  readonly refcountBits?: number;
  /** Name of the image below, as it is to stand in the header. */
  readonly backingFile?: string;
  /** Format of the image below. */
  readonly backingFormat?: string;
  /** Clusters of 32 parts that are mapped each for itself; version 3, clusters of at least 16 KiB. */
  readonly extendedL2?: boolean;
  /** Reference counts may be written late; a check sets them right. */
  readonly lazyRefcounts?: boolean;
  /** How compressed clusters are; default `zlib`. */
  readonly compressionType?: 'zlib' | 'zstd';
  /** Name of the file that will hold the data, relative to the current folder as in QEMU; it is made too. */
  readonly dataFile?: string;
  /** The data file alone shall be the disk. */
  readonly dataFileRaw?: boolean;
  /** `metadata`: every cluster has its place; `full`, `falloc`: and is written, with zeroes. */
  readonly preallocation?: 'off' | 'metadata' | 'falloc' | 'full';
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

/** Overwrites `filename` (and the data file) if it exists and nobody uses it. */
export async function createQcow2(
  filename: string,
  options: CreateQcow2Options,
  { lock = true }: { lock?: boolean } = {},
): Promise<void> {
  const tables = layOut(filename, options);
  const { dataFile, dataFileRaw = false, sizeBytes } = options;
  if (dataFile !== undefined) {
    const file = await createFile(dataFile, lock);
    try {
      await file.truncate(sizeBytes);
    } finally {
      await file.close();
    }
  }
  const file = await createFile(filename, lock);
  try {
    await file.write(0, tables);
    await file.flush();
  } finally {
    await file.close();
  }
  // As QEMU does: programs that look at the tables alone see a raw data file as allocated.
  const { preallocation = 'off' } = options;
  const mode = preallocation === 'off' && dataFileRaw ? 'metadata' : preallocation;
  if (mode === 'off') return;
  const node = await openQcow2(await openFile(filename, { readOnly: false, lock }), {
    openDataFile: async () =>
      dataFile === undefined ? undefined : openFile(dataFile, { readOnly: false, lock }),
  });
  try {
    await preallocate(node, mode !== 'metadata');
  } finally {
    await node.close();
  }
}

interface Shape {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly order: number;
  readonly l1Entries: number;
}

function checkOptions(filename: string, options: CreateQcow2Options): Shape {
  const { sizeBytes, clusterSize = 65_536, version = 3, refcountBits = 16 } = options;
  const bad = (message: string, field: string, found: number | string, expected: string): never => {
    throw new BlockError('invalid-format', message, { file: filename, field, found, expected });
  };
  const clusterBits = Math.log2(clusterSize);
  const order = Math.log2(refcountBits);
  if (!Number.isInteger(clusterBits) || clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    const expected = 'a power of two between 512 and 2048k';
    bad(`Cluster size must be ${expected}`, 'cluster size', clusterSize, expected);
  }
  if (!Number.isInteger(order) || order < 0 || order > 6) {
    const message = 'Refcount width must be a power of two and may not exceed 64 bits';
    bad(message, 'refcount width', refcountBits, '1, 2, 4 … 64');
  }
  if (version === 2) {
    const needs = (
      what: string,
      field: string,
      given: boolean,
      link = 'compatibility level 1.1 and',
    ): void => {
      if (!given) return;
      const message = `${what} ${link} above (use version=v3 or greater)`;
      bad(message, field, 'version 2', 'version 3');
    };
    needs(
      'Different refcount widths than 16 bits require',
      'refcount width',
      order !== 4,
      'compatibility level 1.1 or',
    );
    needs('Lazy refcounts only supported with', 'lazy refcounts', options.lazyRefcounts === true);
    needs('Extended L2 entries are only supported with', 'extended L2', options.extendedL2 === true);
    needs('External data files are only supported with', 'data file', options.dataFile !== undefined);
    needs(
      'Non-zlib compression type is only supported with',
      'compression',
      options.compressionType === 'zstd',
    );
  }
  if (options.extendedL2 === true && clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    const message = 'Extended L2 entries are only supported with cluster sizes of at least 16384 bytes';
    bad(message, 'cluster size', clusterSize, 'at least 16384');
  }
  if (options.dataFileRaw === true && options.dataFile === undefined) {
    bad('data-file-raw requires data-file', 'data-file-raw', 'no data file', 'a data file');
  }
  const preallocates = options.preallocation !== undefined && options.preallocation !== 'off';
  if (preallocates && options.backingFile !== undefined && options.extendedL2 !== true) {
    const message = 'Backing file and preallocation can only be used at the same time if extended_l2 is on';
    bad(message, 'preallocation', options.preallocation, 'off');
  }
  if (options.dataFileRaw === true && options.backingFile !== undefined) {
    const message = 'Backing file and data-file-raw cannot be used at the same time';
    bad(message, 'data-file-raw', 'both', 'one of both');
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0) {
    bad('Image size must be a multiple of 512 bytes', 'size', sizeBytes, 'a multiple of 512');
  }
  const l1Entries = l1EntriesFor(sizeBytes, {
    clusterBits,
    l2Bits: clusterBits - (options.extendedL2 ? 4 : 3),
  });
  if (l1Entries * 8 > MAX_L1_BYTES || sizeBytes > MAX_HOST_OFFSET) {
    const message = "The image size is too large for file format 'qcow2' (try using a larger cluster size)";
    bad(message, 'size', sizeBytes, `an L1 table of at most ${MAX_L1_BYTES} bytes`);
  }
  if (Buffer.byteLength(options.backingFile ?? '') > MAX_BACKING_NAME_BYTES) {
    bad(
      'Backing file name too long',
      'backing file name',
      options.backingFile!,
      `${MAX_BACKING_NAME_BYTES} bytes`,
    );
  }
  return { version, clusterBits, order, l1Entries };
}

/** The bytes of the image. */
export function layOut(filename: string, options: CreateQcow2Options): Buffer {
  const shape = checkOptions(filename, options);
  const { l1Entries, order } = shape;
  const clusterSize = 2 ** shape.clusterBits;
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
  writeFixed(bytes, shape, options);
  writeU64(bytes, options.sizeBytes, 24);
  bytes.writeUInt32BE(l1Entries, 36);
  writeU64(bytes, (1 + refTable + blocks) * clusterSize, 40);
  writeU64(bytes, clusterSize, 48);
  bytes.writeUInt32BE(refTable, 56);
  const end = writeExtensions(bytes, shape.version, options, clusterSize);
  const name = Buffer.from(options.backingFile ?? '', 'utf8');
  if (end + name.length > clusterSize) {
    throw new BlockError(
      'invalid-format',
      `Could not create '${filename}': names too long for the first cluster`,
      {
        file: filename,
        field: 'backing file name',
        found: name.length,
        expected: `at most ${clusterSize - end} bytes`,
      },
    );
  }
  if (options.backingFile !== undefined) {
    name.copy(bytes, end);
    writeU64(bytes, end, 8);
    bytes.writeUInt32BE(name.length, 16);
  }
  return bytes;
}

function tableClusters(blocks: number, clusterSize: number): number {
  return Math.ceil((blocks * 8) / clusterSize);
}

function writeFixed(
  bytes: Buffer,
  { clusterBits, order, version }: Shape,
  options: CreateQcow2Options,
): void {
  bytes.writeUInt32BE(QCOW2_MAGIC, 0);
  bytes.writeUInt32BE(version, 4);
  bytes.writeUInt32BE(clusterBits, 20);
  if (version === 2) return;
  const zstd = options.compressionType === 'zstd';
  bytes.writeUInt32BE(
    (options.dataFile === undefined ? 0 : INCOMPAT_DATA_FILE) |
      (zstd ? INCOMPAT_COMPRESSION : 0) |
      (options.extendedL2 === true ? INCOMPAT_EXTENDED_L2 : 0),
    76,
  );
  bytes.writeUInt32BE(options.lazyRefcounts === true ? COMPAT_LAZY_REFCOUNTS : 0, 84);
  bytes[95] = options.dataFileRaw === true ? AUTOCLEAR_RAW_DATA : 0;
  bytes.writeUInt32BE(order, 96);
  bytes.writeUInt32BE(V3_HEADER_BYTES + 8, 100);
  bytes[V3_HEADER_BYTES] = zstd ? 1 : 0;
}

/** Gives the offset behind the end marker. */
function writeExtensions(
  bytes: Buffer,
  version: 2 | 3,
  { backingFormat, dataFile }: CreateQcow2Options,
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
  if (dataFile !== undefined) put(EXT_DATA_FILE, Buffer.from(dataFile, 'utf8'));
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
