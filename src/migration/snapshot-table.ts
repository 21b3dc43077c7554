/** The tables that `info snapshots` and `qemu-img snapshot -l` print, to the column (QEMU 7.2 block/qapi.c). */
import type { SnapshotInfo } from '../block/block-node.ts';
import { localDigits, type SnapshotLists } from './savevm.ts';

export const SNAPSHOT_TABLE_HEADER = row('ID', 'TAG', 'VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT');

/** One line; `id` is `--` where ids differ between disks. */
export function snapshotRow(info: SnapshotInfo, id: string = info.id): string {
  const [year, month, day, ...time] = localDigits(info.dateSec);
  const date = `${year}-${month}-${day} ${time.join(':')}`;
  const icount = info.icount === -1 ? '' : String(info.icount);
  return row(id, info.tag, sizeText(info.vmStateBytes), date, clockText(info.vmClockNs), icount);
}

function row(id: string, tag: string, size: string, date: string, clock: string, icount: string): string {
  const name = `${id.padEnd(9)} ${tag.padEnd(16)} `;
  return name + size.padStart(8) + date.padStart(20) + clock.padStart(13) + icount.padStart(11);
}

function clockText(ns: number): string {
  const seconds = Math.floor(ns / 1e9);
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const milliseconds = String(Math.floor(ns / 1e6) % 1000).padStart(3, '0');
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}.${milliseconds}`;
}

const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** QEMU's short sizes: three digits, the next unit from 1000 on (`0.977 GiB`). */
export function sizeText(bytes: number): string {
  let unit = 0;
  while (bytes / 1024 ** unit >= 1000 && unit < UNITS.length - 1) unit++;
  return `${threeDigits(bytes / 1024 ** unit)} ${UNITS[unit]}B`;
}

/** C's %0.3g for 0 ≤ value ≤ 1000: three significant digits without trailing zeros. */
function threeDigits(value: number): string {
  const text = value.toPrecision(3);
  return text.includes('e')
    ? Number(text)
        .toExponential()
        .replace(/e\+(\d)$/, 'e+0$1')
    : String(Number(text));
}

/** What the monitor prints for `info snapshots`; lines end with a newline. */
export function snapshotTable({ everywhere, partial }: SnapshotLists): string {
  if (everywhere.length === 0 && partial.length === 0) return 'There is no snapshot available.\n';
  const lines = ['List of snapshots present on all disks:'];
  if (everywhere.length === 0) lines.push('None');
  else lines.push(SNAPSHOT_TABLE_HEADER, ...everywhere.map((info) => snapshotRow(info, '--')));
  for (const { device, snapshots } of partial) {
    lines.push('', `List of partial (non-loadable) snapshots on '${device}':`, SNAPSHOT_TABLE_HEADER);
    lines.push(...snapshots.map((info) => snapshotRow(info)));
  }
  return `${lines.join('\n')}\n`;
}
