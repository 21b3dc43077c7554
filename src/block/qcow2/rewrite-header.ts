/**
 * Another backing file: extensions and names behind the header's fixed part are laid out anew, unknown ones kept byte for
 * byte. The fixed part names the new place last, in the same write: the area is at most a cluster, as QEMU writes it.
 */
import { BlockError } from '../errors.ts';
import { writeU64 } from './be64.ts';
import { EXT_BACKING_FORMAT, type HeaderExtension, type Qcow2Header } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_BACKING_NAME_BYTES } from './limits.ts';
import { exclusively } from './snapshots.ts';

export interface BackingName {
  /** Undefined: none. */
  readonly file: string | undefined;
  readonly format: string | undefined;
}

export function changeBackingFile(image: Qcow2Image, { file, format }: BackingName): Promise<void> {
  return exclusively(image, async () => {
    const { clusterSize, header } = image;
    if (file !== undefined && image.isRawData) {
      throw new BlockError(
        'unsupported',
        `Could not change the backing file to '${file}': Invalid argument`,
        {
          file: image.filename,
          section: 'header',
          field: 'backing_file',
          found: file,
          expected: 'none: the data file alone is the disk',
        },
      );
    }
    const name = Buffer.from(file ?? '', 'utf8');
    const kept = header.extensions.filter(({ type }) => type !== EXT_BACKING_FORMAT);
    const extensions: HeaderExtension[] =
      file === undefined || format === undefined
        ? kept
        : [{ type: EXT_BACKING_FORMAT, data: Buffer.from(format, 'utf8') }, ...kept];
    const area = layOut(image.headerBytes.subarray(0, header.headerBytes), extensions, name);
    if (name.length > MAX_BACKING_NAME_BYTES || area.length > clusterSize) {
      throw new BlockError('limit', `Could not change the backing file to '${file}': name too long`, {
        file: image.filename,
        section: 'header',
        field: 'backing_file_size',
        found: name.length,
        expected: `at most ${Math.min(MAX_BACKING_NAME_BYTES, clusterSize - (area.length - name.length))}`,
      });
    }
    const at = name.length === 0 ? 0 : area.length - name.length;
    writeU64(area, at, 8);
    area.writeUInt32BE(name.length, 16);
    const cluster = Buffer.alloc(
      Math.max(image.headerBytes.length, Math.min(clusterSize, area.length + 512)),
    );
    area.copy(cluster);
    await image.sync();
    try {
      await image.file.write(0, cluster);
      await image.file.flush();
    } catch (error) {
      image.poison(error);
      throw error;
    }
    cluster.copy(image.headerBytes, 0, 0, image.headerBytes.length);
    const changed: Qcow2Header = {
      ...header,
      extensions,
      backingFile: file,
      backingFormat: file === undefined ? undefined : format,
    };
    image.header = changed;
  });
}

/** Fixed part, extensions, end mark, name. */
function layOut(fixed: Buffer, extensions: readonly HeaderExtension[], name: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from(fixed)];
  for (const { data, type } of extensions) {
    const part = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8);
    part.writeUInt32BE(type, 0);
    part.writeUInt32BE(data.length, 4);
    data.copy(part, 8);
    parts.push(part);
  }
  parts.push(Buffer.alloc(8), name);
  return Buffer.concat(parts);
}
