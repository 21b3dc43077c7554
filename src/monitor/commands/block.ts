/** Removable media: eject, change. Screen: screendump. */
import { type Committing, supportsCommit } from '../../block/block-node.ts';
import type { MachineDisk } from '../../machine/disk.ts';
import type { Machine } from '../../machine/machine.ts';
import {
  argument as arg,
  type Command,
  CommandError,
  command,
  type MonitorHost,
  reason,
} from '../command.ts';
import { setVncPassword } from './vnc.ts';

export const BLOCK_COMMANDS: readonly Command[] = [
  command(
    'commit',
    [arg('device', 'device')],
    'device|all',
    'commit changes to the disk images (if -snapshot is used); to backing files: ambervm img commit, when the machine is off',
    async ({ machine, host }, args) => {
      const name = args.string('device');
      const disk = machine.disks.find(({ device }) => device === name);
      if (name !== 'all' && disk === undefined) return `Device '${name}' not found\n`;
      if (disk !== undefined && disk.node === undefined) return `Device '${name}' has no medium\n`;
      for (const { device, node } of disk === undefined ? machine.disks : [disk]) {
        if (node === undefined) continue;
        if (supportsCommit(node)) {
          await commit(machine, device, node);
          if (disk !== undefined) return undefined;
          continue;
        }
        const facts = (await host.imageFacts(node)) as { 'backing-filename'?: string };
        if (facts['backing-filename'] !== undefined) {
          throw new CommandError(
            `'commit' error for '${device}': Operation not supported\n` +
              `Quit and use: ambervm img commit ${node.filename}`,
          );
        }
        if (disk !== undefined) return `'commit' error for '${device}': Operation not supported\n`;
      }
      return undefined;
    },
  ),
  command(
    'eject',
    [arg('flag', 'f'), arg('device', 'device')],
    '[-f] device',
    'eject a removable medium (use -f to force it)',
    async ({ machine }, args) => {
      const disk = removable(machine, args.string('device'));
      const old = disk.node;
      disk.moveTray(true);
      disk.change(undefined);
      await old?.close();
      return undefined;
    },
  ),
  command(
    'change',
    [
      arg('device', 'device'),
      arg('flag', 'f'),
      arg('filename', 'target'),
      arg('string', 'format?'),
      arg('string', 'read-only-mode?'),
    ],
    'device [-f] filename [format [read-only-mode]]',
    'change a removable medium, optional format, use -f to force the operation',
    async ({ machine, host }, args) => {
      const name = args.string('device');
      if (name === 'vnc') return changeVnc(host, args.string('target'), args.optional('format'));
      const disk = removable(machine, name);
      const mode = args.optional('read-only-mode') ?? 'retain';
      if (!['retain', 'read-only', 'read-write'].includes(mode)) {
        throw new CommandError(`Parameter 'read-only-mode' does not accept value '${mode}'`);
      }
      const isCd = kindOf(machine, name) === 'cdrom';
      const readOnly = isCd || mode === 'read-only' || (mode === 'retain' && disk.node?.readOnly === true);
      const format = args.optional('format');
      const node = await host.openImage(args.string('target'), {
        readOnly,
        ...(format === undefined ? {} : { format }),
      });
      const old = disk.node;
      disk.moveTray(true);
      disk.change(undefined);
      disk.change(node);
      disk.moveTray(false);
      await old?.close();
      return undefined;
    },
  ),
  command(
    'screendump',
    [arg('filename', 'filename'), arg('flag', 'f'), arg('string', 'format?')],
    'filename [-f format]',
    "save the screen as an image file; format 'ppm' or 'png', by default png if the name ends in .png, else ppm",
    async ({ machine, host }, args) => {
      const filename = args.string('filename');
      const format = args.optional('format') ?? (/\.png$/i.test(filename) ? 'png' : 'ppm');
      if (format !== 'png' && format !== 'ppm') throw new CommandError(`invalid parameter value: ${format}`);
      const surface = machine.screen?.render();
      if (surface === undefined) throw new CommandError('There is no console to take a screendump from');
      const encode = format === 'png' ? host.encodePng : host.encodePpm;
      try {
        await host.writeFile(filename, encode(surface.width, surface.height, surface.rgb));
      } catch (error) {
        throw new CommandError(`failed to open file '${filename}': ${reason(error)}`);
      }
      return undefined;
    },
  ),
];

/** `change vnc password secret`. Addresses cannot be changed, as in QEMU since 6.0. */
function changeVnc(host: MonitorHost, what: string, password: string | undefined): undefined {
  if (what !== 'password' && what !== 'passwd') throw new CommandError("Expected 'password' after 'vnc'");
  if (password === undefined) throw new CommandError("Parameter 'password' is missing");
  return setVncPassword(host, password);
}

async function commit(machine: Machine, device: string, node: Committing): Promise<void> {
  const wasRunning = machine.running;
  await machine.pause();
  try {
    await node.commit();
  } catch (error) {
    throw new CommandError(`'commit' error for '${device}': ${reason(error)}`);
  } finally {
    if (wasRunning) machine.start();
  }
}

function kindOf(machine: Machine, device: string): string | undefined {
  return machine.options.drives.find((drive) => drive.device === device)?.kind;
}

function removable(machine: Machine, device: string): MachineDisk {
  const disk = machine.disks.find((d) => d.device === device);
  if (disk === undefined) throw new CommandError(`Device '${device}' not found`);
  if (kindOf(machine, device) === 'disk') throw new CommandError(`Device '${device}' is not removable`);
  return disk;
}
