/** Snapshots made and loaded by the real QEMU, and a reader of their VM state that knows nothing of src/block. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmStateSource } from '../../src/migration/stream-input.ts';

/** The reference machine but for memory and disks. */
export const REFERENCE_ARGS: readonly string[] = [
  ...['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-accel', 'tcg', '-nodefaults'],
  ...['-vga', 'std', '-serial', 'null', '-display', 'none', '-monitor', 'stdio'],
];

/** A folder of its own that goes away with `using`. */
export function temporaryFolder(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'ambervm-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export interface QemuRun {
  readonly args?: readonly string[];
  readonly memoryMiB?: number;
  /** Monitor commands; `quit` follows. */
  readonly commands: readonly string[];
}

/** Runs QEMU on an image, gives it monitor commands, and returns what it said (escapes removed). */
export function runQemu(image: string, { args = REFERENCE_ARGS, memoryMiB = 16, commands }: QemuRun): string {
  const drive = ['-m', String(memoryMiB), '-drive', `file=${image},format=qcow2,if=ide`];
  const input = [...commands, 'quit', ''].join('\n');
  const result = spawnSync('qemu-system-i386', [...args, ...drive], { input, timeout: 60_000 });
  const output = Buffer.concat([result.stdout, result.stderr]).toString('latin1');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the monitor's line editing
  return output.replace(/\x1b\[[A-Z]/g, '');
}

export function qemuImg(...args: string[]): string {
  const result = spawnSync('qemu-img', args, { encoding: 'latin1', timeout: 60_000 });
  if (result.status !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Tag → VM state of every snapshot in a qcow2 image without compressed clusters or external data. */
export function readVmStates(image: string): Map<string, Uint8Array> {
  const file = readFileSync(image);
  const clusterBits = file.readUInt32BE(20);
  const cluster = 1 << clusterBits;
  const diskBytes = Number(file.readBigUInt64BE(24));
  const l2Entries = cluster / 8;
  let at = Number(file.readBigUInt64BE(64));
  const states = new Map<string, Uint8Array>();
  for (let n = file.readUInt32BE(60); n > 0; n--) {
    const l1 = Number(file.readBigUInt64BE(at));
    const [idBytes, tagBytes] = [file.readUInt16BE(at + 12), file.readUInt16BE(at + 14)];
    const extraBytes = file.readUInt32BE(at + 36);
    const size = Number(file.readBigUInt64BE(at + 40));
    const tag = file.toString(
      'latin1',
      at + 40 + extraBytes + idBytes,
      at + 40 + extraBytes + idBytes + tagBytes,
    );
    at += Math.ceil((40 + extraBytes + idBytes + tagBytes) / 8) * 8;
    const first = Math.ceil(diskBytes / (cluster * l2Entries)) * l2Entries;
    const bytes = new Uint8Array(Math.ceil(size / cluster) * cluster);
    for (let i = 0; i * cluster < size; i++) {
      const from = hostOffset(
        file,
        hostOffset(file, l1, Math.floor((first + i) / l2Entries)),
        (first + i) % l2Entries,
      );
      if (from !== 0) bytes.set(file.subarray(from, from + cluster), i * cluster);
    }
    states.set(tag, bytes.subarray(0, size));
  }
  return states;
}

function hostOffset(file: Buffer, table: number, index: number): number {
  return table === 0 ? 0 : Number(file.readBigUInt64BE(table + 8 * index) & 0x00fffffffffffe00n);
}

/** Bytes as a source for a load. */
export function memorySource(bytes: Uint8Array): VmStateSource {
  return {
    sizeBytes: bytes.length,
    read: async (offset, target) => {
      target.set(bytes.subarray(offset, offset + target.length));
    },
  };
}
