/** `ambervm snapshot`: snapshots of an image that no machine uses: listed, exported, imported, compressed. */
import { MigrationError } from '../../migration/errors.ts';
import { saveVmState } from '../../migration/save-vmstate.ts';
import { vmStateSource } from '../../migration/savevm.ts';
import { SNAPSHOT_TABLE_HEADER, snapshotRow } from '../../migration/snapshot-table.ts';
import type { VmStateSource } from '../../migration/stream-input.ts';
import {
  mainBlock,
  readWholeState,
  streamBytes,
  streamWithout,
  type WholeState,
} from '../../migration/whole-state.ts';
import { UsageError } from '../grammar.ts';
import { compressSnapshot } from './compress.ts';
import {
  type Given,
  parseToolArgs,
  type SnapshotNode,
  textOption,
  type Tool,
  type ToolOutput,
  withImage,
} from './tool.ts';
import { bytesToFile, copyToFile, exportRam, importRam, withStreamFile } from './vmstate-files.ts';
import { fastCrc32, findVmState, requireSound } from './vmstate.ts';

const PLACES = {
  ram: { type: 'string' },
  vmstate: { type: 'string' },
  stream: { type: 'string' },
} as const;

/** `--stream FILE`, or `--ram FILE` with or without `--vmstate FILE`. */
function placesOf(given: Given): { ram?: string; vmstate?: string; stream?: string } {
  const [ram, vmstate, stream] = ['ram', 'vmstate', 'stream'].map((name) => textOption(given, name));
  if ((ram === undefined) === (stream === undefined)) throw new UsageError('either --ram or --stream');
  if (vmstate !== undefined && ram === undefined) throw new UsageError('--vmstate goes with --ram');
  return { ...(ram ? { ram } : {}), ...(vmstate ? { vmstate } : {}), ...(stream ? { stream } : {}) };
}

async function list(args: readonly string[], out: ToolOutput): Promise<number> {
  const [image] = parseToolArgs(args, ['IMAGE']).positionals as [string];
  return withImage(image, true, async (node) => {
    const all = node.listSnapshots();
    if (all.length === 0) out.line('There is no snapshot available.');
    else for (const line of [SNAPSHOT_TABLE_HEADER, ...all.map((info) => snapshotRow(info))]) out.line(line);
    return 0;
  });
}

async function exportSnapshot(args: readonly string[], out: ToolOutput): Promise<number> {
  const { positionals, given } = parseToolArgs(args, ['IMAGE', 'TAG'], PLACES);
  const [image, tag] = positionals as [string, string];
  const { ram, vmstate, stream } = placesOf(given);
  return withImage(image, true, async (node) => {
    const info = findVmState(node, tag);
    const source = vmStateSource(node, info);
    await requireSound(source);
    if (stream !== undefined) {
      await copyToFile(source, await streamBytes(source), stream, out);
      return 0;
    }
    const state = await readWholeState(source);
    const block = mainBlock(state.ramBlocks);
    const bytes = streamWithout(state, block.name);
    if (vmstate !== undefined) await bytesToFile(bytes, vmstate);
    await exportRam(
      block,
      ram!,
      vmstate === undefined ? { tag: info.tag, bytes, dateSec: info.dateSec } : undefined,
    );
    out.line(`${block.name}: ${block.sizeBytes} bytes in '${ram}'`);
    return 0;
  });
}

/** RAM from its image, the rest from a file or from the image's own snapshot `tag`. */
async function readParts(ram: string, vmstate: string | undefined, tag: string): Promise<WholeState> {
  const read = async (source: VmStateSource): Promise<WholeState> => {
    const state = await readWholeState(source, (blocks) => mainBlock(blocks).name);
    await importRam(mainBlock(state.ramBlocks), ram);
    return state;
  };
  if (vmstate !== undefined) return withStreamFile(vmstate, read);
  const rest = await withImage(ram, true, async (node) => {
    const all = node.listSnapshots().filter(({ vmStateBytes }) => vmStateBytes > 0);
    const info = all.length === 1 ? all[0]! : findVmState(node, tag);
    const bytes = new Uint8Array(info.vmStateBytes);
    await node.readVmState(info.id, 0, bytes);
    return bytes;
  });
  return read({
    sizeBytes: rest.length,
    read: async (offset, target) => target.set(rest.subarray(offset, offset + target.length)),
  });
}

async function importSnapshot(args: readonly string[], out: ToolOutput): Promise<number> {
  const { positionals, given } = parseToolArgs(args, ['IMAGE', 'TAG'], {
    ...PLACES,
    compress: { type: 'boolean' },
  });
  const [image, tag] = positionals as [string, string];
  const { ram, vmstate, stream } = placesOf(given);
  const state =
    stream !== undefined
      ? await withStreamFile(stream, (source) => readWholeState(source))
      : await readParts(ram!, vmstate, tag);
  return withImage(image, false, async (node) => {
    const isNew = await storeState(node, tag, state, given['compress'] === true);
    out.line(
      isNew
        ? `new snapshot '${tag}', with the disk as it is now`
        : `snapshot '${tag}' has a new VM state; its disk is as it was`,
    );
    return 0;
  });
}

/** Gives snapshot `tag` this VM state, in our layout; makes the snapshot if there is none, and says so. */
export async function storeState(
  node: SnapshotNode,
  tag: string,
  state: WholeState,
  compress = false,
): Promise<boolean> {
  const { devicePart, machineType, ramBlocks, vmClockNs } = state;
  const writer = await node.createVmState(compress ? { compress: {} } : {});
  try {
    const machine = { machineType, ramBlocks, devices: [] };
    const saved = await saveVmState(machine, writer, { devicePart, crc32: fastCrc32 });
    const old = node.listSnapshots().find((info) => info.tag === tag);
    const { vmStateBytes } = saved;
    if (old !== undefined) {
      if (writer.replace === undefined)
        throw new MigrationError('no-snapshots', 'VM state cannot be replaced');
      await writer.replace(old.id, vmStateBytes);
      return false;
    }
    const dateSec = Math.floor(Date.now() / 1000);
    await writer.commit({ tag, dateSec, dateNsec: 0, vmClockNs, icount: -1, vmStateBytes });
    return true;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

async function compress(args: readonly string[], out: ToolOutput): Promise<number> {
  const [image, tag] = parseToolArgs(args, ['IMAGE', 'TAG']).positionals as [string, string];
  return withImage(image, false, async (node) => {
    const { clusters, already } = await compressSnapshot(node, findVmState(node, tag), out);
    out.line(`${clusters} clusters compressed, ${already} were already`);
    return 0;
  });
}

export const SNAPSHOT_TOOL: Tool = {
  help: 'snapshots of an image that no machine uses',
  commands: {
    list: { usage: 'IMAGE', help: 'lists them, as info snapshots does', run: list },
    export: {
      usage: 'IMAGE TAG (--ram RAM.qcow2 [--vmstate REST] | --stream FILE)',
      help:
        'RAM to an image of its own (byte n at offset n) and the rest to a file or, without --vmstate, to a snapshot\n' +
        '      of that image; or all to a migration stream for -incoming "exec:cat FILE"',
      run: exportSnapshot,
    },
    import: {
      usage: 'IMAGE TAG (--ram RAM.qcow2 [--vmstate REST] | --stream FILE) [--compress]',
      help:
        'the reverse; --stream reads what migrate "exec:cat > FILE" wrote. A snapshot of that tag gets the VM state and\n' +
        '      keeps its disk; otherwise a new one is made, with the disk as it is',
      run: importSnapshot,
    },
    compress: {
      usage: 'IMAGE TAG',
      help: 'compresses its VM state (what it shares with other snapshots is stored once more)',
      run: compress,
    },
  },
};
