/** `commit` in the monitor: what a guest wrote with -snapshot goes into the image, and qemu-img agrees that it is one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { Hmp } from '../../src/monitor/hmp.ts';
import type { MonitorHost } from '../../src/monitor/command.ts';
import { requireProgram } from '../support/programs.ts';
import { HALT, tinyMachine } from '../support/tiny-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-commit-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(['ide0-hd0', 'all'])('commit %s', async (name) => {
  const file = join(folder, `${name}.qcow2`);
  await createQcow2(file, { sizeBytes: 1 << 20 });
  const node = await openImage(file, { snapshot: true });
  const machine = await tinyMachine(HALT, { disk: node });
  try {
    const hmp = new Hmp({ machine, host: {} as MonitorHost });
    machine.start();
    await node.write(70_000, Buffer.from('kept'));
    expect(await hmp.execute(`commit ${name}`)).toBe('');
    expect(machine.running).toBe(true);
    await node.write(70_000, Buffer.from('lost'));
  } finally {
    await machine.close();
  }
  const image = await openImage(file, { readOnly: true });
  const bytes = Buffer.alloc(4);
  await image.read(70_000, bytes);
  await image.close();
  expect(bytes.toString()).toBe('kept');
  if (requireProgram('qemu-img')) expect(spawnSync('qemu-img', ['check', file]).status).toBe(0);
});
