/** `img info`: what an image is, without reading its data. */
import type { BlockNode } from '../../../block/block-node.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { SNAPSHOT_TABLE_HEADER, sizeText, snapshotRow } from '../../../migration/snapshot-table.ts';
import { imageFacts, type Json } from '../../image-facts.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { openFor, outputOption, parseImgArgs, usage } from './img-args.ts';

export async function info(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:U', ['image-opts', 'output=', 'backing-chain']));
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
      const facts = await imageFacts(node, next);
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
