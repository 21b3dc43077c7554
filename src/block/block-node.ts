/**
 * The block layer's small interfaces. Offsets and lengths are bytes, safe integers. Everything is asynchronous;
 * requests may be in flight together and complete in any order; a caller that needs order awaits.
 */
export interface BlockNode {
  /** As given by the user; for messages. */
  readonly filename: string;
  /** `raw`, `qcow2`, or a filter's name. */
  readonly format: string;
  /** Guest-visible size in bytes. */
  readonly sizeBytes: number;
  /** Writes are refused. */
  readonly readOnly: boolean;
  /** Fills `target` from `offset`; beyond the end is a BlockError `out-of-bounds`. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** Writes all of `source`. Rejects with BlockError `read-only`, `out-of-bounds`, `no-space` or `io`. */
  write(offset: number, source: Uint8Array): Promise<void>;
  /** Reads as zero afterwards; may deallocate. */
  writeZeroes(offset: number, length: number): Promise<void>;
  /** Nobody needs what is there any more. A hint: it reads as zero afterwards, or as before. */
  discard?(offset: number, length: number): Promise<void>;
  /** Of the metadata cache that all images of the chain share. */
  readonly cacheStatistics?: CacheStatistics | undefined;
  /** All writes completed before the call are durable when it resolves. */
  flush(): Promise<void>;
  /** Flushes, releases locks and handles. Idempotent. */
  close(): Promise<void>;
}

/** How a metadata cache has done. */
export interface CacheStatistics {
  readonly hits: number;
  readonly misses: number;
  readonly usedBytes: number;
  readonly budgetBytes: number;
}

/** One internal snapshot, as `info snapshots` and `qemu-img snapshot -l` show it. */
export interface SnapshotInfo {
  /** A number as text, given by the image. */
  readonly id: string;
  /** The name that the user gave. */
  readonly tag: string;
  /** Bytes of VM state; 0 for a disk-only snapshot. */
  readonly vmStateBytes: number;
  /** Seconds and nanoseconds since the epoch. */
  readonly dateSec: number;
  /** Nanoseconds of the second. */
  readonly dateNsec: number;
  /** Virtual clock in ns when it was taken. */
  readonly vmClockNs: number;
  /** Instructions executed, or -1 when icount was off. */
  readonly icount: number;
  /** Extra data behind the fields of the format, if there is any. */
  readonly extra?: Uint8Array | undefined;
}

/** What a new snapshot is made with. */
export interface SnapshotMeta {
  /** The name that the user gave. */
  readonly tag: string;
  /** Seconds since the epoch. */
  readonly dateSec: number;
  /** Nanoseconds of the second. */
  readonly dateNsec: number;
  /** Virtual clock, ns. */
  readonly vmClockNs: number;
  /** Instructions executed, or -1 when icount was off. */
  readonly icount: number;
  /** VM state bytes already written to the VM state area; 0 for none. */
  readonly vmStateBytes: number;
  /** Kept with the snapshot; other programs carry it along. At most {@link MAX_SNAPSHOT_EXTRA}. */
  readonly extra?: Uint8Array | undefined;
}

/** Bytes of {@link SnapshotMeta.extra}. QEMU opens no image that has more, its own 24 included. */
export const MAX_SNAPSHOT_EXTRA = 1000;

/** An image with internal snapshots and a VM state area (qcow2). */
export interface Snapshotting {
  /** In the order of the image. */
  listSnapshots(): readonly SnapshotInfo[];
  /**
   * Opens a writer for VM state: clusters are written whole, in any order, into new space that belongs to no snapshot
   * until {@link VmStateWriter.commit}. Nothing of it is visible, and nothing is lost, if the process dies before.
   */
  createVmState(options?: VmStateOptions): Promise<VmStateWriter>;
  /** Disk-only snapshot of the active state. A snapshot of the same tag is replaced after the new one is durable. */
  createSnapshot(meta: SnapshotMeta): Promise<SnapshotInfo>;
  /** Holds the disk during `task`: see {@link HeldDisk}. A snapshot made then is of the instant taken, if there is one. */
  hold<T>(task: (held: HeldDisk) => Promise<T>): Promise<T>;
  /** Does what takes time, so that {@link DiskInstant.take} does not. One at a time. */
  prepareInstant?(): Promise<DiskInstant>;
  /** Makes the snapshot's disk contents the active ones. BlockError `not-found` if there is none of this id or tag. */
  applySnapshot(idOrTag: string): Promise<void>;
  /** Frees what no other snapshot and not the disk needs. Rejects with BlockError `not-found`. */
  deleteSnapshot(idOrTag: string): Promise<void>;
  /** Reads VM state of a snapshot without applying it, at a byte offset within the VM state. */
  readVmState(idOrTag: string, offset: number, target: Uint8Array): Promise<void>;
  /** VM state of a snapshot with its place in the file, for who reads parts of it later (lazy loadvm). */
  openVmState?(idOrTag: string): Promise<VmStateHandle>;
}

/** {@link VmStateHandle.hostOffsets} of a cluster that reads as zero. */
export const CLUSTER_ZERO = 0;

/**
 * The VM state of one snapshot, mapped. It stays as it is for as long as the snapshot is there: whoever deletes or
 * replaces the snapshot sees to it that nobody reads by a handle any more.
 */
export interface VmStateHandle {
  readonly info: SnapshotInfo;
  readonly clusterBytes: number;
  /** Where each cluster lies, bytes from the file's start; negated for a compressed one; or CLUSTER_ZERO. */
  readonly hostOffsets: Float64Array;
  /** False once the snapshot was deleted or replaced. */
  readonly alive: boolean;
  /** Fills `target` from an offset in the VM state. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** The same at once, for a CPU in the middle of an instruction. Undefined where the file cannot. */
  readonly readSync: ((offset: number, target: Uint8Array) => void) | undefined;
  /** Fills `target` from a place in the file: clusters that lie side by side there, in one request. */
  readHost(hostOffset: number, target: Uint8Array): Promise<void>;
  /** The same at once. Undefined where the file cannot. */
  readonly readHostSync?: ((hostOffset: number, target: Uint8Array) => void) | undefined;
  /**
   * Overwrites a few bytes of the VM state where they lie; not in order with anything else. False when they cannot be:
   * read-only, compressed, or shared with another snapshot.
   */
  overwrite(offset: number, source: Uint8Array): Promise<boolean>;
}

export interface CompressOptions {
  /** Must be what the image's header names; default: whatever that is. */
  readonly method?: 'zlib' | 'zstd';
  /** Default: a thread for each core. */
  readonly workers?: number;
  readonly level?: number;
}

export interface VmStateOptions {
  /**
   * Write compressed clusters, made in worker threads. Clusters that do not get smaller stay as they are. Default: do
   * not.
   */
  readonly compress?: CompressOptions;
}

export interface VmStateWriter {
  /** Bytes in a cluster; every write is one or more whole clusters at a multiple of it. */
  readonly clusterBytes: number;
  /** Cluster `index` of the VM state; `data` is a multiple of clusterBytes. */
  writeClusters(index: number, data: Uint8Array): Promise<void>;
  /**
   * Cluster `index` is the same as cluster `fromIndex` of snapshot `idOrTag`: shared, refcount + 1, nothing copied.
   * (Used by incremental savevm.)
   */
  shareCluster(index: number, idOrTag: string, fromIndex: number): Promise<void>;
  /** The same for many: cluster `indices[i]` is cluster `fromIndices[i]` of snapshot `idOrTag`. */
  shareClusters(indices: ArrayLike<number>, idOrTag: string, fromIndices: ArrayLike<number>): Promise<void>;
  /** Like {@link writeClusters}, but each cluster of `data` has an index of its own: they lie together in the file. */
  writeScattered(indices: readonly number[], data: Uint8Array): Promise<void>;
  /** Makes the snapshot: VM state of `meta.vmStateBytes`, disk contents as of now. Same tag: replaced safely. */
  commit(meta: SnapshotMeta): Promise<SnapshotInfo>;
  /** Gives an existing snapshot this VM state instead of its own (or of none); its disk contents stay. */
  replace?(idOrTag: string, vmStateBytes: number): Promise<SnapshotInfo>;
  /** Nothing more is written; a {@link HeldDisk} makes the snapshot that has it. */
  seal(vmStateBytes: number): Promise<void>;
  /** Frees what was written. */
  abort(): Promise<void>;
}

/** A change of a disk's list of snapshots, made as a whole. */
export interface SnapshotChange {
  /** A new one, the last of the list, with the VM state of a sealed writer. Others of its tag stay. */
  readonly create?: { readonly meta: SnapshotMeta; readonly from?: VmStateWriter | undefined };
  /** Ids of those that go. */
  readonly remove?: readonly string[];
  /** New tags by id. */
  readonly rename?: ReadonlyMap<string, string>;
}

/** A disk that nobody else reaches, and that goes back to what it was if its holder's task fails. */
export interface HeldDisk {
  /** Durable when it resolves. */
  change(change: SnapshotChange): Promise<void>;
}

/** Contents of a disk at an instant, for a snapshot that is made later while the disk is written on. */
export interface DiskInstant {
  /** The instant is now. No request may be in flight. */
  take(): Promise<void>;
  /** Lets the contents go. Does nothing once a snapshot was made of them. */
  release(): Promise<void>;
}

/** Writes that lie in memory above an image (`-snapshot`) can be put into it after all. */
export interface Committing {
  /** No request may be in flight. Durable when it resolves; where it rejects, what was written stays in memory, too. */
  commit(): Promise<void>;
}

export function supportsCommit(node: BlockNode): node is BlockNode & Committing {
  return 'commit' in node;
}

/** Whether it is an image that can hold snapshots (qcow2). */
export function supportsSnapshots(node: BlockNode): node is BlockNode & Snapshotting {
  return 'listSnapshots' in node;
}
