/** Every size that a qcow2 file may name has a limit; those that QEMU has too are QEMU's (block/qcow2.h). */
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
/** A subcluster is at least a sector. */
export const MIN_EXTENDED_CLUSTER_BITS = 14;
/** Refcount table: 8 MiB. */
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
/** One L1 table: 32 MiB. */
export const MAX_L1_BYTES = 32 * 1024 * 1024;
export const MAX_SNAPSHOTS = 65_536;
/** A snapshot table entry without extra data, id and name. */
export const MIN_SNAPSHOT_BYTES = 40;
export const MAX_SNAPSHOT_TABLE_BYTES = 1024 * MAX_SNAPSHOTS;
export const MAX_SNAPSHOT_EXTRA_BYTES = 1024;
export const MAX_SNAPSHOT_ID_BYTES = 128;
/** QEMU's `QEMUSnapshotInfo` holds 256 bytes with the terminator. */
export const MAX_SNAPSHOT_NAME_BYTES = 255;
export const MAX_BACKING_NAME_BYTES = 1023;
export const MAX_HEADER_EXTENSIONS = 256;
/** Offsets above are not safe integers; no file system holds such a file. */
export const MAX_HOST_OFFSET = 2 ** 53 - 2 ** 22;
/** QEMU writes at most 2 TiB; more than any machine here has. */
export const MAX_VM_STATE_BYTES = 2 ** 41;
/** Of a file's length: deflate makes at most about a thousandth of what it gets. */
export const MAX_VM_STATE_RATIO = 1024;
/** Extra data of a snapshot that QEMU 7.2 writes: VM state size, disk size, icount. */
export const SNAPSHOT_EXTRA_BYTES = 24;
/** Default budget of the metadata caches of one image. */
export const DEFAULT_CACHE_BYTES = 32 * 1024 * 1024;
/** QEMU's BME_MAX_TABLE_SIZE, block/qcow2-bitmap.c; and 65,535 directory entries of at most 1 KiB. */
export const MAX_BITMAP_TABLE_ENTRIES = 0x800_0000;
export const MAX_BITMAP_DIRECTORY_BYTES = 1024 * 65_535;
