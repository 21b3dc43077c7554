/** Named classes of qcow2 vulnerabilities of QEMU, each with an image of its kind: refused by name, before anything is taken. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { openImage } from '../../src/block/open.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { createQcow2, layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { runTool } from '../../src/cli/tools/tools.ts';
import { MemoryFile } from '../support/memory-file.ts';

const MIB = 1024 * 1024;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-cve-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fresh = (clusterSize = 4096): Buffer => layOut('t', { sizeBytes: 4 * MIB, clusterSize });

type Field = readonly [at: number, width: 4 | 8, value: bigint];

/** Opening the image with these fields must fail; gives the error. Less than 64 MiB is taken on the way. */
async function refused(bytes: Buffer, ...fields: Field[]): Promise<BlockError> {
  for (const [at, width, value] of fields) {
    if (width === 8) bytes.writeBigUInt64BE(value, at);
    else bytes.writeUInt32BE(Number(value), at);
  }
  const before = process.memoryUsage().arrayBuffers;
  try {
    await (await openQcow2(new MemoryFile(bytes, 'evil.qcow2'))).close();
  } catch (error) {
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MIB);
    expect(error).toBeInstanceOf(BlockError);
    return error as BlockError;
  }
  throw new Error('accepted');
}

describe('qcow2 CVE classes', () => {
  it.each([0n, 1n, 8n, 22n, 31n, 63n, 0xffff_ffffn])(
    'CVE-2014-0142: no cluster of 2^%i bytes to divide by',
    async (bits) => {
      expect((await refused(fresh(), [20, 4, bits])).context.field).toBe('cluster_bits');
    },
  );

  it('CVE-2014-0143: sizes that overflow when multiplied', async () => {
    expect((await refused(fresh(), [36, 4, 0x2000_0001n])).context.field).toBe('l1_size');
    expect((await refused(fresh(), [56, 4, 0x8000_0001n])).context.field).toBe('refcount_table_clusters');
    expect((await refused(fresh(), [24, 8, (1n << 63n) - 1n])).message).toMatch(/too big|too small/);
  });

  it('CVE-2014-0144: tables and names beyond their limits', async () => {
    expect((await refused(fresh(), [8, 8, 600n], [16, 4, 0x7fff_ffffn])).context.field).toBe(
      'backing_file_size',
    );
    expect((await refused(fresh(), [8, 8, 1n << 40n], [16, 4, 3n])).context.field).toBe(
      'backing_file_offset',
    );
    expect((await refused(fresh(), [56, 4, 0x7fff_ffffn])).context.field).toBe('refcount_table_clusters');
    expect((await refused(fresh(), [60, 4, 0xffff_ffffn])).context.field).toBe('nb_snapshots');
    expect((await refused(fresh(), [48, 8, (1n << 64n) - 4096n])).context.field).toBe(
      'refcount_table_offset',
    );
    const extension = fresh();
    expect((await refused(extension, [116, 4, 0xffff_fff8n])).context.section).toBe('header extension');
  });

  it("CVE-2014-0145: a snapshot's L1 table larger than the file or the limit", async () => {
    for (const entries of [0x3fff_ffff, 0x0040_0001, 4 * MIB]) {
      const file = new MemoryFile(fresh());
      const node = await openQcow2(file);
      await node.createSnapshot({
        tag: 'a',
        dateSec: 1,
        dateNsec: 2,
        vmClockNs: 3,
        icount: -1,
        vmStateBytes: 0,
      });
      const { snapshotsOffset } = node.image.header;
      await node.close();
      expect((await refused(file.bytes, [snapshotsOffset + 8, 4, BigInt(entries)])).context.field).toBe(
        'l1_size',
      );
    }
  });

  it('CVE-2014-0146: snapshots that are not there', async () => {
    expect((await refused(fresh(), [60, 4, 5n], [64, 8, 0n])).context.field).toBe('snapshots_offset');
    expect((await refused(fresh(), [60, 4, 5n], [64, 8, 1n << 40n])).context.field).toBe('snapshots_offset');
    // Without snapshots the offset means nothing.
    const bytes = fresh();
    bytes.writeBigUInt64BE(1n << 40n, 64);
    await (await openQcow2(new MemoryFile(bytes, 't', true))).close();
  });

  it('CVE-2014-0147: one refcount block or L2 table named many times: the search for free clusters ends', async () => {
    const bytes = Buffer.alloc(4 * MIB);
    fresh(512).copy(bytes);
    const tableClusters = 4096;
    const full = 3 * MIB;
    bytes.fill(0xff, full, full + 512);
    bytes.writeUInt32BE(tableClusters, 56);
    bytes.writeBigUInt64BE(BigInt(MIB), 48);
    for (let i = 0; i < (tableClusters * 512) / 8; i++) bytes.writeBigUInt64BE(BigInt(full), MIB + i * 8);
    expect((await refused(bytes)).context.section).toBe('refcount table');
  });

  it.each([0x3fff_ffffn, 0xffff_ffffn])(
    'CVE-2014-0222, 0223: a disk whose L1 table does not fit %i entries',
    async (entries) => {
      expect((await refused(fresh(), [24, 8, 1n << 56n], [36, 4, entries])).context.field).toMatch(
        /l1_size|^size$/,
      );
      expect((await refused(fresh(), [24, 8, 1n << 40n], [36, 4, 1n])).context.field).toMatch(
        /l1_size|^size$/,
      );
    },
  );

  it('CVE-2015-8504 and kin: what an image says is not allocated before it is checked', async () => {
    // 32 MiB of L1 table, 8 MiB of refcount table, snapshots and bitmaps in a file of 20 KiB.
    expect((await refused(fresh(), [36, 4, 0x40_0000n])).context.field).toBe('l1_size');
    expect((await refused(fresh(), [56, 4, 2048n])).context.field).toBe('refcount_table_clusters');
    const clustered = fresh(512);
    expect((await refused(clustered, [36, 4, 0x40_0000n])).context.field).toBe('l1_size');
  });

  it('a compressed cluster that would expand without end stops at its size', async () => {
    const file = new MemoryFile(layOut('t', { sizeBytes: 4 * MIB }));
    const node = await openQcow2(file);
    await node.writeCompressed(0, new Uint8Array(65_536).fill(1));
    const { image } = node;
    await node.flush();
    const l2 = image.l2Offset(image.l1, 0);
    // Names many sectors more than it has.
    file.bytes[l2 + 1] = 0x3f;
    file.bytes[l2] = 0x7f;
    const again = await openQcow2(new MemoryFile(file.bytes, 't', true));
    const back = new Uint8Array(65_536);
    await again.read(0, back).catch((error: unknown) => expect(error).toBeInstanceOf(BlockError));
    await checkImage(again.image);
  });

  it('CVE-2024-4467: data files and backing files that point elsewhere', async () => {
    const secret = join(folder, 'secret');
    writeFileSync(secret, 'secret'.repeat(1000));
    const names = [
      `json:{"driver":"qcow2","file":{"driver":"file","filename":"${secret}"}}`,
      `json:{"data-file.filename":"${secret}"}`,
      `nbd://127.0.0.1/`,
      `fd:3`,
    ];
    for (const name of names) {
      const image = join(folder, 'evil.qcow2');
      const bytes = layOut('t', { sizeBytes: MIB, dataFile: name });
      writeFileSync(image, bytes);
      await expect(openImage(image, { readOnly: true })).rejects.toMatchObject({ code: 'unsupported' });
      const overlay = layOut('t', { sizeBytes: MIB, backingFile: name, backingFormat: 'raw' });
      writeFileSync(join(folder, 'overlay.qcow2'), overlay);
      await expect(openImage(join(folder, 'overlay.qcow2'), { readOnly: true })).rejects.toMatchObject({
        code: 'unsupported',
      });
      // info tells the names and opens neither.
      const lines: string[] = [];
      const out = {
        line: (text: string) => lines.push(text),
        error: () => {},
        write: () => {},
        progress: () => {},
      };
      expect(await runTool(['img', 'info', image], out)).toBe(0);
      expect(lines.join('\n')).toContain(`data file: ${name}`);
      expect(lines.join('\n')).not.toContain('secretsecret');
    }
    // A plain name of another file is what the user may have meant; it must exist, and it is not the image itself.
    const self = join(folder, 'self.qcow2');
    writeFileSync(self, layOut('t', { sizeBytes: MIB, dataFile: self }));
    await expect(openImage(self)).rejects.toMatchObject({
      message: expect.stringContaining('is the image itself'),
    });
    expect(existsSync(secret) && readFileSync(secret, 'utf8').startsWith('secret')).toBe(true);
  });

  it('a chain that leads back into itself is refused', async () => {
    const [a, b] = [join(folder, 'a.qcow2'), join(folder, 'b.qcow2')];
    await createQcow2(a, { sizeBytes: MIB, backingFile: b, backingFormat: 'qcow2' });
    await createQcow2(b, { sizeBytes: MIB, backingFile: a, backingFormat: 'qcow2' });
    await expect(openImage(a, { readOnly: true })).rejects.toMatchObject({ code: 'corrupt' });
  });
});
