/**
 * The packet commands of a CD/DVD-ROM drive: MMC-3 chapter 6, SPC-2 chapter 7. The set, flags and answers follow QEMU
 * 7.2 hw/ide/atapi.c. A disc has one session and one data track.
 *
 * Not emulated: audio, writing, READ HEADER, READ SUB-CHANNEL, MODE SELECT, region and copy protection keys.
 */
import type { AtapiUnit } from './atapi.ts';
import { CD_RAW_SECTOR_BYTES, CD_SECTOR_BYTES } from './constants.ts';
import { readDvdStructure } from './dvd-structure.ts';
import { readToc } from './toc.ts';

/** Runs while a unit attention condition waits (MMC-3 4.1.6). */
export const COMMAND_ANY_TIME = 0x01;
/** Reports NOT READY without a disc. */
export const COMMAND_NEEDS_MEDIUM = 0x02;
/** Never returns data: the byte count limit does not matter. */
export const COMMAND_NO_DATA = 0x04;
/** May return data; checks the limit itself. */
export const COMMAND_MAYBE_DATA = 0x08;

export const SENSE_NONE = 0;
export const SENSE_NOT_READY = 2;
export const SENSE_ILLEGAL_REQUEST = 5;
export const SENSE_UNIT_ATTENTION = 6;

export const ASC_ILLEGAL_OPCODE = 0x20;
export const ASC_LBA_OUT_OF_RANGE = 0x21;
export const ASC_INVALID_FIELD = 0x24;
export const ASC_MEDIUM_CHANGED = 0x28;
export const ASC_INCOMPATIBLE_FORMAT = 0x30;
const ASC_SAVING_NOT_SUPPORTED = 0x39;
export const ASC_NO_MEDIUM = 0x3a;
const ASC_DATA_PHASE_ERROR = 0x4b;
const ASC_REMOVAL_PREVENTED = 0x53;

export interface AtapiCommand {
  readonly flags: number;
  /** `unit.packet` holds the packet, `unit.reply` is zero. Ends with succeed, fail, send or sendSectors. */
  readonly run: (unit: AtapiUnit) => void;
}

/** Discs with more 512-byte sectors than an 80-minute CD has are DVDs. */
const CD_MAX_SECTORS = (80 * 60 * 75 * CD_SECTOR_BYTES) / 512;
const PROFILE_CD_ROM = 0x08;
const PROFILE_DVD_ROM = 0x10;
const MODE_PAGE_ERROR_RECOVERY = 0x01;
const MODE_PAGE_AUDIO_CONTROL = 0x0e;
const MODE_PAGE_CAPABILITIES = 0x2a;
const EVENT_CLASS_MEDIA = 4;

const be16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
const be32 = (bytes: Uint8Array, at: number): number => be16(bytes, at) * 0x1_0000 + be16(bytes, at + 2);

function invalidField(unit: AtapiUnit): void {
  unit.fail(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

function put(reply: Uint8Array, at: number, length: number, text: string): void {
  for (let i = 0; i < length; i++) reply[at + i] = i < text.length ? text.charCodeAt(i) & 0xff : 0x20;
}

function requestSense(unit: AtapiUnit): void {
  const { reply, packet } = unit;
  const { state } = unit.core;
  reply[0] = 0xf0;
  reply[2] = state.senseKey;
  reply[7] = 10;
  reply[12] = state.asc;
  if (state.senseKey === SENSE_UNIT_ATTENTION) state.senseKey = SENSE_NONE;
  unit.send(18, packet[4]!);
}

function inquiry(unit: AtapiUnit): void {
  const { reply, packet } = unit;
  const allocation = packet[4]!;
  if ((packet[1]! & 1) !== 0) {
    vitalProductData(unit, packet[2]!, allocation);
    return;
  }
  reply.set([0x05, 0x80, 0x00, 0x21, 31]);
  put(reply, 8, 8, 'QEMU');
  put(reply, 16, 16, 'QEMU DVD-ROM');
  put(reply, 32, 4, unit.core.identity.version);
  unit.send(36, allocation);
}

/** INQUIRY with EVPD: pages 0x00 (list) and 0x83 (serial number; model and serial number). */
function vitalProductData(unit: AtapiUnit, page: number, allocation: number): void {
  const { reply } = unit;
  const { serial, model } = unit.core.identity;
  reply.set([0x05, page]);
  let length = 4;
  if (page === 0x00) {
    reply.set([0x00, 0x83], 4);
    length = 6;
  } else if (page === 0x83) {
    if (length + 24 > allocation) {
      unit.fail(SENSE_ILLEGAL_REQUEST, ASC_DATA_PHASE_ERROR);
      return;
    }
    reply.set([0x02, 0x00, 0x00, 20], length);
    put(reply, length + 4, 20, serial);
    length += 24;
    if (length + 72 <= allocation) {
      reply.set([0x02, 0x01, 0x00, 68], length);
      put(reply, length + 4, 8, 'ATA');
      put(reply, length + 12, 40, model);
      put(reply, length + 52, 20, serial);
      length += 72;
    }
  } else {
    invalidField(unit);
    return;
  }
  reply[3] = length - 4;
  unit.send(length, allocation);
}

function startStopUnit(unit: AtapiUnit): void {
  const { tray } = unit.core.state;
  const flags = unit.packet[4]!;
  const open = (flags & 1) === 0;
  // Eject and load only without a power condition.
  if ((flags & 0xf2) !== 0x02) {
    unit.succeed();
    return;
  }
  if (open && !tray.trayOpen && tray.trayLocked) {
    unit.fail(unit.inserted ? SENSE_NOT_READY : SENSE_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED);
    return;
  }
  if (tray.trayOpen !== open) {
    tray.trayOpen = open;
    unit.onTray?.(open);
  }
  unit.succeed();
}

function preventAllowRemoval(unit: AtapiUnit): void {
  unit.core.state.tray.trayLocked = (unit.packet[4]! & 1) !== 0;
  unit.succeed();
}

function readCapacity(unit: AtapiUnit): void {
  const view = new DataView(unit.reply.buffer);
  view.setUint32(0, unit.cdSectors - 1);
  view.setUint32(4, CD_SECTOR_BYTES);
  unit.send(8, 8);
}

/** True if the sectors exist; else the command has failed. */
function checkRange(unit: AtapiUnit, lba: number, count: number): boolean {
  if (lba + count <= unit.cdSectors) return true;
  unit.fail(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
  return false;
}

function readSectors(unit: AtapiUnit, count: number): void {
  const lba = be32(unit.packet, 2);
  if (count === 0) unit.succeed();
  else if (checkRange(unit, lba, count)) unit.sendSectors(lba, count, CD_SECTOR_BYTES);
}

function readCd(unit: AtapiUnit): void {
  const { packet } = unit;
  const count = (packet[6]! << 16) | be16(packet, 7);
  const lba = be32(packet, 2);
  const parts = packet[9]! & 0xf8;
  if (count === 0) {
    unit.succeed();
    return;
  }
  if (!checkRange(unit, lba, count)) return;
  if (parts === 0) {
    unit.succeed();
    return;
  }
  if (!unit.checkByteCount()) return;
  if (parts === 0x10) unit.sendSectors(lba, count, CD_SECTOR_BYTES);
  else if (parts === 0xf8) unit.sendSectors(lba, count, CD_RAW_SECTOR_BYTES);
  else invalidField(unit);
}

function seek(unit: AtapiUnit): void {
  if (checkRange(unit, be32(unit.packet, 2), 1)) unit.succeed();
}

function readTocCommand(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  const msf = (packet[1]! & 2) !== 0;
  const length = readToc(reply, packet[9]! >>> 6, unit.cdSectors, msf, packet[6]!);
  if (length === 0) invalidField(unit);
  else unit.send(length, be16(packet, 7));
}

/** Feature 0 only: the profiles CD-ROM and DVD-ROM, one of them current. */
function getConfiguration(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  if (be16(packet, 2) !== 0) {
    invalidField(unit);
    return;
  }
  const isDvd = unit.core.sectorCount > CD_MAX_SECTORS;
  const current = unit.mediumPresent ? (isDvd ? PROFILE_DVD_ROM : PROFILE_CD_ROM) : 0;
  reply[3] = 16;
  reply[7] = current;
  reply[10] = 0x03; // persistent, current
  reply[11] = 8;
  reply.set([0, PROFILE_DVD_ROM, current === PROFILE_DVD_ROM ? 1 : 0, 0], 12);
  reply.set([0, PROFILE_CD_ROM, current === PROFILE_CD_ROM ? 1 : 0, 0], 16);
  unit.send(20, Math.min(be16(packet, 7), 512));
}

/** Polled only. The media event: 1 eject request, 2 new media; status bit 0 tray open, bit 1 disc present. */
function getEventStatus(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  const { events, tray } = unit.core.state;
  const allocation = be16(packet, 7);
  if ((packet[1]! & 1) === 0) {
    invalidField(unit);
    return;
  }
  reply[3] = 1 << EVENT_CLASS_MEDIA;
  if ((packet[4]! & (1 << EVENT_CLASS_MEDIA)) === 0) {
    reply[2] = 0x80; // no event class supported that was asked for
    unit.send(4, allocation);
    return;
  }
  reply[1] = 4;
  reply[2] = EVENT_CLASS_MEDIA;
  reply[5] = tray.trayOpen ? 1 : unit.inserted ? 2 : 0;
  if (!tray.trayOpen && events.newMedia) {
    reply[4] = 2;
    events.newMedia = false;
  } else if (!tray.trayOpen && events.ejectRequest) {
    reply[4] = 1;
    events.ejectRequest = false;
  }
  unit.send(8, allocation);
}

function readDiscInformation(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  if ((packet[1]! & 7) !== 0) {
    invalidField(unit);
    return;
  }
  // Finalized disc, one session, track 1 first and last, unrestricted use.
  reply.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
  unit.send(34, be16(packet, 7));
}

function modeSense(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  const page = packet[2]! & 0x3f;
  const control = packet[2]! >>> 6;
  if (control === 3) {
    unit.fail(SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
    return;
  }
  if (control !== 0) {
    invalidField(unit);
    return;
  }
  let length: number;
  if (page === MODE_PAGE_ERROR_RECOVERY) {
    length = 16;
    reply[11] = 5; // retries
  } else if (page === MODE_PAGE_AUDIO_CONTROL) {
    length = 24;
  } else if (page === MODE_PAGE_CAPABILITIES) {
    length = 30;
    // Reads all CD and DVD media, claims audio (old Linux mounts only such drives), tray loader, lock,
    // 704 KB/s, 2 volume levels, 512 KiB of buffer.
    const locked = unit.core.state.tray.trayLocked ? 0x02 : 0;
    reply.set([0x3b, 0, 0x71, 0x60, 0x29 | locked, 0, 0x02, 0xc0, 0, 2, 0x02, 0x00, 0x02, 0xc0], 10);
  } else {
    invalidField(unit);
    return;
  }
  reply[1] = length - 2;
  reply[2] = 0x70; // door closed, no disc type told
  reply[8] = page;
  reply[9] = length - 10;
  unit.send(length, be16(packet, 7));
}

function mechanismStatus(unit: AtapiUnit): void {
  unit.reply[5] = 1; // one slot
  unit.send(8, be16(unit.packet, 8));
}

function readDvdStructureCommand(unit: AtapiUnit): void {
  const { packet, reply } = unit;
  const format = packet[7]!;
  if (format < 0xff && !unit.mediumPresent) {
    invalidField(unit);
    return;
  }
  if (format < 0xff && unit.core.sectorCount <= CD_MAX_SECTORS) {
    unit.fail(SENSE_ILLEGAL_REQUEST, ASC_INCOMPATIBLE_FORMAT);
    return;
  }
  const length = packet[1] === 0 ? readDvdStructure(reply, format, packet[6]!, unit.cdSectors) : 0;
  if (length === 0) invalidField(unit);
  else unit.send(length, be16(packet, 8));
}

/** By operation code. */
export const ATAPI_COMMANDS: { readonly [operation: number]: AtapiCommand } = {
  0: { flags: COMMAND_NEEDS_MEDIUM | COMMAND_NO_DATA, run: (unit) => unit.succeed() }, // TEST UNIT READY
  3: { flags: COMMAND_ANY_TIME, run: requestSense },
  18: { flags: COMMAND_ANY_TIME, run: inquiry },
  27: { flags: COMMAND_NO_DATA, run: startStopUnit },
  30: { flags: COMMAND_NO_DATA, run: preventAllowRemoval },
  37: { flags: COMMAND_NEEDS_MEDIUM, run: readCapacity },
  40: { flags: COMMAND_NEEDS_MEDIUM, run: (unit) => readSectors(unit, be16(unit.packet, 7)) },
  43: { flags: COMMAND_NEEDS_MEDIUM | COMMAND_NO_DATA, run: seek },
  67: { flags: COMMAND_NEEDS_MEDIUM, run: readTocCommand },
  70: { flags: COMMAND_ANY_TIME, run: getConfiguration },
  74: { flags: COMMAND_ANY_TIME, run: getEventStatus },
  81: { flags: COMMAND_NEEDS_MEDIUM, run: readDiscInformation },
  90: { flags: 0, run: modeSense },
  168: { flags: COMMAND_NEEDS_MEDIUM, run: (unit) => readSectors(unit, be32(unit.packet, 6)) },
  173: { flags: COMMAND_NEEDS_MEDIUM, run: readDvdStructureCommand },
  187: { flags: COMMAND_NO_DATA, run: (unit) => unit.succeed() }, // SET CD SPEED
  189: { flags: 0, run: mechanismStatus },
  190: { flags: COMMAND_NEEDS_MEDIUM | COMMAND_MAYBE_DATA, run: readCd },
};
