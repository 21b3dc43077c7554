/**
 * SMART of a disk that is always well (ATA/ATAPI-6 8.55): attributes, thresholds, empty logs, self tests that pass at
 * once. The attribute values are those of QEMU 7.2, so that a monitoring guest sees no jump after a move.
 *
 * Not on the stream, as in QEMU: whether SMART is enabled and the self test log.
 */
import { END_TRANSFER_STOP, SECTOR_BYTES, STATUS_DRDY, STATUS_DSC } from './constants.ts';
import type { DriveCore } from './drive-core.ts';

const READ_DATA = 0xd0;
const READ_THRESHOLDS = 0xd1;
const ATTRIBUTE_AUTOSAVE = 0xd2;
const EXECUTE_OFFLINE = 0xd4;
const READ_LOG = 0xd5;
const ENABLE = 0xd8;
const DISABLE = 0xd9;
const RETURN_STATUS = 0xda;

/** Cylinder registers that every SMART command must carry; RETURN STATUS leaves them so for a healthy disk. */
const KEY_LOW = 0x4f;
const KEY_HIGH = 0xc2;
const AUTOSAVE_ON = 0xf1;
const LOG_ERRORS = 0x01;
const LOG_SELF_TEST = 0x06;
const SELF_TEST_SLOTS = 21;
const SELF_TEST_BYTES = 24;
const ATTRIBUTE_BYTES = 12;

/** Number, flags (16 bits), value, worst, raw (6 bytes); last, its threshold. */
const ATTRIBUTES: readonly (readonly number[])[] = [
  [0x01, 0x03, 0, 0x64, 0x64, 0, 0, 0, 0, 0, 0, 0x06],
  [0x03, 0x03, 0, 0x64, 0x64, 0x10, 0, 0, 0, 0, 0, 0],
  [0x04, 0x02, 0, 0x64, 0x64, 0x64, 0, 0, 0, 0, 0, 0x14],
  [0x05, 0x03, 0, 0x64, 0x64, 0, 0, 0, 0, 0, 0, 0x24],
  [0x09, 0x03, 0, 0x64, 0x64, 0x01, 0, 0, 0, 0, 0, 0],
  [0x0c, 0x03, 0, 0x64, 0x64, 0, 0, 0, 0, 0, 0, 0],
  [190, 0x03, 0, 0x45, 0x45, 0x1f, 0, 0x1f, 0x1f, 0, 0, 0x32],
];

/** Bytes 362 to 374 of the data page: collection status, times, capabilities. 362 and 363 are filled in. */
const CAPABILITIES: readonly (readonly [number, number])[] = [
  [364, 0x20],
  [365, 0x01],
  [367, 0x19],
  [368, 0x03],
  [370, 0x01],
  [372, 0x02],
  [373, 0x36],
  [374, 0x01],
];

export class Smart {
  readonly #core: DriveCore;
  readonly #selfTests = new Uint8Array(SECTOR_BYTES);
  #selfTestCount = 0;
  #enabled = true;
  #autosave = true;

  constructor(core: DriveCore) {
    this.#core = core;
  }

  powerOn(): void {
    this.#enabled = true;
    this.#autosave = true;
    this.#selfTestCount = 0;
    this.#selfTests.fill(0);
  }

  /** True when the command is over (also by ABRT), false when data wait for the guest. */
  execute(): boolean {
    const { state } = this.#core;
    const { feature, sector } = state;
    const keyed = state.hcyl === KEY_HIGH && state.lcyl === KEY_LOW;
    if (!keyed || (!this.#enabled && feature !== ENABLE)) return this.#refuse();
    switch (feature) {
      case ENABLE:
      case DISABLE:
        this.#enabled = feature === ENABLE;
        return true;
      case ATTRIBUTE_AUTOSAVE:
        if (sector !== 0 && sector !== AUTOSAVE_ON) return this.#refuse();
        this.#autosave = sector === AUTOSAVE_ON;
        return true;
      case RETURN_STATUS:
        return true;
      case READ_DATA:
        return this.#send((page) => this.#fillData(page));
      case READ_THRESHOLDS:
        return this.#send(fillThresholds);
      case READ_LOG:
        if (sector === LOG_ERRORS) return this.#send(() => undefined);
        if (sector === LOG_SELF_TEST) return this.#send((page) => this.#fillSelfTests(page));
        return this.#refuse();
      case EXECUTE_OFFLINE:
        return sector <= 2 ? this.#selfTest(sector) : this.#refuse();
      default:
        return this.#refuse();
    }
  }

  #refuse(): boolean {
    this.#core.abort();
    return true;
  }

  /** Sends a page of 512 bytes with version byte and checksum. */
  #send(fill: (page: Uint8Array) => void): boolean {
    const core = this.#core;
    const page = core.pio.ioBuffer.subarray(0, SECTOR_BYTES);
    page.fill(0);
    page[0] = 1;
    fill(page);
    let sum = 0;
    for (let i = 0; i < SECTOR_BYTES - 1; i++) sum += page[i]!;
    page[SECTOR_BYTES - 1] = -sum & 0xff;
    core.state.status = STATUS_DRDY | STATUS_DSC;
    core.startBlock(0, SECTOR_BYTES, END_TRANSFER_STOP);
    core.raiseIrq();
    return false;
  }

  #fillData(page: Uint8Array): void {
    for (let i = 0; i < ATTRIBUTES.length; i++) {
      page.set(ATTRIBUTES[i]!.slice(0, ATTRIBUTE_BYTES - 1), 2 + i * ATTRIBUTE_BYTES);
    }
    page[362] = 0x02 | (this.#autosave ? 0x80 : 0);
    const last = (this.#selfTestCount - 1) * SELF_TEST_BYTES;
    page[363] = this.#selfTestCount === 0 ? 0 : this.#selfTests[3 + last]!;
    for (const [at, value] of CAPABILITIES) page[at] = value;
  }

  #fillSelfTests(page: Uint8Array): void {
    if (this.#selfTestCount === 0) return;
    page.set(this.#selfTests.subarray(2, 506), 2);
    page[508] = this.#selfTestCount;
  }

  /** Off-line collection, short or extended test: done and passed, at hour 0x1234 of the disk's life. */
  #selfTest(kind: number): boolean {
    this.#selfTestCount = (this.#selfTestCount % SELF_TEST_SLOTS) + 1;
    this.#selfTests.set([kind, 0, 0x34, 0x12], 2 + (this.#selfTestCount - 1) * SELF_TEST_BYTES);
    return true;
  }
}

function fillThresholds(page: Uint8Array): void {
  for (let i = 0; i < ATTRIBUTES.length; i++) {
    page[2 + i * ATTRIBUTE_BYTES] = ATTRIBUTES[i]![0]!;
    page[3 + i * ATTRIBUTE_BYTES] = ATTRIBUTES[i]![ATTRIBUTE_BYTES - 1]!;
  }
}
