/** Everything that a guest could ever see of its machine, as one hash and as parts to find out what differs. */
import { createHash } from 'node:crypto';
import { toRecord } from '../../src/machine/cpu/cpu-record.ts';
import { encode } from '../../src/migration/codec.ts';
import { ByteWriter } from '../../src/migration/writer.ts';
import type { Machine } from '../../src/machine/machine.ts';

/** Name of a part (RAM block, section, disk) → hash. */
export type Fingerprint = Readonly<Record<string, string>>;

const hash = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex').slice(0, 16);

/** Of a stopped machine without disk requests in flight. */
export async function fingerprint({ machine }: { readonly machine: Machine }): Promise<Fingerprint> {
  await machine.finishLoad();
  const parts: Record<string, string> = {
    instructions: String(machine.cpu.instructions),
    time: String(machine.clock.now()),
    timers: machine.clock
      .armed()
      .map(({ name, deadline }) => `${name} ${deadline}`)
      .sort()
      .join(', '),
    cpu: hash(
      Buffer.from(JSON.stringify(toRecord(machine.cpu), (_, v) => (typeof v === 'bigint' ? `${v}` : v))),
    ),
  };
  for (const block of machine.board.ramBlocks) parts[block.name] = hash(block.bytes);
  for (const device of machine.board.devices) {
    // The run state before the save: no state of the guest's.
    if (device.name === 'globalstate') continue;
    device.beforeSave?.();
    const writer = new ByteWriter();
    encode(device.vmstate, device.state, writer);
    parts[`${device.name}/${device.instance ?? 0}`] = hash(writer.bytes());
  }
  for (const disk of machine.disks) {
    if (disk.node === undefined) continue;
    const bytes = new Uint8Array(disk.node.sizeBytes);
    await disk.node.read(0, bytes);
    parts[disk.device] = hash(bytes);
  }
  return parts;
}
