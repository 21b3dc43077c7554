import { describe, expect, it } from 'vitest';
import { dmaVmState, I8257 } from '../../src/devices/i8257.ts';
import { I8042, isaKbcVmState } from '../../src/devices/i8042.ts';
import { I8254, pitVmState } from '../../src/devices/i8254.ts';
import { picVmState } from '../../src/devices/i8259.ts';
import { IsaParallel, parallelVmState } from '../../src/devices/isa-parallel.ts';
import { IsaSerial, isaSerialVmState } from '../../src/devices/isa-serial.ts';
import { Mc146818 } from '../../src/devices/mc146818.ts';
import { rtcVmState } from '../../src/devices/mc146818-state.ts';
import { PcSpeaker, pcSpeakerVmState } from '../../src/devices/pcspk.ts';
import { PicPair } from '../../src/devices/pic-pair.ts';
import { Port92, port92VmState } from '../../src/devices/port92.ts';
import { Ps2Keyboard, ps2KeyboardVmState } from '../../src/devices/ps2-keyboard.ts';
import { Ps2Mouse, ps2MouseVmState } from '../../src/devices/ps2-mouse.ts';
import type { Mapping } from '../../src/machine/device.ts';
import type { Schema } from '../../src/migration/vmstate.ts';
import { FakeBus, FakeClock, FakeIrq, FakeMemory, FakeSink } from '../support/fakes.ts';
import { requireProgram } from '../support/programs.ts';
import { compareSchemaWithDump, vmStateDump } from '../support/vmstate-dump.ts';
import { conformance, type Subject } from './device-suite.ts';

function outs(mappings: readonly Mapping[], list: readonly (readonly [number, number])[]): void {
  const bus = new FakeBus({ ports: () => mappings });
  for (const [port, value] of list) bus.out8(port, value);
}

for (const which of ['master', 'slave'] as const) {
  conformance(
    `i8259 ${which}`,
    () => {
      const intr = new FakeIrq();
      const pair = new PicPair({ intr });
      pair.master.reset();
      pair.slave.reset();
      return { device: pair[which], mappings: pair.ports(), irqs: [intr], pair };
    },
    ({ device }) => {
      outs(device.ports(), [
        [device.instance === 0 ? 0x20 : 0xa0, 0x11],
        [device.instance === 0 ? 0x21 : 0xa1, 0x08],
        [device.instance === 0 ? 0x21 : 0xa1, 0x04],
        [device.instance === 0 ? 0x21 : 0xa1, 0x01],
        [device.instance === 0 ? 0x4d0 : 0x4d1, 0x18],
      ]);
      device.setInput(4, 1);
      device.acknowledge(4);
      device.setInput(0, 1);
    },
  );
}

conformance(
  'i8254',
  () => {
    const clock = new FakeClock(777);
    const irq = new FakeIrq();
    const device = new I8254({ clock, irq });
    device.reset();
    return { device, mappings: device.ports(), clock, irqs: [irq] };
  },
  ({ mappings, clock }) => {
    outs(mappings, [
      [0x43, 0x34],
      [0x40, 0xa9],
      [0x40, 0x04],
      [0x43, 0xb6],
      [0x42, 0x55],
    ]);
    clock!.advance(3_000_000);
    outs(mappings, [[0x43, 0xc2]]);
  },
);

conformance(
  'pcspk',
  () => {
    const clock = new FakeClock();
    const pit = new I8254({ clock, irq: new FakeIrq() });
    pit.reset();
    const device = new PcSpeaker({ clock, pit });
    return { device, mappings: device.ports(), clock };
  },
  ({ mappings }) => outs(mappings, [[0x61, 0x03]]),
);

conformance(
  'mc146818rtc',
  () => {
    const clock = new FakeClock();
    const irq = new FakeIrq();
    const rtc = { rtcNow: () => clock.now(), originSeconds: 1_700_000_000 };
    const device = new Mc146818({ clock, irq, rtc, startSeconds: 1_700_000_000 });
    device.reset();
    return { device, mappings: device.ports(), clock, irqs: [irq] };
  },
  ({ mappings, clock }) => {
    outs(mappings, [
      [0x70, 0x0b],
      [0x71, 0x72],
      [0x70, 0x03],
      [0x71, 0xc0],
      [0x70, 0x40],
      [0x71, 0x99],
    ]);
    clock!.advance(1_234_567_890);
  },
);

conformance(
  'parallel',
  () => {
    const irq = new FakeIrq();
    const sink = new FakeSink();
    const device = new IsaParallel({ base: 0x378, irq, sink });
    device.reset();
    return { device, mappings: device.ports(), irqs: [irq], hostEvents: () => sink.received.length };
  },
  ({ mappings }) => {
    outs(mappings, [
      [0x37a, 0x1c],
      [0x378, 0x41],
      [0x37a, 0x1d],
      [0x37a, 0x1c],
    ]);
  },
);

function serial(room: number): Subject<IsaSerial> {
  const clock = new FakeClock();
  const irq = new FakeIrq();
  const sink = new FakeSink();
  sink.room = room;
  const device = new IsaSerial({ clock, irq, sink, base: 0x3f8 });
  device.reset();
  return { device, mappings: device.ports(), clock, irqs: [irq], hostEvents: () => sink.received.length };
}

function pokeSerial({ device, mappings }: Subject<IsaSerial>): void {
  outs(mappings, [
    [0x3fa, 0xc1],
    [0x3f9, 0x0f],
    [0x3fc, 0x0b],
    [0x3f8, 0x41],
    [0x3f8, 0x42],
  ]);
  device.uart.receive(0x31);
  device.uart.receiveBreak();
}

conformance('serial', () => serial(Number.POSITIVE_INFINITY), pokeSerial);
conformance('serial with a full host', () => serial(0), pokeSerial);

function keyboardController() {
  const clock = new FakeClock();
  const irqs = [new FakeIrq(), new FakeIrq(), new FakeIrq()];
  let events = 0;
  const keyboard = new Ps2Keyboard({ onLeds: () => events++ });
  const mouse = new Ps2Mouse();
  const kbc = new I8042({
    clock,
    keyboard,
    mouse,
    keyboardIrq: irqs[0]!,
    mouseIrq: irqs[1]!,
    a20: irqs[2]!,
    requestReset: () => events++,
  });
  keyboard.reset();
  mouse.reset();
  kbc.reset();
  return { clock, irqs, keyboard, mouse, mappings: kbc.ports(), kbc, hostEvents: () => events };
}

function pokeKeyboardController({ mappings }: { mappings: readonly Mapping[] }): void {
  outs(mappings, [
    [0x64, 0x60],
    [0x60, 0x43],
    [0x64, 0xd4],
    [0x60, 0xf4],
    [0x60, 0xed],
    [0x60, 0x02],
    [0x60, 0xf2],
    [0x64, 0xd1],
  ]);
}

conformance(
  'pckbd',
  () => {
    const parts = keyboardController();
    return { ...parts, device: parts.kbc };
  },
  pokeKeyboardController,
);
conformance(
  'ps2kbd',
  () => {
    const parts = keyboardController();
    return { ...parts, device: parts.keyboard };
  },
  (subject) => {
    pokeKeyboardController(subject);
    subject.device.key('a', true);
    subject.device.key('pause', true);
  },
);
conformance(
  'ps2mouse',
  () => {
    const parts = keyboardController();
    return { ...parts, device: parts.mouse };
  },
  (subject) => {
    pokeKeyboardController(subject);
    subject.device.motion(500, -500, 1);
    subject.device.buttons(1);
  },
);

for (const instance of [0, 1] as const) {
  conformance(
    `dma ${instance}`,
    () => {
      const device = new I8257({ instance, memory: new FakeMemory() });
      device.reset();
      device.registerChannel(2, (_channel, _position, size) => size);
      return { device, mappings: device.ports() };
    },
    ({ device, mappings }) => {
      for (const { base } of mappings) outs(mappings, [[base + 4, 0x46]]);
      device.hold(2);
      outs(mappings, [[instance === 0 ? 0x0a : 0xd4, 0x02]]);
    },
  );
}

conformance(
  'port92',
  () => {
    const a20 = new FakeIrq();
    let events = 0;
    const device = new Port92({ a20, requestReset: () => events++ });
    device.reset();
    return { device, mappings: device.ports(), irqs: [a20], hostEvents: () => events };
  },
  ({ mappings }) => outs(mappings, [[0x92, 0x02]]),
);

const SCHEMAS: { readonly [deviceType: string]: Schema } = {
  'isa-i8259': picVmState,
  'isa-pit': pitVmState,
  'isa-pcspk': pcSpeakerVmState,
  mc146818rtc: rtcVmState,
  'isa-serial': isaSerialVmState,
  'isa-parallel': parallelVmState,
  i8042: isaKbcVmState,
  'ps2-kbd': ps2KeyboardVmState,
  'ps2-mouse': ps2MouseVmState,
  i8257: dmaVmState,
  port92: port92VmState,
};

describe.skipIf(!requireProgram('qemu-system-i386'))('schemas are those of qemu-system-i386', () => {
  for (const [type, schema] of Object.entries(SCHEMAS)) {
    it(`${schema.name} (${type})`, () => {
      expect(compareSchemaWithDump(schema, vmStateDump()[type]!.Description!)).toEqual([]);
    });
  }
});
