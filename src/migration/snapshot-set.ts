/**
 * The snapshots of one tag on several disks, made together and found together.
 *
 * Where no disk has the tag, the disk with the VM state comes last: a tag is loadable only when every disk has it. Where
 * one has, the old set stays until the new one is durable everywhere, and at no moment can a program that looks for the tag
 * on each disk (QEMU) find the old snapshot on one and the new one on another:
 *
 *     1  other disks      old "tag", then new "tag" behind it: the first is found, the old set
 *     2  disk of VM state old "tag~old", new "tag~new": nothing is found
 *     3  other disks      the old ones go
 *     4  disk of VM state new "tag", the old one goes: the new set
 *
 * Each step is one write of a header. If one fails, all disks go back to what they were; if the process dies, what
 * {@link findSet} finds is whole: snapshots of a set have the same stamps.
 */
import type {
  BlockNode,
  HeldDisk,
  SnapshotInfo,
  SnapshotMeta,
  Snapshotting,
  VmStateWriter,
} from '../block/block-node.ts';

export interface CapableDisk {
  readonly device: string;
  readonly node: BlockNode & Snapshotting;
}

/** Longest tag in a qcow2 image, bytes. */
const MAX_TAG_BYTES = 255;
const OLD = '~old';
const NEW = '~new';

function marked(tag: string, mark: string): string {
  let start = tag;
  while (new TextEncoder().encode(start).length + mark.length > MAX_TAG_BYTES) start = start.slice(0, -1);
  return start + mark;
}

/** Snapshots of a disk that belong to `tag`, also under the names that they have for a moment. */
export function withTag(node: Snapshotting, tag: string): SnapshotInfo[] {
  const names = [tag, marked(tag, NEW), marked(tag, OLD)];
  return node
    .listSnapshots()
    .filter((info) => names.includes(info.tag))
    .sort((a, b) => names.indexOf(a.tag) - names.indexOf(b.tag));
}

/**
 * One snapshot a disk, all of the same moment; undefined where there is no such set. More than one is there only after a
 * crash.
 */
export function findSet(disks: readonly CapableDisk[], tag: string): readonly SnapshotInfo[] | undefined {
  const [main, ...others] = disks.map(({ node }) => withTag(node, tag));
  for (const info of main ?? []) {
    const partners = others.map((list) => list.find((other) => haveSameStamp(info, other)));
    if (partners.every((partner) => partner !== undefined)) return [info, ...partners];
  }
  return undefined;
}

function haveSameStamp(a: SnapshotInfo, b: SnapshotInfo): boolean {
  return a.dateSec === b.dateSec && a.dateNsec === b.dateNsec && a.vmClockNs === b.vmClockNs;
}

/** Runs one step on one disk, to say on which it failed. */
export type OnDisk = <T>(disk: CapableDisk, action: () => Promise<T>) => Promise<T>;

/** Makes the set; the first disk gets the VM state that `writer` has sealed. All or nothing. */
export async function makeSet(
  disks: readonly CapableDisk[],
  meta: SnapshotMeta,
  writer: VmStateWriter,
  onDisk: OnDisk,
): Promise<SnapshotInfo> {
  const [main, ...others] = disks;
  return holdAll(disks, [], async (held) => {
    const step = (disk: CapableDisk, change: Parameters<HeldDisk['change']>[0]): Promise<void> =>
      onDisk(disk, () => held[disks.indexOf(disk)]!.change(change));
    const idsOf = ({ node }: CapableDisk): string[] => withTag(node, meta.tag).map(({ id }) => id);
    const old = new Map(disks.map((disk) => [disk, idsOf(disk)]));
    const plain = { ...meta, vmStateBytes: 0 };
    const isNew = others.length === 0 || disks.every((disk) => old.get(disk)!.length === 0);
    for (const disk of others) await step(disk, { create: { meta: plain } });
    if (isNew) {
      await step(main!, { create: { meta, from: writer }, remove: old.get(main!)! });
      return lastOf(main!);
    }
    const rename = new Map(old.get(main!)!.map((id) => [id, marked(meta.tag, OLD)]));
    const create = { meta: { ...meta, tag: marked(meta.tag, NEW) }, from: writer };
    await step(main!, { create, rename });
    for (const disk of others) await step(disk, { remove: old.get(disk)! });
    await removeAndName(main!, old.get(main!)!, meta.tag, step);
    return lastOf(main!);
  });
}

/** The last step: one write, whatever was left by crashes before. */
async function removeAndName(
  main: CapableDisk,
  old: readonly string[],
  tag: string,
  step: (disk: CapableDisk, change: Parameters<HeldDisk['change']>[0]) => Promise<void>,
): Promise<void> {
  for (const id of old.slice(1)) await step(main, { remove: [id] });
  await step(main, { remove: old.slice(0, 1), rename: new Map([[lastOf(main).id, tag]]) });
}

function lastOf({ node }: CapableDisk): SnapshotInfo {
  return node.listSnapshots().at(-1)!;
}

/** Holds one disk within the other: whoever fails, all go back. */
function holdAll<T>(
  disks: readonly CapableDisk[],
  held: readonly HeldDisk[],
  task: (held: readonly HeldDisk[]) => Promise<T>,
): Promise<T> {
  const next = disks[held.length];
  if (next === undefined) return task(held);
  return next.node.hold((one) => holdAll(disks, [...held, one], task));
}
