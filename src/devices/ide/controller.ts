/**
 * Intel 82371SB (PIIX3), function 1: PCI IDE controller 00:01.1 with two channels at the legacy addresses, bus master
 * registers in BAR 4. Datasheet: Intel 290550. Section `0000:00:01.1/ide` on the stream.
 *
 * Not emulated: timing registers (writable, without effect), native mode. As in QEMU the channels are there whatever
 * IDETIM and the I/O enable bit say.
 *
 *     const ide = new Piix3Ide({ bus, memory, clock, irqs: [irq14, irq15], drives: [{ kind: 'disk', backend }] });
 *     for (const { base, region } of ide.ports()) ioSpace.map(base, region);
 */
import type { Clock, Timer } from '../../machine/clock.ts';
import type { Device, DiskBackend, DmaMemory, IoRegion, IrqLine, Mapping } from '../../machine/device.ts';
import type { VmState } from '../../migration/vmstate.ts';
import type { PciBus } from '../pci/bus.ts';
import { PciFunction, type PciFunctionState, pciFunctionVmState } from '../pci/config-space.ts';
import { AtaDrive } from './ata-drive.ts';
import { AtapiUnit } from './atapi.ts';
import { BusMaster } from './bmdma.ts';
import { IdeChannel } from './channel.ts';
import { IO_BUFFER_BYTES } from './constants.ts';
import { DiskIo } from '../disk-io.ts';
import { DriveCore, type DriveKind } from './drive-core.ts';
import { type DiskGeometry, type DriveIdentity, standardGeometry } from './identify.ts';
import {
  type BusState,
  type DriveState,
  type IdeState,
  ideVmState,
  newBmdmaState,
  newBusState,
  newDriveState,
} from './vmstate.ts';

/** One drive. `identity` defaults to QEMU's: model by kind, serial QM00001 to QM00004 by position, version 2.5+. */
export interface IdeDriveOptions {
  readonly kind: DriveKind;
  readonly backend: DiskBackend;
  readonly identity?: Partial<DriveIdentity>;
  /** Disks: default is what the size alone suggests; see `guessGeometry` in identify.ts. */
  readonly geometry?: DiskGeometry;
}

export interface Piix3IdeOptions {
  readonly bus: PciBus;
  readonly memory: DmaMemory;
  readonly clock: Clock;
  /** ISA interrupts 14 and 15. */
  readonly irqs: readonly [IrqLine, IrqLine];
  /** Primary master, primary slave, secondary master, secondary slave. */
  readonly drives: readonly (IdeDriveOptions | undefined)[];
}

type State = IdeState<PciFunctionState>;

const MODELS: { readonly [K in DriveKind]: string } = { disk: 'QEMU HARDDISK', cdrom: 'QEMU DVD-ROM' };
const CHANNEL_NAMES: readonly string[] = ['ide0', 'ide1'];
const COMMAND_BASES: readonly number[] = [0x1f0, 0x170];
const CONTROL_BASES: readonly number[] = [0x3f6, 0x376];
const BUS_MASTER_BYTES = 16;
/** PCI status: medium DEVSEL timing, fast back-to-back. */
const STATUS_HIGH = 0x02;
const STATUS_LOW = 0x80;

export class Piix3Ide implements Device<State> {
  readonly name: string = '0000:00:01.1/ide';
  readonly vmstate: VmState<State>;
  readonly state: State;
  readonly channels: readonly [IdeChannel, IdeChannel];
  readonly #pci: PciFunction;
  readonly #clock: Clock;
  /** Fires when the machine runs on after a load or save: repeats what the state says was cut off. */
  readonly #retryTimer: Timer;

  constructor(options: Piix3IdeOptions) {
    this.#clock = options.clock;
    this.#retryTimer = options.clock.createTimer('ide-retry', () => this.#retry());
    this.#pci = new PciFunction({
      bus: options.bus,
      slot: 1,
      function: 1,
      vendorId: 0x8086,
      deviceId: 0x7010,
      classCode: 0x0101,
      programmingInterface: 0x80,
      bars: [undefined, undefined, undefined, undefined, this.#busMasterBar()],
    });
    const bus = [newBusState(), newBusState()];
    this.state = {
      parentObj: this.#pci.state,
      bmdma: [newBmdmaState(), newBmdmaState()],
      bus,
      primary: [newDriveState(), newDriveState()],
      secondary: [newDriveState(), newDriveState()],
    };
    this.vmstate = ideVmState(pciFunctionVmState, bus);
    this.channels = [this.#createChannel(0, options), this.#createChannel(1, options)];
    this.reset();
  }

  /** Command and control blocks of both channels. */
  ports(): readonly Mapping[] {
    return this.channels.flatMap((channel, index) => [
      { base: COMMAND_BASES[index]!, region: channel.commandBlock },
      { base: CONTROL_BASES[index]!, region: channel.controlBlock },
    ]);
  }

  /** Drive at position 0-3, for the monitor; undefined if there is none. */
  drive(position: number): AtaDrive | undefined {
    const drive = this.channels[(position >> 1) & 1]!.drives[position & 1]!;
    return drive.core.io === undefined ? undefined : drive;
  }

  reset(): void {
    this.#retryTimer.cancel();
    for (const channel of this.channels) channel.reset();
    this.#pci.config[0x06] = STATUS_LOW;
    this.#pci.config[0x07] = STATUS_HIGH;
    this.#pci.reset();
  }

  beforeSave(): void {
    for (const channel of this.channels) {
      channel.busMaster.beforeSave();
      for (const { atapi } of channel.drives) atapi?.beforeSave();
      if (channel.state.retry.errorStatus !== 0) this.#retryTimer.arm(this.#clock.now());
    }
  }

  validate(candidate: State): string | undefined {
    const problem = this.#pci.validate(candidate.parentObj);
    if (problem !== undefined) return `parent_obj: ${problem}`;
    for (const [index, drives] of [candidate.primary, candidate.secondary].entries()) {
      for (const [unit, { pio }] of drives.entries()) {
        const end = pio.curIoBufferOffset + pio.curIoBufferLen;
        if (end > IO_BUFFER_BYTES) {
          return `bus[${index}].ifs[${unit}].cur_io_buffer_len: block ends at ${end}, expected ${IO_BUFFER_BYTES} at most`;
        }
      }
    }
    return undefined;
  }

  afterLoad(): void {
    this.#pci.afterLoad();
    this.#retryTimer.cancel();
    for (const channel of this.channels) {
      channel.busMaster.afterLoad();
      channel.afterLoad();
      for (const drive of channel.drives) drive.afterLoad();
      if (channel.state.retry.errorStatus !== 0) this.#retryTimer.arm(this.#clock.now());
    }
  }

  #retry(): void {
    for (const { state, drives, busMaster } of this.channels) {
      const { errorStatus } = state.retry;
      state.retry.errorStatus = 0;
      // A transfer still known here was only saved, not cut off.
      if (errorStatus !== 0 && busMaster.pending === undefined) drives[state.unit]!.retry(errorStatus);
    }
  }

  #createChannel(index: number, options: Piix3IdeOptions): IdeChannel {
    const bus = this.state.bus[index]!;
    const busMaster = new BusMaster({
      state: this.state.bmdma[index]!,
      bus,
      memory: options.memory,
      irq: options.irqs[index]!,
      isMaster: () => this.#pci.busMaster,
    });
    const states = index === 0 ? this.state.primary : this.state.secondary;
    const create = (unit: number): AtaDrive => {
      const position = index * 2 + unit;
      return createDrive(options.drives[position], position, states[unit]!, bus, busMaster);
    };
    return new IdeChannel(CHANNEL_NAMES[index]!, bus, [create(0), create(1)], busMaster);
  }

  /** BAR 4: eight bytes a channel. Only bytes, but the table pointer in any width. */
  #busMasterBar(): { kind: 'io'; size: number; region: IoRegion } {
    const master = (offset: number): BusMaster => this.channels[(offset >> 3) & 1]!.busMaster;
    const region: IoRegion = {
      name: 'piix-bmdma',
      size: BUS_MASTER_BYTES,
      read8: (offset) => master(offset).read8(offset & 7),
      write8: (offset, value) => master(offset).write8(offset & 7, value),
      read16: (offset) => {
        if ((offset & 7) < 4) return 0xffff;
        const low = master(offset).read8(offset & 7);
        return (offset & 7) === 7 ? low : low | (master(offset).read8((offset & 7) + 1) << 8);
      },
      write16: (offset, value) => {
        if ((offset & 7) < 4) return;
        master(offset).write8(offset & 7, value & 0xff);
        if ((offset & 7) < 7) master(offset).write8((offset & 7) + 1, value >>> 8);
      },
      read32: (offset) => ((offset & 7) === 4 ? master(offset).state.addr : 0xffff_ffff),
      write32: (offset, value) => {
        if ((offset & 7) === 4) master(offset).writeAddress(value);
      },
    };
    return { kind: 'io', size: BUS_MASTER_BYTES, region };
  }
}

function createDrive(
  options: IdeDriveOptions | undefined,
  position: number,
  state: DriveState,
  bus: BusState,
  busMaster: BusMaster,
): AtaDrive {
  const kind = options?.kind ?? 'disk';
  const core = new DriveCore({
    state,
    bus,
    busMaster,
    unit: position & 1,
    kind,
    io: options ? new DiskIo(options.backend) : undefined,
    identity: { serial: `QM0000${position + 1}`, model: MODELS[kind], version: '2.5+', ...options?.identity },
    geometry:
      kind === 'disk' && options
        ? (options.geometry ?? standardGeometry(options.backend.sizeBytes))
        : { cylinders: 0, heads: 0, sectors: 0 },
  });
  const atapi = kind === 'cdrom' ? new AtapiUnit(core) : undefined;
  if (atapi && options) options.backend.onMediaChange = () => atapi.mediumChanged();
  return new AtaDrive(core, atapi);
}
