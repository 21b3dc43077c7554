/** A machine for migration tests: three blocks of RAM, two devices; no CPU. */
import type { Device } from '../../src/machine/device.ts';
import type { MigratableMachine } from '../../src/migration/machine.ts';
import type { RamBlock } from '../../src/migration/ram-block.ts';
import { buffer, i64, type Schema, structs, u8, u32, type VmState } from '../../src/migration/vmstate.ts';

export interface ChannelState {
  count: number;
  mode: number;
}

export interface ChipState {
  control: number;
  deadline: number;
  readonly fifo: Uint8Array;
  readonly channels: readonly ChannelState[];
}

const channel: VmState<ChannelState> = {
  name: 'chip channel',
  version: 1,
  minimumVersion: 1,
  fields: { count: u32(), mode: u8() },
};

const chip: VmState<ChipState> = {
  name: 'chip',
  version: 2,
  minimumVersion: 1,
  fields: { control: u32({ max: 0xffff }), deadline: i64(), fifo: buffer(16), channels: structs(channel, 3) },
};

export class FakeChip implements Device<ChipState> {
  readonly vmstate: Schema = chip;
  readonly state: ChipState = {
    control: 0,
    deadline: -1,
    fifo: new Uint8Array(16),
    channels: [0, 1, 2].map(() => ({ count: 0, mode: 0 })),
  };
  readonly name: string;
  readonly instance: number;
  readonly calls: string[] = [];

  constructor(name = 'chip', instance = 0) {
    this.name = name;
    this.instance = instance;
  }

  reset(): void {
    this.calls.push('reset');
    this.state.control = 0;
  }

  beforeSave(): void {
    this.calls.push('beforeSave');
  }

  validate(candidate: ChipState): string | undefined {
    return candidate.channels.some(({ mode }) => mode > 5)
      ? 'channel mode, found above 5, expected 0 to 5'
      : undefined;
  }

  afterLoad(version: number): void {
    this.calls.push(`afterLoad ${version}`);
  }
}

export class FakeMachine implements MigratableMachine {
  readonly machineType: string = 'pc-i440fx-7.2';
  readonly chips: readonly FakeChip[];
  readonly devices: readonly Device[];
  readonly ramBlocks: readonly RamBlock[];

  constructor({ ramPages = 100, chips = [new FakeChip('chip', 0), new FakeChip('chip', 1)] } = {}) {
    const sizes: [string, number][] = [
      ['pc.ram', ramPages],
      ['0000:00:02.0/vga.vram', 31],
      ['pc.bios', 1],
    ];
    const memory = new Uint8Array(sizes.reduce((sum, [, pages]) => sum + pages * 4096, 0));
    let at = 0;
    this.ramBlocks = sizes.map(([name, pages]) => {
      const bytes = memory.subarray(at, (at += pages * 4096));
      return { name, sizeBytes: bytes.length, bytes };
    });
    this.chips = chips;
    this.devices = chips as readonly Device[];
  }

  /** Fills about `share` of the pages and all device state, repeatably. */
  randomize(seed: number, share = 0.5): this {
    let x = seed * 2654435761 + 1;
    const next = () => {
      x = (Math.imul(x, 1664525) + 1013904223) | 0;
      return x >>> 8;
    };
    for (const { bytes } of this.ramBlocks) {
      for (let page = 0; page < bytes.length; page += 4096) {
        const used = (next() % 1000) / 1000 < share;
        bytes.fill(0, page, page + 4096);
        if (used) for (let i = 0; i < 64; i++) bytes[page + (next() % 4096)] = next();
      }
    }
    for (const { state } of this.chips) {
      state.control = next() & 0xffff;
      state.deadline = next();
      for (let i = 0; i < 16; i++) state.fifo[i] = next();
      for (const c of state.channels) {
        c.count = next();
        c.mode = next() % 6;
      }
    }
    return this;
  }

  /** All that migration could change, for comparing. */
  fingerprint(): string {
    const sums = this.ramBlocks.map(({ bytes }) => {
      let sum = 0;
      for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0;
      return sum;
    });
    const states = this.chips.map(({ state }) => ({ ...state, fifo: [...state.fifo] }));
    return JSON.stringify([sums, states]);
  }
}
