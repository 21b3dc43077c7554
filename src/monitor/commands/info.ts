/** `info`: status, snapshots, block, chardev and the small ones. */
import { supportsSnapshots } from '../../block/block-node.ts';
import { SNAPSHOT_TABLE_HEADER, snapshotRow, snapshotTable } from '../../migration/snapshot-table.ts';
import type { Machine } from '../../machine/machine.ts';
import { argument as arg, type Command, command, CommandError } from '../command.ts';
import { APIC_INFO } from './info-apic.ts';
import { BOARD_INFO } from './info-board.ts';
import { CPU_INFO } from './info-cpu.ts';
import { DEVICE_INFO } from './info-devices.ts';
import { describeBlockJobs } from './block-jobs.ts';
import { PAGING_INFO } from './info-paging.ts';
import { TRACE_INFO } from './trace.ts';

const SMALL: readonly Command[] = [
  command(
    'block',
    [arg('flag', 'n'), arg('flag', 'v'), arg('device', 'device?')],
    '[-n] [-v] [device]',
    'show info of one block device or all block devices (-v: show details)',
    ({ machine }, args) => blockText(machine, args.optional('device'), args.flag('v')),
  ),
  command('block-jobs', [], '', 'show progress of ongoing block device operations', ({ machine }) =>
    describeBlockJobs(machine),
  ),
  command('blockstats', [], '', 'show block device statistics', ({ machine }) =>
    machine.disks.map((disk) => statisticsLine(disk, machine.options.host.now())).join(''),
  ),
  command('chardev', [], '', 'show the character devices', ({ host }) =>
    host
      .characters()
      .map(({ label, filename }) => `${label}: filename=${filename}\n`)
      .join(''),
  ),
  command('vnc', [], '', 'show the vnc server status', ({ host }) => host.vnc?.info() ?? 'None\n'),
  command('history', [], '', 'show the command line history', ({ history }) =>
    history.map((line, i) => `${i}: '${line}'\n`).join(''),
  ),
  command(
    'mice',
    [],
    '',
    'show which guest mouse is receiving events',
    () => '* Mouse #2: QEMU PS/2 Mouse\n',
  ),
  command('name', [], '', 'show the current VM name', ({ host }) =>
    host.name === undefined ? undefined : `${host.name}\n`,
  ),
  command('snapshots', [], '', 'show the currently saved VM snapshots', ({ machine }) =>
    snapshotsText(machine),
  ),
  command(
    'status',
    [],
    '',
    'show the current VM status (running|paused)',
    ({ machine }) => `VM status: ${statusText(machine)}\n`,
  ),
  command(
    'uuid',
    [],
    '',
    'show the current VM UUID',
    ({ host }) => `${host.uuid ?? '00000000-0000-0000-0000-000000000000'}\n`,
  ),
  // What there is none of, as QEMU says it.
  command('block-jobs', [], '', 'show progress of ongoing block device operations', () => 'No active jobs\n'),
  command('iothreads', [], '', 'show iothreads', () => undefined),
  command('kvm', [], '', 'show KVM information', () => 'kvm support: disabled\n'),
  command('network', [], '', 'show the network state', () => undefined),
  command('numa', [], '', 'show NUMA information', () => '0 nodes\n'),
  command('usb', [], '', 'show guest USB devices', () => {
    throw new CommandError('USB support not enabled');
  }),
  command(
    'memory_size_summary',
    [],
    '',
    'show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes.',
    ({ machine }) => `base memory: ${machine.options.ramBytes}\nplugged memory: 0\n`,
  ),
  command('version', [], '', 'show the version', ({ host }) => `${host.version}\n`),
];

export const INFO_COMMANDS: readonly Command[] = [
  ...SMALL,
  ...CPU_INFO,
  ...BOARD_INFO,
  ...APIC_INFO,
  ...DEVICE_INFO,
  ...PAGING_INFO,
  ...TRACE_INFO,
].sort((a, b) => (a.name < b.name ? -1 : 1));

/** That there is nowhere to keep any is no error here, in QEMU either. */
function snapshotsText(machine: Machine): string {
  try {
    return snapshotTable(machine.listSnapshots());
  } catch (error) {
    if (error instanceof Error && error.name === 'MigrationError') return `${error.message}\n`;
    throw error;
  }
}

/** QEMU's words: `running`, or `paused` with the state in brackets if it is another one. */
function statusText({ state }: Machine): string {
  if (state === 'running') return 'running';
  return state === 'paused' ? 'paused' : `paused (${state})`;
}

function blockText(machine: Machine, only: string | undefined, details: boolean): string {
  const disks = machine.disks.filter(({ device }) => only === undefined || device === only);
  if (only !== undefined && disks.length === 0) throw new CommandError(`Device '${only}' not found`);
  return disks
    .map(({ device, node }, i) => {
      const kind = machine.options.drives.find((drive) => drive.device === device)?.kind;
      const medium =
        node === undefined
          ? ': [not inserted]'
          : ` (#block${String(i * 2 + 1).padStart(3, '0')}): ${node.filename} (${node.format}${node.readOnly ? ', read-only' : ''})`;
      const lines = [`${device}${medium}`, `    Attached to:      /machine/unattached/${device}`];
      if (kind !== 'disk') lines.push('    Removable device: not locked, tray closed');
      if (node !== undefined) lines.push('    Cache mode:       writeback');
      if (node !== undefined && details) lines.push('', ...imageLines(node));
      return `${lines.join('\n')}\n`;
    })
    .join('\n');
}

function imageLines(node: NonNullable<Machine['disks'][number]['node']>): string[] {
  const lines = [
    'Images:',
    `image: ${node.filename}`,
    `file format: ${node.format}`,
    `virtual size: ${node.sizeBytes / 1024 ** 2} MiB (${node.sizeBytes} bytes)`,
  ];
  const snapshots = supportsSnapshots(node) ? node.listSnapshots() : [];
  if (snapshots.length > 0) {
    lines.push('Snapshot list:', SNAPSHOT_TABLE_HEADER, ...snapshots.map((info) => snapshotRow(info)));
  }
  return lines;
}

function statisticsLine({ device, node, statistics: s }: Machine['disks'][number], now: number): string {
  const cache = node?.cacheStatistics;
  const metadata =
    cache === undefined
      ? ''
      : ` cache_hits=${cache.hits} cache_misses=${cache.misses} cache_bytes=${cache.usedBytes} cache_size=${cache.budgetBytes}`;
  return (
    `${device}: rd_bytes=${s.readBytes} wr_bytes=${s.writtenBytes} rd_operations=${s.reads} ` +
    `wr_operations=${s.writes} flush_operations=${s.flushes} wr_total_time_ns=${s.writeNs} ` +
    `rd_total_time_ns=${s.readNs} flush_total_time_ns=${s.flushNs} rd_merged=0 wr_merged=0 ` +
    `idle_time_ns=${s.lastAccessNs === 0 ? 0 : Math.max(0, now - s.lastAccessNs)}${metadata}\n`
  );
}
