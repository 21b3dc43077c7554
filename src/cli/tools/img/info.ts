/** `img info`: what an image is, without reading its data. */
import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { BlockNode } from '../../../block/block-node.ts';
import { type Bitmap, readBitmaps } from '../../../block/qcow2/bitmaps.ts';
import { COMPAT_LAZY_REFCOUNTS, INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from '../../../block/qcow2/header.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { SNAPSHOT_TABLE_HEADER, sizeText, snapshotRow } from '../../../migration/snapshot-table.ts';
import type { ToolOutput } from '../tool.ts';
import { openFor, outputOption, parseImgArgs, usage } from './img-args.ts';

type Json = { [key: string]: unknown };

export async function info(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = parseImgArgs(args, 'hf:U', ['output=', 'backing-chain']);
  const output = outputOption(parsed);
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const all: Json[] = [];
  const seen = new Set<string>();
  let next: string | undefined = filename;
  let format = parsed.options.get('f');
  while (next !== undefined) {
    if (seen.has(next)) usage(`Backing file '${next}' creates an infinite loop.`);
    seen.add(next);
    const node = await openFor(out, next, {
      readOnly: true,
      backing: false,
      data: false,
      forceShare: parsed.has('U'),
      ...(format === undefined ? {} : { format }),
    });
    try {
      const facts = await factsOf(node, next);
      all.push(facts);
      next = parsed.has('backing-chain') ? (facts['full-backing-filename'] as string | undefined) : undefined;
      format = facts['backing-filename-format'] as string | undefined;
      if (output === 'human') {
        if (all.length > 1) out.line('');
        await printHuman(node, facts, out);
      }
    } finally {
      await node.close();
    }
  }
  if (output === 'json') out.line(JSON.stringify(parsed.has('backing-chain') ? all : all[0], undefined, 4));
  return 0;
}

async function factsOf(node: BlockNode, filename: string): Promise<Json> {
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

async function printHuman(node: BlockNode, facts: Json, out: ToolOutput): Promise<void> {
  out.line(`image: ${facts['filename']}`);
  out.line(`file format: ${node.format}`);
  out.line(`virtual size: ${sizeText(node.sizeBytes)} (${node.sizeBytes} bytes)`);
  out.line(`disk size: ${sizeText(facts['actual-size'] as number)}`);
  if (!(node instanceof Qcow2)) return;
  out.line(`cluster_size: ${facts['cluster-size']}`);
  if (facts['dirty-flag'] === true) out.line('cleanly shut down: no');
  const name = facts['backing-filename'];
  if (name !== undefined) {
    const full = facts['full-backing-filename'];
    out.line(`backing file: ${name}${full === name ? '' : ` (actual path: ${full})`}`);
    const format = facts['backing-filename-format'];
    if (format !== undefined) out.line(`backing file format: ${format}`);
  }
  const snapshots = node.listSnapshots();
  if (snapshots.length > 0) {
    out.line('Snapshot list:');
    out.line(SNAPSHOT_TABLE_HEADER);
    for (const one of snapshots) out.line(snapshotRow(one));
  }
  out.line('Format specific information:');
  printTree(
    facts['format-specific'] === undefined ? {} : ((facts['format-specific'] as Json)['data'] as Json),
    1,
    out,
  );
}

/** Nested values as QEMU indents them; list elements are numbered. */
function printTree(value: Json | readonly unknown[], depth: number, out: ToolOutput): void {
  const indent = '    '.repeat(depth);
  const entries = Array.isArray(value)
    ? value.map((one, i) => [`[${i}]`, one] as const)
    : Object.entries(value).map(([key, one]) => [key.replaceAll('-', ' '), one] as const);
  for (const [key, one] of entries) {
    if (typeof one === 'object' && one !== null) {
      out.line(`${indent}${key}:`);
      printTree(one as Json, depth + 1, out);
    } else {
      out.line(`${indent}${key}: ${one}`);
    }
  }
}
