/** What an image is, with the keys of QMP's ImageInfo (qapi/block-core.json): `img info` and `query-block`. */
import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { BlockNode } from '../block/block-node.ts';
import { type Bitmap, readBitmaps } from '../block/qcow2/bitmaps.ts';
import { COMPAT_LAZY_REFCOUNTS, INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from '../block/qcow2/header.ts';
import { Qcow2 } from '../block/qcow2/qcow2.ts';

export type Json = { [key: string]: unknown };

/** Without reading the image's data. */
export async function imageFacts(node: BlockNode, filename: string = node.filename): Promise<Json> {
  const facts: Json = { 'virtual-size': node.sizeBytes, filename, format: node.format };
  facts['actual-size'] = (await stat(filename)).blocks * 512;
  if (node instanceof Qcow2) {
    const { header, clusterSize } = node.image;
    facts['cluster-size'] = clusterSize;
    if (header.backingFile !== undefined) {
      const name = header.backingFile;
      facts['backing-filename'] = name;
      const isPlain = !isAbsolute(name) && !/^[^/]+:/.test(name) && dirname(filename) !== '.';
      facts['full-backing-filename'] = isPlain ? join(dirname(filename), name) : name;
      if (header.backingFormat !== undefined) facts['backing-filename-format'] = header.backingFormat;
    }
    const snapshots = node.listSnapshots();
    if (snapshots.length > 0) {
      facts['snapshots'] = snapshots.map((s) => ({
        id: s.id,
        name: s.tag,
        'vm-state-size': s.vmStateBytes,
        'date-sec': s.dateSec,
        'date-nsec': s.dateNsec,
        'vm-clock-sec': Math.floor(s.vmClockNs / 1e9),
        'vm-clock-nsec': s.vmClockNs % 1e9,
        ...(s.icount === -1 ? {} : { icount: s.icount }),
      }));
    }
    facts['format-specific'] = { type: 'qcow2', data: await specificOf(node) };
    facts['dirty-flag'] = (header.incompatible & INCOMPAT_DIRTY) !== 0;
  } else {
    facts['dirty-flag'] = false;
  }
  return facts;
}

async function specificOf({ image }: Qcow2): Promise<Json> {
  const { header } = image;
  const v3 = header.version === 3;
  const bitmaps = v3 ? await readBitmaps(image) : [];
  return {
    compat: v3 ? '1.1' : '0.10',
    'compression-type': header.compressionType === 1 ? 'zstd' : 'zlib',
    ...(v3 ? { 'lazy-refcounts': (header.compatible & COMPAT_LAZY_REFCOUNTS) !== 0 } : {}),
    ...(bitmaps.length > 0 ? { bitmaps: bitmaps.map(bitmapFacts) } : {}),
    'refcount-bits': 1 << header.refcountOrder,
    ...(image.hasDataFile ? { 'data-file': header.dataFile ?? '', 'data-file-raw': image.isRawData } : {}),
    ...(v3 ? { corrupt: (header.incompatible & INCOMPAT_CORRUPT) !== 0 } : {}),
    ...(v3 ? { 'extended-l2': image.unitsPerCluster > 1 } : {}),
  };
}

function bitmapFacts({ flags, granularity, name }: Bitmap): Json {
  const words = ['in-use', 'auto'].filter((_word, bit) => (flags & (1 << bit)) !== 0);
  return { flags: words, name, granularity };
}
