import { describe, expect, it } from 'vitest';
import { i64, i32, structs, u8, u16, u32, type Schema, type VmState } from '../../src/migration/vmstate.ts';
import { requireProgram } from './programs.ts';
import { compareSchemaWithDump, vmStateDump } from './vmstate-dump.ts';

interface Channel {
  count: number;
  latchedCount: number;
  bytes: number;
}

/** The interval timer's section, short of its middle fields: the shape of every device's schema. */
function pit(changes: { version?: number; since?: number } = {}): Schema {
  const channel: VmState<Channel> = {
    name: 'pit channel',
    version: 2,
    minimumVersion: 2,
    fields: { count: i32(), latchedCount: u16(), bytes: u8({ name: 'count_latched' }) },
  };
  const vmstate: VmState<{ irqDisabled: number; channels: readonly Channel[]; next: number }> = {
    name: 'i8254',
    version: changes.version ?? 3,
    minimumVersion: 2,
    fields: {
      irqDisabled: u32({ name: 'channels[0].irq_disabled', since: changes.since ?? 3 }),
      channels: structs(channel, 3),
      next: i64({ name: 'channels[0].next_transition_time' }),
    },
  };
  return vmstate;
}

const REST = [
  'status_latched',
  'status',
  'read_state',
  'write_state',
  'write_latch',
  'rw_mode',
  'mode',
  'bcd',
];
const without = [...REST, 'gate', 'count_load_time', 'next_transition_time'];

describe.skipIf(!requireProgram('qemu-system-i386'))('qemu-system-i386 -dump-vmstate', () => {
  const description = () => vmStateDump()['isa-pit']!.Description!;

  it('agrees with a schema that is the same', () => {
    expect(compareSchemaWithDump(pit(), description(), { without })).toEqual([]);
  });

  it('names what differs', () => {
    expect(compareSchemaWithDump(pit({ version: 4 }), description(), { without })[0]).toMatch(/version is 4/);
    expect(compareSchemaWithDump(pit({ since: 2 }), description(), { without })[0]).toMatch(/since 2/);
    expect(compareSchemaWithDump(pit(), description())).toHaveLength(without.length);
  });
});
