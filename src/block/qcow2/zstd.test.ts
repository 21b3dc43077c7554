/** zstd clusters: frames are cut to their length, whatever follows, by both decoders. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasQemuImg, run } from '../../../test/support/qemu-img.ts';
import { openImage } from '../open.ts';
import { expandZstd, zstdFrameBytes } from './zstd.ts';

describe('zstd', () => {
  it('a frame ends where its blocks end', () => {
    // Frame without content size: one raw block of three bytes, the last one.
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x19, 0x00, 0x00, 1, 2, 3]);
    expect(zstdFrameBytes(Buffer.concat([frame, Buffer.alloc(50, 0xff)]))).toBe(frame.length);
    for (let bytes = 0; bytes < frame.length; bytes++) {
      expect(zstdFrameBytes(frame.subarray(0, bytes))).toBeUndefined();
    }
    expect(zstdFrameBytes(Buffer.alloc(100))).toBeUndefined();
  });

  it('what follows a frame is somebody else’s', async () => {
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x19, 0x00, 0x00, 1, 2, 3]);
    const data = await expandZstd(Buffer.concat([frame, frame, Buffer.alloc(9, 7)]), 3);
    expect([...data]).toEqual([1, 2, 3]);
    await expect(expandZstd(Buffer.alloc(64, 5), 512)).rejects.toThrow();
  });

  it.skipIf(!hasQemuImg)('reads what qemu-img compressed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-zstd-'));
    try {
      const [raw, image] = [join(folder, 'raw'), join(folder, 'image.qcow2')];
      // Text that compresses into clusters of all lengths.
      spawnSync('sh', [
        '-c',
        `for i in $(seq 1 4000); do echo "$i $((i * i * 7919)) line"; done > ${raw}; truncate -s 1M ${raw}`,
      ]);
      const options = 'compression_type=zstd,cluster_size=4k';
      run('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, raw, image);
      const [ours, theirs] = [new Uint8Array(1 << 20), new Uint8Array(1 << 20)];
      for (const [name, target] of [
        [image, ours],
        [raw, theirs],
      ] as const) {
        const node = await openImage(name, { readOnly: true });
        await node.read(0, target);
        await node.close();
      }
      expect(Buffer.compare(ours, theirs)).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
