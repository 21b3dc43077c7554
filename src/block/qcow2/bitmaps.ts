/**
 * Persistent dirty bitmaps: found, counted by checks, and marked as in use (that is, not to be trusted) before the disk
 * first changes. Their contents are not kept up to date. Source: qcow2 specification, "Bitmaps".
 */
import { entryOffset, readU64 } from './be64.ts';
import { AUTOCLEAR_BITMAPS, EXT_BITMAPS } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAP_TABLE_ENTRIES } from './limits.ts';

const FIXED_BYTES = 24;
const FLAG_IN_USE = 1;
const FLAG_AUTO = 2;

export interface Bitmap {
  readonly name: string;
  /** Bytes of disk that a bit stands for. */
  readonly granularity: number;
  readonly flags: number;
  readonly tableOffset: number;
  readonly tableEntries: number;
  /** Of the directory entry, from the file's start. */
  readonly entryOffset: number;
}

interface Directory {
  readonly offset: number;
  readonly bytes: number;
}

/** Where the directory lies; undefined without bitmaps, or when the image says that they are stale. */
export function bitmapDirectory(image: Qcow2Image): Directory | undefined {
  const { header } = image;
  const extension = header.extensions.find((e) => e.type === EXT_BITMAPS)?.data;
  if (extension === undefined || (header.autoclear & AUTOCLEAR_BITMAPS) === 0) return undefined;
  const bytes = extension.length < FIXED_BYTES ? 0 : readU64(extension, 8);
  const offset = extension.length < FIXED_BYTES ? 0 : readU64(extension, 16);
  if (
    bytes === 0 ||
    bytes > MAX_BITMAP_DIRECTORY_BYTES ||
    offset % image.clusterSize !== 0 ||
    offset >= image.fileEnd
  ) {
    image.corrupt(
      'bitmap directory invalid',
      'bitmaps extension',
      'directory',
      offset,
      bytes,
      'one in the file',
    );
  }
  return { offset, bytes };
}

export async function readBitmaps(image: Qcow2Image): Promise<Bitmap[]> {
  const directory = bitmapDirectory(image);
  if (directory === undefined) return [];
  const bytes = Buffer.alloc(Math.min(directory.bytes, image.fileEnd - directory.offset));
  await image.file.read(directory.offset, bytes);
  const bitmaps: Bitmap[] = [];
  let tableBytes = 0;
  for (let at = 0; at + FIXED_BYTES <= bytes.length; ) {
    const nameBytes = bytes.readUInt16BE(at + 18);
    const nameAt = at + FIXED_BYTES + bytes.readUInt32BE(at + 20);
    const tableOffset = readU64(bytes, at);
    const tableEntries = bytes.readUInt32BE(at + 8);
    // Two bitmaps never share a table: all together fit the file.
    tableBytes += tableEntries * 8;
    if (
      tableBytes > image.fileEnd + image.clusterSize ||
      tableEntries > MAX_BITMAP_TABLE_ENTRIES ||
      tableOffset % image.clusterSize !== 0 ||
      tableOffset >= image.fileEnd ||
      nameAt + nameBytes > bytes.length
    ) {
      image.corrupt(
        'bitmap table invalid',
        'bitmap directory',
        'table',
        directory.offset + at,
        tableEntries,
        'one in the file',
      );
    }
    bitmaps.push({
      name: bytes.toString('utf8', nameAt, nameAt + nameBytes),
      granularity: 2 ** bytes[at + 17]!,
      flags: bytes.readUInt32BE(at + 12),
      tableOffset,
      tableEntries,
      entryOffset: directory.offset + at,
    });
    at += Math.ceil((nameAt + nameBytes - at) / 8) * 8;
  }
  return bitmaps;
}

/** Calls `add` with each range of the file that bitmaps take, directory and tables included. */
export async function forEachBitmapRange(
  image: Qcow2Image,
  add: (offset: number, bytes: number) => void,
): Promise<void> {
  const directory = bitmapDirectory(image);
  if (directory === undefined) return;
  add(directory.offset, directory.bytes);
  for (const { tableEntries, tableOffset } of await readBitmaps(image)) {
    add(tableOffset, tableEntries * 8);
    const table = Buffer.alloc(Math.min(tableEntries * 8, Math.ceil((image.fileEnd - tableOffset) / 8) * 8));
    await image.file.read(tableOffset, table);
    for (let i = 0; i * 8 < table.length; i++) {
      const data = entryOffset(table, i);
      if (data !== 0) add(data, image.clusterSize);
    }
  }
}

/** Bitmaps that should follow every write say from now on that they did not. Durable when it resolves. */
export async function markBitmapsInUse(image: Qcow2Image): Promise<void> {
  if (image.file.readOnly) return;
  let marked = false;
  for (const { entryOffset: at, flags } of await readBitmaps(image)) {
    if ((flags & FLAG_AUTO) === 0 || (flags & FLAG_IN_USE) !== 0) continue;
    const field = Buffer.alloc(4);
    field.writeUInt32BE(flags | FLAG_IN_USE);
    await image.file.write(at + 12, field);
    marked = true;
  }
  if (marked) await image.file.flush();
}
