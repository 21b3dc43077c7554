/**
 * Several changes of the list of snapshots, or those of several images, that happen together or not at all: an image is
 * held, changed by one transaction after the other, and goes back to what it was by one write of its header when anything
 * fails, here or in another image that is held meanwhile. What the old state needs is used for nothing new until then.
 */
import type { DiskInstant, HeldDisk, SnapshotChange } from '../block-node.ts';
import { Turns } from '../turns.ts';
import { freeze, type FrozenDisk, markDirty, thaw, unmarkDirty } from './frozen-disk.ts';
import type { Qcow2Image } from './image.ts';
import { editSnapshots } from './snapshots.ts';
import { switchHeader } from './transaction.ts';
import { Qcow2VmStateWriter } from './vmstate-area.ts';

/** Holds the image during `task`. If that fails the image is what it was. */
export function holdImage<T>(image: Qcow2Image, task: (held: HeldDisk) => Promise<T>): Promise<T> {
  return image.gate.exclusive(() =>
    image.mutex.run(async () => {
      image.assertWritable();
      await image.settle();
      const held = new HeldImage(image);
      try {
        const result = await task(held);
        await held.finish();
        return result;
      } catch (error) {
        await held.back().catch((second: unknown) => image.poison(second));
        throw error;
      }
    }),
  );
}

class HeldImage implements HeldDisk {
  readonly #image: Qcow2Image;
  readonly #before: Pick<Qcow2Image, 'header' | 'l1' | 'snapshots' | 'snapshotTableBytes'>;
  readonly #sector: Buffer;
  readonly #refcountTable: Buffer;
  /** Clusters of the old state that the new ones do not need. */
  readonly #spared: number[] = [];
  readonly #writers: Qcow2VmStateWriter[] = [];
  #isChanged = false;

  constructor(image: Qcow2Image) {
    const { header, l1, snapshots, snapshotTableBytes } = image;
    this.#image = image;
    this.#before = { header, l1, snapshots, snapshotTableBytes };
    this.#sector = Buffer.from(image.headerBytes);
    this.#refcountTable = image.refcounts.table;
  }

  async change({ create, remove = [], rename }: SnapshotChange): Promise<void> {
    const image = this.#image;
    const writer = create?.from;
    if (writer !== undefined && !(writer instanceof Qcow2VmStateWriter))
      throw new Error('a foreign VM state');
    if (writer !== undefined) this.#writers.push(writer);
    const vmState = writer?.sealed;
    const one = create === undefined ? 1 : remove.length;
    for (let i = 0; i < remove.length - one; i++) await this.#edit({ remove: [remove[i]!] });
    await this.#edit({
      create: create && { meta: create.meta, vmState },
      remove: remove.slice(remove.length - Math.min(one, remove.length)),
      rename,
    });
    if (create !== undefined && image.frozen !== undefined) this.#frozen = image.frozen;
  }
  #frozen: FrozenDisk | undefined;

  async #edit(edit: Parameters<typeof editSnapshots>[1]): Promise<void> {
    const image = this.#image;
    const transaction = await editSnapshots(image, edit);
    this.#isChanged = true;
    const { reserved } = image.refcounts;
    await new Turns().forEach(transaction.freed, (cluster) => {
      if (reserved.has(cluster)) return;
      reserved.add(cluster);
      this.#spared.push(cluster);
    });
  }

  /** There is no way back any more. */
  async finish(): Promise<void> {
    await this.#free();
    if (this.#frozen !== undefined) {
      this.#frozen.forget();
      this.#image.frozen = undefined;
    }
    for (const writer of this.#writers) await writer.done();
  }

  #free(): Promise<void> {
    const { refcounts } = this.#image;
    return new Turns().forEach(this.#spared, (cluster) => {
      refcounts.reserved.delete(cluster);
      refcounts.freed(cluster);
    });
  }

  async back(): Promise<void> {
    if (!this.#isChanged) return;
    const image = this.#image;
    await switchHeader(image, this.#sector);
    this.#sector.copy(image.headerBytes);
    Object.assign(image, this.#before);
    image.refcounts.table = this.#refcountTable;
    image.metadata.invalidate();
    // Nothing is dirty: what is in memory may be of the state that was left.
    image.refcountCache.clear();
    image.l2Cache.clear();
    image.frozen?.keepTables();
    await this.#free();
    image.refcounts.freed(1);
  }
}

/** A snapshot's instant on a disk that goes on being written. */
export class Qcow2Instant implements DiskInstant {
  readonly #image: Qcow2Image;
  #setDirty: boolean;
  #frozen: FrozenDisk | undefined;

  private constructor(image: Qcow2Image, setDirty: boolean) {
    this.#image = image;
    this.#setDirty = setDirty;
  }

  static async prepare(image: Qcow2Image): Promise<Qcow2Instant> {
    return new Qcow2Instant(image, await markDirty(image));
  }

  async take(): Promise<void> {
    this.#frozen = await freeze(this.#image, this.#setDirty);
  }

  async release(): Promise<void> {
    const isTaken = this.#frozen !== undefined;
    if (isTaken && this.#image.frozen === this.#frozen) await thaw(this.#image);
    if (!isTaken && this.#setDirty) await unmarkDirty(this.#image);
    this.#setDirty = false;
  }
}
