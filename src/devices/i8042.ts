/**
 * Intel 8042 keyboard controller of the PC/AT with the PS/2's auxiliary port. IBM PS/2 Hardware Interface Technical
 * Reference, "Keyboard and auxiliary device controller". Ports 0x60 and 0x64; IRQ 1 for the keyboard, IRQ 12 for the
 * mouse; output port bits for A20 and reset.
 *
 * Not emulated: its RAM beyond the command byte, password commands, keylock, timeouts and parity errors, the duration of
 * commands (the input buffer is never full). Behaviour as QEMU 7.2's hw/input/pckbd.c with `extended-state=on` (the
 * default): a byte stays in the output buffer until it is read, whatever the devices queue meanwhile.
 */
import { type Clock, NOT_ARMED, type Timer } from '../machine/clock.ts';
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import { struct, type Subsection, u8, u32, type VmState } from '../migration/vmstate.ts';
import type { Ps2Keyboard } from './ps2-keyboard.ts';
import type { Ps2Mouse } from './ps2-mouse.ts';

const CMD_READ_MODE = 0x20;
const CMD_WRITE_MODE = 0x60;
const CMD_MOUSE_DISABLE = 0xa7;
const CMD_MOUSE_ENABLE = 0xa8;
const CMD_TEST_MOUSE = 0xa9;
const CMD_SELF_TEST = 0xaa;
const CMD_TEST_KEYBOARD = 0xab;
const CMD_KEYBOARD_DISABLE = 0xad;
const CMD_KEYBOARD_ENABLE = 0xae;
const CMD_READ_INPUT_PORT = 0xc0;
const CMD_READ_OUTPUT_PORT = 0xd0;
const CMD_WRITE_OUTPUT_PORT = 0xd1;
const CMD_WRITE_KEYBOARD_BUFFER = 0xd2;
const CMD_WRITE_MOUSE_BUFFER = 0xd3;
const CMD_WRITE_MOUSE = 0xd4;
/** A20 off and on without the output port; HP's chips have them. */
const CMD_DISABLE_A20 = 0xdd;
const CMD_ENABLE_A20 = 0xdf;
/** 0xf0-0xff pulse the output port bits whose command bit is 0; bit 0 is the reset. */
const CMD_PULSE = 0xf0;

const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SELF_TEST = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_MOUSE_FULL = 0x20;

const MODE_KEYBOARD_IRQ = 0x01;
const MODE_MOUSE_IRQ = 0x02;
const MODE_KEYBOARD_DISABLED = 0x10;
const MODE_MOUSE_DISABLED = 0x20;
const MODE_TRANSLATE = 0x40;

const OUT_NOT_RESET = 0x01;
const OUT_A20 = 0x02;
const OUT_KEYBOARD_FULL = 0x10;
const OUT_MOUSE_FULL = 0x20;
/** Bits that nothing drives read as 1. */
const OUT_ONES = 0xcc;

/** Bits of `pending`: who has a byte. The devices' bits are those that disable them in the mode byte. */
const PENDING_CONTROLLER_KEYBOARD = 0x04;
const PENDING_CONTROLLER_MOUSE = 0x08;
const PENDING_KEYBOARD: number = MODE_KEYBOARD_DISABLED;
const PENDING_MOUSE: number = MODE_MOUSE_DISABLED;
const PENDING_CONTROLLER: number = PENDING_CONTROLLER_KEYBOARD | PENDING_CONTROLLER_MOUSE;
const PENDING_ALL: number = PENDING_CONTROLLER | PENDING_KEYBOARD | PENDING_MOUSE;
/** `pending` of a stream without the extended state. */
const PENDING_KEYBOARD_OLD = 0x01;
const PENDING_MOUSE_OLD = 0x02;

/** Where the byte in the output buffer comes from. */
const SOURCE_KEYBOARD = 0x01;
const SOURCE_MOUSE = 0x02;
const SOURCE_CONTROLLER = 0x04;

/** Flag of a QEMU that holds scan codes back (`kbd-throttle`): a byte is due. */
const MIGRATION_THROTTLED = 0x01;
/** In a subsection that the stream does not have: derived in afterLoad. */
const ABSENT = -1;

export interface KbcExtendedState {
  migrationFlags: number;
  /** SOURCE_… */
  obsrc: number;
  /** Output buffer. */
  obdata: number;
  /** The controller's own byte, not yet in the output buffer. */
  cbdata: number;
}

export interface KbcState {
  /** Command whose parameter comes next at port 0x60, or 0. */
  writeCmd: number;
  status: number;
  mode: number;
  /** PENDING_… */
  pending: number;
  readonly output: { outport: number };
  readonly extended: KbcExtendedState;
}

export interface IsaKbcState {
  readonly kbd: KbcState;
}

/** What the output port reads unless the guest wrote it. */
function usualOutputPort(status: number): number {
  return (
    OUT_NOT_RESET |
    OUT_A20 |
    OUT_ONES |
    ((status & STATUS_OUTPUT_FULL) !== 0 ? OUT_KEYBOARD_FULL : 0) |
    ((status & STATUS_MOUSE_FULL) !== 0 ? OUT_MOUSE_FULL : 0)
  );
}

const outputSubsection: Subsection<KbcState, { outport: number }> = {
  vmstate: { name: 'pckbd_outport', version: 1, minimumVersion: 1, fields: { outport: u8() } },
  needed: ({ output, status }) => output.outport !== ABSENT && output.outport !== usualOutputPort(status),
  absent: () => ({ outport: ABSENT }),
};
const extendedSubsection: Subsection<KbcState, KbcExtendedState> = {
  vmstate: {
    name: 'pckbd/extended_state',
    version: 0,
    minimumVersion: 0,
    fields: { migrationFlags: u32(), obsrc: u32(), obdata: u8(), cbdata: u8() },
  },
  needed: (state) => state.extended.obsrc !== ABSENT,
  absent: () => ({ migrationFlags: 0, obsrc: ABSENT, obdata: 0, cbdata: 0 }),
};

const kbcVmState: VmState<KbcState, 'output' | 'extended'> = {
  name: 'pckbd',
  version: 3,
  minimumVersion: 3,
  fields: { writeCmd: u8(), status: u8(), mode: u8(), pending: u8({ name: 'pending_tmp' }) },
  subsections: { output: outputSubsection, extended: extendedSubsection },
};

/** Stream section `pckbd` (QEMU 7.2 hw/input/pckbd.c). */
export const isaKbcVmState: VmState<IsaKbcState> = {
  name: 'pckbd',
  version: 3,
  minimumVersion: 3,
  fields: { kbd: struct(kbcVmState) },
};

export interface I8042Options {
  readonly clock: Clock;
  readonly keyboard: Ps2Keyboard;
  readonly mouse: Ps2Mouse;
  readonly keyboardIrq: IrqLine;
  readonly mouseIrq: IrqLine;
  /** Address line 20: 1 lets it through. */
  readonly a20: IrqLine;
  readonly requestReset: () => void;
}

export class I8042 implements Device<IsaKbcState> {
  readonly name: string = 'pckbd';
  readonly vmstate: VmState<IsaKbcState> = isaKbcVmState;
  readonly state: IsaKbcState;
  readonly #kbc: KbcState;
  readonly #options: I8042Options;
  /** Shows a byte that a throttling QEMU held back; armed by afterLoad only. */
  readonly #throttle: Timer;
  readonly #mappings: readonly Mapping[];

  constructor(options: I8042Options) {
    this.#options = options;
    this.#kbc = {
      writeCmd: 0,
      status: STATUS_COMMAND | STATUS_UNLOCKED,
      mode: MODE_KEYBOARD_IRQ | MODE_MOUSE_IRQ,
      pending: 0,
      output: { outport: OUT_NOT_RESET | OUT_A20 | OUT_ONES },
      extended: { migrationFlags: 0, obsrc: 0, obdata: 0, cbdata: 0 },
    };
    this.state = { kbd: this.#kbc };
    this.#throttle = options.clock.createTimer('kbd-throttle', () => this.#showIfEmpty());
    options.keyboard.queue.onLevel = (level) => this.#setPending(PENDING_KEYBOARD, level);
    options.mouse.queue.onLevel = (level) => this.#setPending(PENDING_MOUSE, level);
    this.#mappings = [
      {
        base: 0x60,
        region: {
          name: 'i8042-data',
          size: 1,
          read8: () => this.#readData(),
          write8: (_offset, value) => this.#writeData(value),
        },
      },
      {
        base: 0x64,
        region: {
          name: 'i8042-cmd',
          size: 1,
          read8: () => this.#kbc.status,
          write8: (_offset, value) => this.#writeCommand(value),
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    const kbc = this.#kbc;
    this.#throttle.cancel();
    kbc.writeCmd = 0;
    kbc.mode = MODE_KEYBOARD_IRQ | MODE_MOUSE_IRQ;
    kbc.status = STATUS_COMMAND | STATUS_UNLOCKED;
    kbc.pending = 0;
    kbc.output.outport = OUT_NOT_RESET | OUT_A20 | OUT_ONES;
    kbc.extended.obsrc = 0;
    kbc.extended.obdata = 0;
    kbc.extended.cbdata = 0;
    this.#updateIrqs();
  }

  beforeSave(): void {
    this.#kbc.extended.migrationFlags = this.#throttle.deadline !== NOT_ARMED ? MIGRATION_THROTTLED : 0;
  }

  /** IRQ levels are in the PICs' sections, A20 in the CPU's. */
  afterLoad(): void {
    const kbc = this.#kbc;
    const { output, extended, status } = kbc;
    if (output.outport === ABSENT) output.outport = usualOutputPort(status);
    if (extended.obsrc === ABSENT) {
      if ((status & STATUS_OUTPUT_FULL) === 0) extended.obsrc = 0;
      else extended.obsrc = (status & STATUS_MOUSE_FULL) !== 0 ? SOURCE_MOUSE : SOURCE_KEYBOARD;
      if ((kbc.pending & PENDING_KEYBOARD_OLD) !== 0) kbc.pending |= PENDING_KEYBOARD;
      if ((kbc.pending & PENDING_MOUSE_OLD) !== 0) kbc.pending |= PENDING_MOUSE;
    }
    kbc.pending &= PENDING_ALL;
    if ((extended.migrationFlags & MIGRATION_THROTTLED) !== 0) this.#throttle.arm(this.#options.clock.now());
    else this.#throttle.cancel();
  }

  // Output buffer

  /** Who has a byte that may be shown: a disabled device keeps its own. */
  #showable(): number {
    return this.#kbc.pending & ~(this.#kbc.mode & (MODE_KEYBOARD_DISABLED | MODE_MOUSE_DISABLED));
  }

  #setPending(bit: number, level: number): void {
    if (level !== 0) this.#kbc.pending |= bit;
    else this.#kbc.pending &= ~bit;
    this.#showIfEmpty();
  }

  /** Shows the next byte unless one waits to be read. */
  #showIfEmpty(): void {
    if ((this.#kbc.status & STATUS_OUTPUT_FULL) === 0 && this.#showable() !== 0) this.#show();
  }

  /** Marks the output buffer full: the controller's bytes first, then the keyboard's, then the mouse's. */
  #show(): void {
    const { extended } = this.#kbc;
    const showable = this.#showable();
    let isMouse = false;
    if ((showable & PENDING_CONTROLLER_KEYBOARD) !== 0) {
      extended.obsrc = SOURCE_CONTROLLER;
    } else if ((showable & PENDING_CONTROLLER_MOUSE) !== 0) {
      extended.obsrc = SOURCE_CONTROLLER;
      isMouse = true;
    } else if ((showable & PENDING_KEYBOARD) !== 0) {
      extended.obsrc = SOURCE_KEYBOARD;
    } else {
      extended.obsrc = SOURCE_MOUSE;
      isMouse = true;
    }
    this.#setFull(true, isMouse);
  }

  #setFull(full: boolean, isMouse: boolean): void {
    const kbc = this.#kbc;
    kbc.status &= ~(STATUS_OUTPUT_FULL | STATUS_MOUSE_FULL);
    kbc.output.outport &= ~(OUT_KEYBOARD_FULL | OUT_MOUSE_FULL);
    if (full) {
      kbc.status |= STATUS_OUTPUT_FULL | (isMouse ? STATUS_MOUSE_FULL : 0);
      kbc.output.outport |= OUT_KEYBOARD_FULL | (isMouse ? OUT_MOUSE_FULL : 0);
    }
    this.#updateIrqs();
  }

  #updateIrqs(): void {
    const { status, mode } = this.#kbc;
    const isFull = (status & STATUS_OUTPUT_FULL) !== 0;
    const isMouse = (status & STATUS_MOUSE_FULL) !== 0;
    const keyboard = (mode & (MODE_KEYBOARD_IRQ | MODE_KEYBOARD_DISABLED)) === MODE_KEYBOARD_IRQ;
    this.#options.keyboardIrq.set(isFull && !isMouse && keyboard ? 1 : 0);
    this.#options.mouseIrq.set(isFull && isMouse && (mode & MODE_MOUSE_IRQ) !== 0 ? 1 : 0);
  }

  /** A byte of the controller's own, as if from the keyboard or the mouse. */
  #queue(byte: number, pending: number): void {
    const kbc = this.#kbc;
    kbc.extended.cbdata = byte;
    kbc.pending = (kbc.pending & ~PENDING_CONTROLLER) | pending;
    this.#showIfEmpty();
  }

  #readData(): number {
    const kbc = this.#kbc;
    const { extended } = kbc;
    if ((kbc.status & STATUS_OUTPUT_FULL) === 0) return extended.obdata;
    this.#setFull(false, false);
    if ((extended.obsrc & SOURCE_KEYBOARD) !== 0) {
      extended.obdata = this.#options.keyboard.queue.read();
    } else if ((extended.obsrc & SOURCE_MOUSE) !== 0) {
      extended.obdata = this.#options.mouse.queue.read();
    } else if ((extended.obsrc & SOURCE_CONTROLLER) !== 0) {
      extended.obdata = extended.cbdata;
      kbc.pending &= ~PENDING_CONTROLLER;
      this.#showIfEmpty();
    }
    return extended.obdata;
  }

  // Commands

  #writeData(value: number): void {
    const kbc = this.#kbc;
    const command = kbc.writeCmd;
    kbc.writeCmd = 0;
    switch (command) {
      case 0:
        this.#options.keyboard.write(value);
        // Sending to a device enables it.
        this.#setMode(kbc.mode & ~MODE_KEYBOARD_DISABLED);
        break;
      case CMD_WRITE_MOUSE:
        this.#options.mouse.write(value);
        this.#setMode(kbc.mode & ~MODE_MOUSE_DISABLED);
        break;
      case CMD_WRITE_MODE:
        kbc.mode = value;
        this.#options.keyboard.setTranslation((value & MODE_TRANSLATE) !== 0);
        this.#updateIrqs();
        this.#showIfEmpty();
        break;
      case CMD_WRITE_KEYBOARD_BUFFER:
        this.#queue(value, PENDING_CONTROLLER_KEYBOARD);
        break;
      case CMD_WRITE_MOUSE_BUFFER:
        this.#queue(value, PENDING_CONTROLLER_MOUSE);
        break;
      case CMD_WRITE_OUTPUT_PORT:
        this.#writeOutputPort(value);
        break;
      default:
    }
  }

  /** Enables or disables a device; what it has waiting may now be shown. The IRQ lines follow with the next byte. */
  #setMode(mode: number): void {
    this.#kbc.mode = mode;
    this.#showIfEmpty();
  }

  #writeOutputPort(value: number): void {
    this.#kbc.output.outport = value;
    this.#options.a20.set((value & OUT_A20) !== 0 ? 1 : 0);
    if ((value & OUT_NOT_RESET) === 0) this.#options.requestReset();
  }

  #setA20(level: number): void {
    const { output } = this.#kbc;
    output.outport = level !== 0 ? output.outport | OUT_A20 : output.outport & ~OUT_A20;
    this.#options.a20.set(level);
  }

  #writeCommand(command: number): void {
    const kbc = this.#kbc;
    if ((command & CMD_PULSE) === CMD_PULSE) {
      if ((command & OUT_NOT_RESET) === 0) this.#options.requestReset();
      return;
    }
    switch (command) {
      case CMD_WRITE_MODE:
      case CMD_WRITE_KEYBOARD_BUFFER:
      case CMD_WRITE_MOUSE_BUFFER:
      case CMD_WRITE_MOUSE:
      case CMD_WRITE_OUTPUT_PORT:
        kbc.writeCmd = command;
        break;
      case CMD_MOUSE_DISABLE:
        kbc.mode |= MODE_MOUSE_DISABLED;
        break;
      case CMD_MOUSE_ENABLE:
        this.#setMode(kbc.mode & ~MODE_MOUSE_DISABLED);
        break;
      case CMD_KEYBOARD_DISABLE:
        kbc.mode |= MODE_KEYBOARD_DISABLED;
        break;
      case CMD_KEYBOARD_ENABLE:
        this.#setMode(kbc.mode & ~MODE_KEYBOARD_DISABLED);
        break;
      case CMD_ENABLE_A20:
        this.#setA20(1);
        break;
      case CMD_DISABLE_A20:
        this.#setA20(0);
        break;
      default:
        this.#answer(command);
    }
  }

  /** Commands that put a byte into the output buffer; the others are ignored. */
  #answer(command: number): void {
    const kbc = this.#kbc;
    let answer: number;
    switch (command) {
      case CMD_READ_MODE:
        answer = kbc.mode;
        break;
      case CMD_SELF_TEST:
        kbc.status |= STATUS_SELF_TEST;
        answer = 0x55;
        break;
      case CMD_TEST_KEYBOARD:
      case CMD_TEST_MOUSE:
        answer = 0;
        break;
      case CMD_READ_INPUT_PORT:
        answer = 0x80;
        break;
      case CMD_READ_OUTPUT_PORT:
        answer = kbc.output.outport;
        break;
      default:
        return;
    }
    this.#queue(answer, PENDING_CONTROLLER_KEYBOARD);
  }
}
