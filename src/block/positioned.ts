/**
 * Positioned reads and writes of a descriptor, as promises. Those of Node's FileHandle do the same and cost twice as much of
 * the main thread (some 10 µs a request), which small guest requests and long chains feel. Unlike those they do not keep the
 * descriptor open: its owner waits for them before closing it.
 */
import { read, write, writev } from 'node:fs';

/** Gives the number of bytes read into `target` at `at`. */
export function readAt(
  fd: number,
  target: Uint8Array,
  at: number,
  length: number,
  position: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, target, at, length, position, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}

/** Gives the number of bytes written of `source` from `at` on. */
export function writeAt(
  fd: number,
  source: Uint8Array,
  at: number,
  length: number,
  position: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, source, at, length, position, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}

/** The parts one after another; gives the number of bytes written. */
export function writePartsAt(fd: number, parts: readonly Uint8Array[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, parts, position, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}
