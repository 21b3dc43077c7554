/** QEMU loads a snapshot whose VM state and disk went through our writer. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { requireProgram } from '../support/programs.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';

const hasQemu = requireProgram('qemu-system-i386');
const MACHINE = ['-M', 'pc', '-m', '16', '-nodefaults', '-display', 'none', '-S', '-monitor', 'stdio'];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-loadvm-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function monitor(image: string, commands: string, ...more: string[]): string {
  const drive = ['-drive', `file=${image},format=qcow2,if=ide`];
  const result = spawnSync('qemu-system-i386', [...MACHINE, ...drive, ...more], {
    input: `${commands}\nquit\n`,
    encoding: 'utf8',
    timeout: 30_000,
  });
  return result.stdout + result.stderr;
}

describe.skipIf(!hasQemuImg || !hasQemu)('VM state by us, loaded by QEMU', () => {
  it('copied and shared clusters', async () => {
    const image = join(folder, 'vm.qcow2');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '600M');
    run('qemu-io', '-c', 'write -P 5 0 1M', image);
    monitor(image, 'savevm theirs');
    const node = (await openImage(image)) as Qcow2;
    const theirs = node.listSnapshots()[0]!;
    expect(theirs).toMatchObject({ tag: 'theirs' });
    await node.write(0, new Uint8Array(1000).fill(6));
    const copy = await node.createVmState();
    const clusters = Math.ceil(theirs.vmStateBytes / copy.clusterBytes);
    const state = new Uint8Array(clusters * copy.clusterBytes);
    await node.readVmState('theirs', 0, state.subarray(0, theirs.vmStateBytes));
    await copy.writeClusters(0, state);
    await copy.commit({ ...theirs, tag: 'copied' });
    const share = await node.createVmState();
    for (let i = 0; i < clusters; i++) await share.shareCluster(i, i % 2 === 0 ? 'theirs' : 'copied', i);
    await share.commit({ ...theirs, tag: 'shared' });
    await node.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    for (const tag of ['copied', 'shared']) {
      const told = monitor(image, 'info status\nsavevm again\ndelvm theirs', '-loadvm', tag);
      expect(told).toContain('VM status: paused');
      expect(told).not.toMatch(/error|could not|fail/i);
      expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    }
    run('qemu-io', '-c', 'read -P 6 0 1000', '-c', 'read -P 5 1000 100000', image);
    const again = (await openImage(image)) as Qcow2;
    expect(
      again
        .listSnapshots()
        .map((s) => s.tag)
        .sort(),
    ).toEqual(['again', 'copied', 'shared']);
    await again.deleteSnapshot('again');
    const back = new Uint8Array(state.length);
    await again.readVmState('shared', 0, back.subarray(0, theirs.vmStateBytes));
    expect(Buffer.from(back).equals(state)).toBe(true);
    await again.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
