/**
 * Counts what refers to each cluster of an image: header, L1, L2, refcount and snapshot tables, bitmaps. Looks at nothing
 * but the tables, never at the counts on disk.
 */
import { BlockError } from '../errors.ts';
import { entryOffset } from './be64.ts';
import { forEachBitmapRange } from './bitmaps.ts';
import type { Qcow2Image } from './image.ts';
import { COMPRESSED, forEachReference, hostOffset, isCopied, kindOf, unitMasks } from './references.ts';
import { ReferenceCounts } from './reference-counts.ts';
import { readSnapshotL1 } from './snapshots.ts';

/** How the active disk lies in the file, as `qemu-img check` tells it. */
export interface Layout {
  allocated: number;
  /** Clusters that do not follow the one before; compressed ones are. */
  fragmented: number;
  compressed: number;
}

export interface References {
  /** References by cluster number. */
  readonly counts: ReferenceCounts;
  readonly errors: readonly BlockError[];
  readonly layout: Layout;
}

/** Counts what refers to each cluster, without looking at the counts on disk. Nothing may be dirty. */
export async function countReferences(image: Qcow2Image): Promise<References> {
  const { clusterSize, header } = image;
  const counts = new ReferenceCounts();
  const errors: BlockError[] = [];
  const layout: Layout = { allocated: 0, fragmented: 0, compressed: 0 };
  // A table that is entered a million times must not take a million times as long.
  const clusters = Math.ceil(image.fileEnd / clusterSize) + 1;
  const limit = (image.snapshots.length + 1) * clusters * Math.max(2, clusterSize / 512);
  let references = 0;
  const add = (cluster: number): void => {
    if (++references > limit) {
      image.corrupt(
        'more references than the file can hold',
        'check',
        'references',
        0,
        references,
        `${limit}`,
      );
    }
    counts.add(cluster);
  };
  const addRange = (offset: number, bytes: number): void => {
    const count = Math.ceil(bytes / clusterSize);
    for (let i = 0; i < count && references <= limit; i++) add(offset / clusterSize + i);
  };
  const guard = async (task: () => Promise<void> | void): Promise<void> => {
    try {
      await task();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      errors.push(error);
    }
  };
  const addL1 = async (l1: Buffer, entries: number, active: boolean): Promise<void> => {
    for (let i = 0; i < entries && references <= limit; i++) {
      if (entryOffset(l1, i) === 0) continue;
      await guard(async () => {
        const offset = image.l2Offset(l1, i);
        if (offset === 0) return;
        add(offset / clusterSize);
        const table = await image.l2Cache.get(offset);
        checkUnits(image, table, errors);
        forEachReference(image, table, add);
        if (active) addLayout(image, table, layout);
      });
    }
  };
  await guard(() => {
    add(0);
    addRange(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
  });
  for (let index = 0; index < image.refcounts.tableEntries; index++) {
    await guard(() => {
      const offset = image.refcounts.blockOffset(index);
      if (offset !== 0) add(offset / clusterSize);
    });
  }
  await guard(() => {
    addRange(header.l1Offset, header.l1Entries * 8);
    if (header.snapshotCount > 0) addRange(header.snapshotsOffset, image.snapshotTableBytes);
  });
  await addL1(image.l1, header.l1Entries, true);
  for (const snapshot of image.snapshots) {
    await guard(() => addRange(snapshot.l1Offset, snapshot.l1Entries * 8));
    await addL1(await readSnapshotL1(image, snapshot), snapshot.l1Entries, false);
  }
  await guard(() => forEachBitmapRange(image, addRange));
  return { counts, errors, layout };
}

/** Subcluster bits that contradict each other. */
function checkUnits(image: Qcow2Image, table: Buffer, errors: BlockError[]): void {
  if (image.unitsPerCluster === 1) return;
  for (let entry = 0; entry < image.l2Entries; entry++) {
    if (kindOf(image, table, entry) === COMPRESSED) continue;
    const { data, zero } = unitMasks(image, table, entry);
    const homeless = data !== 0 && !image.hasDataFile && hostOffset(image, table, entry) === 0;
    if ((data & zero) === 0 && !homeless) continue;
    errors.push(
      new BlockError('corrupt', `'${image.filename}': invalid subcluster allocation bitmap`, {
        file: image.filename,
        section: 'L2 table',
        field: `entry ${entry}`,
        found: `0x${zero.toString(16)}_${data.toString(16).padStart(8, '0')}`,
        expected: homeless ? 'a host cluster' : 'no subcluster both allocated and zero',
      }),
    );
  }
}

function addLayout(image: Qcow2Image, table: Buffer, layout: Layout): void {
  let next = 0;
  for (let entry = 0; entry < image.l2Entries; entry++) {
    if (kindOf(image, table, entry) === COMPRESSED) {
      layout.compressed++;
      layout.allocated++;
      layout.fragmented++;
      continue;
    }
    const host = hostOffset(image, table, entry);
    // In a data file a cluster may well lie at its start.
    if (host === 0 && !(image.hasDataFile && isCopied(image, table, entry))) continue;
    layout.allocated++;
    if (next !== 0 && host !== next) layout.fragmented++;
    next = host + image.clusterSize;
  }
}
