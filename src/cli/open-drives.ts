/** Opens the images of the drives that the command line names. */
import type { BlockNode } from '../block/block-node.ts';
import { BlockError } from '../block/errors.ts';
import { detectZeroes } from '../block/filters/detect-zeroes.ts';
import { openImage } from '../block/open.ts';
import type { DriveOptions } from '../machine/options.ts';
import type { Config } from './config.ts';
import { type PlacedDrive, placeDrives } from './drives.ts';
import { UsageError } from './grammar.ts';

/** All drives of the machine, the default ones included: an empty CD drive and an empty floppy drive, as in QEMU. */
export async function openDrives(config: Config, notice: (message: string) => void): Promise<DriveOptions[]> {
  const placed = placeDrives(config.drives);
  const drives: DriveOptions[] = [];
  try {
    for (const drive of placed) drives.push(await openDrive(drive, config, notice));
  } catch (error) {
    for (const { node } of drives) await node?.close();
    throw error;
  }
  if (!config.noDefaults) drives.push(...defaultDrives(placed));
  return drives;
}

function defaultDrives(placed: readonly PlacedDrive[]): DriveOptions[] {
  const drives: DriveOptions[] = [];
  const isIde = (index: number) => placed.some((p) => p.config.interface === 'ide' && p.index === index);
  if (!isIde(2) && !placed.some((p) => p.kind === 'cdrom')) {
    drives.push({ device: 'ide1-cd0', kind: 'cdrom', index: 2, node: undefined });
  }
  if (!placed.some((p) => p.kind === 'floppy')) {
    drives.push({ device: 'floppy0', kind: 'floppy', index: 0, node: undefined });
  }
  return drives;
}

async function openDrive(
  { config: drive, device, kind, index }: PlacedDrive,
  config: Config,
  notice: (message: string) => void,
): Promise<DriveOptions> {
  const node = drive.file === undefined ? undefined : await openNode(drive.file);
  if (node === undefined && kind === 'disk') {
    throw new UsageError(`${drive.where}: Device needs media, but drive is empty`);
  }
  const { discard } = drive;
  return {
    device,
    kind,
    index,
    node,
    discard,
    ...(drive.nodeName === undefined ? {} : { nodeName: drive.nodeName }),
    ...(drive.serial === undefined ? {} : { serial: drive.serial }),
  };

  async function openNode(file: string): Promise<BlockNode> {
    try {
      const opened = await openImage(file, {
        readOnly: drive.readOnly || kind === 'cdrom',
        snapshot: drive.snapshot ?? config.snapshot,
        warn: (message) => notice(`WARNING: ${message}`),
        ...(drive.format === undefined ? {} : { format: drive.format }),
        ...(drive.lock === undefined ? {} : { lock: drive.lock }),
        ...(drive.cache === undefined ? {} : { cache: drive.cache }),
        ...(drive.cacheBytes === undefined ? {} : { cacheBytes: Math.max(1, drive.cacheBytes) }),
      });
      const foreign = [...drive.unknownKeys, ...(opened.format === 'raw' ? drive.qcow2Keys : [])];
      if (foreign.length === 0) return drive.detectZeroes ? detectZeroes(opened) : opened;
      await opened.close();
      throw new BlockError(
        'unsupported',
        `Block format '${drive.format ?? opened.format}' does not support the option '${foreign[0]}'`,
      );
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      throw new UsageError(`${drive.where}: ${qemuWords(error, drive.format)}`);
    }
  }
}

function qemuWords(error: BlockError, format: string | undefined): string {
  if (error.context.field === 'format' && format !== undefined) return `Unknown driver '${format}'`;
  // The option names the file already.
  const words = error.message.replace(`'${error.context.file}': Image is`, 'Image is');
  return [words, ...detail(error)].join('\n');
}

/** Where in the image it was found, on a line of its own. */
function detail({ context }: BlockError): string[] {
  const { file, section, field, offset, found, expected } = context;
  if (section === undefined && field === undefined && offset === undefined) return [];
  const parts = [
    file === undefined ? '' : `file '${file}'`,
    section ?? '',
    field === undefined ? '' : `field ${field}`,
    offset === undefined ? '' : `offset 0x${offset.toString(16)}`,
    expected === undefined ? '' : `expected ${expected}`,
    found === undefined ? '' : `found ${found}`,
  ];
  return [`(${parts.filter((part) => part !== '').join(', ')})`];
}
