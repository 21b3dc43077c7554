/**
 * State records of the IDE controller and their wire schema: section `0000:00:01.1/ide`, version 3.
 * Field order, names and conditions: QEMU 7.2 hw/ide/pci.c (bus master) and hw/ide/core.c (bus, drives).
 *
 * Not on the stream, as in QEMU: the geometry set by INITIALIZE DEVICE PARAMETERS, SMART counters. QEMU also loses
 * where a CD transfer in PIO stands; we keep that in a part of the data buffer that nobody else uses (atapi.ts).
 */
import { array, bool, buffer, i32, i64, struct, structs, u8, u32 } from '../../migration/vmstate.ts';
import type { VmState } from '../../migration/vmstate.ts';
import { DEVICE_OBSOLETE_ONES, END_NOTHING, IO_BUFFER_BYTES, MAX_MULTIPLE } from './constants.ts';
import {
  RETRY_DMA,
  RETRY_FLUSH,
  RETRY_PIO,
  RETRY_READ,
  STATUS_DRDY,
  STATUS_DRQ,
  STATUS_DSC,
} from './constants.ts';

/** A PIO data block in progress. These are the live values, not copies made for the stream. */
export interface PioState {
  /** Sectors per interrupt of the running READ/WRITE SECTORS (1) or MULTIPLE. */
  reqNbSectors: number;
  readonly ioBuffer: Uint8Array;
  /** Where in ioBuffer the next data port access goes. */
  curIoBufferOffset: number;
  /** Bytes left of the block. */
  curIoBufferLen: number;
  /** One of END_…: what to do when the block is used up. */
  endTransferFnIdx: number;
  /** Bytes of the current DRQ block of a packet reply that are not handed out yet (a whole block at once: 0). */
  elementaryTransferSize: number;
  /** Bytes of the packet reply after the current block. */
  packetTransferSize: number;
}

export interface TrayState {
  trayOpen: boolean;
  trayLocked: boolean;
}

/** Media events not yet told by GET EVENT STATUS NOTIFICATION. */
export interface EventState {
  newMedia: boolean;
  ejectRequest: boolean;
}

/** Task file and the like of one drive. */
export interface DriveState {
  multSectors: number;
  identifySet: number;
  readonly identifyData: Uint8Array;
  feature: number;
  error: number;
  /** Sector count; after the start of a command the full count (0 taken as 256 or 65536). */
  nsector: number;
  sector: number;
  lcyl: number;
  hcyl: number;
  hobFeature: number;
  hobSector: number;
  hobNsector: number;
  hobLcyl: number;
  hobHcyl: number;
  select: number;
  status: number;
  lba48: number;
  senseKey: number;
  asc: number;
  /** 0, or 1 and 2: the two sense reports that a changed CD still owes the guest. */
  cdromChanged: number;
  readonly pio: PioState;
  readonly tray: TrayState;
  readonly events: EventState;
}

/** Request to repeat after a load. */
export interface BusError {
  errorStatus: number;
  retrySectorNum: number;
  retryNsector: number;
  /** 0, 1, or 255 for none. */
  retryUnit: number;
}

export interface BusState {
  /** Device Control register. */
  cmd: number;
  /** Selected drive. */
  unit: number;
  readonly retry: BusError;
}

/** Place in the PRD table. */
export interface BmdmaCurrent {
  curAddr: number;
  curPrdLast: number;
  curPrdAddr: number;
  curPrdLen: number;
}

export interface BmdmaStatus {
  status: number;
}

export interface BmdmaState {
  cmd: number;
  /** Status register and error_status in one byte, as older QEMUs had them. Made in beforeSave. */
  migrationCompatStatus: number;
  addr: number;
  migrationRetrySectorNum: number;
  migrationRetryNsector: number;
  migrationRetryUnit: number;
  readonly current: BmdmaCurrent;
  readonly live: BmdmaStatus;
}

/** Whole section; `P` is the PCI function's record. */
export interface IdeState<P extends object> {
  readonly parentObj: P;
  readonly bmdma: readonly BmdmaState[];
  readonly bus: readonly BusState[];
  readonly primary: readonly DriveState[];
  readonly secondary: readonly DriveState[];
}

/** Status bits that older QEMUs used for error_status; if one is set, the true status needs its subsection. */
export const BMDMA_COMPAT_BITS = RETRY_DMA | RETRY_PIO | RETRY_READ | RETRY_FLUSH;

export const newPioState = (): PioState => ({
  reqNbSectors: 0,
  ioBuffer: new Uint8Array(IO_BUFFER_BYTES),
  curIoBufferOffset: 0,
  curIoBufferLen: 0,
  endTransferFnIdx: END_NOTHING,
  elementaryTransferSize: 0,
  packetTransferSize: 0,
});

export const newDriveState = (): DriveState => ({
  multSectors: MAX_MULTIPLE,
  identifySet: 0,
  identifyData: new Uint8Array(512),
  feature: 0,
  error: 0,
  nsector: 1,
  sector: 1,
  lcyl: 0,
  hcyl: 0,
  hobFeature: 0,
  hobSector: 0,
  hobNsector: 0,
  hobLcyl: 0,
  hobHcyl: 0,
  select: DEVICE_OBSOLETE_ONES,
  status: STATUS_DRDY | STATUS_DSC,
  lba48: 0,
  senseKey: 0,
  asc: 0,
  cdromChanged: 0,
  pio: newPioState(),
  tray: { trayOpen: false, trayLocked: false },
  events: { newMedia: false, ejectRequest: false },
});

const newBusError = (): BusError => ({ errorStatus: 0, retrySectorNum: 0, retryNsector: 0, retryUnit: 0xff });

export const newBusState = (): BusState => ({ cmd: 0, unit: 0, retry: newBusError() });

const newBmdmaCurrent = (): BmdmaCurrent => ({ curAddr: 0, curPrdLast: 0, curPrdAddr: 0, curPrdLen: 0 });

export const newBmdmaState = (): BmdmaState => ({
  cmd: 0,
  migrationCompatStatus: 0,
  addr: 0,
  migrationRetrySectorNum: 0,
  migrationRetryNsector: 0,
  migrationRetryUnit: 0,
  current: newBmdmaCurrent(),
  live: { status: 0 },
});

const pioVmState: VmState<PioState> = {
  name: 'ide_drive/pio_state',
  version: 1,
  minimumVersion: 1,
  fields: {
    reqNbSectors: i32({ min: 0, max: MAX_MULTIPLE }),
    ioBuffer: array(u8(), IO_BUFFER_BYTES),
    curIoBufferOffset: i32({ min: 0, max: IO_BUFFER_BYTES }),
    curIoBufferLen: i32({ min: 0, max: IO_BUFFER_BYTES }),
    endTransferFnIdx: u8({ max: END_NOTHING }),
    elementaryTransferSize: i32(),
    packetTransferSize: i32(),
  },
};

const trayVmState: VmState<TrayState> = {
  name: 'ide_drive/tray_state',
  version: 1,
  minimumVersion: 1,
  fields: { trayOpen: bool(), trayLocked: bool() },
};

const eventsVmState: VmState<EventState> = {
  name: 'ide_drive/atapi/gesn_state',
  version: 1,
  minimumVersion: 1,
  fields: {
    newMedia: bool({ name: 'events.new_media' }),
    ejectRequest: bool({ name: 'events.eject_request' }),
  },
};

/** A drive's schema knows its bus: a PIO request to repeat (in the bus's record) takes its data along. */
function driveVmState(bus: BusState): VmState<DriveState, 'pio' | 'tray' | 'events'> {
  return {
    name: 'ide_drive',
    version: 3,
    minimumVersion: 0,
    fields: {
      multSectors: i32({ min: 0, max: MAX_MULTIPLE }),
      identifySet: i32(),
      identifyData: buffer(512, { when: (drive: DriveState) => drive.identifySet !== 0 }),
      feature: u8(),
      error: u8(),
      nsector: u32(),
      sector: u8(),
      lcyl: u8(),
      hcyl: u8(),
      hobFeature: u8(),
      hobSector: u8(),
      hobNsector: u8(),
      hobLcyl: u8(),
      hobHcyl: u8(),
      select: u8(),
      status: u8(),
      lba48: u8(),
      senseKey: u8(),
      asc: u8(),
      cdromChanged: u8({ since: 3 }),
    },
    subsections: {
      pio: {
        vmstate: pioVmState,
        needed: (drive) => (drive.status & STATUS_DRQ) !== 0 || (bus.retry.errorStatus & RETRY_PIO) !== 0,
        absent: newPioState,
      },
      tray: {
        vmstate: trayVmState,
        needed: (drive) => drive.tray.trayOpen || drive.tray.trayLocked,
        absent: () => ({ trayOpen: false, trayLocked: false }),
      },
      events: {
        vmstate: eventsVmState,
        needed: (drive) => drive.events.newMedia || drive.events.ejectRequest,
        absent: () => ({ newMedia: false, ejectRequest: false }),
      },
    },
  };
}

const busErrorVmState: VmState<BusError> = {
  name: 'ide_bus/error',
  version: 2,
  minimumVersion: 1,
  fields: {
    errorStatus: i32(),
    retrySectorNum: i64({ since: 2 }),
    retryNsector: u32({ since: 2 }),
    retryUnit: u8({ since: 2 }),
  },
};

const busVmState: VmState<BusState, 'retry'> = {
  name: 'ide_bus',
  version: 1,
  minimumVersion: 1,
  fields: { cmd: u8(), unit: u8({ max: 1 }) },
  subsections: {
    retry: {
      vmstate: busErrorVmState,
      needed: (bus) => bus.retry.errorStatus !== 0,
      absent: newBusError,
    },
  },
};

const bmdmaVmState: VmState<BmdmaState, 'current' | 'live'> = {
  name: 'ide bmdma',
  version: 3,
  minimumVersion: 0,
  fields: {
    cmd: u8(),
    migrationCompatStatus: u8(),
    addr: u32(),
    migrationRetrySectorNum: i64(),
    migrationRetryNsector: u32(),
    migrationRetryUnit: u8(),
  },
  subsections: {
    current: {
      vmstate: {
        name: 'ide bmdma_current',
        version: 1,
        minimumVersion: 1,
        fields: { curAddr: u32(), curPrdLast: u32(), curPrdAddr: u32(), curPrdLen: u32({ max: 0x10000 }) },
      },
      needed: (bmdma) => bmdma.current.curPrdLen !== 0,
      absent: newBmdmaCurrent,
    },
    live: {
      vmstate: { name: 'ide bmdma/status', version: 1, minimumVersion: 1, fields: { status: u8() } },
      needed: (bmdma) => (bmdma.live.status & BMDMA_COMPAT_BITS) !== 0,
      absent: () => ({ status: 0 }),
    },
  },
};

/** The section's schema for one controller, given its buses' records and the PCI function's schema. */
export function ideVmState<P extends object>(
  parent: VmState<P, never>,
  buses: readonly BusState[],
): VmState<IdeState<P>> {
  const fields = {
    parentObj: struct(parent),
    bmdma: structs(bmdmaVmState, 2),
    bus: structs(busVmState, 2, { since: 1 }),
    primary: structs(driveVmState(buses[0]!), 2, { name: 'bus[0].ifs', since: 3 }),
    secondary: structs(driveVmState(buses[1]!), 2, { name: 'bus[1].ifs', since: 3 }),
  };
  return { name: 'ide', version: 3, minimumVersion: 0, fields };
}
