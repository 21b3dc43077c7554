/**
 * Which clusters hold metadata, so that damaged counts or tables cannot make us write data over them. What QEMU guards by
 * default (`overlap-check=cached`): header, refcount table and blocks, active L1 and L2 tables, snapshot table, snapshots'
 * L1 tables.
 */
import { entryOffset } from './be64.ts';
import { INCOMPAT_CORRUPT, patchHeader } from './header.ts';
import type { Qcow2Image } from './image.ts';

export class MetadataClusters {
  readonly #image: Qcow2Image;
  #clusters: Set<number> | undefined;

  constructor(image: Qcow2Image) {
    this.#image = image;
  }

  /** The tables have moved: look again before the next write. */
  invalidate(): void {
    this.#clusters = undefined;
  }

  addL2(offset: number): void {
    this.#clusters?.add(offset / this.#image.clusterSize);
  }

  removeL2(offset: number): void {
    this.#clusters?.delete(offset / this.#image.clusterSize);
  }

  /** Throws BlockError `corrupt`, and marks the image, if one of `count` clusters from host offset `offset` is metadata. */
  async guard(offset: number, count: number): Promise<void> {
    if (this.hits(offset, count)) await this.#refuse(offset);
  }

  hits(offset: number, count: number): boolean {
    const clusters = (this.#clusters ??= this.#collect());
    const first = offset / this.#image.clusterSize;
    for (let i = 0; i < count; i++) {
      if (clusters.has(first + i)) return true;
    }
    return false;
  }

  #collect(): Set<number> {
    const image = this.#image;
    const { header, clusterSize } = image;
    const clusters = new Set<number>([0]);
    const add = (offset: number, bytes: number): void => {
      for (let i = 0; i < Math.ceil(bytes / clusterSize); i++) clusters.add(offset / clusterSize + i);
    };
    add(header.refcountTableOffset, image.refcounts.table.length);
    addEntries(image.refcounts.table, image.refcounts.tableEntries, add, clusterSize);
    add(header.l1Offset, header.l1Entries * 8);
    addEntries(image.l1, header.l1Entries, add, clusterSize);
    if (header.snapshotCount > 0) add(header.snapshotsOffset, image.snapshotTableBytes);
    for (const snapshot of image.snapshots) add(snapshot.l1Offset, snapshot.l1Entries * 8);
    return clusters;
  }

  async #refuse(offset: number): Promise<never> {
    const image = this.#image;
    if (image.header.version === 3) {
      image.header.incompatible |= INCOMPAT_CORRUPT;
      patchHeader(image.headerBytes, image.header);
      await image.file.write(0, image.headerBytes);
    }
    return image.corrupt(
      'Preventing invalid write on metadata; image marked as corrupt',
      'data cluster',
      'host offset',
      offset,
      offset,
      'a cluster that holds no metadata',
    );
  }
}

function addEntries(
  table: Buffer,
  entries: number,
  add: (offset: number, bytes: number) => void,
  clusterSize: number,
): void {
  for (let i = 0; i < entries; i++) {
    const offset = entryOffset(table, i);
    if (offset !== 0) add(offset, clusterSize);
  }
}
