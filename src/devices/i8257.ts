/**
 * Intel 8237A/8257 DMA controller with the AT's page registers. Datasheets: Intel 231466 (8237A), 290550 (PIIX3, 2.5.1).
 * A PC has two: channels 0-3 move bytes (ports 0x00-0x0f), channels 4-7 words (0xc0-0xdf).
 *
 * A device asserts DREQ and moves the data itself, in its transfer handler, through {@link I8257.readMemory} and
 * {@link I8257.writeMemory}; the controller keeps addresses, counts and terminal count. As in QEMU 7.2
 * (hw/dma/i8257.c), whose state this is.
 *
 * Not emulated: memory-to-memory, block and demand pacing, rotating priority, the cascade of channel 4, wrapping within
 * 64 KiB, autoinitialization (devices of this machine do not need it), byte order of decrementing word transfers.
 * Not saved, as in QEMU: the status register with its DREQ bits. Devices assert DREQ anew after a load.
 */
import type { Device, DmaMemory, Mapping } from '../machine/device.ts';
import { array, i32, structs, u8, u16, type VmState } from '../migration/vmstate.ts';

const CHANNEL_COUNT = 4;
const ADDRESS = 0;
const COUNT = 1;

/** Command register bits without effect here: a command that has one is ignored as a whole. */
const COMMAND_UNSUPPORTED = 0xfb;

/** Mode register: bits 3:2 transfer type (0 verify), bit 5 address decrement. */
const MODE_TYPE = 0x0c;
const MODE_DECREMENT = 0x20;

/** Offsets of the control registers (8237A, figure 5), writing. */
const REG_COMMAND = 0;
const REG_REQUEST = 1;
const REG_SINGLE_MASK = 2;
const REG_MODE = 3;
const REG_CLEAR_FLIP_FLOP = 4;
const REG_MASTER_CLEAR = 5;
const REG_CLEAR_MASK = 6;
const REG_ALL_MASK = 7;
/** Reading. */
const REG_STATUS = 0;
const REG_MASK = 1;

/** Channel of a page register by its port's low three bits; -1 for scratch ports. */
const PAGE_CHANNEL: readonly number[] = [-1, 2, 3, 1, -1, -1, -1, 0];

export interface DmaChannel {
  /** Start address within the page, in bytes, and bytes moved since. */
  now: Int32Array;
  /** Programmed address and count, in transfers; the count is one less than what is moved. */
  base: Uint16Array;
  mode: number;
  /** Address bits 23:16. */
  page: number;
  /** Address bits 30:24. */
  pageh: number;
  dack: number;
  eop: number;
}

export interface DmaState {
  command: number;
  mask: number;
  /** Nonzero: the next byte of a 16-bit register is the high one. */
  flipFlop: number;
  /** 0 for the byte controller, 1 for the word controller. */
  dshift: number;
  readonly regs: readonly DmaChannel[];
}

const channelVmState: VmState<DmaChannel> = {
  name: 'dma_regs',
  version: 1,
  minimumVersion: 1,
  fields: {
    now: array<Int32Array>(i32(), 2),
    base: array<Uint16Array>(u16(), 2),
    mode: u8(),
    page: u8(),
    pageh: u8(),
    dack: u8(),
    eop: u8(),
  },
};

/** Stream section `dma` (QEMU 7.2 hw/dma/i8257.c). */
export const dmaVmState: VmState<DmaState> = {
  name: 'dma',
  version: 1,
  minimumVersion: 1,
  fields: {
    command: u8(),
    mask: u8(),
    flipFlop: u8(),
    dshift: i32(),
    regs: structs(channelVmState, CHANNEL_COUNT),
  },
};

/**
 * Moves what it can and returns how many bytes of the transfer are done in all. `position` is what it returned last (0
 * after programming), `size` the length of the transfer in bytes.
 */
export type DmaTransferHandler = (channel: number, position: number, size: number) => number;

export interface I8257Options {
  /** Instance id on the stream: 0 for channels 0-3, 1 for channels 4-7. */
  readonly instance: 0 | 1;
  readonly memory: DmaMemory;
  /** High page registers, address bits 31:24 (EISA, PIIX3 without: QEMU's `pc` has none). */
  readonly highPages?: boolean;
}

export class I8257 implements Device<DmaState> {
  readonly name: string = 'dma';
  readonly instance: number;
  readonly vmstate: VmState<DmaState> = dmaVmState;
  readonly state: DmaState;
  readonly #memory: DmaMemory;
  readonly #handlers: (DmaTransferHandler | undefined)[] = new Array(CHANNEL_COUNT).fill(undefined);
  readonly #mappings: readonly Mapping[];
  /** Bits 7:4 DREQ of each channel, 3:0 terminal count reached. */
  #status = 0;
  #isRunning = false;

  constructor({ instance, memory, highPages = false }: I8257Options) {
    this.instance = instance;
    this.#memory = memory;
    const regs = Array.from({ length: CHANNEL_COUNT }, () => ({
      now: new Int32Array(2),
      base: new Uint16Array(2),
      mode: 0,
      page: 0,
      pageh: 0,
      dack: 0,
      eop: 0,
    }));
    this.state = { command: 0, mask: 0xff, flipFlop: 0, dshift: instance, regs };
    this.#mappings = this.#buildMappings(highPages);
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  /** Master clear. Addresses, counts, modes and pages stay, as on the chip. */
  reset(): void {
    this.state.flipFlop = 0;
    this.state.mask = 0xff;
    this.state.command = 0;
    this.#status = 0;
  }

  validate(candidate: DmaState): string | undefined {
    const { dshift } = candidate;
    return dshift === this.instance ? undefined : `dshift, found ${dshift}, expected ${this.instance}`;
  }

  afterLoad(): void {
    this.#status = 0;
  }

  // Device side. Channels are numbered 0-7 or 0-3: the controller looks at the low two bits.

  registerChannel(channel: number, handler: DmaTransferHandler): void {
    this.#handlers[channel & 3] = handler;
  }

  /** Asserts DREQ: the handler is called at once if the channel is not masked, else when it is unmasked. */
  hold(channel: number): void {
    this.#status |= 0x10 << (channel & 3);
    this.run();
  }

  release(channel: number): void {
    this.#status &= ~(0x10 << (channel & 3));
  }

  /** Calls the handlers of all channels that may go on; for a device that has new data while it holds DREQ. */
  run(): void {
    // A handler that holds or releases DREQ itself does not start another round.
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let channel = 0; channel < CHANNEL_COUNT; channel++) {
      const bit = 1 << channel;
      if ((this.state.mask & bit) === 0 && (this.#status & (bit << 4)) !== 0) this.#runChannel(channel);
    }
    this.#isRunning = false;
  }

  /** From memory to the device: `length` bytes at `position` of the transfer. Returns `length`. */
  readMemory(channel: number, target: Uint8Array, position: number, length: number): number {
    const regs = this.state.regs[channel & 3]!;
    if ((regs.mode & MODE_TYPE) === 0) return length;
    const bytes = target.subarray(0, length);
    if ((regs.mode & MODE_DECREMENT) === 0) {
      this.#memory.read(address(regs, position), bytes);
    } else {
      this.#memory.read(address(regs, -position - length), bytes);
      bytes.reverse();
    }
    return length;
  }

  /** From the device to memory: `length` bytes at `position` of the transfer. Returns `length`. */
  writeMemory(channel: number, source: Uint8Array, position: number, length: number): number {
    const regs = this.state.regs[channel & 3]!;
    if ((regs.mode & MODE_TYPE) === 0) return length;
    const bytes = source.subarray(0, length);
    if ((regs.mode & MODE_DECREMENT) === 0) this.#memory.write(address(regs, position), bytes);
    else this.#memory.write(address(regs, -position - length), bytes.slice().reverse());
    return length;
  }

  #runChannel(channel: number): void {
    const handler = this.#handlers[channel];
    if (handler === undefined) return;
    const regs = this.state.regs[channel]!;
    const size = (regs.base[COUNT]! + 1) << this.instance;
    const done = handler(channel + 4 * this.instance, regs.now[COUNT]!, size);
    regs.now[COUNT] = done;
    if (done === size) this.#status |= 1 << channel;
  }

  // Registers

  #buildMappings(highPages: boolean): readonly Mapping[] {
    const shift = this.instance;
    const base = shift === 0 ? 0x00 : 0xc0;
    const pages = shift === 0 ? 0x80 : 0x88;
    const registers: Mapping[] = [
      {
        base,
        region: {
          name: 'dma-chan',
          size: 8 << shift,
          read8: (offset) => this.#readChannel(offset >> shift),
          write8: (offset, value) => this.#writeChannel(offset >> shift, value),
        },
      },
      {
        base: base + (8 << shift),
        region: {
          name: 'dma-cont',
          size: 8 << shift,
          read8: (offset) => this.#readControl(offset >> shift),
          write8: (offset, value) => this.#writeControl(offset >> shift, value),
        },
      },
      ...this.#pageMappings('dma-page', pages, 'page'),
    ];
    return highPages ? [...registers, ...this.#pageMappings('dma-pageh', pages + 0x400, 'pageh')] : registers;
  }

  /** Three page registers in a row and one by itself; the ports between are not the controller's. */
  #pageMappings(name: string, base: number, property: 'page' | 'pageh'): readonly Mapping[] {
    const regs = this.state.regs;
    const block = (first: number, size: number): Mapping => ({
      base: base + first,
      region: {
        name,
        size,
        read8: (offset) => regs[PAGE_CHANNEL[first + offset]!]![property],
        write8: (offset, value) => {
          regs[PAGE_CHANNEL[first + offset]!]![property] = value;
        },
      },
    });
    return [block(1, 3), block(7, 1)];
  }

  /** Value of the flip-flop, which then flips: 0 for the low byte, 1 for the high one. */
  #nextByte(): number {
    const high = this.state.flipFlop !== 0 ? 1 : 0;
    this.state.flipFlop = 1 - high;
    return high;
  }

  #readChannel(register: number): number {
    const regs = this.state.regs[register >> 1]!;
    const shift = this.instance;
    const moved = regs.now[COUNT]!;
    let value: number;
    if ((register & 1) === COUNT) value = (regs.base[COUNT]! << shift) - moved;
    else value = regs.now[ADDRESS]! + ((regs.mode & MODE_DECREMENT) !== 0 ? -moved : moved);
    return (value >> (shift + 8 * this.#nextByte())) & 0xff;
  }

  #writeChannel(register: number, value: number): void {
    const regs = this.state.regs[register >> 1]!;
    const which = register & 1;
    const before = regs.base[which]!;
    if (this.#nextByte() === 0) {
      regs.base[which] = (before & 0xff00) | value;
      return;
    }
    regs.base[which] = (before & 0xff) | (value << 8);
    regs.now[ADDRESS] = regs.base[ADDRESS]! << this.instance;
    regs.now[COUNT] = 0;
  }

  #readControl(register: number): number {
    if (register === REG_MASK) return this.state.mask;
    if (register !== REG_STATUS) return 0;
    const status = this.#status;
    this.#status &= 0xf0;
    return status;
  }

  #writeControl(register: number, value: number): void {
    const state = this.state;
    switch (register) {
      case REG_COMMAND:
        if ((value & COMMAND_UNSUPPORTED) === 0) state.command = value;
        break;
      case REG_REQUEST:
        this.#writeRequest(value);
        break;
      case REG_SINGLE_MASK: {
        const bit = 1 << (value & 3);
        state.mask = (value & 4) !== 0 ? state.mask | bit : state.mask & ~bit;
        this.run();
        break;
      }
      case REG_MODE:
        state.regs[value & 3]!.mode = value;
        break;
      case REG_CLEAR_FLIP_FLOP:
        state.flipFlop = 0;
        break;
      case REG_MASTER_CLEAR:
        this.reset();
        break;
      case REG_CLEAR_MASK:
        state.mask = 0;
        this.run();
        break;
      case REG_ALL_MASK:
        state.mask = value;
        this.run();
        break;
      default:
    }
  }

  /** A request by software is a DREQ. */
  #writeRequest(value: number): void {
    const channel = value & 3;
    this.#status &= ~(1 << channel);
    if ((value & 4) !== 0) this.hold(channel);
    else {
      this.release(channel);
      this.run();
    }
  }
}

/** Physical address `offset` bytes from the start of a transfer. */
function address(regs: DmaChannel, offset: number): number {
  const start = ((regs.pageh & 0x7f) << 24) | (regs.page << 16) | regs.now[ADDRESS]!;
  return (start + offset) >>> 0;
}
