/**
 * Internal snapshots: made, applied, deleted, each in one transaction with the image to itself. L2 tables that the
 * active disk and a snapshot share have the COPIED flag nowhere; where a table has to lose or gain the flag, it is
 * written anew.
 */
import { MAX_SNAPSHOT_EXTRA, type SnapshotInfo, type SnapshotMeta } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import { Turns } from '../turns.ts';
import { entryIsCopied, setCopied, setEntry } from './be64.ts';
import { type Extent, setCompressedEntry } from './compressed.ts';
import { l1EntriesFor } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_L1_BYTES, MAX_SNAPSHOT_NAME_BYTES, MAX_SNAPSHOTS } from './limits.ts';
import { putEntry, WHOLE } from './references.ts';
import { isAllAlone, regainCopied, takeOver, withCopied } from './regain-copied.ts';
import { serializeSnapshots, type Snapshot, vmStateL1Index } from './snapshot-table.ts';
import { inheritTables, type Leaving, shareForActive, shareFrozen, shareTables } from './share-tables.ts';
import { tablesOf } from './table-walk.ts';
import { Transaction } from './transaction.ts';

/** VM state of a snapshot to be. */
export interface VmStateClusters {
  /** Host offsets of its clusters by index, 0 where there is none or it is compressed. */
  readonly offsets: readonly number[];
  /** Where the compressed ones lie, by index. */
  readonly compressed: ReadonlyMap<number, Extent>;
  readonly bytes: number;
}

export function snapshotInfo(snapshot: Snapshot): SnapshotInfo {
  const { id, tag, vmStateBytes, dateSec, dateNsec, vmClockNs, icount, unknownExtra } = snapshot;
  const info = { id, tag, vmStateBytes, dateSec, dateNsec, vmClockNs, icount };
  return unknownExtra.length === 0 ? info : { ...info, extra: unknownExtra };
}

/** By id first, then by tag, as QEMU searches. */
export function findSnapshot(image: Qcow2Image, idOrTag: string): Snapshot {
  const { snapshots } = image;
  const found = snapshots.find((s) => s.id === idOrTag) ?? snapshots.find((s) => s.tag === idOrTag);
  if (found !== undefined) return found;
  throw new BlockError('not-found', `Snapshot '${idOrTag}' does not exist in '${image.filename}'`, {
    file: image.filename,
    section: 'snapshot table',
    found: idOrTag,
  });
}

/** Largest L1 table that is read without letting others have a turn. */
const MAX_L1_NOW_BYTES = 1 << 20;

/** L1 table of a snapshot, padded to whole sectors and to `entries`. */
export async function readSnapshotL1(image: Qcow2Image, snapshot: Snapshot, entries = 0): Promise<Buffer> {
  const bytes = snapshot.l1Entries * 8;
  const l1 = Buffer.alloc(l1Bytes(Math.max(snapshot.l1Entries, entries)));
  if (bytes === 0) return l1;
  const { file } = image;
  // A loadvm waits for it: no turn of the event loop for a few bytes.
  if (bytes <= MAX_L1_NOW_BYTES && file.readSync) file.readSync(snapshot.l1Offset, l1.subarray(0, bytes));
  else await file.read(snapshot.l1Offset, l1.subarray(0, bytes));
  return l1;
}

/** Whole sectors: L1 sectors are written whole. */
export function l1Bytes(entries: number): number {
  return Math.ceil((entries * 8) / 512) * 512;
}

function nextId(snapshots: readonly Snapshot[]): string {
  let max = 0;
  for (const { id } of snapshots) max = Math.max(max, Number.parseInt(id, 10) || 0);
  return String(max + 1);
}

/** Snapshots share clusters by their counts, and a data file has none. */
export function assertCountsClusters(image: Qcow2Image): void {
  if (!image.hasDataFile) return;
  throw new BlockError('unsupported', `'${image.filename}': no snapshots with an external data file`, {
    file: image.filename,
    section: 'header',
    field: 'external data file',
  });
}

function checkMeta(image: Qcow2Image, meta: SnapshotMeta): void {
  assertCountsClusters(image);
  const tagBytes = Buffer.byteLength(meta.tag);
  const limit = (field: string, found: number | string, expected: string): never => {
    throw new BlockError('limit', `'${image.filename}': snapshot ${field} is beyond its limit`, {
      file: image.filename,
      section: 'snapshot table',
      field,
      found,
      expected,
    });
  };
  if (tagBytes === 0 || tagBytes > MAX_SNAPSHOT_NAME_BYTES) {
    limit('tag', tagBytes, `1 to ${MAX_SNAPSHOT_NAME_BYTES} bytes`);
  }
  const extraBytes = meta.extra?.length ?? 0;
  if (extraBytes > MAX_SNAPSHOT_EXTRA) limit('extra data', extraBytes, `at most ${MAX_SNAPSHOT_EXTRA} bytes`);
  if (image.snapshots.length >= MAX_SNAPSHOTS)
    limit('count', image.snapshots.length + 1, `at most ${MAX_SNAPSHOTS}`);
}

/** A change of the list of snapshots, made as a whole. */
export interface SnapshotEdit {
  readonly create?:
    | { readonly meta: SnapshotMeta; readonly vmState?: VmStateClusters | undefined }
    | undefined;
  /** Ids that go; without `create` one at most. */
  readonly remove?: readonly string[] | undefined;
  /** New tags by id. */
  readonly rename?: ReadonlyMap<string, string> | undefined;
}

/** Makes a snapshot of the disk, with `vmState` if given, in place of those of the same tag. */
export function createSnapshot(
  image: Qcow2Image,
  meta: SnapshotMeta,
  vmState?: VmStateClusters,
): Promise<SnapshotInfo> {
  return exclusively(image, async () => {
    const remove = image.snapshots.filter((s) => s.tag === meta.tag).map(({ id }) => id);
    await editSnapshots(image, { create: { meta, vmState }, remove });
    return snapshotInfo(image.snapshots.at(-1)!);
  });
}

/** The same beside those of the same tag, as qemu-img does it. */
export function addSnapshot(image: Qcow2Image, meta: SnapshotMeta): Promise<void> {
  return exclusively(image, async () => {
    await editSnapshots(image, { create: { meta } });
  });
}

/** The image is held by the caller. Gives the transaction, which is through. */
export async function editSnapshots(image: Qcow2Image, edit: SnapshotEdit): Promise<Transaction> {
  const { create, remove = [], rename } = edit;
  const transaction = new Transaction(image);
  const gone = await Promise.all(
    image.snapshots.filter(({ id }) => remove.includes(id)).map((snapshot) => leaving(image, snapshot)),
  );
  const list = image.snapshots
    .filter(({ id }) => !remove.includes(id))
    .map((s) => withTag(s, rename?.get(s.id)));
  if (create !== undefined) {
    checkMeta(image, create.meta);
    const inherited = inheritTables(image, gone);
    list.push(await newSnapshot(image, transaction, create.meta, create.vmState, inherited));
  }
  for (const one of gone) {
    // With a new snapshot the active disk has nothing alone.
    if (create !== undefined) await dropSnapshot(image, transaction, one);
    else await dropLast(image, transaction, one);
  }
  await putSnapshots(transaction, list);
  await transaction.commit();
  return transaction;
}

async function leaving(image: Qcow2Image, snapshot: Snapshot): Promise<Leaving> {
  return { snapshot, l1: await readSnapshotL1(image, snapshot), inherited: new Set() };
}

function withTag(snapshot: Snapshot, tag: string | undefined): Snapshot {
  return tag === undefined ? snapshot : { ...snapshot, tag };
}

async function newSnapshot(
  image: Qcow2Image,
  transaction: Transaction,
  meta: SnapshotMeta,
  vmState: VmStateClusters | undefined,
  inherited: ReadonlySet<number>,
): Promise<Snapshot> {
  const diskEntries = l1EntriesFor(image.header.sizeBytes, image);
  const active = Buffer.alloc(image.l1.length);
  image.l1.copy(active, 0, 0, diskEntries * 8);
  const { frozen } = image;
  let disk: Buffer = active;
  const wanted = (i: number): boolean => !inherited.has(i);
  if (frozen === undefined) await shareTables(image, transaction, active, diskEntries, wanted);
  else disk = await shareFrozen(image, transaction, frozen, active, diskEntries, wanted);
  await dropEntries(image, transaction, image.l1, diskEntries, image.header.l1Entries);
  const turns = new Turns();
  const l2Tables = vmState === undefined ? [] : await buildVmTables(image, vmState, turns);
  const entries = Math.max(diskEntries + l2Tables.length, diskEntries);
  if (entries * 8 > MAX_L1_BYTES) throw tooLarge(image, entries * 8);
  const l1 = Buffer.alloc(l1Bytes(entries));
  disk.copy(l1, 0, 0, diskEntries * 8);
  // Flags of an active L1 table are nothing for a snapshot's.
  for (let i = 0; i < diskEntries; i++) setCopied(l1, i, false);
  for (const [i, table] of l2Tables.entries()) {
    await turns.next();
    await transaction.changeEntries(table, 1);
    setEntry(l1, diskEntries + i, await transaction.writeL2(table), 0, 0);
  }
  const l1Offset = await transaction.allocate(entries * 8);
  if (entries > 0) await transaction.write(l1Offset, l1);
  await transaction.replaceL1(active, image.header.l1Entries);
  return {
    l1Offset,
    l1Entries: entries,
    id: nextId(image.snapshots),
    tag: meta.tag,
    dateSec: meta.dateSec,
    dateNsec: meta.dateNsec,
    vmClockNs: meta.vmClockNs,
    icount: meta.icount,
    vmStateBytes: vmState?.bytes ?? 0,
    diskBytes: image.header.sizeBytes,
    unknownExtra: Buffer.from(meta.extra ?? []),
  };
}

/** Gives a snapshot another VM state; its disk stays as it is. */
export function replaceVmState(
  image: Qcow2Image,
  idOrTag: string,
  vmState: VmStateClusters,
): Promise<SnapshotInfo> {
  return exclusively(image, async () => {
    const snapshot = findSnapshot(image, idOrTag);
    const transaction = new Transaction(image);
    const diskEntries = vmStateL1Index(snapshot, image);
    const tables = await buildVmTables(image, vmState, new Turns());
    const entries = diskEntries + tables.length;
    if (entries * 8 > MAX_L1_BYTES) throw tooLarge(image, entries * 8);
    const old = await readSnapshotL1(image, snapshot, diskEntries);
    const l1 = Buffer.alloc(l1Bytes(entries));
    old.copy(l1, 0, 0, diskEntries * 8);
    for (const [i, table] of tables.entries()) {
      await transaction.changeEntries(table, 1);
      setEntry(l1, diskEntries + i, await transaction.writeL2(table), 0, 0);
    }
    await dropEntries(image, transaction, old, diskEntries, snapshot.l1Entries);
    await transaction.changeRange(snapshot.l1Offset, snapshot.l1Entries * 8, -1);
    // After QEMU's loadvm the active disk names the old VM state as well, now alone.
    await regainCopied(image, transaction, old);
    const l1Offset = await transaction.allocate(entries * 8);
    if (entries > 0) await transaction.write(l1Offset, l1);
    const made = { ...snapshot, l1Offset, l1Entries: entries, vmStateBytes: vmState.bytes };
    await putSnapshots(
      transaction,
      image.snapshots.map((s) => (s === snapshot ? made : s)),
    );
    await transaction.commit();
    return snapshotInfo(made);
  });
}

export function deleteSnapshot(image: Qcow2Image, idOrTag: string): Promise<void> {
  return exclusively(image, async () => {
    await editSnapshots(image, { remove: [findSnapshot(image, idOrTag).id] });
  });
}

/**
 * What the active disk and the snapshot have in common, whole L2 tables that neither has changed since, is left alone:
 * going back to the snapshot one stands on costs what was written since.
 */
export function applySnapshot(image: Qcow2Image, idOrTag: string): Promise<void> {
  return exclusively(image, async () => {
    const snapshot = findSnapshot(image, idOrTag);
    const diskEntries = vmStateL1Index(snapshot, image);
    const source = await readSnapshotL1(image, snapshot, diskEntries);
    const isShared = (i: number): boolean => isSharedTable(image, source, i, diskEntries);
    if (image.header.sizeBytes === snapshot.diskBytes && image.header.l1Entries === diskEntries) {
      let same = true;
      for (let i = 0; i < diskEntries && same; i++) same = isShared(i);
      if (same) return;
    }
    const transaction = new Transaction(image);
    const active = Buffer.alloc(l1Bytes(diskEntries));
    source.copy(active, 0, 0, diskEntries * 8);
    for (let i = 0; i < diskEntries; i++) {
      if (isShared(i)) setEntry(active, i, image.l2Offset(active, i), 0, 0);
    }
    for await (const walked of tablesOf(image, transaction, source, 0, diskEntries, (i) => !isShared(i))) {
      await shareForActive(image, transaction, active, walked);
    }
    await dropEntries(image, transaction, image.l1, 0, image.header.l1Entries, (i) => !isShared(i));
    await transaction.replaceL1(active, diskEntries);
    transaction.header.sizeBytes = snapshot.diskBytes;
    await transaction.commit();
  });
}

/** Whether active disk and snapshot name the same L2 table (or both none), which then nobody has changed. */
function isSharedTable(image: Qcow2Image, source: Buffer, index: number, diskEntries: number): boolean {
  if (index >= diskEntries || index >= image.header.l1Entries) return false;
  if (entryIsCopied(image.l1, index)) return false;
  return image.l2Offset(image.l1, index) === image.l2Offset(source, index);
}

/** The image to itself, nothing dirty, the mutex held. */
export function exclusively<T>(image: Qcow2Image, task: () => Promise<T>): Promise<T> {
  return image.gate.exclusive(() =>
    image.mutex.run(async () => {
      image.assertWritable();
      if (image.frozen !== undefined) throw new Error('a snapshot of this image is being made');
      await image.settle();
      return task();
    }),
  );
}

function tooLarge(image: Qcow2Image, bytes: number): BlockError {
  return new BlockError('limit', `'${image.filename}': L1 table would be too large`, {
    file: image.filename,
    section: 'snapshot L1 table',
    field: 'size',
    found: bytes,
    expected: `at most ${MAX_L1_BYTES}`,
  });
}

/** Tables `from` … `to`-1 of an L1 table lose one reference, and so does all that they name. */
export async function dropEntries(
  image: Qcow2Image,
  transaction: Transaction,
  l1: Buffer,
  from: number,
  to: number,
  wanted?: (index: number) => boolean,
): Promise<void> {
  for await (const { offset, table } of tablesOf(image, transaction, l1, from, to, wanted)) {
    await transaction.changeEntries(table, -1);
    await transaction.change(offset / image.clusterSize, -1);
  }
}

async function dropSnapshot(image: Qcow2Image, transaction: Transaction, one: Leaving): Promise<void> {
  const { inherited, l1, snapshot } = one;
  await dropEntries(image, transaction, l1, 0, snapshot.l1Entries, (i) => !inherited.has(i));
  await transaction.changeRange(snapshot.l1Offset, snapshot.l1Entries * 8, -1);
}

/** The same where no new one is made: what the active disk has alone then is COPIED. */
async function dropLast(
  image: Qcow2Image,
  transaction: Transaction,
  { l1, snapshot }: Leaving,
): Promise<void> {
  const { clusterSize } = image;
  const active = Buffer.from(image.l1);
  const done = new Set<number>();
  for await (const { index, isOwn, offset, table } of tablesOf(
    image,
    transaction,
    l1,
    0,
    snapshot.l1Entries,
  )) {
    await transaction.changeEntries(table, -1);
    await transaction.change(offset / clusterSize, -1);
    if (index >= image.header.l1Entries || image.l2Offset(active, index) !== offset) continue;
    if ((await transaction.refcount(offset / clusterSize)) !== 1) continue;
    const mine = await withCopied(image, transaction, table, isOwn);
    // Counts above 1 may still fall: it is looked at again when all have.
    if (!isAllAlone(image, mine ?? table)) continue;
    await takeOver(transaction, active, index, offset, mine);
    done.add(index);
  }
  await transaction.changeRange(snapshot.l1Offset, snapshot.l1Entries * 8, -1);
  await regainCopied(image, transaction, l1, active, done);
}

function putSnapshots(transaction: Transaction, snapshots: readonly Snapshot[]): Promise<void> {
  return transaction.replaceSnapshots(snapshots, serializeSnapshots(snapshots));
}

/** What {@link putEntry} writes of clusters that are plain or (0) not there. The first savevm of a process waits for it. */
function putPlainEntries(table: Buffer, offsets: readonly number[], first: number, count: number): void {
  const words = new Uint32Array(count * 2);
  for (let entry = 0; entry < count; entry++) {
    const offset = offsets[first + entry]!;
    words[entry * 2] = offset / 0x1_0000_0000;
    words[entry * 2 + 1] = offset;
  }
  const bytes = Buffer.from(words.buffer);
  bytes.swap32().copy(table);
}

/** L2 tables of a VM state. */
async function buildVmTables(image: Qcow2Image, vmState: VmStateClusters, turns: Turns): Promise<Buffer[]> {
  const { l2Entries } = image;
  const { compressed, offsets } = vmState;
  const tables: Buffer[] = [];
  for (let first = 0; first < offsets.length; first += l2Entries) {
    await turns.next();
    const table = Buffer.alloc(image.clusterSize);
    const count = Math.min(l2Entries, offsets.length - first);
    tables.push(table);
    if (compressed.size === 0 && image.unitsPerCluster === 1) {
      putPlainEntries(table, offsets, first, count);
      continue;
    }
    for (let entry = 0; entry < count; entry++) {
      const offset = offsets[first + entry]!;
      const extent = compressed.size === 0 ? undefined : compressed.get(first + entry);
      if (extent !== undefined) setCompressedEntry(image, table, entry, extent);
      else if (offset !== 0) putEntry(image, table, entry, offset, false, WHOLE);
    }
  }
  return tables;
}
