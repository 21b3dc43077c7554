/**
 * The qcow2 header: every field checked before anything is used, extensions kept. Source: QEMU's docs/interop/qcow2.txt,
 * "Header"; limits: `limits.ts`. Refused by name: encryption, unknown incompatible features.
 */
import { readU64, writeU64 } from './be64.ts';
import {
  AUTOCLEAR_BITMAPS,
  AUTOCLEAR_RAW_DATA,
  checkCombinations,
  checkCompression,
  checkFeatures,
  fail,
  INCOMPAT_EXTENDED_L2,
} from './features.ts';
import {
  MAX_BACKING_NAME_BYTES,
  MAX_CLUSTER_BITS,
  MAX_HEADER_EXTENSIONS,
  MAX_HOST_OFFSET,
  MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES,
  MAX_SNAPSHOTS,
  MIN_SNAPSHOT_BYTES,
  MIN_CLUSTER_BITS,
} from './limits.ts';

export {
  AUTOCLEAR_BITMAPS,
  AUTOCLEAR_RAW_DATA,
  COMPAT_LAZY_REFCOUNTS,
  EXT_BITMAPS,
  EXT_FEATURE_NAMES,
  INCOMPAT_COMPRESSION,
  INCOMPAT_CORRUPT,
  INCOMPAT_DATA_FILE,
  INCOMPAT_DIRTY,
  INCOMPAT_EXTENDED_L2,
} from './features.ts';

export const QCOW2_MAGIC = 0x5146_49fb;
export const EXT_END = 0;
export const EXT_BACKING_FORMAT = 0xe279_2aca;
export const EXT_DATA_FILE = 0x4441_5441;

export const V2_HEADER_BYTES = 72;
export const V3_HEADER_BYTES = 104;
/** The part of the header that is rewritten in one sector write, see {@link patchHeader}. */
export const HEADER_PATCH_BYTES = 512;

export interface HeaderExtension {
  readonly type: number;
  readonly data: Buffer;
}

/** Fields change only together with the file, in `transaction.ts`. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  sizeBytes: number;
  l1Entries: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  /** Low 32 bits; the upper ones are unknown features and refused. */
  incompatible: number;
  compatible: number;
  /** Autoclear bits that we know ({@link AUTOCLEAR_BITMAPS}, {@link AUTOCLEAR_RAW_DATA}), and whether there are others. */
  autoclear: number;
  unknownAutoclear: boolean;
  readonly refcountOrder: number;
  readonly headerBytes: number;
  /** log2 of the entries of an L2 table. */
  readonly l2Bits: number;
  /** 0 zlib, 1 zstd. */
  readonly compressionType: number;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  /** Name of the external data file; the feature bit says whether there is one. */
  readonly dataFile: string | undefined;
  readonly extensions: readonly HeaderExtension[];
}

/** `bytes`: the first cluster, or what there is of it (at most {@link MAX_CLUSTER_BITS} worth). */
export function parseHeader(bytes: Buffer, file: string, fileBytes: number): Qcow2Header {
  if (bytes.length < V2_HEADER_BYTES) {
    fail(file, 'qcow2 header too short', {
      field: 'header',
      offset: 0,
      found: bytes.length,
      expected: `at least ${V2_HEADER_BYTES} bytes`,
    });
  }
  const version = checkIdentity(bytes, file);
  const clusterBits = bytes.readUInt32BE(20);
  const clusterSize = 2 ** clusterBits;
  const headerBytes = version === 2 ? V2_HEADER_BYTES : checkHeaderLength(bytes, file, clusterSize);
  const area = bytes.subarray(0, Math.min(bytes.length, clusterSize));
  const extensions = parseExtensions(area, file, headerBytes, backingNameAt(area, file, headerBytes));
  const incompatible = version === 2 ? 0 : checkFeatures(bytes, file, extensions);
  const refcountOrder = version === 2 ? 4 : bytes.readUInt32BE(96);
  if (refcountOrder > 6) {
    fail(file, 'Reference count entry width too large; may not exceed 64 bits', {
      field: 'refcount_order',
      offset: 96,
      found: refcountOrder,
      expected: '0 to 6',
    });
  }
  const header: Qcow2Header = {
    version,
    clusterBits,
    sizeBytes: readU64(bytes, 24),
    l1Entries: bytes.readUInt32BE(36),
    l1Offset: readU64(bytes, 40),
    refcountTableOffset: readU64(bytes, 48),
    refcountTableClusters: bytes.readUInt32BE(56),
    snapshotCount: bytes.readUInt32BE(60),
    snapshotsOffset: readU64(bytes, 64),
    incompatible,
    compatible: version === 2 ? 0 : bytes.readUInt32BE(84),
    autoclear: version === 2 ? 0 : bytes[95]! & (AUTOCLEAR_BITMAPS | AUTOCLEAR_RAW_DATA),
    unknownAutoclear: version === 3 && (readU64(bytes, 88) >= 256 || (bytes[95]! & 0xfc) !== 0),
    refcountOrder,
    headerBytes,
    l2Bits: clusterBits - ((incompatible & INCOMPAT_EXTENDED_L2) === 0 ? 3 : 4),
    compressionType: checkCompression(bytes, file, headerBytes, incompatible),
    backingFile: backingName(area, file, headerBytes),
    backingFormat: extensions.find((e) => e.type === EXT_BACKING_FORMAT)?.data.toString('utf8'),
    dataFile: extensions.find((e) => e.type === EXT_DATA_FILE)?.data.toString('utf8'),
    extensions,
  };
  checkCombinations(header, file);
  checkTables(header, file, fileBytes);
  return header;
}

function checkIdentity(bytes: Buffer, file: string): 2 | 3 {
  if (bytes.readUInt32BE(0) !== QCOW2_MAGIC) {
    const found = bytes.readUInt32BE(0);
    fail(file, 'Image is not in qcow2 format', { field: 'magic', offset: 0, found, expected: '0x514649fb' });
  }
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3) {
    fail(file, `Unsupported qcow2 version ${version}`, {
      field: 'version',
      offset: 4,
      found: version,
      expected: '2 or 3',
      code: 'unsupported',
    });
  }
  const clusterBits = bytes.readUInt32BE(20);
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    fail(file, `Unsupported cluster size: 2^${clusterBits}`, {
      field: 'cluster_bits',
      offset: 20,
      found: clusterBits,
      expected: `${MIN_CLUSTER_BITS} to ${MAX_CLUSTER_BITS}`,
    });
  }
  const crypt = bytes.readUInt32BE(32);
  if (crypt !== 0) {
    const name = ['', 'AES', 'LUKS'][crypt] ?? String(crypt);
    fail(file, `Unsupported encryption method ${name}`, {
      field: 'crypt_method',
      offset: 32,
      found: crypt,
      expected: '0 (none)',
      code: 'unsupported',
    });
  }
  return version;
}

function checkHeaderLength(bytes: Buffer, file: string, clusterSize: number): number {
  const length = bytes.length < V3_HEADER_BYTES ? 0 : bytes.readUInt32BE(100);
  if (length < V3_HEADER_BYTES || length % 8 !== 0) {
    fail(file, 'qcow2 header too short', {
      field: 'header_length',
      offset: 100,
      found: length,
      expected: `at least ${V3_HEADER_BYTES}, a multiple of 8`,
    });
  }
  if (length > clusterSize || length > bytes.length) {
    fail(file, 'qcow2 header exceeds cluster size', {
      field: 'header_length',
      offset: 100,
      found: length,
      expected: `at most ${clusterSize}`,
    });
  }
  return length;
}

/** Where extensions must end: the backing file name, or the end of the cluster. */
function backingNameAt(area: Buffer, file: string, headerBytes: number): number {
  const at = readU64(area, 8);
  if (at === 0) return area.length;
  if (at < headerBytes || at > area.length) {
    fail(file, 'Invalid backing file offset', {
      field: 'backing_file_offset',
      offset: 8,
      found: at,
      expected: `${headerBytes} to ${area.length}`,
    });
  }
  return at;
}

function backingName(area: Buffer, file: string, headerBytes: number): string | undefined {
  const at = readU64(area, 8);
  if (at === 0) return undefined;
  const end = backingNameAt(area, file, headerBytes);
  const length = area.readUInt32BE(16);
  if (length > MAX_BACKING_NAME_BYTES || end + length > area.length) {
    fail(file, 'Backing file name too long', {
      field: 'backing_file_size',
      offset: 16,
      found: length,
      expected: `at most ${Math.min(MAX_BACKING_NAME_BYTES, area.length - end)}`,
    });
  }
  return length === 0 ? undefined : area.toString('utf8', at, at + length);
}

function parseExtensions(area: Buffer, file: string, start: number, end: number): HeaderExtension[] {
  const extensions: HeaderExtension[] = [];
  let at = start;
  while (at + 8 <= end) {
    const type = area.readUInt32BE(at);
    const length = area.readUInt32BE(at + 4);
    if (type === EXT_END) break;
    if (length > end - at - 8) {
      fail(file, 'Header extension too large', {
        section: 'header extension',
        field: `length of 0x${type.toString(16)}`,
        offset: at + 4,
        found: length,
        expected: `at most ${end - at - 8}`,
      });
    }
    if (extensions.length >= MAX_HEADER_EXTENSIONS) {
      fail(file, 'Too many header extensions', {
        section: 'header extension',
        field: 'count',
        offset: at,
        found: extensions.length + 1,
        expected: `at most ${MAX_HEADER_EXTENSIONS}`,
        code: 'limit',
      });
    }
    extensions.push({ type, data: Buffer.from(area.subarray(at + 8, at + 8 + length)) });
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return extensions;
}

export interface TableExtent {
  readonly section: string;
  /** Names of the fields that give its place and its length, and where they lie in the file. */
  readonly offsetField: readonly [name: string, at: number];
  readonly sizeField: readonly [name: string, at: number];
  readonly offset: number;
  /** 0: the table does not exist. */
  readonly bytes: number;
  readonly limit: number;
}

/** A table must be whole clusters behind the header and begin inside the file. */
export function checkTable(file: string, table: TableExtent, clusterSize: number, fileBytes: number): void {
  const { section, offset, bytes } = table;
  if (bytes > table.limit) {
    fail(file, `${section} too large`, {
      section,
      field: table.sizeField[0],
      offset: table.sizeField[1],
      found: bytes,
      expected: `at most ${table.limit} bytes`,
    });
  }
  if (bytes === 0) return;
  const end = offset + bytes;
  // The last cluster of a file may be cut short; nothing may begin behind its end.
  if (offset < clusterSize || offset % clusterSize !== 0 || end > MAX_HOST_OFFSET || offset >= fileBytes) {
    fail(file, `${section} offset invalid`, {
      section,
      field: table.offsetField[0],
      offset: table.offsetField[1],
      found: offset,
      expected: `a multiple of ${clusterSize} from ${clusterSize} to ${fileBytes}`,
    });
  }
  // Nor may a small file name a large table, all zero, that every walk goes through.
  if (end > Math.ceil(fileBytes / clusterSize) * clusterSize) {
    fail(file, `${section} reaches behind the end of the file`, {
      section,
      field: table.sizeField[0],
      offset: table.sizeField[1],
      found: bytes,
      expected: `at most ${fileBytes - offset}`,
    });
  }
}

function checkTables(header: Qcow2Header, file: string, fileBytes: number): void {
  const clusterSize = 2 ** header.clusterBits;
  const check = (table: TableExtent): void => checkTable(file, table, clusterSize, fileBytes);
  if (header.refcountTableClusters === 0) {
    fail(file, 'Image does not contain a reference count table', {
      field: 'refcount_table_clusters',
      offset: 56,
      found: 0,
      expected: 'at least 1',
    });
  }
  check({
    section: 'Reference count table',
    offsetField: ['refcount_table_offset', 48],
    sizeField: ['refcount_table_clusters', 56],
    offset: header.refcountTableOffset,
    bytes: header.refcountTableClusters * clusterSize,
    limit: MAX_REFCOUNT_TABLE_BYTES,
  });
  if (header.snapshotCount > MAX_SNAPSHOTS) {
    fail(file, 'Snapshot table too large', {
      field: 'nb_snapshots',
      offset: 60,
      found: header.snapshotCount,
      expected: `at most ${MAX_SNAPSHOTS}`,
      code: 'limit',
    });
  }
  check({
    section: 'Snapshot table',
    offsetField: ['snapshots_offset', 64],
    sizeField: ['nb_snapshots', 60],
    offset: header.snapshotsOffset,
    bytes: header.snapshotCount * MIN_SNAPSHOT_BYTES,
    limit: MAX_SNAPSHOTS * MIN_SNAPSHOT_BYTES,
  });
  check({
    section: 'Active L1 table',
    offsetField: ['l1_table_offset', 40],
    sizeField: ['l1_size', 36],
    offset: header.l1Offset,
    bytes: header.l1Entries * 8,
    limit: MAX_L1_BYTES,
  });
  const needed = l1EntriesFor(header.sizeBytes, header);
  if (needed * 8 > MAX_L1_BYTES || header.sizeBytes > MAX_HOST_OFFSET) {
    fail(file, 'Image is too big', {
      field: 'size',
      offset: 24,
      found: header.sizeBytes,
      expected: `an L1 table of at most ${MAX_L1_BYTES} bytes`,
    });
  }
  if (header.l1Entries < needed) {
    fail(file, 'L1 table is too small', {
      field: 'l1_size',
      offset: 36,
      found: header.l1Entries,
      expected: `at least ${needed}`,
    });
  }
}

/** What decides how much an L2 table maps. */
export interface Geometry {
  readonly clusterBits: number;
  /** log2 of the entries of an L2 table. */
  readonly l2Bits: number;
}

/** L1 entries that `sizeBytes` of guest disk need; VM state begins right behind them. */
export function l1EntriesFor(sizeBytes: number, { clusterBits, l2Bits }: Geometry): number {
  return Math.ceil(sizeBytes / 2 ** (clusterBits + l2Bits));
}

/**
 * Puts the fields that change into the header's bytes. All lie within the first 512 bytes, so that one sector write
 * switches L1 table, refcounts and snapshots together.
 */
export function patchHeader(bytes: Buffer, header: Qcow2Header): void {
  writeU64(bytes, header.sizeBytes, 24);
  bytes.writeUInt32BE(header.l1Entries, 36);
  writeU64(bytes, header.l1Offset, 40);
  writeU64(bytes, header.refcountTableOffset, 48);
  bytes.writeUInt32BE(header.refcountTableClusters, 56);
  bytes.writeUInt32BE(header.snapshotCount, 60);
  writeU64(bytes, header.snapshotsOffset, 64);
  if (header.version === 2) return;
  bytes.writeUInt32BE(header.incompatible, 76);
  bytes.writeUInt32BE(header.compatible, 84);
  if (!header.unknownAutoclear) bytes.fill(0, 88, 95);
  bytes[95] = (header.unknownAutoclear ? bytes[95]! & 0xfc : 0) | header.autoclear;
}
