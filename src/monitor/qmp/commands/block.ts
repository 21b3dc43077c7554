/** query-block and its kin, eject and change. qapi/block-core.json, block.json. */
import type { MachineDisk } from '../../../machine/disk.ts';
import type { Machine } from '../../../machine/machine.ts';
import { type Json, type JsonObject, qmp, type QmpCommand, type QmpContext } from '../command.ts';
import { QmpError } from '../errors.ts';
import { fileNodeName, nodeName } from '../nodes.ts';

export const BLOCK: readonly QmpCommand[] = [
  qmp('query-block', {}, async (context) => {
    const { machine } = context;
    const answers: Json[] = [];
    for (const [i, disk] of machine.disks.entries()) answers.push(await describeDrive(context, disk, i));
    return answers;
  }),
  qmp('query-named-block-nodes', { flat: 'boolean?' }, async (context) => {
    const nodes: Json[] = [];
    for (const [i, disk] of context.machine.disks.entries()) {
      if (disk.node === undefined) continue;
      const node = await describeNode(context, disk, i);
      nodes.push(node, fileNode(node, i));
    }
    return nodes;
  }),
  qmp('query-blockstats', { 'query-nodes': 'boolean?' }, ({ machine }) =>
    machine.disks.map((disk, i) => ({
      device: disk.device,
      ...(disk.node === undefined ? {} : { 'node-name': nodeName(disk, i) }),
      ...(disk.node === undefined ? {} : { parent: fileStatistics(i) }),
      stats: statistics(disk),
      qdev: `/machine/unattached/${disk.device}`,
    })),
  ),
  qmp('eject', { device: 'string?', id: 'string?', force: 'boolean?' }, async (context, args) => {
    const device = deviceOf(context.machine, args.optionalString('device') ?? args.optionalString('id'));
    await human(context, `eject -f ${device}`);
    return {};
  }),
  qmp(
    'blockdev-change-medium',
    {
      device: 'string?',
      id: 'string?',
      filename: 'string',
      format: 'string?',
      force: 'boolean?',
      'read-only-mode': 'string?',
    },
    async (context, args) => {
      const device = deviceOf(context.machine, args.optionalString('device') ?? args.optionalString('id'));
      const words = [args.optionalString('format'), args.optionalString('read-only-mode')].filter(
        (w) => w !== undefined,
      );
      const file = args.string('filename').replace(/["\\]/g, '\\$&');
      await human(context, `change ${device} "${file}" ${words.join(' ')}`);
      return {};
    },
  ),
];

function deviceOf(machine: Machine, name: string | undefined): string {
  if (name === undefined) throw new QmpError("Need exactly one of 'device' and 'id'");
  if (machine.disks.some(({ device }) => device === name)) return name;
  throw new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
}

/** By the human monitor's command, whose errors become ours. */
async function human({ hmp }: QmpContext, line: string): Promise<void> {
  const output = await hmp.execute(line);
  if (output !== '') throw new QmpError(output.trim().replace(/^Error: /, ''));
}

async function describeDrive(context: QmpContext, disk: MachineDisk, index: number): Promise<Json> {
  const kind = context.machine.options.drives.find(({ device }) => device === disk.device)?.kind;
  const isRemovable = kind === 'cdrom' || kind === 'floppy';
  return {
    'io-status': 'ok',
    device: disk.device,
    locked: false,
    removable: isRemovable,
    ...(disk.node === undefined ? {} : { inserted: await describeNode(context, disk, index) }),
    qdev: `/machine/unattached/${disk.device}`,
    ...(isRemovable ? { tray_open: disk.isTrayOpen } : {}),
    type: 'unknown',
  };
}

/** Nothing is throttled here. */
const LIMITS = { iops: 0, iops_rd: 0, iops_wr: 0, bps: 0, bps_rd: 0, bps_wr: 0, write_threshold: 0 };

async function describeNode({ host }: QmpContext, disk: MachineDisk, index: number): Promise<JsonObject> {
  const node = disk.node!;
  const { filename, format, readOnly } = node;
  const image = (await host.imageFacts(node)) as JsonObject;
  const backing = image['full-backing-filename'];
  return {
    ...LIMITS,
    detect_zeroes: 'off',
    image,
    ro: readOnly,
    'node-name': nodeName(disk, index),
    backing_file_depth: backing === undefined ? 0 : 1,
    ...(backing === undefined ? {} : { backing_file: backing }),
    drv: format,
    encrypted: false,
    cache: { 'no-flush': false, direct: false, writeback: true },
    file: filename,
  };
}

/** The file below, which is a node of its own. */
function fileNode(node: JsonObject, index: number): Json {
  const { filename, 'actual-size': bytes } = node['image'] as JsonObject;
  return {
    ...node,
    'node-name': fileNodeName(index),
    drv: 'file',
    backing_file_depth: 0,
    image: {
      'virtual-size': bytes!,
      filename: filename!,
      format: 'file',
      'actual-size': bytes!,
      'dirty-flag': false,
    },
  };
}

/** Kinds of requests that QEMU counts; those that are not made here stay 0. */
const COUNTED = ['unmap', 'flush', 'wr', 'rd'];

/** Of the file, whose requests nobody counts. */
function fileStatistics(index: number): Json {
  return {
    stats: statistics(NOTHING),
    'node-name': fileNodeName(index),
    'driver-specific': { driver: 'file', 'discard-nb-failed': 0, 'discard-bytes-ok': 0, 'discard-nb-ok': 0 },
  };
}

const NOTHING = { statistics: { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, flushes: 0 } } as const;

type Counted = Pick<MachineDisk['statistics'], keyof (typeof NOTHING)['statistics']>;

function statistics({ statistics: s }: { readonly statistics: Readonly<Counted> }): Json {
  const zeroes = COUNTED.flatMap((kind) => [
    [`${kind}_total_time_ns`, 0],
    [`failed_${kind}_operations`, 0],
    [`invalid_${kind}_operations`, 0],
  ]);
  return {
    ...Object.fromEntries(zeroes),
    unmap_operations: 0,
    unmap_merged: 0,
    unmap_bytes: 0,
    wr_merged: 0,
    rd_merged: 0,
    wr_highest_offset: 0,
    wr_bytes: s.writtenBytes,
    wr_operations: s.writes,
    rd_bytes: s.readBytes,
    rd_operations: s.reads,
    flush_operations: s.flushes,
    timed_stats: [],
    account_invalid: false,
    account_failed: false,
  };
}
