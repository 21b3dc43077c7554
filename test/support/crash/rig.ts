/**
 * An image under work whose every write is recorded, with a book of what was promised: which sectors a flush has made
 * durable, which snapshots a command has reported as done. {@link Rig.judge} holds a crashed image against the book.
 */
import type { BlockNode } from '../../../src/block/block-node.ts';
import { openQcow2, type Qcow2 } from '../../../src/block/qcow2/qcow2.ts';
import type { BlockFile } from '../../../src/block/file.ts';
import { Log, logged } from '../../../src/block/filters/log.ts';
import { checkImage } from '../../../src/block/qcow2/check.ts';
import { readRange } from '../../../src/block/qcow2/mapping.ts';
import { findSnapshot, readSnapshotL1 } from '../../../src/block/qcow2/snapshots.ts';
import type { MemoryFile } from '../memory-file.ts';

export const SECTOR = 512;

export interface StoredSnapshot {
  readonly tag: string;
  readonly id: string;
  readonly disk: Buffer;
  readonly vmState: Buffer;
}

interface GuestWrite {
  readonly begun: number;
  ended: number;
  readonly first: number;
  readonly count: number;
  /** 0: zeroes. */
  readonly value: number;
}

/** A command that is seen wholly or not at all. */
interface Command {
  readonly name: string;
  readonly begun: number;
  ended: number;
  after: readonly StoredSnapshot[];
  /** Contents of the disk afterwards, if the command changes them; sector by sector, or as a whole. */
  disk: Buffer | undefined;
  readonly gradually: boolean;
}

export interface RigOptions {
  /** More filters, between the image and the recorder. */
  readonly under?: (file: BlockFile) => BlockFile;
  /** The rig begins or ends to look at snapshots and disk on its own account. */
  readonly onLooking?: (looking: boolean) => void;
  /** Changed in place before VM states are compared: takes out what may differ. */
  readonly maskVmState?: (vmState: Buffer) => void;
  /** The backing file, for images that name one; opened again and again. */
  readonly openBacking?: (name: string) => Promise<BlockNode>;
  /** One more look at a crashed image that is fine by itself: undefined, or what is wrong. */
  readonly alsoJudge?: (node: Qcow2) => Promise<string | undefined>;
}

export interface CommandOptions {
  /** The disk has other contents afterwards (going back to a snapshot). Those given: sector by sector. */
  readonly changesDisk?: boolean | Buffer;
}

export class Rig {
  readonly log = new Log();
  /** The file as it was when recording began. */
  readonly base: Buffer;
  readonly file: MemoryFile;
  node!: Qcow2;
  readonly #below: BlockFile;
  readonly #onLooking: (looking: boolean) => void;
  readonly #mask: (vmState: Buffer) => void;
  readonly #options: RigOptions;
  readonly #writes: GuestWrite[] = [];
  readonly #flushes: { begun: number; ended: number }[] = [];
  readonly #commands: Command[] = [];
  #value = 0;

  private constructor(file: MemoryFile, options: RigOptions) {
    const { under = (f) => f, onLooking = () => {}, maskVmState = () => {} } = options;
    this.#options = options;
    this.file = file;
    this.base = Buffer.from(file.bytes);
    this.#below = under(logged(file, this.log));
    this.#onLooking = onLooking;
    this.#mask = maskVmState;
  }

  static async open(file: MemoryFile, options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(file, options);
    await rig.#open();
    const after = await rig.#stored(rig.node);
    const disk = await wholeDisk(rig.node);
    rig.#commands.push({ name: 'nothing', begun: 0, ended: 0, after, disk, gradually: false });
    return rig;
  }

  async #open(): Promise<void> {
    this.node = await this.#openOn(this.#below);
  }

  #openOn(file: BlockFile): Promise<Qcow2> {
    const { openBacking } = this.#options;
    return openQcow2(file, openBacking === undefined ? {} : { openBacking });
  }

  // ---- work

  /** Sectors with contents of their own. */
  async write(offset: number, length: number): Promise<void> {
    const value = ++this.#value;
    await this.#write(offset, length, value, () =>
      this.node.write(offset, sectors(value, offset / SECTOR, length / SECTOR)),
    );
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#write(offset, length, 0, () => this.node.writeZeroes(offset, length));
  }

  async #write(offset: number, length: number, value: number, action: () => Promise<void>): Promise<void> {
    if (offset % SECTOR !== 0 || length % SECTOR !== 0) throw new RangeError('whole sectors');
    const write = {
      begun: this.log.tick(),
      ended: Infinity,
      first: offset / SECTOR,
      count: length / SECTOR,
      value,
    };
    this.#writes.push(write);
    await action();
    write.ended = this.log.tick();
  }

  async flush(): Promise<void> {
    const begun = this.log.tick();
    await this.node.flush();
    this.#flushes.push({ begun, ended: this.log.tick() });
  }

  /** A command that makes, replaces or deletes snapshots, or goes back to one. */
  async command<T>(name: string, action: () => Promise<T>, options: CommandOptions = {}): Promise<T> {
    const begun = this.log.tick();
    const disk = typeof options.changesDisk === 'object' ? options.changesDisk : undefined;
    const command: Command = { name, begun, ended: Infinity, after: [], disk, gradually: disk !== undefined };
    this.#commands.push(command);
    const result = await action();
    command.ended = this.log.tick();
    this.#onLooking(true);
    command.after = await this.#stored(this.node);
    if (options.changesDisk === true) command.disk = await wholeDisk(this.node);
    this.#onLooking(false);
    return result;
  }

  /** Moments before now need not be looked at. */
  begin = 0;
  beginHere(): void {
    this.begin = this.log.tick();
  }

  /** Close, open: what a program's end and the next one's start do. */
  async reopen(): Promise<void> {
    const begun = this.log.tick();
    await this.node.close();
    this.#flushes.push({ begun, ended: this.log.tick() });
    await this.#open();
  }

  /** A command or request has failed, and will be done again: it has not happened, whatever the disk has of it. */
  forgetFailed(): void {
    const done = ({ ended }: { readonly ended: number }): boolean => ended !== Infinity;
    this.#commands.splice(0, this.#commands.length, ...this.#commands.filter(done));
    this.#writes.splice(0, this.#writes.length, ...this.#writes.filter(done));
  }

  /** The node is of no use any more: a new one on what is in the file. */
  async reopenBroken(): Promise<void> {
    await this.node.close().catch(() => undefined);
    await this.#open();
  }

  // ---- judgement

  /** Undefined: all that was promised at `time` is there, and nothing that was not. Else what is wrong. */
  async judge(file: MemoryFile, time: number): Promise<string | undefined> {
    const node = await this.#openOn(file);
    const check = await checkImage(node.image);
    if (check.corruptions > 0)
      return `corrupt: ${check.messages.filter((m) => m.startsWith('ERROR')).join('; ')}`;
    const done = this.#commands.filter(({ ended }) => ended <= time).at(-1)!;
    const open = this.#commands.filter(({ begun, ended }) => begun <= time && ended > time);
    const found = await this.#stored(node);
    const wrong = [done, ...open].map(({ after }) => differing(after, found));
    if (!wrong.includes(undefined)) {
      return `after '${done.name}'${open.map(({ name }) => `, during '${name}'`).join('')}: ${wrong[0]}`;
    }
    const disk = await wholeDisk(node);
    if (open.some((command) => command.disk?.equals(disk))) return undefined;
    return this.#judgeDisk(disk, time) ?? (await this.#options.alsoJudge?.(node));
  }

  #judgeDisk(disk: Buffer, time: number, durableUntil?: number): string | undefined {
    const last = this.#commands.filter((c) => c.disk !== undefined && c.ended <= time).at(-1)!;
    const barriers = [...this.#flushes, ...this.#commands].filter(({ ended }) => ended <= time);
    const durable = durableUntil ?? Math.max(...barriers.map(({ begun }) => begun));
    const writes = this.#writes.filter(({ begun }) => begun > last.ended && begun <= time);
    const certain = Buffer.from(last.disk!);
    const possible = new Map<number, GuestWrite[]>();
    for (const write of writes) {
      if (write.ended <= durable && write.ended !== Infinity) {
        put(certain, write);
        continue;
      }
      for (let i = 0; i < write.count; i++) {
        const list = possible.get(write.first + i) ?? [];
        list.push(write);
        possible.set(write.first + i, list);
      }
    }
    const becoming = this.#commands.find((c) => c.gradually && c.begun <= time && c.ended > time)?.disk;
    if (certain.length !== disk.length) return `the disk has ${disk.length} bytes, not ${certain.length}`;
    if (certain.equals(disk)) return undefined;
    for (let sector = 0; sector * SECTOR < disk.length; sector++) {
      const at = sector * SECTOR;
      const now = disk.subarray(at, at + SECTOR);
      if (now.equals(certain.subarray(at, at + SECTOR))) continue;
      if (becoming !== undefined && now.equals(becoming.subarray(at, at + SECTOR))) continue;
      const allowed = possible.get(sector) ?? [];
      if (allowed.some(({ value }) => now.equals(sectors(value, sector, 1)))) continue;
      const words = `${certain.readUInt32LE(at)} or ${allowed.map(({ value }) => value).join(', ')}`;
      return `sector ${sector} has ${now.readUInt32LE(0)} (${now.readUInt32LE(4)}), expected ${words}`;
    }
    return undefined;
  }

  async #stored(node: Qcow2): Promise<StoredSnapshot[]> {
    const found = await storedSnapshots(node);
    for (const { vmState } of found) this.#mask(vmState);
    return found;
  }

  /** What the guest and the monitor see now, after a request that failed: all that was done before it. */
  async judgeLive(): Promise<string | undefined> {
    const done = this.#commands.filter(({ ended }) => ended !== Infinity).at(-1)!;
    const wrong = differing(done.after, await this.#stored(this.node));
    return wrong ?? this.#judgeDisk(await wholeDisk(this.node), this.log.tick(), Infinity);
  }

  get snapshots(): readonly StoredSnapshot[] {
    return this.#commands.at(-1)!.after;
  }
}

/** Value and sector number, over and over. */
function sectors(value: number, first: number, count: number): Buffer {
  const bytes = Buffer.alloc(count * SECTOR);
  if (value === 0) return bytes;
  for (let i = 0; i < count; i++) {
    for (let at = 0; at < SECTOR; at += 8) {
      bytes.writeUInt32LE(value, i * SECTOR + at);
      bytes.writeUInt32LE(first + i, i * SECTOR + at + 4);
    }
  }
  return bytes;
}

function put(disk: Buffer, { value, first, count }: GuestWrite): void {
  sectors(value, first, count).copy(disk, first * SECTOR);
}

export async function wholeDisk(node: Qcow2): Promise<Buffer> {
  const disk = Buffer.alloc(node.sizeBytes);
  await node.read(0, disk);
  return disk;
}

/** Everything that can be had from the snapshots of an image. */
async function storedSnapshots(node: Qcow2): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = [];
  for (const { tag, id, vmStateBytes } of node.listSnapshots()) {
    const snapshot = findSnapshot(node.image, id);
    const disk = Buffer.alloc(snapshot.diskBytes);
    await readRange(node.image, await readSnapshotL1(node.image, snapshot), 0, disk, undefined);
    const vmState = Buffer.alloc(vmStateBytes);
    if (vmStateBytes > 0) await node.readVmState(id, 0, vmState);
    found.push({ tag, id, disk, vmState });
  }
  return found;
}

function differing(wanted: readonly StoredSnapshot[], found: readonly StoredSnapshot[]): string | undefined {
  const names = (list: readonly StoredSnapshot[]): string =>
    list.map(({ tag, id }) => `${tag} (${id})`).join(', ');
  if (names(wanted) !== names(found)) return `snapshots ${names(found)}; expected ${names(wanted)}`;
  for (const [i, { tag, disk, vmState }] of wanted.entries()) {
    if (!found[i]!.disk.equals(disk)) return `the disk of snapshot '${tag}' has changed`;
    if (!found[i]!.vmState.equals(vmState)) return `the VM state of snapshot '${tag}' has changed`;
  }
  return undefined;
}
