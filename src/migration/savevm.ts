/**
 * savevm, loadvm, delvm and the list of snapshots over a machine's disks, in QEMU 7.2's order and words
 * (migration/savevm.c, block/snapshot.c). The caller stops the machine and drains its I/O before, and resumes it after.
 */
import {
  type BlockNode,
  type SnapshotInfo,
  type SnapshotMeta,
  type Snapshotting,
  supportsSnapshots,
  type VmStateOptions,
  type VmStateWriter,
} from '../block/block-node.ts';
import { MigrationError } from './errors.ts';
import { type LoadVmStateOptions, type PreparedLoad, prepareLoad } from './load-vmstate.ts';
import type { MigratableMachine } from './machine.ts';
import { type SavedVmState, type SaveVmStateOptions, saveVmState } from './save-vmstate.ts';
import { type CapableDisk, findSet, makeSet, withTag } from './snapshot-set.ts';
import type { VmStateSource } from './stream-input.ts';

/** A disk with its device's name as the monitor prints it (`ide0-hd0`). Empty drives are left out of the list. */
export interface SnapshotDisk {
  readonly device: string;
  readonly node: BlockNode;
}

/** What a snapshot is stamped with. */
export interface SnapshotMoment {
  /** Host time, seconds and nanoseconds since the epoch. */
  readonly dateSec: number;
  readonly dateNsec: number;
  /** Virtual clock in ns. */
  readonly vmClockNs: number;
  /** Instructions executed, -1 without -icount. */
  readonly icount: number;
  /** Kept beside the format's own fields, for example a picture of the screen. */
  readonly extra?: Uint8Array | undefined;
}

/** QEMU's name for a snapshot without a name: `vm-YYYYMMDDhhmmss`, local time. */
export function defaultTag(dateSec: number): string {
  return `vm-${localDigits(dateSec).join('')}`;
}

/** Year, month, day, hour, minute, second of local time, padded. */
export function localDigits(dateSec: number): string[] {
  const d = new Date(dateSec * 1000);
  const parts = [d.getMonth() + 1, d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds()];
  return [String(d.getFullYear()).padStart(4, '0'), ...parts.map((part) => String(part).padStart(2, '0'))];
}

/** The disks that take part: every one that can be written. Refuses those that cannot be snapshotted. */
export function participants(disks: readonly SnapshotDisk[]): CapableDisk[] {
  const capable: CapableDisk[] = [];
  for (const { device, node } of disks) {
    if (node.readOnly) continue;
    if (!supportsSnapshots(node)) {
      throw new MigrationError(
        'no-snapshots',
        `Device '${device}' is writable but does not support snapshots`,
        {
          file: node.filename,
          found: `format ${node.format}`,
          hint: `Convert it: qemu-img convert -O qcow2 '${node.filename}' '${qcow2Name(node.filename)}'`,
        },
      );
    }
    capable.push({ device, node });
  }
  return capable;
}

function qcow2Name(filename: string): string {
  return `${filename.replace(/\.(img|raw|bin|vmdk|vdi|vhdx?)$/i, '')}.qcow2`;
}

export function vmStateDisk(disks: readonly CapableDisk[]): CapableDisk {
  const first = disks[0];
  if (first !== undefined) return first;
  throw new MigrationError('no-snapshots', 'no block device can store vmstate for snapshot', {
    hint: "Attach a writable qcow2 disk: qemu-img create -f qcow2 state.qcow2 1G, then -hda 'state.qcow2'",
  });
}

function find(node: Snapshotting, idOrTag: string): SnapshotInfo | undefined {
  const all = node.listSnapshots();
  return all.find((info) => info.tag === idOrTag) ?? all.find((info) => info.id === idOrTag);
}

/** One snapshot a disk: those that were made together, else, as in QEMU, what has the tag on each. */
function snapshotsOf(disks: readonly CapableDisk[], tag: string): readonly (SnapshotInfo | undefined)[] {
  return findSet(disks, tag) ?? disks.map(({ node }) => find(node, tag));
}

/** Refuses what savevm would refuse, before the machine is stopped. */
export function checkSavevm(disks: readonly SnapshotDisk[]): void {
  vmStateDisk(participants(disks));
}

export interface SavevmResult extends SavedVmState {
  readonly tag: string;
  readonly info: SnapshotInfo;
}

/** The disk that has the VM state, or will. Throws when there is none. */
export function vmStateNode(disks: readonly SnapshotDisk[]): BlockNode & Snapshotting {
  return vmStateDisk(participants(disks)).node;
}

/** Reads and checks a VM state; see {@link prepareLoad}. */
export type PrepareLoad = (node: BlockNode & Snapshotting, info: SnapshotInfo) => Promise<PreparedLoad>;

/** Saves the machine and all writable disks under `tag`, all or nothing: see snapshot-set.ts. */
export async function savevm(
  machine: MigratableMachine,
  disks: readonly SnapshotDisk[],
  moment: SnapshotMoment,
  tag: string = defaultTag(moment.dateSec),
  options: SaveVmStateOptions & VmStateOptions = {},
): Promise<SavevmResult> {
  const capable = participants(disks);
  const main = vmStateDisk(capable);
  const { compress } = options;
  const writer = await onDisk(main, 'Could not open VM state file', () =>
    main.node.createVmState(compress && { compress }),
  );
  try {
    const saved = await saveVmState(machine, writer, options);
    options.signal?.throwIfAborted();
    const info = await commitSnapshot(capable, { tag, ...moment, vmStateBytes: saved.vmStateBytes }, writer);
    return { ...saved, tag, info };
  } catch (error) {
    // The first failure is what the user needs to hear.
    await writer.abort().catch(() => undefined);
    if (options.signal?.aborted)
      throw new MigrationError('cancelled', 'savevm was cancelled', { cause: error });
    throw error;
  }
}

/** Makes the snapshot on all disks, with the VM state that `writer` holds on the first. */
export async function commitSnapshot(
  disks: readonly CapableDisk[],
  meta: SnapshotMeta,
  writer: VmStateWriter,
): Promise<SnapshotInfo> {
  const text = (disk: CapableDisk): string => `Could not create snapshot '${meta.tag}' on '${disk.device}'`;
  const main = vmStateDisk(disks);
  await onDisk(main, text(main), () => writer.seal(meta.vmStateBytes));
  return onDisk(main, text(main), () =>
    makeSet(disks, meta, writer, (disk, action) => onDisk(disk, text(disk), action)),
  );
}

export async function onDisk<T>(disk: CapableDisk, text: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (cause instanceof MigrationError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MigrationError('io', `${text}: ${reason}`, { file: disk.node.filename, cause });
  }
}

/** The VM state of one snapshot as a source to read from. */
export function vmStateSource(node: Snapshotting, info: SnapshotInfo): VmStateSource {
  return {
    sizeBytes: info.vmStateBytes,
    read: (offset, target) => node.readVmState(info.id, offset, target),
  };
}

/** The snapshot that loadvm would load, on the disk that has its VM state. Refuses what loadvm would refuse. */
export function findLoadable(
  disks: readonly SnapshotDisk[],
  tag: string,
): { readonly device: string; readonly node: BlockNode & Snapshotting; readonly info: SnapshotInfo } {
  const capable = participants(disks);
  const found = snapshotsOf(capable, tag);
  const lacking = capable.filter((_, i) => found[i] === undefined);
  if (lacking.length > 0) {
    throw new MigrationError('not-found', `Snapshot '${tag}' does not exist in one or more devices`, {
      expected: `snapshot '${tag}' on every writable disk`,
      found: `none on ${lacking.map(({ device }) => `'${device}'`).join(', ')}`,
    });
  }
  const main = vmStateDisk(capable);
  const info = found[0]!;
  if (info.vmStateBytes === 0) {
    throw new MigrationError(
      'not-found',
      'This is a disk-only snapshot. Revert to it  offline using qemu-img',
      { file: main.node.filename, hint: `qemu-img snapshot -a '${tag}' '${main.node.filename}'` },
    );
  }
  return { device: main.device, node: main.node, info };
}

/**
 * Loads snapshot `tag`: VM state read and checked first, then the disks reverted, then RAM and devices put in place.
 * When the check or the first revert fails, machine and disks are as they were.
 */
export async function loadvm(
  machine: MigratableMachine,
  disks: readonly SnapshotDisk[],
  tag: string,
  how: LoadVmStateOptions | PrepareLoad = {},
): Promise<PreparedLoad & { readonly info: SnapshotInfo }> {
  const { node, info } = findLoadable(disks, tag);
  const prepare =
    typeof how === 'function' ? how : () => prepareLoad(machine, vmStateSource(node, info), how);
  const prepared = await prepare(node, info).catch((error: unknown) => {
    throw error instanceof MigrationError ? error.within({ file: node.filename }) : error;
  });
  try {
    await revertDisks(participants(disks), tag);
  } catch (error) {
    prepared.undo();
    throw error;
  }
  prepared.commit();
  return { ...prepared, info };
}

/** Name of the snapshot that several disks are given for a moment, to go back to when one of them fails to revert. */
const UNDO_TAG = 'ambervm-undo-loadvm';

async function revertDisks(disks: readonly CapableDisk[], tag: string): Promise<void> {
  const apply = (disk: CapableDisk, name: string) =>
    onDisk(disk, `Could not load snapshot '${tag}' on '${disk.device}'`, () => disk.node.applySnapshot(name));
  const ids = new Map(snapshotsOf(disks, tag).map((info, i) => [disks[i]!, info!.id]));
  const idOf = (disk: CapableDisk) => ids.get(disk)!;
  if (disks.length === 1) return apply(disks[0]!, idOf(disks[0]!));
  const marked: CapableDisk[] = [];
  try {
    for (const disk of disks) {
      await onDisk(disk, `Could not prepare '${disk.device}' for loadvm`, () =>
        disk.node.createSnapshot(undoMeta()),
      );
      marked.push(disk);
    }
    for (const disk of disks) await apply(disk, idOf(disk));
  } catch (error) {
    for (const { node } of marked) await node.applySnapshot(UNDO_TAG).catch(() => undefined);
    throw error;
  } finally {
    for (const { node } of marked) await node.deleteSnapshot(UNDO_TAG).catch(() => undefined);
  }
}

function undoMeta(): SnapshotMeta {
  return { tag: UNDO_TAG, dateSec: 0, dateNsec: 0, vmClockNs: 0, icount: -1, vmStateBytes: 0 };
}

/** Deletes `tag` on every writable disk that has it; says whether there was one. */
export async function delvm(disks: readonly SnapshotDisk[], tag: string): Promise<boolean> {
  let found = false;
  for (const disk of participants(disks)) {
    const byTag = withTag(disk.node, tag);
    const byId = find(disk.node, tag);
    for (const { id } of byTag.length > 0 || byId === undefined ? byTag : [byId]) {
      found = true;
      await onDisk(disk, `Could not delete snapshot '${tag}' on '${disk.device}'`, () =>
        disk.node.deleteSnapshot(id),
      );
    }
  }
  return found;
}

/** Snapshots that every writable disk has, and those that only some have, by device. */
export interface SnapshotLists {
  readonly everywhere: readonly SnapshotInfo[];
  readonly partial: readonly { readonly device: string; readonly snapshots: readonly SnapshotInfo[] }[];
}

export function listSnapshots(disks: readonly SnapshotDisk[]): SnapshotLists {
  const writable: CapableDisk[] = [];
  const capable: CapableDisk[] = [];
  for (const { device, node } of disks) {
    if (!supportsSnapshots(node)) continue;
    capable.push({ device, node });
    if (!node.readOnly) writable.push({ device, node });
  }
  const main = vmStateDisk(writable);
  const everywhere = main.node
    .listSnapshots()
    .filter(({ tag }) => writable.every(({ node }) => find(node, tag)));
  const partial = capable.map(({ device, node }) => ({
    device,
    snapshots: node.listSnapshots().filter(({ tag }) => !everywhere.some((info) => info.tag === tag)),
  }));
  return { everywhere, partial: partial.filter(({ snapshots }) => snapshots.length > 0) };
}
