/** An initramfs: cpio archive in "newc" form (Linux Documentation/driver-api/early-userspace/buffer-format.rst), gzipped. */
import { gzipSync } from 'node:zlib';

export interface CpioEntry {
  readonly name: string;
  /** Type and permissions, as st_mode. */
  readonly mode: number;
  readonly data?: Uint8Array;
  /** Major and minor number of a device. */
  readonly device?: readonly [number, number];
}

export const DIRECTORY = 0o40755;
export const PROGRAM = 0o100755;
export const LINK = 0o120777;
export const CHARACTER_DEVICE = 0o20666;

export function initramfs(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  [...entries, { name: 'TRAILER!!!', mode: 0 }].forEach((entry, index) => {
    const name = Buffer.from(`${entry.name}\0`);
    const data = entry.data ?? new Uint8Array(0);
    const [major, minor] = entry.device ?? [0, 0];
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    const fields = [index + 1, entry.mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    parts.push(padded(Buffer.concat([Buffer.from(header), name])), padded(Buffer.from(data)));
  });
  return gzipSync(Buffer.concat(parts), { level: 6 });
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
