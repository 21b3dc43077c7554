// Virtual time: what timers tell the machine that runs a stretch of instructions.
import { expect, test } from 'vitest';
import { bareCpu, EMPTY_BUS } from '../../test/support/bare-cpu.ts';
import * as L from './cpu/layout.ts';
import { updateAll } from './cpu/mode.ts';
import { VirtualClock } from './virtual-clock.ts';

function countingClock() {
  let instructions = 0;
  const clock = new VirtualClock(
    { hostNow: () => 0, instructions: () => instructions },
    { shift: 3, sleep: false },
  );
  return { clock, advance: (count: number) => (instructions += count) };
}

test('a timer armed before the deadline last asked for cuts the stretch short', () => {
  const { clock } = countingClock();
  let told = 0;
  clock.onEarlier = () => told++;
  const pit = clock.createTimer('pit', () => {});
  const disk = clock.createTimer('disk', () => {});
  pit.arm(1000);
  expect([told, clock.nextDeadline()]).toEqual([1, 1000]);
  disk.arm(2000);
  expect(told).toBe(1);
  disk.arm(500);
  expect([told, clock.nextDeadline()]).toEqual([2, 500]);
  disk.cancel();
  expect([told, clock.nextDeadline()]).toEqual([2, 1000]);
});

test('timers fire in the order of their deadlines, none before its time', () => {
  const { clock, advance } = countingClock();
  const fired: string[] = [];
  clock.createTimer('late', () => fired.push('late')).arm(160);
  clock.createTimer('early', () => fired.push('early')).arm(80);
  advance(9);
  clock.runTimers();
  expect(fired).toEqual([]);
  advance(11);
  clock.runTimers();
  expect(fired).toEqual(['early', 'late']);
});

test('endRun from a port write returns from run() behind that instruction, endSlice does not', () => {
  let ask: 'run' | 'slice' = 'slice';
  const cpu = bareCpu(1 << 20, {
    ...EMPTY_BUS,
    portWrite8: () => (ask === 'run' ? cpu.endRun() : cpu.endSlice()),
  });
  // out 0x80, al / jmp $-2
  for (const [i, byte] of [0xe6, 0x80, 0xeb, 0xfc].entries()) cpu.mem.write8(0x500 + i, byte);
  for (const seg of [L.CS, L.SS, L.DS]) {
    cpu.set(cpu.segAddress(seg) + L.SEG_SELECTOR, 0);
    cpu.set(cpu.segAddress(seg) + L.SEG_BASE, 0);
  }
  cpu.set(L.EIP, 0x500);
  updateAll(cpu);
  expect(cpu.run(1000)).toBe('budget');
  expect(cpu.instructions).toBe(1000);
  ask = 'run';
  cpu.run(1000);
  expect(cpu.instructions).toBeLessThanOrEqual(1002);
});
