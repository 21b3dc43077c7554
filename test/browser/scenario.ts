/**
 * What the core does without Node: the demo guest from memory, with our own BIOS; a snapshot into a disk in memory and
 * back; arithmetic in both CPU tiers. Runs in Node and in a browser and must come to the same numbers.
 */
import { Machine } from '../../src/machine/machine.ts';
import type { HostServices } from '../../src/machine/host-services.ts';
import { MemoryDisk } from '../support/memory-disk.ts';

export interface ScenarioInput {
  readonly bios: Uint8Array;
  readonly demo: Uint8Array;
}

export interface ScenarioResult {
  /** Name of a moment → what the machine held then. */
  readonly sums: Readonly<Record<string, string>>;
  /** What the guest printed. */
  readonly serial: string;
}

/** Instructions from power-on to the moments looked at. */
const MOMENTS = [2_000_000, 20_000_000, 40_000_000] as const;
const MORE = 10_000_000;

/** Not cryptographic: 53 bits of a polynomial over the bytes, the same everywhere. */
function checksum(bytes: Uint8Array): string {
  let a = 1;
  let b = 0;
  for (const byte of bytes) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  return `${a}.${b}`;
}

const time = { now: () => Math.floor(performance.now() * 1e6), wallClock: () => 1.7e12 };

/** Works in Node and in browsers alike. */
const portableHost: HostServices = {
  ...time,
  yield: () => new Promise((resolve) => setTimeout(resolve, 0)),
  sleep(ms) {
    let wake = () => {};
    const done = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    return { done, wake };
  },
};

export async function runScenario({ bios, demo }: ScenarioInput): Promise<ScenarioResult> {
  const disk = new MemoryDisk('demo', { sizeBytes: demo.length });
  disk.data.set(demo);
  let serial = '';
  const machine = await Machine.create({
    ramBytes: 8 << 20,
    bios: { name: 'amberbios.bin', data: bios },
    vga: 'std',
    drives: [{ device: 'ide0-hd0', kind: 'disk', index: 0, node: disk }],
    serials: [
      {
        write: (byte) => {
          serial += String.fromCharCode(byte);
          return true;
        },
      },
    ],
    icount: { shift: 3, sleep: false },
    rtc: { baseSeconds: 1_700_000_000, clock: 'vm' },
    host: portableHost,
  });
  const sums: Record<string, string> = {};
  const look = (name: string) => {
    const ram = checksum(machine.board.ramBlocks[0]!.bytes);
    const screen = machine.screen!.render(false);
    const registers = [0, 1, 2, 3, 4, 5, 6, 7].map((r) => machine.cpu.reg32(r) >>> 0);
    sums[name] = `${ram} ${checksum(screen.rgb)} ${registers.join(',')}`;
  };
  for (const moment of MOMENTS) {
    await machine.runTo(moment);
    look(`at ${moment}`);
  }
  await machine.savevm('a');
  const saved = machine.cpu.instructions;
  await machine.runTo(saved + MORE);
  look('after the snapshot');
  await machine.loadvm('a');
  await machine.runTo(saved + MORE);
  look('after going back');
  await machine.close();
  return { sums, serial };
}
