import { describe, expect, it } from 'vitest';
import { BlockError } from '../errors.ts';
import { layOut } from './create.ts';
import { EXT_BACKING_FORMAT, l1EntriesFor, parseHeader, patchHeader } from './header.ts';

const MIB = 1024 * 1024;
const image = (options = {}): Buffer => layOut('t', { sizeBytes: 64 * MIB, ...options });

/** What parsing says of an image with one field changed. */
function fault(at: number, width: number, value: number, base = image()): BlockError {
  base.writeUIntBE(value, at + Math.max(0, width - 6), Math.min(width, 6));
  try {
    parseHeader(base, 'disk.qcow2', base.length);
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError);
    return error as BlockError;
  }
  throw new Error('accepted');
}

describe('qcow2 header', () => {
  it('is read as it was written', () => {
    const bytes = image({
      backingFile: 'base.img',
      backingFormat: 'raw',
      refcountBits: 1,
      clusterSize: 4096,
    });
    const header = parseHeader(bytes, 't', bytes.length);
    expect(header).toMatchObject({
      version: 3,
      clusterBits: 12,
      sizeBytes: 64 * MIB,
      refcountOrder: 0,
      backingFile: 'base.img',
      backingFormat: 'raw',
      snapshotCount: 0,
    });
    expect(header.extensions[0]).toMatchObject({ type: EXT_BACKING_FORMAT });
    const again = Buffer.from(bytes);
    patchHeader(again, header);
    expect(again.equals(bytes)).toBe(true);
  });

  it.each([
    ['magic', 0, 4, 1, 'not in qcow2 format'],
    ['version', 4, 4, 4, 'Unsupported qcow2 version 4'],
    ['backing_file_offset', 8, 8, 70_000, 'Invalid backing file offset'],
    ['cluster_bits', 20, 4, 63, 'Unsupported cluster size: 2^63'],
    ['cluster_bits', 20, 4, 8, 'Unsupported cluster size: 2^8'],
    ['size', 24, 8, 2 ** 47, 'too'],
    ['crypt_method', 32, 4, 2, 'Unsupported encryption method LUKS'],
    ['l1_size', 36, 4, 0x7fffffff, 'Active L1 table too large'],
    ['l1_size', 36, 4, 0, 'L1 table is too small'],
    ['l1_table_offset', 40, 8, 0, 'Active L1 table offset invalid'],
    ['l1_table_offset', 40, 8, 4097, 'Active L1 table offset invalid'],
    ['refcount_table_offset', 48, 8, 512, 'Reference count table offset invalid'],
    ['refcount_table_clusters', 56, 4, 0, 'does not contain a reference count table'],
    ['refcount_table_clusters', 56, 4, 0x7fff, 'Reference count table too large'],
    ['nb_snapshots', 60, 4, 65_537, 'Snapshot table too large'],
    ['snapshots_offset', 60, 4, 1, 'Snapshot table offset invalid'],
    ['refcount_order', 96, 4, 7, 'entry width too large'],
    ['header_length', 100, 4, 72, 'header too short'],
    ['header_length', 100, 4, 65_544, 'header exceeds cluster size'],
    ['compression_type', 104, 1, 1, 'ompression type'],
  ])('%s is checked (offset %i)', (field, at, width, value, words) => {
    const error = fault(at, width, value);
    expect(error.message).toContain("'disk.qcow2': ");
    expect(error.message).toContain(words);
    if (field !== 'size') expect(error.context).toMatchObject({ file: 'disk.qcow2', field });
    expect(error.context.found).toBeDefined();
    expect(error.context.expected).toBeDefined();
  });

  it('names unknown incompatible features as the image does', () => {
    expect(fault(72, 8, 1 << 5).message).toContain(
      'Unsupported qcow2 feature(s): Unknown incompatible feature: 5',
    );
    const named = image();
    // The first entry of the feature name table: incompatible bit 0 becomes bit 40.
    const at = named.indexOf('dirty bit') - 2;
    named[at + 1] = 40;
    named.write('time travel\0', at + 2, 'latin1');
    named[74] = 1;
    expect(fault(79, 1, 0, named).message).toContain('Unsupported qcow2 feature(s): time travel');
    const unnamed = image();
    unnamed[72] = 0x80;
    expect(fault(79, 1, 0, unnamed).message).toContain('Unknown incompatible feature: 63');
  });

  it('an extension longer than its area is refused', () => {
    expect(fault(116, 4, 0xffffffff).message).toContain('Header extension too large');
  });

  it('VM state begins behind whole L1 entries', () => {
    expect(l1EntriesFor(512 * MIB, { clusterBits: 16, l2Bits: 13 })).toBe(1);
    expect(l1EntriesFor(512 * MIB + 512, { clusterBits: 16, l2Bits: 13 })).toBe(2);
    expect(l1EntriesFor(0, { clusterBits: 16, l2Bits: 13 })).toBe(0);
  });
});
