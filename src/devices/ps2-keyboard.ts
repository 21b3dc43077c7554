/**
 * PS/2 keyboard with scan code sets 1, 2 and 3. IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101- and
 * 102-key)". The translation of set 2 to set 1, on hardware in the 8042, is done here as bytes are queued, which is
 * where QEMU 7.2 (hw/input/ps2.c) does it and what its stream therefore holds.
 *
 * Not emulated: typematic repeat (the guest's or the host's business), make/break modes of single keys in set 3,
 * the resend command, the self-test's duration.
 */
import type { Device } from '../machine/device.ts';
import { bool, i32, type Subsection, struct, type VmState } from '../migration/vmstate.ts';
import { SCAN_CODES, translateSet2 } from './keycodes.ts';
import { NO_COMMAND, NO_REPLY, Ps2Queue, type Ps2QueueState, ps2QueueVmState } from './ps2-queue.ts';

const CMD_SET_LEDS = 0xed;
const CMD_ECHO = 0xee;
const CMD_SCANCODE_SET = 0xf0;
const CMD_READ_ID = 0xf2;
const CMD_SET_RATE = 0xf3;
const CMD_ENABLE = 0xf4;
const CMD_DEFAULT_DISABLE = 0xf5;
const CMD_SET_DEFAULT = 0xf6;
const CMD_ALL_TYPEMATIC = 0xfa;
const CMD_KEY_MAKE_BREAK = 0xfc;
const CMD_RESET = 0xff;
/** Not in the reference; QEMU acknowledges it. */
const CMD_ZERO = 0x00;

const ACK = 0xfa;
const RESEND = 0xfe;
/** Basic assurance test passed. */
const BAT_OK = 0xaa;
const ID_FIRST = 0xab;
const ID_SECOND = 0x83;

const BREAK_PREFIX = 0xf0;
const EXTENDED = 0xe0;
const DEFAULT_SET = 2;

/** Keys that change what `print` and `pause` send. */
const CTRL = 1;
const SHIFT = 2;
const ALT_LEFT = 4;
const ALT_RIGHT = 8;
const MODIFIERS: { readonly [name: string]: readonly [held: number, bit: number] | undefined } = {
  ctrl: [CTRL, 0x01],
  ctrl_r: [CTRL, 0x02],
  shift: [SHIFT, 0x04],
  shift_r: [SHIFT, 0x08],
  alt: [ALT_LEFT, 0x10],
  alt_r: [ALT_RIGHT, 0x20],
};

/** Bytes in set 2 for a key going down and up; set 1 is their translation. */
interface Sequence {
  readonly down: readonly number[];
  readonly up: readonly number[];
}
const PAUSE: Sequence = { down: [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77], up: [] };
const BREAK: Sequence = { down: [0xe0, 0x7e, 0xe0, 0xf0, 0x7e], up: [] };
const SYSRQ_LEFT: Sequence = { down: [0xf0, 0x11, 0x11, 0x84], up: [0xf0, 0x84, 0xf0, 0x11, 0x11] };
const SYSRQ_RIGHT: Sequence = {
  down: [0xe0, 0xf0, 0x11, 0xe0, 0x11, 0x84],
  up: [0xf0, 0x84, 0xe0, 0xf0, 0x11, 0xe0, 0x11],
};
const PRINT_SHIFTED: Sequence = { down: [0xe0, 0x7c], up: [0xe0, 0xf0, 0x7c] };
const PRINT: Sequence = { down: [0xe0, 0x12, 0xe0, 0x7c], up: [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12] };

export interface Ps2KeyboardState {
  readonly common: Ps2QueueState;
  scanEnabled: number;
  /** The controller translates to set 1. */
  translate: number;
  scancodeSet: number;
  /** Bit 0 scroll lock, 1 num lock, 2 caps lock. */
  readonly leds: { ledstate: number };
  /** Translation: a break prefix has come, the next code gets bit 7. */
  readonly highBit: { needHighBit: boolean };
  readonly replies: { cwptr: number };
}

const ledSubsection: Subsection<Ps2KeyboardState, { ledstate: number }> = {
  vmstate: { name: 'ps2kbd/ledstate', version: 3, minimumVersion: 2, fields: { ledstate: i32() } },
  needed: (state) => state.leds.ledstate !== 0,
  absent: () => ({ ledstate: 0 }),
};
const highBitSubsection: Subsection<Ps2KeyboardState, { needHighBit: boolean }> = {
  vmstate: { name: 'ps2kbd/need_high_bit', version: 1, minimumVersion: 1, fields: { needHighBit: bool() } },
  needed: (state) => state.highBit.needHighBit,
  absent: () => ({ needHighBit: false }),
};
const replySubsection: Subsection<Ps2KeyboardState, { cwptr: number }> = {
  vmstate: {
    name: 'ps2kbd/command_reply_queue',
    version: 0,
    minimumVersion: 0,
    fields: { cwptr: i32({ name: 'parent_obj.queue.cwptr' }) },
  },
  needed: (state) => state.replies.cwptr !== NO_REPLY,
  absent: () => ({ cwptr: NO_REPLY }),
};

/** Stream section `ps2kbd` (QEMU 7.2 hw/input/ps2.c). */
export const ps2KeyboardVmState: VmState<Ps2KeyboardState, 'leds' | 'highBit' | 'replies'> = {
  name: 'ps2kbd',
  version: 3,
  minimumVersion: 2,
  fields: {
    common: struct(ps2QueueVmState, { name: 'parent_obj' }),
    scanEnabled: i32(),
    translate: i32(),
    scancodeSet: i32({ since: 3 }),
  },
  subsections: { leds: ledSubsection, highBit: highBitSubsection, replies: replySubsection },
};

export class Ps2Keyboard implements Device<Ps2KeyboardState> {
  readonly name: string = 'ps2kbd';
  readonly vmstate: VmState<Ps2KeyboardState, 'leds' | 'highBit' | 'replies'> = ps2KeyboardVmState;
  readonly state: Ps2KeyboardState;
  readonly queue: Ps2Queue = new Ps2Queue();
  readonly #onLeds: ((leds: number) => void) | undefined;
  /** Modifier keys held. Not saved, as in QEMU: after a load they count as released. */
  #held = 0;

  /** A key went down or up: wakes a suspended machine. */
  onInput: () => void = () => {};

  constructor({ onLeds }: { readonly onLeds?: ((leds: number) => void) | undefined } = {}) {
    this.#onLeds = onLeds;
    this.state = {
      common: this.queue.state,
      scanEnabled: 1,
      translate: 0,
      scancodeSet: DEFAULT_SET,
      leds: { ledstate: 0 },
      highBit: { needHighBit: false },
      replies: { cwptr: NO_REPLY },
    };
  }

  reset(): void {
    this.queue.reset();
    this.state.scanEnabled = 1;
    this.state.translate = 0;
    this.state.scancodeSet = DEFAULT_SET;
    this.state.highBit.needHighBit = false;
    this.#held = 0;
    this.#setLeds(0);
  }

  beforeSave(): void {
    this.state.replies.cwptr = this.queue.replyEnd;
  }

  afterLoad(version = ps2KeyboardVmState.version): void {
    if (version < 3) this.state.scancodeSet = DEFAULT_SET;
    this.queue.afterLoad(this.state.replies.cwptr);
    this.#held = 0;
  }

  /**
   * A key of the host goes down or up. `name` is a QKeyCode such as 'a', 'ret', 'kp_5'. False if the keyboard has no
   * such key in its scan code set.
   */
  key(name: string, down: boolean): boolean {
    this.onInput();
    // While disabled nothing is queued, or replies would be mixed up with it.
    if (this.state.scanEnabled === 0) return true;
    const modifier = MODIFIERS[name];
    if (modifier !== undefined) this.#held = down ? this.#held | modifier[1] : this.#held & ~modifier[1];
    if (this.state.scancodeSet !== 3) {
      const sequence = this.#sequence(name);
      if (sequence !== undefined) {
        this.#sendSequence(down ? sequence.down : sequence.up);
        return true;
      }
    }
    return this.#sendKey(name, down);
  }

  /** The controller's translation bit changed. */
  setTranslation(on: boolean): void {
    this.state.translate = on ? 1 : 0;
  }

  #isHeld(kind: number): boolean {
    for (const name in MODIFIERS) {
      const [held, bit] = MODIFIERS[name]!;
      if (held === kind && (this.#held & bit) !== 0) return true;
    }
    return false;
  }

  /** What `pause` and `print` mean with the modifiers held now. */
  #sequence(name: string): Sequence | undefined {
    if (name === 'pause') return this.#isHeld(CTRL) ? BREAK : PAUSE;
    if (name !== 'print') return undefined;
    if (this.#isHeld(ALT_LEFT)) return SYSRQ_LEFT;
    if (this.#isHeld(ALT_RIGHT)) return SYSRQ_RIGHT;
    return this.#isHeld(SHIFT) || this.#isHeld(CTRL) ? PRINT_SHIFTED : PRINT;
  }

  #sendSequence(bytes: readonly number[]): void {
    const isSet1 = this.state.scancodeSet === 1;
    let high = 0;
    for (const byte of bytes) {
      if (isSet1 && byte === BREAK_PREFIX) {
        high = 0x80;
      } else {
        this.#send(isSet1 ? translateSet2(byte) | high : byte);
        high = 0;
      }
    }
  }

  #sendKey(name: string, down: boolean): boolean {
    const set = this.state.scancodeSet;
    const codes = Object.hasOwn(SCAN_CODES, name) ? SCAN_CODES[name] : undefined;
    const code = codes?.[set - 1] ?? 0;
    if (code === 0) return false;
    if (code > 0xff) this.#send(EXTENDED);
    if (set === 1) {
      this.#send((code & 0xff) | (down ? 0 : 0x80));
    } else {
      if (!down) this.#send(BREAK_PREFIX);
      this.#send(code & 0xff);
    }
    return true;
  }

  /** Queues a byte of a scan code, through the controller's translation while that is on. */
  #send(byte: number): void {
    const { highBit, translate } = this.state;
    if (translate === 0) {
      this.queue.push(byte);
    } else if (byte === BREAK_PREFIX) {
      highBit.needHighBit = true;
    } else {
      this.queue.push(translateSet2(byte) | (highBit.needHighBit ? 0x80 : 0));
      highBit.needHighBit = false;
    }
  }

  /** A byte from the controller: a command or the parameter of the one before. */
  write(value: number): void {
    const common = this.state.common;
    this.queue.dropReply();
    switch (common.writeCmd) {
      case CMD_SET_LEDS:
        common.writeCmd = NO_COMMAND;
        this.#setLeds(value);
        this.queue.reply(ACK);
        break;
      case CMD_SCANCODE_SET:
        common.writeCmd = NO_COMMAND;
        this.#selectSet(value);
        break;
      case CMD_SET_RATE:
      case CMD_KEY_MAKE_BREAK:
        common.writeCmd = NO_COMMAND;
        this.queue.reply(ACK);
        break;
      default:
        this.#command(value);
    }
  }

  #command(command: number): void {
    const { state, queue } = this;
    switch (command) {
      case CMD_ZERO:
      case CMD_ALL_TYPEMATIC:
        queue.reply(ACK);
        break;
      case CMD_ECHO:
        queue.reply(CMD_ECHO);
        break;
      case CMD_READ_ID:
        queue.reply(ACK, ID_FIRST, state.translate !== 0 ? translateSet2(ID_SECOND) : ID_SECOND);
        break;
      case CMD_ENABLE:
        state.scanEnabled = 1;
        queue.reply(ACK);
        break;
      case CMD_SCANCODE_SET:
      case CMD_SET_LEDS:
      case CMD_SET_RATE:
      case CMD_KEY_MAKE_BREAK:
        state.common.writeCmd = command;
        queue.reply(ACK);
        break;
      case CMD_DEFAULT_DISABLE:
        this.#setDefaults();
        state.scanEnabled = 0;
        queue.reply(ACK);
        break;
      case CMD_SET_DEFAULT:
        this.#setDefaults();
        queue.reply(ACK);
        break;
      case CMD_RESET:
        this.#setDefaults();
        queue.reply(ACK, BAT_OK);
        break;
      default:
        queue.reply(RESEND);
    }
  }

  #setDefaults(): void {
    this.state.scanEnabled = 1;
    this.state.scancodeSet = DEFAULT_SET;
    this.queue.clear();
    this.#setLeds(0);
  }

  #selectSet(set: number): void {
    if (set === 0) {
      const current = this.state.scancodeSet;
      this.queue.reply(ACK, this.state.translate !== 0 ? translateSet2(current) : current & 0xff);
    } else if (set <= 3) {
      this.state.scancodeSet = set;
      this.queue.reply(ACK);
    } else {
      this.queue.reply(RESEND);
    }
  }

  #setLeds(leds: number): void {
    const changed = this.state.leds.ledstate !== leds;
    this.state.leds.ledstate = leds;
    if (changed) this.#onLeds?.(leds);
  }
}
