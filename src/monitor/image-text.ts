/** What an image is, in the words of `qemu-img info` and `info block -v` (block/qapi.c of QEMU 7.2). */
import type { SnapshotInfo } from '../block/block-node.ts';
import { SNAPSHOT_TABLE_HEADER, sizeText, snapshotRow } from '../migration/snapshot-table.ts';

/** With the keys of QMP's ImageInfo (qapi/block-core.json). */
export type ImageFacts = { readonly [key: string]: unknown };

export function imageLines(facts: ImageFacts, snapshots: readonly SnapshotInfo[]): string[] {
  const bytes = facts['virtual-size'] as number;
  const lines = [
    `image: ${facts['filename']}`,
    `file format: ${facts['format']}`,
    `virtual size: ${sizeText(bytes)} (${bytes} bytes)`,
    `disk size: ${sizeText(facts['actual-size'] as number)}`,
  ];
  const specific = facts['format-specific'] as { readonly data?: ImageFacts } | undefined;
  if (specific === undefined) return lines;
  lines.push(`cluster_size: ${facts['cluster-size']}`);
  if (facts['dirty-flag'] === true) lines.push('cleanly shut down: no');
  const name = facts['backing-filename'];
  if (name !== undefined) {
    const full = facts['full-backing-filename'];
    lines.push(`backing file: ${name}${full === name ? '' : ` (actual path: ${full})`}`);
    const format = facts['backing-filename-format'];
    if (format !== undefined) lines.push(`backing file format: ${format}`);
  }
  if (snapshots.length > 0) {
    lines.push('Snapshot list:', SNAPSHOT_TABLE_HEADER, ...snapshots.map((one) => snapshotRow(one)));
  }
  return [...lines, 'Format specific information:', ...treeLines(specific.data ?? {}, 1)];
}

/** Nested values as QEMU indents them; list elements are numbered. */
function treeLines(value: ImageFacts | readonly unknown[], depth: number): string[] {
  const indent = '    '.repeat(depth);
  const entries = Array.isArray(value)
    ? value.map((one, i) => [`[${i}]`, one] as const)
    : Object.entries(value).map(([key, one]) => [key.replaceAll('-', ' '), one] as const);
  return entries.flatMap(([key, one]) =>
    typeof one === 'object' && one !== null
      ? [`${indent}${key}:`, ...treeLines(one as ImageFacts, depth + 1)]
      : [`${indent}${key}: ${one}`],
  );
}
