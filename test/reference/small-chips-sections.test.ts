/** Sections that QEMU wrote, through our schemas: same bytes, same description. */
import { describe, expect, it } from 'vitest';
import { dmaVmState } from '../../src/devices/i8257.ts';
import { isaKbcVmState } from '../../src/devices/i8042.ts';
import { pitVmState } from '../../src/devices/i8254.ts';
import { picVmState } from '../../src/devices/i8259.ts';
import { isaSerialVmState } from '../../src/devices/isa-serial.ts';
import { Mc146818 } from '../../src/devices/mc146818.ts';
import { rtcVmState } from '../../src/devices/mc146818-state.ts';
import { pcSpeakerVmState } from '../../src/devices/pcspk.ts';
import { port92VmState } from '../../src/devices/port92.ts';
import { ps2KeyboardVmState } from '../../src/devices/ps2-keyboard.ts';
import { ps2MouseVmState } from '../../src/devices/ps2-mouse.ts';
import type { Schema } from '../../src/migration/vmstate.ts';
import { loadDevice } from '../conformance/device-suite.ts';
import { FakeClock, FakeIrq } from '../support/fakes.ts';
import { requireProgram } from '../support/programs.ts';
import { compareSchemaWithQemuSection, findSection, qemuReferenceStream } from '../support/qemu-sections.ts';

const SECTIONS: readonly (readonly [schema: Schema, instance: number])[] = [
  [picVmState, 0],
  [picVmState, 1],
  [pitVmState, 0],
  [pcSpeakerVmState, 0],
  [rtcVmState, 0],
  [isaSerialVmState, 0],
  [isaKbcVmState, 0],
  [ps2KeyboardVmState, 0],
  [ps2MouseVmState, 0],
  [dmaVmState, 0],
  [dmaVmState, 1],
  [port92VmState, 0],
];

describe.skipIf(!requireProgram('qemu-system-i386'))('sections of qemu-system-i386', () => {
  for (const [schema, instance] of SECTIONS) {
    it(`${schema.name} ${instance}`, () => {
      expect(compareSchemaWithQemuSection(schema, schema.name, instance)).toEqual([]);
    });
  }

  it('mc146818rtc shows the date of now, as the host clock it was saved with does', () => {
    const now = Math.floor(Date.now() / 1000);
    const clock = new FakeClock();
    const rtc = new Mc146818({
      clock,
      irq: new FakeIrq(),
      rtc: { rtcNow: () => clock.now(), originSeconds: now },
      startSeconds: 0,
    });
    const { body } = findSection(qemuReferenceStream(), 'mc146818rtc')!;
    expect(loadDevice(rtc, body)).toBeUndefined();
    expect(Math.abs(rtc.dateSeconds - now)).toBeLessThan(60);
  });
});
