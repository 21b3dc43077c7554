/** Disk images without a machine: `import { openImage } from 'ambervm/qcow2'`. */
export type { BlockNode, SnapshotInfo, SnapshotMeta, Snapshotting } from './block/block-node.ts';
export { supportsSnapshots } from './block/block-node.ts';
export { BlockError, type BlockErrorCode } from './block/errors.ts';
export { type OpenImageOptions, openImage } from './block/open.ts';
export { type CreateQcow2Options, createQcow2 } from './block/qcow2/create.ts';
