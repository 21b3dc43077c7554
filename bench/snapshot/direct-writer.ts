/** What the disk can do in this run: a file written with O_DIRECT, 1 MiB at a time, one after the other, and synced. */
import { closeSync, constants, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

const CHUNK_BYTES = 1 << 20;

/** Seconds for `bytes` (rounded up to whole chunks); undefined where there is no O_DIRECT. */
export function plainDirectWrite(folder: string, bytes: number): number | undefined {
  const file = join(folder, 'plain.dat');
  // Page-aligned, as O_DIRECT wants it.
  const chunk = new Uint8Array(new WebAssembly.Memory({ initial: CHUNK_BYTES / 65536 }).buffer);
  for (let i = 0; i < chunk.length; i++) chunk[i] = (i * 2654435761) >>> 13;
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_DIRECT);
  } catch {
    return undefined;
  }
  try {
    const begin = performance.now();
    for (let at = 0; at < bytes; at += CHUNK_BYTES) writeSync(fd, chunk, 0, CHUNK_BYTES, at);
    fdatasyncSync(fd);
    return (performance.now() - begin) / 1000;
  } finally {
    closeSync(fd);
    rmSync(file, { force: true });
  }
}
