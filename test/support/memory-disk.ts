/** A disk in memory with internal snapshots and a VM state area: the block layer's contract, without a file. */
import type {
  BlockNode,
  HeldDisk,
  SnapshotInfo,
  SnapshotMeta,
  Snapshotting,
  VmStateWriter,
} from '../../src/block/block-node.ts';

interface Stored {
  info: SnapshotInfo;
  disk: Uint8Array;
  clusters: Map<number, Uint8Array>;
}

/** Names an operation to fail: `writeClusters`, `commit`, `createSnapshot`, `applySnapshot`. */
export type Failure = (operation: string) => boolean;

export class MemoryDisk implements BlockNode, Snapshotting {
  readonly format = 'qcow2';
  readonly filename: string;
  readonly sizeBytes: number;
  readOnly = false;
  readonly clusterBytes: number;
  data: Uint8Array;
  shouldFail: Failure = () => false;
  /** VM states opened and neither committed nor aborted. */
  open = 0;
  written = 0;
  #snapshots: Stored[] = [];
  #nextId = 1;

  constructor(filename: string, { sizeBytes = 4096, clusterBytes = 65536 } = {}) {
    this.filename = filename;
    this.sizeBytes = sizeBytes;
    this.clusterBytes = clusterBytes;
    this.data = new Uint8Array(sizeBytes);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    target.set(this.data.subarray(offset, offset + target.length));
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.data.set(source, offset);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.data.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}

  listSnapshots(): readonly SnapshotInfo[] {
    return this.#snapshots.map(({ info }) => info);
  }

  async createVmState(): Promise<VmStateWriter> {
    const clusters = new Map<number, Uint8Array>();
    this.open++;
    return {
      clusterBytes: this.clusterBytes,
      writeClusters: async (index, data) => {
        this.#check('writeClusters');
        if (data.length % this.clusterBytes !== 0) throw new Error('not whole clusters');
        const copy = data.slice();
        await Promise.resolve();
        this.written += data.length;
        for (let i = 0; i * this.clusterBytes < copy.length; i++) {
          clusters.set(index + i, copy.subarray(i * this.clusterBytes, (i + 1) * this.clusterBytes));
        }
      },
      shareCluster: async (index, idOrTag, from) => {
        clusters.set(index, this.#find(idOrTag).clusters.get(from)!);
      },
      shareClusters: async (indices, idOrTag, from) => {
        const source = this.#find(idOrTag).clusters;
        for (let i = 0; i < indices.length; i++) clusters.set(indices[i]!, source.get(from[i]!)!);
      },
      writeScattered: async (indices, data) => {
        this.#check('writeClusters');
        const copy = data.slice();
        await Promise.resolve();
        this.written += data.length;
        for (const [i, index] of indices.entries()) {
          clusters.set(index, copy.subarray(i * this.clusterBytes, (i + 1) * this.clusterBytes));
        }
      },
      commit: async (meta) => {
        this.#check('commit');
        this.open--;
        return this.#store(meta, clusters);
      },
      seal: async () => {
        this.#sealed = clusters;
      },
      abort: async () => {
        this.open--;
      },
    };
  }
  #sealed = new Map<number, Uint8Array>();

  async hold<T>(task: (held: HeldDisk) => Promise<T>): Promise<T> {
    const [before, open] = [this.#snapshots, this.open];
    try {
      return await task({
        change: async ({ create, remove = [], rename }) => {
          this.#check(create?.from === undefined ? 'createSnapshot' : 'commit');
          const list = this.#snapshots
            .filter(({ info }) => !remove.includes(info.id))
            .map((stored) => {
              const tag = rename?.get(stored.info.id);
              return tag === undefined ? stored : { ...stored, info: { ...stored.info, tag } };
            });
          if (create !== undefined) {
            const info = { id: String(this.#nextId++), ...create.meta };
            const clusters = create.from === undefined ? new Map<number, Uint8Array>() : this.#sealed;
            list.push({ info, disk: this.data.slice(), clusters });
            if (create.from !== undefined) this.open--;
          }
          this.#snapshots = list;
        },
      });
    } catch (error) {
      this.#snapshots = before;
      this.open = open;
      throw error;
    }
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotInfo> {
    this.#check('createSnapshot');
    return this.#store(meta, new Map());
  }

  async applySnapshot(idOrTag: string): Promise<void> {
    this.#check('applySnapshot');
    this.data.set(this.#find(idOrTag).disk);
  }

  async deleteSnapshot(idOrTag: string): Promise<void> {
    const found = this.#find(idOrTag);
    this.#snapshots = this.#snapshots.filter((stored) => stored !== found);
  }

  async readVmState(idOrTag: string, offset: number, target: Uint8Array): Promise<void> {
    const { clusters } = this.#find(idOrTag);
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const within = at % this.clusterBytes;
      const count = Math.min(target.length - done, this.clusterBytes - within);
      const cluster = clusters.get(Math.floor(at / this.clusterBytes));
      if (cluster) target.set(cluster.subarray(within, within + count), done);
      else target.fill(0, done, done + count);
      done += count;
    }
  }

  /** The VM state of a snapshot as one array. */
  async vmState(idOrTag: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.#find(idOrTag).info.vmStateBytes);
    await this.readVmState(idOrTag, 0, bytes);
    return bytes;
  }

  #store(meta: SnapshotMeta, clusters: Map<number, Uint8Array>): SnapshotInfo {
    const info = { id: String(this.#nextId++), ...meta };
    this.#snapshots = this.#snapshots.filter((stored) => stored.info.tag !== meta.tag);
    this.#snapshots.push({ info, disk: this.data.slice(), clusters });
    return info;
  }

  #find(idOrTag: string): Stored {
    const found =
      this.#snapshots.find(({ info }) => info.id === idOrTag) ??
      this.#snapshots.find(({ info }) => info.tag === idOrTag);
    if (!found) throw new Error(`no snapshot ${idOrTag}`);
    return found;
  }

  #check(operation: string): void {
    if (this.shouldFail(operation)) throw new Error(`injected: ${operation}`);
  }
}
