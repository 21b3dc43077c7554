/** Streams that the real QEMU 7.2 writes, and ours that it loads. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { requireProgram } from '../../test/support/programs.ts';
import {
  memorySource,
  qemuImg,
  REFERENCE_ARGS,
  readVmStates,
  runQemu,
  temporaryFolder,
} from '../../test/support/qemu-snapshot.ts';
import { openImage } from '../block/open.ts';
import { findSection } from '../../test/support/qemu-sections.ts';
import type { Device } from '../machine/device.ts';
import { describeVmState } from './describe.ts';
import { findDescription } from './device-sections.ts';
import { MigrationError } from './errors.ts';
import { loadVmState, prepareLoad } from './load-vmstate.ts';
import type { MigratableMachine } from './machine.ts';
import type { RamBlock } from './ram-block.ts';
import { loadvm, savevm } from './savevm.ts';
import { buffer, type Schema } from './vmstate.ts';

const MEMORY_MIB = 16;
const MOMENT = { dateSec: 1795247307, dateNsec: 0, vmClockNs: 1_000_000, icount: -1 };

/** A machine with every section of a stream, as raw bytes of the length that the stream's description says. */
function opaqueMachine(stream: Uint8Array, without: readonly string[] = ['kvm-tpr-opt']): MigratableMachine {
  const description = findDescription(stream)!;
  const devices = description.devices
    .filter(({ name }) => !without.includes(name))
    .map((section): Device => {
      const bytes = findSection(stream, section.name, section.instance_id)!.body.length;
      const vmstate: Schema = {
        name: 'opaque',
        version: section.version,
        minimumVersion: section.version,
        fields: { bytes: buffer(bytes) },
      };
      const state = { bytes: new Uint8Array(bytes) };
      return { name: section.name, instance: section.instance_id, vmstate, state, reset: () => undefined };
    });
  return { machineType: 'pc-i440fx-7.2', devices, ramBlocks: listedBlocks(stream) };
}

function listedBlocks(stream: Uint8Array): RamBlock[] {
  const bytes = Buffer.from(stream.buffer, stream.byteOffset, stream.length);
  let at = bytes.indexOf('\x03ram') + 12;
  let left = Number(bytes.readBigUInt64BE(at)) - 4;
  at += 8;
  const blocks: RamBlock[] = [];
  while (left > 0) {
    const name = bytes.toString('latin1', at + 1, at + 1 + bytes[at]!);
    const sizeBytes = Number(bytes.readBigUInt64BE(at + 1 + name.length));
    blocks.push({ name, sizeBytes, bytes: new Uint8Array(sizeBytes) });
    at += 9 + name.length;
    left -= sizeBytes;
  }
  return blocks;
}

describe.skipIf(!requireProgram('qemu-system-i386') || !requireProgram('qemu-img'))('QEMU 7.2', () => {
  let stream: Uint8Array;
  let ram: Uint8Array;
  let output: string;

  beforeAll(() => {
    using folder = temporaryFolder();
    const image = join(folder.path, 'disk.qcow2');
    const dump = join(folder.path, 'ram');
    qemuImg('create', '-q', '-f', 'qcow2', image, '64M');
    // Half of memory differs from zero, from 1 MiB on, page by page.
    const contents = new Uint8Array(8 << 20).map((_, i) => ((i >> 12) & 1 ? (i * 2654435761) >>> 20 : 0));
    writeFileSync(join(folder.path, 'contents'), contents);
    const loader = ['-device', `loader,file=${join(folder.path, 'contents')},addr=0x100000,force-raw=on`];
    const args = [...REFERENCE_ARGS, ...loader];
    const commands = ['stop', 'savevm a', `pmemsave 0 ${MEMORY_MIB << 20} "${dump}"`, 'info snapshots'];
    output = runQemu(image, { args, memoryMiB: MEMORY_MIB, commands });
    stream = readVmStates(image).get('a')!;
    ram = readFileSync(dump);
  });

  it('writes a stream that is read whole: RAM equal, every section framed, nothing left', async () => {
    const machine = opaqueMachine(stream);
    expect(machine.devices.length).toBeGreaterThan(25);
    const { notices, index } = await loadVmState(machine, memorySource(stream), { readBytes: 65536 });
    expect(index).toBeUndefined();
    expect(notices).toEqual(["Section 'kvm-tpr-opt' skipped: this machine has no such device"]);
    const loaded = machine.ramBlocks.find(({ name }) => name === 'pc.ram')!.bytes;
    expect(loaded.length).toBe(MEMORY_MIB << 20);
    expect(loaded.subarray(1 << 20).some((byte) => byte !== 0)).toBe(true);
    // What the CPU sees below 1 MiB is partly ROM and video memory.
    expect(Buffer.compare(loaded.subarray(0, 0xa0000), ram.subarray(0, 0xa0000))).toBe(0);
    expect(Buffer.compare(loaded.subarray(0x100000), ram.subarray(0x100000))).toBe(0);
    const device = (name: string) =>
      machine.devices.find((d) => d.name === name)!.state as { bytes: Uint8Array };
    expect(Buffer.from(device('globalstate').bytes).toString('latin1', 4, 10)).toMatch(/paused|prelau/);
    expect(device('0000:00:01.0/PIIX3').bytes.length).toBe(292);
  });

  it('prints the snapshot table as ours does', async () => {
    const { SNAPSHOT_TABLE_HEADER } = await import('./snapshot-table.ts');
    expect(output.replaceAll('\r', '')).toContain(
      `List of snapshots present on all disks:\n${SNAPSHOT_TABLE_HEADER}\n`,
    );
  });

  it('writes a stream that is described field by field without any schema', async () => {
    const lines = await describeVmState(memorySource(stream));
    expect(lines[0]).toMatch(/^machine pc-i440fx-7\.2, \d+ bytes$/);
    expect(lines.find((line) => line.startsWith('ram pc.bios: '))).toMatch(/pages, \d+ zero records$/);
    expect(lines.find((line) => line.startsWith('  env.cr[0]: uint32 = 0x'))).toBeDefined();
    expect(lines).toContain('  >> fw_cfg/acpi_mr version 1');
    expect(lines.filter((line) => line.startsWith('## '))).toHaveLength(
      findDescription(stream)!.devices.length,
    );
    expect(lines.at(-1)).toBe('no index of ours: RAM as QEMU writes it');
  });

  it('has devices that we lack: an error that lists them and the options that avoid them', async () => {
    const machine = opaqueMachine(stream);
    const devices = machine.devices.filter(({ name }) => !['pcspk', 'port92', 'acpi_build'].includes(name));
    const error = await prepareLoad({ ...machine, devices }, memorySource(stream)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(MigrationError);
    const { message } = error as MigrationError;
    expect(message).toMatch(/^Unknown savevm section or instance 'pcspk' 0\./);
    expect(message).toContain('pcspk 0, port92 0, acpi_build 0');
  });

  it('refuses a machine type that is another, in its own words', async () => {
    const machine = { ...opaqueMachine(stream), machineType: 'pc-i440fx-6.2' };
    await expect(prepareLoad(machine, memorySource(stream))).rejects.toThrow(
      "Machine type received is 'pc-i440fx-7.2' and local is 'pc-i440fx-6.2'\n",
    );
  });

  it('loads what we write, from raw clusters, and RAM is the same', async () => {
    using folder = temporaryFolder();
    const image = join(folder.path, 'disk.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', image, '64M');
    const machine = opaqueMachine(stream);
    await loadVmState(machine, memorySource(stream));
    const node = await openImage(image);
    const first = await savevm(machine, [{ device: 'ide0-hd0', node }], MOMENT, 'ours');
    const parent = { idOrTag: 'ours', index: first.index, isDirty: (group: number) => group === 3 };
    const second = await savevm(machine, [{ device: 'ide0-hd0', node }], MOMENT, 'shared', { parent });
    expect(second.writtenBytes).toBeLessThan(first.writtenBytes);
    await node.close();
    expect(qemuImg('check', image)).toContain('No errors were found');
    for (const tag of ['ours', 'shared']) {
      const dump = join(folder.path, 'ram');
      const args = [...REFERENCE_ARGS, '-loadvm', tag, '-S'];
      const commands = ['info status', `pmemsave 0 ${MEMORY_MIB << 20} "${dump}"`];
      expect(runQemu(image, { args, memoryMiB: MEMORY_MIB, commands })).not.toMatch(/[Ee]rror|rrupt|fail/);
      const loaded = readFileSync(dump);
      expect(Buffer.compare(loaded, ram)).toBe(0);
    }
    // Second generation: what QEMU saves after it loaded ours, over ours.
    runQemu(image, { args: [...REFERENCE_ARGS, '-loadvm', 'ours', '-S'], commands: ['savevm ours'] });
    expect(qemuImg('check', image)).toContain('No errors were found');
    const again = opaqueMachine(stream);
    const reopened = await openImage(image);
    await loadvm(again, [{ device: 'ide0-hd0', node: reopened }], 'ours');
    await reopened.close();
    for (const [i, block] of again.ramBlocks.entries()) {
      expect(Buffer.compare(block.bytes, machine.ramBlocks[i]!.bytes)).toBe(0);
    }
  });

  it('with its default devices saves vmmouse, which is skipped, and hpet, which is refused by option', async () => {
    using folder = temporaryFolder();
    const image = join(folder.path, 'disk.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', image, '64M');
    const args = REFERENCE_ARGS.map((arg) => arg.replace(',hpet=off,vmport=off', ''));
    runQemu(image, { args, commands: ['stop', 'savevm a'] });
    const saved = readVmStates(image).get('a')!;
    const machine = opaqueMachine(saved, ['kvm-tpr-opt', 'vmmouse']);
    const { notices } = await prepareLoad(machine, memorySource(saved));
    expect(notices.map((notice) => notice.slice(0, 21))).toEqual([
      "Section 'kvm-tpr-opt'",
      "Section 'vmmouse' ski",
    ]);
    const ours = opaqueMachine(saved, ['kvm-tpr-opt', 'vmmouse', 'hpet']);
    await expect(prepareLoad(ours, memorySource(saved))).rejects.toThrow('-machine hpet=off\n');
  });
});
