/** `info block` and `info blockstats`. block/monitor/block-hmp-cmds.c of QEMU 7.2. */
import { supportsSnapshots } from '../../block/block-node.ts';
import type { MachineDisk } from '../../machine/disk.ts';
import type { Machine } from '../../machine/machine.ts';
import { argument as arg, type Command, CommandError, command, type MonitorHost } from '../command.ts';
import { type ImageFacts, imageLines } from '../image-text.ts';
import { fileNodeName, nodeName } from '../qmp/nodes.ts';

export const BLOCK_INFO: readonly Command[] = [
  command(
    'block',
    [arg('flag', 'n'), arg('flag', 'v'), arg('device', 'device?')],
    '[-n] [-v] [device]',
    'show info of one block device or all block devices (-n: show named nodes; -v: show details)',
    ({ machine, host }, args) =>
      args.flag('n')
        ? nodesText(machine, host, args.optional('device'), args.flag('v'))
        : drivesText(machine, host, args.optional('device'), args.flag('v')),
  ),
  command('blockstats', [], '', 'show block device statistics', ({ machine }) =>
    machine.disks.map((disk) => statisticsLine(disk, machine.options.host.now())).join(''),
  ),
];

async function drivesText(
  machine: Machine,
  host: MonitorHost,
  only: string | undefined,
  details: boolean,
): Promise<string> {
  const texts: string[] = [];
  for (const [i, disk] of machine.disks.entries()) {
    const { device, node } = disk;
    const name = nodeName(disk, i);
    if (only !== undefined && only !== device && only !== name) continue;
    const { kind } = machine.options.drives.find((drive) => drive.device === device) ?? {};
    const medium = node === undefined ? ': [not inserted]' : ` (${name}): ${nodeText(node, node.format)}`;
    const lines = [`${device}${medium}`];
    if (kind !== 'none') lines.push(`    Attached to:      /machine/unattached/${device}`);
    if (kind !== 'disk')
      lines.push(`    Removable device: not locked, tray ${disk.isTrayOpen ? 'open' : 'closed'}`);
    if (node !== undefined) lines.push('    Cache mode:       writeback');
    if (node !== undefined && details) lines.push('', 'Images:', ...(await detailLines(disk, host)));
    texts.push(`${lines.join('\n')}\n`);
  }
  if (only !== undefined && texts.length === 0) throw new CommandError(`Device '${only}' not found`);
  return texts.join('\n');
}

/** Formats, and the files that they lie in; the newest node first. */
async function nodesText(
  machine: Machine,
  host: MonitorHost,
  only: string | undefined,
  details: boolean,
): Promise<string> {
  const texts: string[] = [];
  for (const [i, disk] of machine.disks.entries()) {
    const { node } = disk;
    if (node === undefined) continue;
    const add = (name: string, format: string, more: readonly string[]) => {
      if (only !== undefined && only !== name) return;
      const lines = [`${name}: ${nodeText(node, format)}`, '    Cache mode:       writeback'];
      texts.unshift(`${[...lines, ...(details ? ['', 'Images:', ...more] : [])].join('\n')}\n`);
    };
    const facts = (await host.imageFacts(node)) as ImageFacts;
    const file = { ...facts, format: 'file', 'virtual-size': facts['actual-size'] };
    add(fileNodeName(i), 'file', imageLines({ ...file, 'format-specific': undefined }, []));
    add(nodeName(disk, i), node.format, await detailLines(disk, host));
  }
  if (only !== undefined && texts.length === 0) throw new CommandError(`Device '${only}' not found`);
  return texts.join('\n');
}

function nodeText(node: NonNullable<MachineDisk['node']>, format: string): string {
  return `${node.filename} (${format}${node.readOnly ? ', read-only' : ''})`;
}

async function detailLines({ node }: MachineDisk, host: MonitorHost): Promise<string[]> {
  const facts = (await host.imageFacts(node!)) as ImageFacts;
  return imageLines(facts, supportsSnapshots(node!) ? node.listSnapshots() : []);
}

function statisticsLine({ device, node, statistics: s }: MachineDisk, now: number): string {
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
