/** The conformance suite for what belongs to the machine rather than to a chip, for VGA, and that nothing is left out. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createBench } from '../../src/devices/vga/fakes.ts';
import { VRAM_SIZE } from '../../src/devices/vga/vga.ts';
import { CpuCommonSection, CpuSection } from '../../src/machine/cpu-section.ts';
import type { Device, Mapping } from '../../src/machine/device.ts';
import { GlobalState } from '../../src/machine/global-state.ts';
import type { RunState } from '../../src/machine/run-state.ts';
import { TimerSection } from '../../src/machine/timer-section.ts';
import { VirtualClock } from '../../src/machine/virtual-clock.ts';
import { bareCpu } from '../support/bare-cpu.ts';
import { Pc } from '../support/pc.ts';
import { hasSeabios } from '../support/qemu.ts';
import { conformance, loadDevice, saveDevice, type Subject } from './device-suite.ts';

/** A guest's way to the CPU: any access runs it for a while. */
function running(run: () => void): Mapping[] {
  const read8 = (): number => {
    run();
    return 0;
  };
  return [{ base: 0, region: { name: 'run', size: 1, read8, write8: run } }];
}

// A CPU is large: two are enough, since no test uses more at a time.
const CPUS = [bareCpu(1 << 20), bareCpu(1 << 20)];
let nextCpu = 0;
const freshCpu = () => {
  const cpu = CPUS[nextCpu++ % CPUS.length]!;
  cpu.reset();
  cpu.a20Mask = -1;
  cpu.interruptRequest = 0;
  return cpu;
};
const RUN_INSTRUCTIONS = 50;

conformance<CpuSection>(
  'cpu',
  () => {
    const cpu = freshCpu();
    return {
      device: new CpuSection(cpu),
      mappings: running(() => {
        cpu.run(RUN_INSTRUCTIONS);
        cpu.tripleFault = false;
      }),
    };
  },
  (subject) => {
    for (const { region } of subject.mappings) for (let i = 0; i < 10; i++) region.read8!(0);
  },
);

interface WithCpu extends Subject<CpuCommonSection> {
  readonly cpu: ReturnType<typeof bareCpu>;
}

conformance<CpuCommonSection>(
  'cpu_common',
  () => {
    const cpu = freshCpu();
    const subject: WithCpu = {
      cpu,
      device: new CpuCommonSection(cpu),
      mappings: running(() => {
        cpu.run(RUN_INSTRUCTIONS);
        cpu.tripleFault = false;
      }),
    };
    return subject;
  },
  (subject) => (subject as WithCpu).cpu.raiseNmi(),
);

conformance<TimerSection>(
  'timer',
  () => {
    let instructions = 0;
    const clock = new VirtualClock(
      { hostNow: () => 0, instructions: () => instructions },
      { shift: 3, sleep: false },
    );
    const device = new TimerSection(clock, {
      get: () => instructions,
      set: (value) => {
        instructions = value;
      },
    });
    return {
      device,
      mappings: running(() => {
        instructions += 1000;
        device.tsc();
      }),
    };
  },
  (subject) => {
    subject.mappings[0]!.region.read8!(0);
  },
);

/** Video memory is no part of the section: one for all. */
const VRAM = new Uint8Array(VRAM_SIZE);

conformance<Device>(
  'vga',
  () => {
    const { vga } = createBench({ vram: VRAM });
    return { device: vga, mappings: vga.ports() };
  },
  (subject) => {
    for (const { base, region } of subject.mappings) {
      for (let i = 0; i < region.size; i++) region.write8?.(i, (base + i * 7) & 0x3f);
    }
  },
);

describe('globalstate', () => {
  /** Says what the machine's state was before the save, so that it does not save again what it loaded. */
  it('carries the run state, and refuses one that has no end', () => {
    let runState: RunState = 'paused';
    const device = new GlobalState(() => runState);
    const saved = saveDevice(device);
    expect(Buffer.from(saved.subarray(0, 12)).toString('latin1')).toBe('\0\0\0\x07paused\0\0');
    runState = 'running';
    expect(loadDevice(device, saved)).toBeUndefined();
    expect(saveDevice(device)).not.toEqual(saved);
    const endless = saved.slice();
    endless[2] = 1;
    expect(loadDevice(device, endless)).toMatch(/size: found 263/);
  });
});

/** Section → what its tests are called, where that is not its own name. */
const TESTED_AS: Readonly<Record<string, string>> = {
  fdc: 'floppy controller',
  ide: 'PIIX3 IDE',
  // Not of the guest's state: tested above.
  globalstate: '',
};

/** First arguments of all calls of conformance and its like. */
function testedNames(): string {
  const root = join(import.meta.dirname, '../..');
  const files = ['test', 'src'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => readFileSync(join(root, folder, file), 'utf8')),
  );
  const calls = /onformance(?:<\w+>)?\(\s*['`]([^'`$]+)/g;
  return files.flatMap((text) => [...text.matchAll(calls)].map((match) => match[1]!)).join('\n');
}

describe.skipIf(!hasSeabios)('the board', () => {
  it('has no device that the suite does not test', async () => {
    const pc = await Pc.start({ memoryMiB: 16, stopped: true });
    const tested = testedNames();
    const missing = pc.machine.board.devices
      .map(({ name }) => name.replace(/^.*\//, ''))
      .filter((name) => !tested.includes(TESTED_AS[name] ?? name));
    expect(missing).toEqual([]);
    await pc.quit();
  });
});
