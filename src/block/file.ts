/**
 * The file below an image: positioned reads and writes, with QEMU's words in its errors. Tests put a recording or a
 * failing file in its place. Not here: io_uring, block devices' geometry.
 *
 * Large requests with aligned memory (aligned-memory.ts: VM state, tables by the MiB) bypass the page cache in every cache
 * mode: writes are flushed at once anyway, and gigabytes of them would only push out what the host needs. With cache=none
 * and directsync large guest requests do so too, by way of aligned memory. What is small or unaligned (metadata) goes by
 * the page cache; Linux keeps both coherent.
 */
import { readSync } from 'node:fs';
import { constants, type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { DIRECT_ALIGNMENT, giveAligned, isAligned, takeAligned } from './aligned-memory.ts';
import { AtOnce } from './at-once.ts';
import { BlockError } from './errors.ts';
import { hostError } from './host-error.ts';
import { deviceNumbers, type ImageLock, lockImage, lockImages } from './lock.ts';
import { readAt, writeAt, writePartsAt } from './positioned.ts';

export interface BlockFile {
  readonly filename: string;
  readonly readOnly: boolean;
  /** Length in bytes. */
  size(): Promise<number>;
  /** Fills `target`; what lies beyond the end of the file reads as zero. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** The same at once, where the caller cannot wait. */
  readSync?(offset: number, target: Uint8Array): void;
  write(offset: number, source: Uint8Array): Promise<void>;
  /** Writes the parts one after another, in one request. */
  writev(offset: number, parts: readonly Uint8Array[]): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  /** Everything written before is durable. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * QEMU's cache modes (qemu-img(1), -t). `none`, `directsync`: large requests bypass the page cache; `writethrough`,
 * `directsync`: every write is durable when it completes; `unsafe`: flushes do nothing.
 */
export type CacheMode = 'writeback' | 'none' | 'writethrough' | 'directsync' | 'unsafe';

export interface OpenFileOptions {
  readonly readOnly: boolean;
  /** Default writeback. */
  readonly cache?: CacheMode;
  /** Told when the page cache cannot be bypassed although `cache` says so. */
  readonly warn?: (message: string) => void;
  /** Default true. */
  readonly lock?: boolean;
  /** Other writers are no danger (a backing file that nobody should write, opened with `force-share`). */
  readonly forceShare?: boolean;
  /** The lock of a file that is only read is taken later, with those of others, by {@link LockQueue.lock}. */
  readonly lockQueue?: LockQueue;
}

/** Images of a chain that are locked together once all are open: each by itself costs the start of a program. */
export class LockQueue {
  #waiting: { handle: FileHandle; filename: string; changed: number }[] = [];

  async add(handle: FileHandle, filename: string): Promise<void> {
    this.#waiting.push({ handle, filename, changed: (await handle.stat()).mtimeMs });
  }

  /** Locks them, and looks whether anybody wrote to one that was read before. */
  async lock(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let first = 0; first < waiting.length; first += LOCKED_AT_ONCE) {
      const some = waiting.slice(first, first + LOCKED_AT_ONCE);
      await lockImages(some, { write: false, forceShare: false });
    }
    const now = await Promise.all(waiting.map(({ handle }) => handle.stat()));
    const other = waiting.find(({ changed }, i) => now[i]!.mtimeMs !== changed);
    if (other === undefined) return;
    throw new BlockError('in-use', `'${other.filename}' was changed while it was being opened`, {
      file: other.filename,
    });
  }
}

/** Descriptors that one program inherits. */
const LOCKED_AT_ONCE = 128;

/** The most buffers that one pwritev takes (IOV_MAX of Linux). */
const MAX_IOVECS = 1024;
/** One pread or pwrite moves at most this much (Linux stops at 0x7ffff000). */
const MAX_TRANSFER = 0x4000_0000;
/** Shorter requests are as quick by the page cache. */
const MIN_DIRECT_BYTES = 64 * 1024;
/** Shorter reads may well be there, unless the user wants the page cache left out. */
const MIN_DIRECT_READ = 512 * 1024;
/** Memory that a guest's request goes through with cache=none. */
const BOUNCE_BYTES = 1 << 20;

export async function openFile(filename: string, options: OpenFileOptions): Promise<BlockFile> {
  const what = `Could not open '${filename}'`;
  let handle: FileHandle;
  try {
    if ((await stat(filename)).isDirectory()) {
      throw Object.assign(new Error('directory'), { code: 'EISDIR' });
    }
    const sync = options.cache === 'writethrough' || options.cache === 'directsync' ? O_DSYNC : 0;
    handle = await open(filename, sync | (options.readOnly ? constants.O_RDONLY : constants.O_RDWR));
  } catch (error) {
    throw hostError(what, filename, error);
  }
  try {
    const isLater = options.lockQueue !== undefined && options.readOnly && options.forceShare !== true;
    if (isLater && options.lock !== false) await options.lockQueue!.add(handle, filename);
    const lock =
      isLater || options.lock === false
        ? undefined
        : await lockImage(handle, filename, {
            write: !options.readOnly,
            forceShare: options.forceShare === true,
          });
    const file = new HostFile(filename, options.readOnly, handle, lock, options.cache);
    if (file.bypasses && !(await file.canBypass())) {
      options.warn?.(
        `'${filename}': the file system does not support O_DIRECT; cache=${options.cache} goes by the page cache`,
      );
    }
    return file;
  } catch (error) {
    await handle.close();
    throw hostError(what, filename, error);
  }
}

/** A new file of length 0; an existing one is locked, then emptied. */
export async function createFile(filename: string, withLock = true): Promise<BlockFile> {
  let handle: FileHandle;
  try {
    handle = await open(filename, constants.O_RDWR | constants.O_CREAT, 0o644);
  } catch (error) {
    throw hostError(`Could not create '${filename}'`, filename, error);
  }
  try {
    const lock = await lockImage(handle, filename, { write: true, forceShare: !withLock });
    await handle.truncate(0);
    return new HostFile(filename, false, handle, lock);
  } catch (error) {
    await handle.close();
    throw hostError(`Could not create '${filename}'`, filename, error);
  }
}

/** Undefined where the system has no such flag. */
const O_DSYNC = (constants as { O_DSYNC?: number }).O_DSYNC ?? 0;
const O_DIRECT = (constants as { O_DIRECT?: number }).O_DIRECT ?? 0;

/** Of all files: they have one event loop. */
const AT_ONCE = new AtOnce();

class HostFile implements BlockFile {
  readonly filename: string;
  readonly readOnly: boolean;
  /** The user wants the page cache left out. */
  readonly bypasses: boolean;
  readonly #handle: FileHandle;
  readonly #fd: number;
  readonly #lock: ImageLock | undefined;
  readonly #cache: CacheMode;
  /** The same file opened with O_DIRECT, once it is needed; undefined in it: that cannot be. */
  #direct: Promise<FileHandle | undefined> | undefined;
  #closed = false;
  /** Reads and writes on their way. */
  #inFlight = 0;
  #drained: (() => void) | undefined;

  constructor(
    filename: string,
    readOnly: boolean,
    handle: FileHandle,
    lock: ImageLock | undefined,
    cache: CacheMode = 'writeback',
  ) {
    this.filename = filename;
    this.readOnly = readOnly;
    this.bypasses = cache === 'none' || cache === 'directsync';
    this.#handle = handle;
    this.#fd = handle.fd;
    this.#lock = lock;
    this.#cache = cache;
  }

  /** Whether the page cache can be left out here. */
  async canBypass(): Promise<boolean> {
    return (await this.#directHandle()) !== undefined;
  }

  #directHandle(): Promise<FileHandle | undefined> {
    this.#direct ??= openDirect(this.#handle, this.readOnly, this.#cache === 'directsync' ? O_DSYNC : 0);
    return this.#direct;
  }

  /** The handle with O_DIRECT, where memory, place and length allow it and it is worth it. */
  #directFor(
    offset: number,
    memory: Uint8Array,
    minBytes = MIN_DIRECT_BYTES,
  ): Promise<FileHandle | undefined> | undefined {
    const { length } = memory;
    if (length < minBytes || length > MAX_TRANSFER || this.#cache === 'unsafe') return undefined;
    return offset % DIRECT_ALIGNMENT === 0 && isAligned(memory) ? this.#directHandle() : undefined;
  }

  /** Whether a request is to go through aligned memory, to leave out the page cache. */
  #bounces(offset: number, memory: Uint8Array): boolean {
    const { length } = memory;
    if (!this.bypasses || length < MIN_DIRECT_BYTES) return false;
    return offset % DIRECT_ALIGNMENT === 0 && length % DIRECT_ALIGNMENT === 0 && !isAligned(memory);
  }

  async size(): Promise<number> {
    try {
      const stats = await this.#handle.stat();
      if (stats.isBlockDevice()) return await deviceBytes(stats.rdev);
      return stats.size;
    } catch (error) {
      throw hostError(`Could not get the size of '${this.filename}'`, this.filename, error);
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#assertOpen();
    if (!this.bypasses && AT_ONCE.may(target.length)) {
      AT_ONCE.do(() => this.readSync(offset, target));
      return;
    }
    this.#inFlight++;
    try {
      if (this.#bounces(offset, target)) await this.#readBounced(offset, target);
      else await this.#read(offset, target);
    } finally {
      this.#leave();
    }
  }

  /** Nobody gets our descriptor's number while a request still means us. */
  #leave(): void {
    if (--this.#inFlight === 0) this.#drained?.();
  }

  async #read(offset: number, target: Uint8Array): Promise<void> {
    let done = 0;
    try {
      const direct = await this.#directFor(
        offset,
        target,
        this.bypasses ? MIN_DIRECT_BYTES : MIN_DIRECT_READ,
      );
      if (direct !== undefined) {
        // What a short read leaves is at the end of the file, or unaligned.
        done = await readAt(direct.fd, target, 0, target.length, offset).catch(notAligned);
      }
      while (done < target.length) {
        const want = Math.min(target.length - done, MAX_TRANSFER);
        const bytes = await readAt(this.#fd, target, done, want, offset + done);
        if (bytes === 0) break;
        done += bytes;
      }
    } catch (error) {
      throw hostError(`Could not read '${this.filename}'`, this.filename, error, offset + done);
    }
    if (done < target.length) target.fill(0, done);
  }

  readSync(offset: number, target: Uint8Array): void {
    this.#assertOpen();
    let done = 0;
    try {
      while (done < target.length) {
        const bytes = readSync(this.#fd, target, done, target.length - done, offset + done);
        if (bytes === 0) break;
        done += bytes;
      }
    } catch (error) {
      throw hostError(`Could not read '${this.filename}'`, this.filename, error, offset + done);
    }
    if (done < target.length) target.fill(0, done);
  }

  async #readBounced(offset: number, target: Uint8Array): Promise<void> {
    const bounce = takeAligned(Math.min(target.length, BOUNCE_BYTES));
    try {
      for (let done = 0; done < target.length; done += bounce.length) {
        const part = bounce.subarray(0, target.length - done);
        await this.#read(offset + done, part);
        target.set(part, done);
      }
    } finally {
      giveAligned(bounce);
    }
  }

  async #writeBounced(offset: number, source: Uint8Array): Promise<void> {
    const bounce = takeAligned(Math.min(source.length, BOUNCE_BYTES));
    try {
      for (let done = 0; done < source.length; done += bounce.length) {
        const part = bounce.subarray(0, source.length - done);
        part.set(source.subarray(done, done + part.length));
        await this.#write(offset + done, part);
      }
    } finally {
      giveAligned(bounce);
    }
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.#assertOpen();
    this.#inFlight++;
    try {
      if (this.#bounces(offset, source)) await this.#writeBounced(offset, source);
      else await this.#write(offset, source);
    } finally {
      this.#leave();
    }
  }

  async #write(offset: number, source: Uint8Array): Promise<void> {
    let done = 0;
    try {
      const direct = await this.#directFor(offset, source);
      if (direct !== undefined) {
        done = await writeAt(direct.fd, source, 0, source.length, offset).catch(notAligned);
      }
      while (done < source.length) {
        const want = Math.min(source.length - done, MAX_TRANSFER);
        done += await writeAt(this.#fd, source, done, want, offset + done);
      }
    } catch (error) {
      throw hostError(`Could not write '${this.filename}'`, this.filename, error, offset + done);
    }
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.#assertOpen();
    this.#inFlight++;
    try {
      await this.#writeParts(offset, parts);
    } finally {
      this.#leave();
    }
  }

  async #writeParts(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (let first = 0; first < parts.length; first += MAX_IOVECS) {
      const batch = parts.slice(first, first + MAX_IOVECS);
      let total = 0;
      for (const part of batch) total += part.length;
      let written = 0;
      try {
        if (total <= MAX_TRANSFER) written = await writePartsAt(this.#fd, batch, at);
      } catch (error) {
        throw hostError(`Could not write '${this.filename}'`, this.filename, error, at);
      }
      if (written < total) await this.#writeRest(at, batch, written);
      at += total;
    }
  }

  /** After a short pwritev: what is left, part by part. */
  async #writeRest(offset: number, parts: readonly Uint8Array[], written: number): Promise<void> {
    let start = 0;
    for (const part of parts) {
      const skip = Math.max(0, Math.min(part.length, written - start));
      if (skip < part.length) await this.#write(offset + start + skip, part.subarray(skip));
      start += part.length;
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#assertOpen();
    try {
      await this.#handle.truncate(sizeBytes);
    } catch (error) {
      throw hostError(`Could not resize '${this.filename}'`, this.filename, error);
    }
  }

  async flush(): Promise<void> {
    this.#assertOpen();
    if (this.readOnly || this.#cache === 'unsafe') return;
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw hostError(`Could not flush '${this.filename}'`, this.filename, error);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    await (await this.#direct)?.close();
    await this.#lock?.release();
    await this.#handle.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new BlockError('closed', `'${this.filename}' is closed`, { file: this.filename });
  }
}

/**
 * The same open file, opened once more with O_DIRECT: by its descriptor, since a name may mean another file by now.
 * Undefined where the file system refuses, or where there is no such thing.
 */
async function openDirect(
  handle: FileHandle,
  readOnly: boolean,
  flags: number,
): Promise<FileHandle | undefined> {
  if (O_DIRECT === 0) return undefined;
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  try {
    return await open(`/proc/self/fd/${handle.fd}`, access | O_DIRECT | flags);
  } catch {
    return undefined;
  }
}

/** A device that wants more than we align to: nothing was transferred, the ordinary way will do. */
function notAligned(error: unknown): number {
  if ((error as { code?: unknown } | null)?.code === 'EINVAL') return 0;
  throw error;
}

/** fstat gives 0 for a block device; Linux tells its length in sectors of 512 bytes. */
async function deviceBytes(rdev: number): Promise<number> {
  const { major, minor } = deviceNumbers(rdev);
  return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'latin1')) * 512;
}
