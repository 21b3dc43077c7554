/**
 * The feature bits of a qcow2 header: which we support, which exclude each other, and how unsupported ones are named.
 * Source: QEMU's docs/interop/qcow2.txt, "Header" and "Feature name table".
 */
import { BlockError, type BlockErrorCode } from '../errors.ts';
import type { HeaderExtension, Qcow2Header } from './header.ts';
import { MIN_EXTENDED_CLUSTER_BITS } from './limits.ts';

export const INCOMPAT_DIRTY = 1;
export const INCOMPAT_CORRUPT = 2;
export const INCOMPAT_DATA_FILE = 4;
export const INCOMPAT_COMPRESSION = 8;
export const INCOMPAT_EXTENDED_L2 = 16;
export const COMPAT_LAZY_REFCOUNTS = 1;
export const AUTOCLEAR_BITMAPS = 1;
export const AUTOCLEAR_RAW_DATA = 2;

export const EXT_FEATURE_NAMES = 0x6803_f857;
export const EXT_BITMAPS = 0x2385_2875;

/** Where the compression type is, if the header is that long. */
const COMPRESSION_TYPE_AT = 104;

const KNOWN_FEATURES: Record<number, string> = {
  0: 'dirty bit',
  1: 'corrupt bit',
  2: 'external data file',
  3: 'compression type',
  4: 'extended L2 entries',
};

export interface Fault {
  readonly field: string;
  readonly offset: number;
  readonly found: number | string;
  readonly expected: string;
  readonly code?: BlockErrorCode;
  readonly section?: string;
}

/** What is wrong with a header. */
export function fail(file: string, message: string, fault: Fault): never {
  const { code = 'invalid-format', section = 'header', ...rest } = fault;
  throw new BlockError(code, `'${file}': ${message}`, { file, section, ...rest });
}

/** Features that exclude each other. */
export function checkCombinations(header: Qcow2Header, file: string): void {
  const { autoclear, clusterBits, extensions, incompatible } = header;
  const feature = (message: string, found: number, expected: string): never =>
    fail(file, message, { field: 'incompatible_features', offset: 72, found, expected });
  if ((incompatible & INCOMPAT_EXTENDED_L2) !== 0 && clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    feature(
      'Extended L2 entries need clusters of at least 16 KiB',
      clusterBits,
      'cluster_bits of 14 or more',
    );
  }
  const external = (incompatible & INCOMPAT_DATA_FILE) !== 0;
  if ((autoclear & AUTOCLEAR_RAW_DATA) !== 0 && !external) {
    feature('data-file-raw requires a data file', incompatible, 'external data file bit set');
  }
  if ((autoclear & AUTOCLEAR_RAW_DATA) !== 0 && header.backingFile !== undefined) {
    feature('Backing file and data-file-raw cannot be used at the same time', autoclear, 'one of both');
  }
  if (external && header.snapshotCount > 0) {
    feature('Internal snapshots and a data file cannot be used at the same time', header.snapshotCount, '0');
  }
  if ((autoclear & AUTOCLEAR_BITMAPS) !== 0 && !extensions.some((e) => e.type === EXT_BITMAPS)) {
    fail(file, 'bitmaps autoclear bit without bitmaps extension', {
      field: 'autoclear_features',
      offset: 88,
      found: autoclear,
      expected: 'a bitmaps extension',
    });
  }
}

/** Unknown or unsupported incompatible features, by the name that the image's feature table gives them. */
export function checkFeatures(bytes: Buffer, file: string, extensions: readonly HeaderExtension[]): number {
  const supported =
    INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE | INCOMPAT_COMPRESSION | INCOMPAT_EXTENDED_L2;
  const names = featureNames(extensions);
  const missing: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    const set = (bytes[79 - (bit >> 3)]! >> (bit & 7)) & 1;
    if (set === 0 || (bit < 32 && (supported & (1 << bit)) !== 0)) continue;
    missing.push(names.get(bit) ?? KNOWN_FEATURES[bit] ?? `Unknown incompatible feature: ${bit}`);
  }
  if (missing.length > 0) {
    fail(file, `Unsupported qcow2 feature(s): ${missing.join(', ')}`, {
      field: 'incompatible_features',
      offset: 72,
      found: `0x${bytes.toString('hex', 72, 80)}`,
      expected: 'only bits 0 to 4',
      code: 'unsupported',
    });
  }
  return bytes.readUInt32BE(76);
}

function featureNames(extensions: readonly HeaderExtension[]): Map<number, string> {
  const names = new Map<number, string>();
  for (const { type, data } of extensions) {
    if (type !== EXT_FEATURE_NAMES) continue;
    for (let at = 0; at + 48 <= data.length; at += 48) {
      const name = data.toString('latin1', at + 2, at + 48).replace(/\0.*$/s, '');
      if (data[at] === 0) names.set(data[at + 1]!, name);
    }
  }
  return names;
}

export function checkCompression(
  bytes: Buffer,
  file: string,
  headerBytes: number,
  incompatible: number,
): number {
  const type = headerBytes > COMPRESSION_TYPE_AT ? bytes[COMPRESSION_TYPE_AT]! : 0;
  const flagged = (incompatible & INCOMPAT_COMPRESSION) !== 0;
  if (flagged !== (type !== 0)) {
    fail(file, 'Compression type incompatible feature bit must match the compression type', {
      field: 'compression_type',
      offset: COMPRESSION_TYPE_AT,
      found: type,
      expected: flagged ? 'not 0' : '0',
    });
  }
  if (type > 1) {
    fail(file, `unknown compression type: ${type}`, {
      field: 'compression_type',
      offset: COMPRESSION_TYPE_AT,
      found: type,
      expected: '0 (zlib) or 1 (zstd)',
      code: 'unsupported',
    });
  }
  return type;
}
