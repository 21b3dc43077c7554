/**
 * SMBus host controller of the PIIX4: 16 registers at the base that configuration register 0x90 names, and the bus
 * behind it. Datasheet: Intel 290562, section 7.3 (PIIX4). Facts of the protocol states: QEMU 7.2 hw/i2c/pm_smbus.c.
 *
 * On the bus are eight EEPROMs at 0x50-0x57, as QEMU's pc has them. They are empty (all zero) and, not as QEMU's, keep
 * nothing written to them: so they need no section of their own on the stream.
 * Not emulated: what becomes of QEMU's EEPROMs when an I2C block read is broken off (they then read 0xff);
 * interrupts and SMI from the controller (QEMU has none either), the slave port, alert, PEC.
 */
import type { Device, IoRegion } from '../../machine/device.ts';
import { array, bool, u8, u32, type VmState } from '../../migration/vmstate.ts';

/** Longest block. */
const BLOCK_SIZE = 32;

const HOST_STATUS = 0x00;
const HOST_CONTROL = 0x02;
const HOST_COMMAND = 0x03;
const HOST_ADDRESS = 0x04;
const HOST_DATA0 = 0x05;
const HOST_DATA1 = 0x06;
const HOST_BLOCK_DATA = 0x07;
const HOST_AUX_CONTROL = 0x0d;

const STATUS_BUSY = 0x01;
const STATUS_INTR = 0x02;
const STATUS_DEVICE_ERROR = 0x04;
const STATUS_FAILED = 0x10;
const STATUS_BYTE_DONE = 0x80;

const CONTROL_INTERRUPT = 0x01;
const CONTROL_KILL = 0x02;
const CONTROL_LAST_BYTE = 0x20;
const CONTROL_START = 0x40;
const CONTROL_READABLE = 0x1f;

const AUX_BLOCK_BUFFER = 0x02;
const AUX_MASK = 0x03;

const PROTOCOL_QUICK = 0;
const PROTOCOL_BYTE = 1;
const PROTOCOL_BYTE_DATA = 2;
const PROTOCOL_WORD_DATA = 3;
const PROTOCOL_BLOCK = 5;
const PROTOCOL_I2C_BLOCK_READ = 6;

const EEPROM_FIRST = 0x50;
const EEPROM_LAST = 0x57;
/** `saved_address` of a bus on which no transfer is under way. */
const NO_ADDRESS = 0xff;

export interface SmBusState {
  smbStat: number;
  smbCtl: number;
  smbCmd: number;
  smbAddr: number;
  smbData0: number;
  smbData1: number;
  smbIndex: number;
  smbData: Uint8Array;
  smbAuxctl: number;
  smbBlkdata: number;
  i2cEnable: boolean;
  opDone: boolean;
  inI2cBlockRead: boolean;
  startTransactionOnStatusRead: boolean;
}

/** QEMU 7.2 hw/i2c/pm_smbus.c, pmsmb_vmstate. */
export const smBusVmState: VmState<SmBusState> = {
  name: 'pmsmb',
  version: 1,
  minimumVersion: 1,
  fields: {
    smbStat: u8(),
    smbCtl: u8(),
    smbCmd: u8(),
    smbAddr: u8(),
    smbData0: u8({ name: 'smb_data0' }),
    smbData1: u8({ name: 'smb_data1' }),
    smbIndex: u32(),
    smbData: array<Uint8Array>(u8(), BLOCK_SIZE),
    smbAuxctl: u8(),
    smbBlkdata: u8(),
    i2cEnable: bool({ name: 'i2c_enable' }),
    opDone: bool(),
    inI2cBlockRead: bool({ name: 'in_i2c_block_read' }),
    startTransactionOnStatusRead: bool(),
  },
};

/** Whether a chip answers at a 7-bit address. */
function isPresent(address: number): boolean {
  return address >= EEPROM_FIRST && address <= EEPROM_LAST;
}

/** The controller's registers. Part of the PIIX4 PM function, whose section holds its state. */
export class SmBusHost {
  readonly state: SmBusState = {
    smbStat: 0,
    smbCtl: 0,
    smbCmd: 0,
    smbAddr: 0,
    smbData0: 0,
    smbData1: 0,
    smbIndex: 0,
    smbData: new Uint8Array(BLOCK_SIZE),
    smbAuxctl: AUX_BLOCK_BUFFER,
    smbBlkdata: 0,
    i2cEnable: false,
    opDone: true,
    inI2cBlockRead: false,
    startTransactionOnStatusRead: false,
  };
  readonly bus: I2cBus = new I2cBus();
  readonly region: IoRegion = {
    name: 'pm-smbus',
    size: 64,
    read8: (offset) => this.#read(offset),
    write8: (offset, value) => this.#write(offset, value),
  };

  reset(): void {
    const { state } = this;
    state.smbStat = state.smbCtl = state.smbCmd = state.smbAddr = 0;
    state.smbData0 = state.smbData1 = state.smbBlkdata = state.smbIndex = 0;
    state.smbData.fill(0);
    state.smbAuxctl = AUX_BLOCK_BUFFER;
    state.opDone = true;
    state.startTransactionOnStatusRead = false;
    this.#setI2cBlockRead(false);
  }

  /** An I2C block read is the only transfer that stays on the bus between accesses. */
  #setI2cBlockRead(active: boolean): void {
    this.state.inI2cBlockRead = active;
    this.bus.state.savedAddress = active ? this.state.smbAddr >> 1 : NO_ADDRESS;
  }

  #read(offset: number): number {
    const { state } = this;
    switch (offset) {
      case HOST_STATUS: {
        const status = state.smbStat;
        if (state.startTransactionOnStatusRead) {
          state.startTransactionOnStatusRead = false;
          state.smbStat &= ~STATUS_BUSY;
          this.#transact();
        }
        return status;
      }
      case HOST_CONTROL:
        return state.smbCtl & CONTROL_READABLE;
      case HOST_COMMAND:
        return state.smbCmd;
      case HOST_ADDRESS:
        return state.smbAddr;
      case HOST_DATA0:
        return state.smbData0;
      case HOST_DATA1:
        return state.smbData1;
      case HOST_BLOCK_DATA:
        return this.#readBlockData();
      case HOST_AUX_CONTROL:
        return state.smbAuxctl;
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    const { state } = this;
    switch (offset) {
      case HOST_STATUS: {
        const byteAcknowledged = (state.smbStat & value & STATUS_BYTE_DONE) !== 0;
        state.smbStat &= ~(value & ~STATUS_BUSY);
        if (byteAcknowledged && this.#isByteByByte()) this.#nextByte();
        break;
      }
      case HOST_CONTROL:
        this.#writeControl(value);
        break;
      case HOST_COMMAND:
        state.smbCmd = value;
        break;
      case HOST_ADDRESS:
        state.smbAddr = value;
        break;
      case HOST_DATA0:
        state.smbData0 = value;
        break;
      case HOST_DATA1:
        state.smbData1 = value;
        break;
      case HOST_BLOCK_DATA:
        if (state.smbIndex >= BLOCK_SIZE) state.smbIndex = 0;
        if ((state.smbAuxctl & AUX_BLOCK_BUFFER) !== 0) state.smbData[state.smbIndex++] = value;
        else state.smbBlkdata = value;
        break;
      case HOST_AUX_CONTROL:
        state.smbAuxctl = value & AUX_MASK;
        break;
    }
  }

  #writeControl(value: number): void {
    const { state } = this;
    state.smbCtl = value & ~CONTROL_START;
    if ((value & CONTROL_START) !== 0) {
      if (!state.opDone) {
        state.smbIndex = 0;
        state.opDone = true;
        this.#setI2cBlockRead(false);
      }
      if ((value & CONTROL_INTERRUPT) !== 0) {
        this.#transact();
        state.startTransactionOnStatusRead = false;
      } else {
        // AMI's BIOS waits to see the busy bit once: so the command runs at the next read of the status.
        state.smbStat |= STATUS_BUSY;
        state.startTransactionOnStatusRead = true;
      }
    }
    if ((value & CONTROL_KILL) !== 0) {
      state.opDone = true;
      state.smbIndex = 0;
      state.smbStat = (state.smbStat | STATUS_FAILED) & ~STATUS_BUSY;
    }
  }

  #transact(): void {
    const { state } = this;
    const isRead = (state.smbAddr & 1) !== 0;
    const protocol = (state.smbCtl >> 2) & 7;
    if ((state.smbStat & STATUS_DEVICE_ERROR) !== 0) return;
    // A block to be written is gathered first: only then is it seen whether anybody listens.
    if (!isPresent(state.smbAddr >> 1) && !(protocol === PROTOCOL_BLOCK && !isRead)) {
      state.smbStat |= STATUS_DEVICE_ERROR;
      return;
    }
    switch (protocol) {
      case PROTOCOL_WORD_DATA:
        if (isRead) state.smbData0 = state.smbData1 = 0;
        state.smbStat |= STATUS_INTR;
        break;
      case PROTOCOL_BYTE:
      case PROTOCOL_BYTE_DATA:
        if (isRead) state.smbData0 = 0;
        state.smbStat |= STATUS_INTR;
        break;
      case PROTOCOL_QUICK:
        state.smbStat |= STATUS_INTR;
        break;
      case PROTOCOL_I2C_BLOCK_READ:
        this.#setI2cBlockRead(true);
        state.smbBlkdata = 0;
        state.opDone = false;
        state.smbStat |= STATUS_BUSY | STATUS_BYTE_DONE;
        break;
      case PROTOCOL_BLOCK:
        if (isRead) this.#startBlockRead();
        else this.#startBlockWrite();
        break;
      default:
        state.smbStat |= STATUS_DEVICE_ERROR;
    }
  }

  /** An empty EEPROM gives a block of length zero. */
  #startBlockRead(): void {
    const { state } = this;
    state.smbIndex = 0;
    state.opDone = false;
    state.smbData0 = 0;
    if ((state.smbAuxctl & AUX_BLOCK_BUFFER) !== 0) {
      state.smbStat |= STATUS_INTR;
    } else {
      state.smbBlkdata = state.smbData[0]!;
      state.smbStat |= STATUS_BUSY | STATUS_BYTE_DONE;
    }
  }

  #startBlockWrite(): void {
    const { state } = this;
    if ((state.smbAuxctl & AUX_BLOCK_BUFFER) !== 0) {
      const complete = state.smbIndex === state.smbData0;
      state.smbIndex = 0;
      if (complete) this.#sendBlock();
      else state.smbStat |= STATUS_DEVICE_ERROR;
    } else {
      state.opDone = false;
      state.smbStat |= STATUS_BUSY | STATUS_BYTE_DONE;
      state.smbData[0] = state.smbBlkdata;
      state.smbIndex = 0;
    }
  }

  #sendBlock(): void {
    if (isPresent(this.state.smbAddr >> 1)) this.#finishBlock();
    else this.state.smbStat |= STATUS_DEVICE_ERROR;
  }

  #finishBlock(): void {
    this.state.opDone = true;
    this.state.smbStat = (this.state.smbStat | STATUS_INTR) & ~STATUS_BUSY;
  }

  #isByteByByte(): boolean {
    const { state } = this;
    if (state.opDone) return false;
    return state.inI2cBlockRead || (state.smbAuxctl & AUX_BLOCK_BUFFER) === 0;
  }

  /** The guest took (or gave) a byte of a block: on to the next. */
  #nextByte(): void {
    const { state } = this;
    const isRead = state.inI2cBlockRead || (state.smbAddr & 1) !== 0;
    state.smbIndex = state.smbIndex + 1 >= BLOCK_SIZE ? 0 : state.smbIndex + 1;
    if (!isRead && state.smbIndex === state.smbData0) {
      if (((state.smbCtl >> 2) & 7) === PROTOCOL_I2C_BLOCK_READ) state.smbStat |= STATUS_DEVICE_ERROR;
      else this.#sendBlock();
    } else if (!isRead) {
      state.smbData[state.smbIndex] = state.smbBlkdata;
      state.smbStat |= STATUS_BYTE_DONE;
    } else {
      state.smbBlkdata = state.inI2cBlockRead ? 0 : state.smbData[state.smbIndex]!;
      if ((state.smbCtl & CONTROL_LAST_BYTE) === 0) {
        state.smbStat |= STATUS_BYTE_DONE;
        return;
      }
      this.#setI2cBlockRead(false);
      state.smbIndex = 0;
      this.#finishBlock();
    }
  }

  #readBlockData(): number {
    const { state } = this;
    if ((state.smbAuxctl & AUX_BLOCK_BUFFER) === 0 || state.inI2cBlockRead) return state.smbBlkdata;
    if (state.smbIndex >= BLOCK_SIZE) state.smbIndex = 0;
    const value = state.smbData[state.smbIndex++]!;
    if (!state.opDone && state.smbIndex === state.smbData0) {
      state.opDone = true;
      state.smbIndex = 0;
      state.smbStat &= ~STATUS_BUSY;
    }
    return value;
  }
}

export interface I2cBusState {
  /** Chip that is addressed, 0xff for none. */
  savedAddress: number;
}

/** Stream section `i2c_bus` (QEMU 7.2 hw/i2c/core.c). */
export const i2cBusVmState: VmState<I2cBusState> = {
  name: 'i2c_bus',
  version: 1,
  minimumVersion: 1,
  fields: { savedAddress: u8() },
};

/** The bus has a section of its own beside its controller's. */
export class I2cBus implements Device<I2cBusState> {
  readonly name: string = 'i2c_bus';
  readonly vmstate: VmState<I2cBusState> = i2cBusVmState;
  readonly state: I2cBusState = { savedAddress: NO_ADDRESS };

  reset(): void {
    this.state.savedAddress = NO_ADDRESS;
  }
}
