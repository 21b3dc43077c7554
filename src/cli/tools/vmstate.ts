/** `ambervm vmstate`: looks into a snapshot's VM state, QEMU's or ours. */
import * as zlib from 'node:zlib';
import type { SnapshotInfo } from '../../block/block-node.ts';
import { BlockError } from '../../block/errors.ts';
import { type Crc32, crc32 as portableCrc32 } from '../../migration/crc32.ts';
import { describeVmState, listSections } from '../../migration/describe.ts';
import { MigrationError } from '../../migration/errors.ts';
import { vmStateSource } from '../../migration/savevm.ts';
import type { VmStateSource } from '../../migration/stream-input.ts';
import { verificationText, verifyVmState } from '../../migration/verify.ts';
import { parseToolArgs, type SnapshotNode, type Tool, type ToolOutput, withImage } from './tool.ts';

const nodeCrc32 = (zlib as { crc32?: (data: Uint8Array) => number }).crc32;
/** Node's where it has one. */
export const fastCrc32: Crc32 = nodeCrc32 === undefined ? portableCrc32 : (bytes) => nodeCrc32(bytes);

/** By id first, then by tag, as everywhere; one with VM state. */
export function findVmState(node: SnapshotNode, idOrTag: string): SnapshotInfo {
  const all = node.listSnapshots();
  const info = all.find(({ id }) => id === idOrTag) ?? all.find(({ tag }) => tag === idOrTag);
  const fail = (text: string): never => {
    const tags = all.map(({ tag }) => `'${tag}'`).join(', ');
    throw new BlockError('not-found', `${text} in '${node.filename}'`, {
      file: node.filename,
      section: 'snapshot table',
      found: tags === '' ? 'no snapshots' : tags,
    });
  };
  if (info === undefined) return fail(`There is no snapshot '${idOrTag}'`);
  if (info.vmStateBytes === 0) return fail(`Snapshot '${idOrTag}' has no VM state`);
  return info;
}

/** Refuses a VM state of ours that does not match its checksums. */
export async function requireSound(source: VmStateSource): Promise<void> {
  const { ok, lines } = verificationText(await verifyVmState(source, fastCrc32));
  if (!ok) throw new MigrationError('checksum', `The VM state is damaged\n${lines.join('\n')}`);
}

async function dump(args: readonly string[], out: ToolOutput): Promise<number> {
  const { positionals, given } = parseToolArgs(args, ['IMAGE', 'TAG'], { sections: { type: 'boolean' } });
  const [image, tag] = positionals as [string, string];
  return withImage(image, true, async (node) => {
    const source = vmStateSource(node, findVmState(node, tag));
    const options = { crc32: fastCrc32 };
    const describe = given['sections'] ? listSections : describeVmState;
    for (const line of await describe(source, options)) out.line(line);
    return report(await verifyVmState(source, fastCrc32), out);
  });
}

async function verify(args: readonly string[], out: ToolOutput): Promise<number> {
  const [image, tag] = parseToolArgs(args, ['IMAGE', 'TAG']).positionals as [string, string];
  return withImage(image, true, async (node) =>
    report(await verifyVmState(vmStateSource(node, findVmState(node, tag)), fastCrc32), out),
  );
}

function report(result: Awaited<ReturnType<typeof verifyVmState>>, out: ToolOutput): number {
  const { ok, lines } = verificationText(result);
  for (const line of lines) out.line(line);
  return ok ? 0 : 1;
}

export const VMSTATE_TOOL: Tool = {
  help: 'looks into the VM state of a snapshot',
  commands: {
    dump: {
      usage: 'IMAGE TAG [--sections]',
      help: 'prints it field by field, or (--sections) where each section lies, and checks it; exit code 1: damaged',
      run: dump,
    },
    verify: {
      usage: 'IMAGE TAG',
      help: 'checks trailer and checksums; exit code 1: damaged',
      run: verify,
    },
  },
};
