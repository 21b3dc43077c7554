/** `info`: status, snapshots, chardev and the small ones. */
import { snapshotTable } from '../../migration/snapshot-table.ts';
import type { Machine } from '../../machine/machine.ts';
import { type Command, command, CommandError } from '../command.ts';
import { APIC_INFO } from './info-apic.ts';
import { BLOCK_INFO } from './info-block.ts';
import { BOARD_INFO } from './info-board.ts';
import { CPU_INFO } from './info-cpu.ts';
import { DEVICE_INFO } from './info-devices.ts';
import { describeBlockJobs } from './block-jobs.ts';
import { PAGING_INFO } from './info-paging.ts';
import { TRACE_INFO } from './trace.ts';

const SMALL: readonly Command[] = [
  command('block-jobs', [], '', 'show progress of ongoing block device operations', ({ machine }) =>
    describeBlockJobs(machine),
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
  ...BLOCK_INFO,
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
