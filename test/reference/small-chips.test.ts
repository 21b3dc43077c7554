/**
 * The small chips against QEMU's, port by port: thousands of random accesses, the same to both, every read compared.
 * QEMU's virtual time stands still in this setup, ours does too. Left out: resets, dates that do not exist, and the
 * refresh bit of port 0x61, which is ours on purpose.
 */
import { describe, expect, it } from 'vitest';
import { I8042 } from '../../src/devices/i8042.ts';
import { I8254 } from '../../src/devices/i8254.ts';
import { I8257 } from '../../src/devices/i8257.ts';
import { IsaSerial } from '../../src/devices/isa-serial.ts';
import { Mc146818 } from '../../src/devices/mc146818.ts';
import { PcSpeaker } from '../../src/devices/pcspk.ts';
import { PicPair } from '../../src/devices/pic-pair.ts';
import { Port92 } from '../../src/devices/port92.ts';
import { Ps2Keyboard } from '../../src/devices/ps2-keyboard.ts';
import { Ps2Mouse } from '../../src/devices/ps2-mouse.ts';
import { FakeBus, FakeClock, FakeIrq, FakeMemory, FakeSink } from '../support/fakes.ts';
import { requireProgram } from '../support/programs.ts';
import { QtestMachine } from '../support/qtest.ts';

const LINE = ['-chardev', 'null,id=line', '-serial', 'chardev:line'];
/** With its clock in virtual time, QEMU's RTC stands still too. */
const START_SECONDS = Date.UTC(2006, 5, 17, 16, 1, 21) / 1000;
const RTC = ['-rtc', 'base=2006-06-17T16:01:21,clock=vm'];

function board(): FakeBus {
  const clock = new FakeClock();
  const memory = new FakeMemory();
  const ignore = () => {};
  const a20 = new FakeIrq();
  const pics = new PicPair({ intr: new FakeIrq() });
  const pit = new I8254({ clock, irq: pics.inputs[0]! });
  const keyboard = new Ps2Keyboard();
  const mouse = new Ps2Mouse();
  const kbc = new I8042({
    clock,
    keyboard,
    mouse,
    keyboardIrq: pics.inputs[1]!,
    mouseIrq: pics.inputs[12]!,
    a20,
    requestReset: ignore,
  });
  const serial = new IsaSerial({ clock, irq: pics.inputs[4]!, sink: new FakeSink(), base: 0x3f8 });
  const rtc = { rtcNow: () => clock.now(), originSeconds: 0 };
  const devices = [
    new PcSpeaker({ clock, pit }),
    new Mc146818({ clock, irq: pics.inputs[8]!, rtc, startSeconds: START_SECONDS }),
    new I8257({ instance: 0, memory }),
    new I8257({ instance: 1, memory }),
    new Port92({ a20, requestReset: ignore }),
    pit,
    kbc,
    serial,
  ];
  for (const device of [pics.master, pics.slave, keyboard, mouse, ...devices]) device.reset();
  return new FakeBus(pics, ...devices);
}

/** A small generator, so that a failure can be repeated. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

type Access = readonly [port: number, value?: number];
type Script = (pick: (limit: number) => number) => Access;

/** Random accesses to a set of ports, with values that mean something more often than by chance. */
function anyOf(
  ports: readonly number[],
  values: readonly number[],
  isAllowed: (port: number, value: number) => boolean,
): () => Script {
  return () => (pick) => {
    const port = ports[pick(ports.length)]!;
    if (pick(2) === 0) return [port];
    const value = pick(3) === 0 || values.length === 0 ? pick(256) : values[pick(values.length)]!;
    return isAllowed(port, value) ? [port, value] : [port];
  };
}

const always = () => true;
const range = (first: number, count: number, step = 1) =>
  Array.from({ length: count }, (_, i) => first + i * step);

/**
 * The clock's registers, in BCD or binary from the start on; time and date get digits that are valid in both. Centuries
 * stay: QEMU counts nanoseconds in 64 bits, which end in 2262 and begin in 1677.
 */
function clockScript(format: 0x00 | 0x04): Script {
  const registers = [...range(0, 14), 0x0a, 0x0b, 0x0c, 0x32, 0x37];
  const century = format === 0 ? 0x20 : 20;
  const start: Access[] = [
    [0x71, 0x02 | format],
    [0x70, 0x0b],
  ];
  let index = 0;
  return (pick) => {
    const first = start.pop();
    if (first !== undefined) return first;
    const what = pick(6);
    if (what < 2) {
      index = registers[pick(registers.length)]!;
      return [0x70, index];
    }
    if (what < 4) return [[0x71, 0xa0, 0xa1][pick(3)]!];
    if (what === 4) return [0xa1, pick(2)];
    if (index === 0x32 || index === 0x37) return [0x71, century];
    if (index === 0x0b) return [0x71, (pick(256) & ~0x04) | format];
    if (index < 10 && (index > 5 || index % 2 === 0)) return [0x71, 1 + pick(9)];
    return [0x71, pick(4) === 0 ? 0xc0 | pick(64) : pick(256)];
  };
}

const SCRIPTS: { readonly [name: string]: () => Script } = {
  'interrupt controllers, with the chips that interrupt': anyOf(
    [
      0x20, 0x21, 0xa0, 0xa1, 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x43, 0x64, 0x60, 0x3f9, 0x3fa,
      0x3f8,
    ],
    [
      0x20, 0x0a, 0x0b, 0x0c, 0x11, 0x13, 0x60, 0x61, 0x64, 0xa0, 0xc3, 0xe1, 0x80, 0x00, 0x68, 0x48, 0x02,
      0xfb,
    ],
    (port, value) => port !== 0x64 || (value & 0xf1) !== 0xf0,
  ),
  timer: anyOf(
    [0x40, 0x41, 0x42, 0x43, 0x43, 0x61],
    [0x00, 0x40, 0x80, 0x34, 0x36, 0x30, 0xb6, 0xb2, 0x14, 0x68, 0xc2, 0xe2, 0xd2, 0xce, 0xff, 0x01],
    always,
  ),
  'keyboard and mouse': anyOf(
    [0x60, 0x64, 0x60, 0x64, 0x20, 0xa0],
    [
      0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xd0, 0xd2, 0xd3, 0xd4, 0xd4, 0xd4, 0xdd,
      0xdf, 0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xff, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec,
      200, 100, 80, 3, 0x47,
    ],
    // No reset: neither 0xfe and its like nor the output port (0xd1). 0xee to the mouse is left to the unit tests: we
    // leave wrap mode with a mouse reset, QEMU does not.
    (port, value) =>
      (port !== 0x64 || ((value & 0xf1) !== 0xf0 && value !== 0xd1)) && (port !== 0x60 || value !== 0xee),
  ),
  'serial port': anyOf(
    range(0x3f8, 8),
    [0x00, 0x01, 0x02, 0x03, 0x07, 0x0f, 0x10, 0x1b, 0x41, 0x80, 0x83, 0xc1, 0xc7],
    always,
  ),
  'DMA controllers': anyOf(
    [...range(0, 16), ...range(0xc0, 16, 2), 0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f],
    [],
    always,
  ),
  'clock in BCD': () => clockScript(0x00),
  'clock in binary': () => clockScript(0x04),
  'CMOS memory and port 92': () => (pick) => {
    const which = pick(4);
    if (which === 0) return [0x70, 0x40 + pick(0x40)];
    if (which === 1) return [0x71, pick(256)];
    return which === 2 ? [0x92, pick(128) * 2] : [[0x70, 0x71, 0x92][pick(3)]!];
  },
};

describe.skipIf(!requireProgram('qemu-system-i386'))('small chips and those of QEMU', () => {
  for (const [name, script] of Object.entries(SCRIPTS)) {
    it(`answer alike: ${name}`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        await using machine = await QtestMachine.start([...RTC, ...LINE]);
        const bus = board();
        const next = script();
        const pick = random(seed);
        const log: string[] = [];
        machine.outb(0x70, 0x40);
        bus.out8(0x70, 0x40);
        for (let i = 0; i < 0x40; i++) {
          for (const [port, value] of [
            [0x70, 0x40 + i],
            [0x71, i],
          ] as const) {
            machine.outb(port, value);
            bus.out8(port, value);
          }
        }
        for (let step = 0; step < 1500; step++) {
          const [port, value] = next(pick);
          if (value !== undefined) {
            log.push(`out ${port.toString(16)} ${value.toString(16)}`);
            machine.outb(port, value);
            bus.out8(port, value);
            continue;
          }
          const mask = port === 0x61 ? 0xef : 0xff;
          const theirs = (await machine.inb(port)) & mask;
          log.push(`in ${port.toString(16)} ${theirs.toString(16)}`);
          expect(bus.in8(port) & mask, `seed ${seed} step ${step}:\n${log.slice(-60).join('\n')}`).toBe(
            theirs,
          );
        }
      }
    });
  }
});
