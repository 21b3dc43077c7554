/**
 * PS/2 mouse with the IntelliMouse (wheel) and IntelliMouse Explorer (wheel, five buttons) extensions. IBM PS/2 Hardware
 * Interface Technical Reference, "Mouse"; Microsoft "Wheel mouse" supplement for the sample rate knocks 200-100-80 and
 * 200-200-80. Behaviour as QEMU 7.2's hw/input/ps2.c.
 *
 * Not emulated: 2:1 scaling (remembered only), sample rate and resolution (remembered only), horizontal wheel.
 */
import type { Device } from '../machine/device.ts';
import { i32, struct, u8, type VmState } from '../migration/vmstate.ts';
import { NO_COMMAND, NO_REPLY, Ps2Queue, type Ps2QueueState, ps2QueueVmState } from './ps2-queue.ts';

const CMD_SCALING_1_1 = 0xe6;
const CMD_SCALING_2_1 = 0xe7;
const CMD_SET_RESOLUTION = 0xe8;
const CMD_STATUS_REQUEST = 0xe9;
const CMD_STREAM_MODE = 0xea;
const CMD_READ_DATA = 0xeb;
const CMD_RESET_WRAP = 0xec;
const CMD_SET_WRAP = 0xee;
const CMD_REMOTE_MODE = 0xf0;
const CMD_READ_TYPE = 0xf2;
const CMD_SET_RATE = 0xf3;
const CMD_ENABLE = 0xf4;
const CMD_DISABLE = 0xf5;
const CMD_SET_DEFAULT = 0xf6;
const CMD_RESET = 0xff;
const ACK = 0xfa;
const BAT_OK = 0xaa;

/** Bits of `mouseStatus`, the first byte of the status reply. */
const STATUS_SCALE21 = 0x10;
const STATUS_ENABLED = 0x20;
const STATUS_REMOTE = 0x40;

/** `mouseType`, the reply to CMD_READ_TYPE. */
const TYPE_PLAIN = 0;
const TYPE_WHEEL = 3;
const TYPE_EXPLORER = 4;

/** `mouseDetectState`: which sample rates have been set in a row. */
const DETECT_NONE = 0;
const DETECT_200 = 1;
const DETECT_200_100 = 2;
const DETECT_200_200 = 3;

const DEFAULT_RATE = 100;
const DEFAULT_RESOLUTION = 2;

/** Buttons as {@link Ps2Mouse.buttons} takes them. */
export const MOUSE_LEFT = 0x01;
export const MOUSE_RIGHT = 0x02;
export const MOUSE_MIDDLE = 0x04;
export const MOUSE_SIDE = 0x08;
export const MOUSE_EXTRA = 0x10;
const ALL_BUTTONS = 0x1f;

export interface Ps2MouseState {
  readonly common: Ps2QueueState;
  mouseStatus: number;
  mouseResolution: number;
  mouseSampleRate: number;
  mouseWrap: number;
  mouseType: number;
  mouseDetectState: number;
  /** Motion not yet reported; y is up. */
  mouseDx: number;
  mouseDy: number;
  mouseDz: number;
  mouseButtons: number;
}

/** Stream section `ps2mouse` (QEMU 7.2 hw/input/ps2.c). */
export const ps2MouseVmState: VmState<Ps2MouseState> = {
  name: 'ps2mouse',
  version: 2,
  minimumVersion: 2,
  fields: {
    common: struct(ps2QueueVmState, { name: 'parent_obj' }),
    mouseStatus: u8(),
    mouseResolution: u8(),
    mouseSampleRate: u8(),
    mouseWrap: u8(),
    mouseType: u8(),
    mouseDetectState: u8(),
    mouseDx: i32(),
    mouseDy: i32(),
    mouseDz: i32(),
    mouseButtons: u8(),
  },
};

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, value));
}

export class Ps2Mouse implements Device<Ps2MouseState> {
  readonly name: string = 'ps2mouse';
  readonly vmstate: VmState<Ps2MouseState> = ps2MouseVmState;
  readonly state: Ps2MouseState;
  readonly queue: Ps2Queue = new Ps2Queue();

  /** Told of motion and buttons: they wake a suspended machine. */
  onInput: () => void = () => {};

  constructor() {
    this.state = {
      common: this.queue.state,
      mouseStatus: 0,
      mouseResolution: 0,
      mouseSampleRate: 0,
      mouseWrap: 0,
      mouseType: TYPE_PLAIN,
      mouseDetectState: DETECT_NONE,
      mouseDx: 0,
      mouseDy: 0,
      mouseDz: 0,
      mouseButtons: 0,
    };
  }

  reset(): void {
    const state = this.state;
    this.queue.reset();
    state.mouseStatus = 0;
    state.mouseResolution = 0;
    state.mouseSampleRate = 0;
    state.mouseWrap = 0;
    state.mouseType = TYPE_PLAIN;
    state.mouseDetectState = DETECT_NONE;
    state.mouseDx = 0;
    state.mouseDy = 0;
    state.mouseDz = 0;
    state.mouseButtons = 0;
  }

  afterLoad(): void {
    this.queue.afterLoad(NO_REPLY);
  }

  /** The host's mouse moved: `dx` right, `dy` down, `dz` wheel steps towards the user. */
  motion(dx: number, dy: number, dz = 0): void {
    const state = this.state;
    if ((state.mouseStatus & STATUS_ENABLED) === 0) return;
    this.onInput();
    state.mouseDx = (state.mouseDx + dx) | 0;
    state.mouseDy = (state.mouseDy - dy) | 0;
    state.mouseDz = (state.mouseDz + dz) | 0;
    this.#report();
  }

  /** Buttons held now, as MOUSE_… bits. */
  buttons(mask: number): void {
    if ((this.state.mouseStatus & STATUS_ENABLED) === 0) return;
    this.onInput();
    this.state.mouseButtons = mask & ALL_BUTTONS;
    this.#report();
  }

  /** In stream mode reports at once, in as many packets as the motion needs and the queue takes. */
  #report(): void {
    const state = this.state;
    if ((state.mouseStatus & STATUS_REMOTE) !== 0) return;
    while (this.#sendPacket()) {
      if (state.mouseDx === 0 && state.mouseDy === 0 && state.mouseDz === 0) break;
    }
  }

  #sendPacket(): boolean {
    const { state, queue } = this;
    const isPlain = state.mouseType === TYPE_PLAIN;
    if (queue.room < (isPlain ? 3 : 4)) return false;
    const dx = clamp(state.mouseDx, 127);
    const dy = clamp(state.mouseDy, 127);
    const head = 0x08 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0) | (state.mouseButtons & 0x07);
    if (isPlain) {
      state.mouseDz = 0;
      queue.push(head, dx & 0xff, dy & 0xff);
    } else {
      queue.push(head, dx & 0xff, dy & 0xff, this.#wheelByte());
    }
    state.mouseDx -= dx;
    state.mouseDy -= dy;
    return true;
  }

  /** Fourth byte: the wheel in 8 bits, or in 4 with the side buttons above. */
  #wheelByte(): number {
    const state = this.state;
    const isExplorer = state.mouseType === TYPE_EXPLORER;
    const dz = clamp(state.mouseDz, isExplorer ? 7 : 127);
    state.mouseDz -= dz;
    return isExplorer ? (dz & 0x0f) | ((state.mouseButtons & (MOUSE_SIDE | MOUSE_EXTRA)) << 1) : dz & 0xff;
  }

  /** A byte from the controller: a command or the parameter of the one before. */
  write(value: number): void {
    const { state, queue } = this;
    switch (state.common.writeCmd) {
      case CMD_SET_RATE:
        state.common.writeCmd = NO_COMMAND;
        this.#setRate(value);
        queue.push(ACK);
        break;
      case CMD_SET_RESOLUTION:
        state.common.writeCmd = NO_COMMAND;
        state.mouseResolution = value;
        queue.push(ACK);
        break;
      default:
        if (state.mouseWrap !== 0 && value !== CMD_RESET) this.#echo(value);
        else this.#command(value);
    }
  }

  /** Wrap mode sends everything back. */
  #echo(value: number): void {
    if (value === CMD_RESET_WRAP) {
      this.state.mouseWrap = 0;
      this.queue.push(ACK);
    } else {
      this.queue.push(value);
    }
  }

  #command(command: number): void {
    const { state, queue } = this;
    switch (command) {
      case CMD_RESET:
        this.#setDefaults();
        state.mouseType = TYPE_PLAIN;
        state.mouseWrap = 0;
        queue.clear();
        queue.push(ACK, BAT_OK, state.mouseType);
        return;
      case CMD_READ_TYPE:
        queue.push(ACK, state.mouseType);
        return;
      case CMD_STATUS_REQUEST:
        queue.push(ACK, state.mouseStatus, state.mouseResolution, state.mouseSampleRate);
        return;
      case CMD_READ_DATA:
        queue.push(ACK);
        this.#sendPacket();
        return;
      default:
        // An unknown command is not answered, as in QEMU.
        if (this.#changeMode(command)) queue.push(ACK);
    }
  }

  /** Commands that only set something. False for an unknown one. */
  #changeMode(command: number): boolean {
    const state = this.state;
    switch (command) {
      case CMD_SCALING_1_1:
        state.mouseStatus &= ~STATUS_SCALE21;
        return true;
      case CMD_SCALING_2_1:
        state.mouseStatus |= STATUS_SCALE21;
        return true;
      case CMD_STREAM_MODE:
        state.mouseStatus &= ~STATUS_REMOTE;
        return true;
      case CMD_REMOTE_MODE:
        state.mouseStatus |= STATUS_REMOTE;
        return true;
      case CMD_SET_WRAP:
        state.mouseWrap = 1;
        return true;
      case CMD_SET_RESOLUTION:
      case CMD_SET_RATE:
        state.common.writeCmd = command;
        return true;
      case CMD_ENABLE:
        state.mouseStatus |= STATUS_ENABLED;
        return true;
      case CMD_DISABLE:
        state.mouseStatus &= ~STATUS_ENABLED;
        return true;
      case CMD_SET_DEFAULT:
        this.#setDefaults();
        return true;
      default:
        return false;
    }
  }

  #setDefaults(): void {
    this.state.mouseSampleRate = DEFAULT_RATE;
    this.state.mouseResolution = DEFAULT_RESOLUTION;
    this.state.mouseStatus = 0;
  }

  /** Rates 200-100-80 in a row switch the wheel on, 200-200-80 the Explorer packet. */
  #setRate(rate: number): void {
    const state = this.state;
    state.mouseSampleRate = rate;
    const before = state.mouseDetectState;
    state.mouseDetectState = DETECT_NONE;
    if (before === DETECT_200) {
      if (rate === 100) state.mouseDetectState = DETECT_200_100;
      else if (rate === 200) state.mouseDetectState = DETECT_200_200;
    } else if (before === DETECT_200_100 || before === DETECT_200_200) {
      if (rate === 80) state.mouseType = before === DETECT_200_100 ? TYPE_WHEEL : TYPE_EXPLORER;
    } else if (rate === 200) {
      state.mouseDetectState = DETECT_200;
    }
  }
}
