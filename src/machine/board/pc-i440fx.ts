/**
 * The board: QEMU's pc-i440fx-7.2 with hpet=off, vmport=off and no network. Which chip sits where, who drives which
 * interrupt, in which order sections lie on the stream.
 */
import {
  AcpiBuild,
  ACPI_LOADER_BLOCK,
  ACPI_RSDP_BLOCK,
  ACPI_TABLES_BLOCK,
} from '../../devices/acpi/acpi-build.ts';
import { Apic } from '../../devices/apic.ts';
import { DebugConsole, DebugExit, PostCode } from '../../devices/debug-exit.ts';
import { Fdc, floppyCmosType } from '../../devices/fdc.ts';
import { FwCfg } from '../../devices/fw-cfg.ts';
import { addMachineItems } from '../../devices/fw-cfg-items.ts';
import { createIsaIrqs } from '../../devices/gsi.ts';
import { I8042 } from '../../devices/i8042.ts';
import { I8254 } from '../../devices/i8254.ts';
import { I8257 } from '../../devices/i8257.ts';
import { Piix3Ide } from '../../devices/ide/controller.ts';
import { type GuessedGeometry, guessGeometry } from '../../devices/ide/identify.ts';
import { IoApic } from '../../devices/ioapic.ts';
import { IsaParallel } from '../../devices/isa-parallel.ts';
import { IsaSerial } from '../../devices/isa-serial.ts';
import { kernelItems, kernelKind } from '../../devices/kernel-loader.ts';
import { Mc146818 } from '../../devices/mc146818.ts';
import { cmosImage } from '../../devices/pc-cmos.ts';
import { PciBus, PciHost } from '../../devices/pci/bus.ts';
import { I440fx, PAM_SEGMENTS } from '../../devices/pci/i440fx.ts';
import { Piix3 } from '../../devices/pci/piix3.ts';
import type { WakeReason } from '../../devices/pci/acpi-pm1.ts';
import { Piix4Pm } from '../../devices/pci/piix4-pm.ts';
import { PcSpeaker } from '../../devices/pcspk.ts';
import { PicPair } from '../../devices/pic-pair.ts';
import { Port92 } from '../../devices/port92.ts';
import { Ps2Keyboard } from '../../devices/ps2-keyboard.ts';
import { Ps2Mouse } from '../../devices/ps2-mouse.ts';
import { buildSmbios } from '../../devices/smbios.ts';
import { BytesRegion } from '../../devices/vga/memory-region.ts';
import type { DirectWindow } from '../../devices/vga/planar.ts';
import { Vga } from '../../devices/vga/vga.ts';
import type { RamBlock } from '../../migration/ram-block.ts';
import { CpuCommonSection, CpuSection } from '../cpu-section.ts';
import { Cpu } from '../cpu/cpu.ts';
import { CPU_MODELS } from '../cpu/system/index.ts';
import type { AddressSpace, Device, IoRegion, IrqLine } from '../device.ts';
import type { MachineDisk } from '../disk.ts';
import { GlobalState } from '../global-state.ts';
import { GUARD_DISPLAY, PhysicalMemory } from '../memory.ts';
import type { DriveOptions, MachineOptions } from '../options.ts';
import { PortSpace } from '../port-space.ts';
import { tracedIrq } from '../trace.ts';
import type { RunState } from '../run-state.ts';
import { TimerSection } from '../timer-section.ts';
import type { VirtualClock } from '../virtual-clock.ts';
import { type MemoryPlan, planMemory } from './memory-plan.ts';

/** By the numbers of identify.ts. */
const TRANSLATIONS = ['none', 'lba', 'large'] as const;

const FERR_IRQ = 13;

const PARALLEL_PORT = { base: 0x378, irq: 7 };
const SERIAL_PORTS = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
];

/** What the board asks of the machine that runs it. */
export interface BoardHost {
  readonly clock: VirtualClock;
  runState(): RunState;
  requestReset(): void;
  requestShutdown(): void;
  requestSuspend(): void;
  /** Wakes the machine if it is suspended. */
  requestWake(reason: WakeReason): void;
  requestExit(code: number): void;
  disk(drive: DriveOptions): MachineDisk;
}

export class Board {
  readonly plan: MemoryPlan;
  readonly memory: PhysicalMemory;
  readonly ports = new PortSpace();
  readonly cpu: Cpu;
  readonly timers: TimerSection;
  readonly pic: PicPair;
  readonly apic: Apic;
  readonly ioApic: IoApic;
  readonly pit: I8254;
  readonly rtc: Mc146818;
  readonly i440fx: I440fx;
  readonly keyboard = new Ps2Keyboard();
  readonly mouse = new Ps2Mouse();
  readonly pciBus: PciBus;
  readonly pm: Piix4Pm;
  readonly ide: Piix3Ide;
  readonly fdc: Fdc;
  readonly fwCfg: FwCfg;
  readonly vga: Vga | undefined;
  readonly serials: readonly (IsaSerial | undefined)[];
  readonly parallel: IsaParallel | undefined;
  /** All that have state, in stream order. */
  readonly devices: readonly Device[];
  readonly ramBlocks: readonly RamBlock[];
  /** Disks by position, for the controllers and the monitor. */
  readonly disks: readonly MachineDisk[];
  readonly #options: MachineOptions;
  readonly #host: BoardHost;
  readonly #bios: Uint8Array;

  constructor(options: MachineOptions, host: BoardHost) {
    this.#options = options;
    this.#host = host;
    const { clock } = host;
    const biosBytes = Math.ceil(options.bios.data.length / 65536) * 65536;
    this.plan = planMemory(options.ramBytes, biosBytes);
    const pages = this.plan.pages;
    this.memory = new PhysicalMemory(
      new WebAssembly.Memory({ initial: pages, maximum: pages }),
      this.plan.ram.address,
      options.ramBytes,
    );
    this.#bios = this.#area('bios');
    const ports = this.ports;
    let apic: Apic | undefined;
    this.cpu = new Cpu(this.memory, {
      portRead8: (port) => ports.read(port, 1),
      portRead16: (port) => ports.read(port, 2),
      portRead32: (port) => ports.read(port, 4),
      portWrite8: (port, value) => ports.write(port, 1, value & 0xff),
      portWrite16: (port, value) => ports.write(port, 2, value & 0xffff),
      portWrite32: (port, value) => ports.write(port, 4, value >>> 0),
      apicBase: () => apic!.base,
      setApicBase: (value) => apic!.setBase(value),
      tsc: () => this.timers.tsc(),
    });
    const model = CPU_MODELS[(options.cpuModel ?? 'pentium3') as keyof typeof CPU_MODELS];
    if (model !== undefined) this.cpu.model = model;
    this.timers = new TimerSection(clock, {
      get: () => this.cpu.instructions,
      set: (value) => {
        this.cpu.instructions = value;
      },
    });

    // Interrupts: PIC pair → LINT0 of the local APIC → CPU; I/O APIC → local APIC.
    const lint0: IrqLine = { set: (level) => apic!.lint0.set(level) };
    this.pic = new PicPair({ intr: lint0 });
    let ioApic: IoApic | undefined;
    apic = new Apic({
      clock,
      pic: this.pic,
      cpu: { nmi: () => this.cpu.raiseNmi(), init: () => this.cpu.raiseInit() },
      intr: { set: (level) => this.cpu.setInterruptLine(level) },
      broadcastEoi: (vector) => ioApic!.endOfInterrupt(vector),
    });
    this.apic = apic;
    ioApic = new IoApic({
      deliver: (destination, logical, mode, vector, level) =>
        apic.deliver(destination, logical, mode, vector, level),
      acknowledgePic: () => this.pic.acknowledge(),
    });
    this.ioApic = ioApic;
    this.cpu.onInit = () => apic.initReset();
    this.cpu.acknowledge = () => (apic.hasPending() ? apic.acknowledge() : -1);
    const isa = createIsaIrqs({ pic: this.pic.inputs, ioApic: this.ioApic.inputs }).map(tracedIrq);

    // Numeric errors with CR0.NE clear (DOS programs): FERR# is IRQ 13 until port F0 is written.
    this.cpu.onFerr = () => isa[FERR_IRQ]!.set(1);
    this.ports.map(0xf0, { name: 'ferr', size: 1, read8: () => 0xff, write8: () => isa[FERR_IRQ]!.set(0) });

    // PCI.
    this.pciBus = new PciBus({ io: this.ports, memory: this.#memorySpace() });
    const requestReset = (): void => host.requestReset();
    this.i440fx = new I440fx({
      bus: this.pciBus,
      ramSize: options.ramBytes,
      setPam: (segment, mode) => {
        const { base, size } = PAM_SEGMENTS[segment]!;
        this.memory.setPam(base, size, mode);
      },
    });
    const piix3 = new Piix3({ bus: this.pciBus, isaIrqs: isa, requestReset });
    const pciHost = new PciHost({ bus: this.pciBus, resetControl: piix3.resetControl });

    // Memory below 4 GiB.
    const { plan } = this;
    this.memory.addRom(0xc0000, plan.optionRom.address, plan.optionRom.size);
    const isaBios = Math.min(biosBytes, 0x20000);
    this.memory.addRom(0x100000 - isaBios, plan.bios.address + plan.bios.size - isaBios, isaBios);
    this.memory.addRom(0x100000000 - biosBytes, plan.bios.address, biosBytes);
    this.#bios.set(options.bios.data, biosBytes - options.bios.data.length);

    this.fwCfg = new FwCfg({ memory: this.memory });
    this.vga = options.vga === 'std' ? this.#createVga() : undefined;

    // ISA.
    const a20: IrqLine = { set: (level) => this.#setA20(level) };
    this.rtc = new Mc146818({
      clock,
      irq: isa[8]!,
      rtc: this.#rtcSource(),
      startSeconds: options.rtc.baseSeconds,
      onAlarm: () => host.requestWake('rtc'),
    });
    this.pit = new I8254({ clock, irq: isa[0]! });
    const speaker = new PcSpeaker({ clock, pit: this.pit });
    const dma0 = new I8257({ instance: 0, memory: this.memory });
    const dma1 = new I8257({ instance: 1, memory: this.memory });
    this.serials = options.serials.map((sink, i) => {
      const place = SERIAL_PORTS[i];
      if (sink === undefined || place === undefined) return undefined;
      return new IsaSerial({ clock, irq: isa[place.irq]!, sink, base: place.base, instance: i });
    });
    const { parallel } = options;
    this.parallel =
      parallel && new IsaParallel({ base: PARALLEL_PORT.base, irq: isa[PARALLEL_PORT.irq]!, sink: parallel });
    this.keyboard.onInput = this.mouse.onInput = () => host.requestWake('other');
    const i8042 = new I8042({
      clock,
      keyboard: this.keyboard,
      mouse: this.mouse,
      keyboardIrq: isa[1]!,
      mouseIrq: isa[12]!,
      a20,
      requestReset,
    });
    const port92 = new Port92({ a20, requestReset });

    // Disks.
    this.disks = options.drives.map((drive) => host.disk(drive));
    const floppies = this.#floppyBackends();
    this.fdc = new Fdc({ clock, irq: isa[6]!, dma: dma0, drives: floppies });
    this.ide = new Piix3Ide({
      bus: this.pciBus,
      memory: this.memory,
      clock,
      irqs: [isa[14]!, isa[15]!],
      drives: this.#ideDrives(),
    });
    this.pm = new Piix4Pm({
      bus: this.pciBus,
      clock,
      sci: isa[9]!,
      hasSerial: this.serials[0] !== undefined,
      hasParallel: this.parallel !== undefined,
      requestShutdown: () => host.requestShutdown(),
      requestSuspend: () => host.requestSuspend(),
      requestWake: (reason) => host.requestWake(reason),
    });
    const acpi = this.#createAcpi();
    this.#fillFwCfg();

    for (const device of [
      pciHost,
      this.pic,
      this.pit,
      speaker,
      this.rtc,
      dma0,
      dma1,
      i8042,
      port92,
      this.fdc,
      this.ide,
      this.fwCfg,
      this.pm,
      new PostCode(),
      ...this.serials.filter((s) => s !== undefined),
      ...(this.parallel ? [this.parallel] : []),
    ]) {
      this.ports.mapAll(device.ports());
    }
    this.#mapOptionalPorts();
    for (const { base, region } of [...this.apic.memory(), ...this.ioApic.memory()])
      this.memory.map(base, region);

    this.devices = [
      this.timers,
      new CpuCommonSection(this.cpu),
      new CpuSection(this.cpu),
      this.apic,
      this.fwCfg,
      pciHost,
      this.pciBus,
      this.i440fx,
      dma0,
      dma1,
      piix3,
      this.pic.master,
      this.pic.slave,
      this.ioApic,
      ...(this.vga === undefined ? [] : [this.vga]),
      this.rtc,
      this.pit,
      speaker,
      ...this.serials.filter((s) => s !== undefined),
      ...(this.parallel ? [this.parallel] : []),
      this.fdc,
      this.keyboard,
      this.mouse,
      i8042,
      port92,
      this.ide,
      this.pm.i2cBus,
      this.pm,
      acpi,
      new GlobalState(() => host.runState()),
    ];
    this.ramBlocks = this.#ramBlocks();
    this.#setCmos();
  }

  /** System reset: every device, then the CPU. */
  reset(): void {
    this.pciBus.reset();
    for (const device of this.devices) device.reset();
    this.cpu.a20Mask = -1;
    this.cpu.reset();
  }

  /** Back from suspend to RAM: a reset, but for shadow RAM and the reason, which the guest is told. */
  wake(reason: WakeReason): void {
    const { shadow } = this.i440fx;
    this.reset();
    this.i440fx.keepShadow(shadow);
    this.pm.wake(reason);
  }

  /** After all sections were loaded: what the chips do not know of each other. Drives nothing. */
  afterLoad(): void {
    this.memory.onMapChange();
  }

  #area(
    name: 'vram' | 'vgaRom' | 'optionRom' | 'bios' | 'acpiTables' | 'acpiLoader' | 'acpiRsdp' | 'ram',
  ): Uint8Array {
    const { address, size } = this.plan[name];
    return new Uint8Array(this.memory.memory.buffer, address, size);
  }

  #setA20(level: number): void {
    const mask = level !== 0 ? -1 : ~0x100000;
    if (this.cpu.a20Mask === mask) return;
    this.cpu.a20Mask = mask;
    this.memory.onMapChange();
  }

  #rtcSource(): { rtcNow(): number; readonly originSeconds: number } {
    const { clock } = this.#host;
    if (this.#options.rtc.clock === 'vm' || clock.icount !== undefined) {
      return { rtcNow: () => clock.now(), originSeconds: 0 };
    }
    const services = this.#options.host;
    const originMs = Math.floor(services.wallClock() / 1000) * 1000;
    const start = services.now();
    const offset = (services.wallClock() - originMs) * 1e6;
    return { rtcNow: () => services.now() - start + offset, originSeconds: originMs / 1000 };
  }

  /** The memory space that PCI BARs are mapped into: regions of plain bytes become directly accessible. */
  #memorySpace(): AddressSpace {
    return {
      map: (base: number, region: IoRegion) => {
        if (region instanceof BytesRegion) {
          this.memory.mapDirect(base, region, region.bytes.byteOffset, region.size, region.writable);
        } else this.memory.map(base, region);
      },
      unmap: (region: IoRegion) => this.memory.unmap(region),
    };
  }

  #createVga(): Vga {
    const vram = this.#area('vram');
    const rom = this.#options.vgaRom;
    if (rom !== undefined) this.#area('vgaRom').set(rom.subarray(0, this.plan.vgaRom.size));
    const firstPage = this.plan.vram.address >>> 12;
    const guard = this.memory.guard;
    // The part of the legacy window that is plain memory lies over the window's handlers.
    const overlay: IoRegion = { name: 'vga.lowmem-direct', size: 0x20000 };
    const vga = new Vga({
      bus: this.pciBus,
      vram,
      ...(rom === undefined ? {} : { rom: this.#area('vgaRom') }),
      dirty: {
        mark: (offset, length) => {
          const address = this.plan.vram.address + offset;
          for (let at = address & ~0xfff; at < address + length; at += 4096) this.memory.noteWrite(at, 4096);
        },
        isDirty: (first, last) => {
          for (let page = first; page <= last; page++) {
            if ((guard[firstPage + page]! & GUARD_DISPLAY) === 0) return true;
          }
          return false;
        },
        clear: (first, last) => {
          for (let page = first; page <= last; page++) guard[firstPage + page]! |= GUARD_DISPLAY;
          this.memory.onMapChange();
        },
      },
      onLegacyWindowChange: (direct: DirectWindow | undefined) => {
        this.memory.unmap(overlay);
        if (direct === undefined) return;
        this.memory.mapDirect(
          direct.base,
          overlay,
          this.plan.vram.address + direct.offset,
          direct.size,
          true,
        );
      },
    });
    this.ports.mapAll(vga.ports());
    for (const { base, region } of vga.memory()) this.memory.map(base, region);
    return vga;
  }

  #floppyBackends(): (MachineDisk | undefined)[] {
    return [0, 1].map((unit) => {
      const at = this.#options.drives.findIndex((d) => d.kind === 'floppy' && d.index === unit);
      return at < 0 ? undefined : this.disks[at];
    });
  }

  /** What the disk's partition table suggests, else what its size does. */
  #geometry(at: number): GuessedGeometry {
    return guessGeometry(this.disks[at]!.sizeBytes, this.#options.drives[at]!.firstSector);
  }

  #ideDrives() {
    return [0, 1, 2, 3].map((position) => {
      const at = this.#options.drives.findIndex(
        (d) => (d.kind === 'disk' || d.kind === 'cdrom') && d.index === position,
      );
      if (at < 0) return undefined;
      const drive = this.#options.drives[at]!;
      return {
        kind: drive.kind as 'disk' | 'cdrom',
        backend: this.disks[at]!,
        ...(drive.kind === 'disk' ? { geometry: this.#geometry(at) } : {}),
        ...(drive.serial === undefined ? {} : { identity: { serial: drive.serial } }),
      };
    });
  }

  #createAcpi(): AcpiBuild {
    const { ramBytes } = this.#options;
    return new AcpiBuild({
      dsdt: {
        lowMemoryEnd: ramBytes,
        hasSerial: this.serials[0] !== undefined,
        floppies: [this.#floppyBackends()[0] !== undefined, this.#floppyBackends()[1] !== undefined],
        suspendToRam: true,
        suspendToDisk: true,
      },
      tables: this.#area('acpiTables'),
      loader: this.#area('acpiLoader'),
      rsdp: this.#area('acpiRsdp'),
      pmIoBase: () => this.pm.pmIoBase,
      fwCfg: this.fwCfg,
      beforeBuild: () => {
        for (const { address, size } of [this.plan.acpiTables, this.plan.acpiLoader, this.plan.acpiRsdp]) {
          for (let at = address; at < address + size; at += 4096) this.memory.noteWrite(at, 4096);
        }
      },
    });
  }

  #fillFwCfg(): void {
    const o = this.#options;
    const kernel = this.#kernelItems();
    addMachineItems(this.fwCfg, {
      ramSize: o.ramBytes,
      ...(o.bootMenu === undefined ? {} : { bootMenu: o.bootMenu }),
      ...(o.bootMenuWaitMs === undefined ? {} : { bootMenuWaitMs: o.bootMenuWaitMs }),
      ...(o.uuid === undefined ? {} : { uuid: o.uuid }),
      ...(o.noGraphic === undefined ? {} : { noGraphic: o.noGraphic }),
      optionRoms: kernel === undefined ? [] : [kernel.rom],
    });
    const smbios = buildSmbios({
      ramSize: o.ramBytes,
      cpuidVersion: this.cpu.model.signature,
      cpuidFeatures: this.cpu.model.features,
    });
    this.fwCfg.addFile('etc/smbios/smbios-tables', smbios.tables);
    this.fwCfg.addFile('etc/smbios/smbios-anchor', smbios.anchor);
    for (const { number, data } of kernel?.items ?? []) this.fwCfg.set(number, data);
  }

  /** What -kernel adds, and the option ROM that starts it. */
  #kernelItems() {
    const { kernel, kernelRoms, initrd, modules, commandLine = '', ramBytes } = this.#options;
    if (kernel === undefined) return undefined;
    const { rom, items } = kernelItems({
      kernelName: kernel.name,
      kernel: kernel.data,
      ...(initrd === undefined ? {} : { initrd }),
      ...(modules === undefined ? {} : { modules }),
      commandLine,
      lowMemory: ramBytes,
    });
    const data = kernelRoms?.[kernelKind(kernel.data)];
    if (data === undefined) throw new Error('a kernel is given, but no option ROM that starts it');
    return { items, rom: { file: rom, data, bootFirst: true } };
  }

  #mapOptionalPorts(): void {
    const o = this.#options;
    if (o.debugExit !== undefined) {
      const exit = new DebugExit({
        base: o.debugExit.iobase,
        size: o.debugExit.iosize,
        onExit: (code) => this.#host.requestExit(code),
      });
      this.ports.mapAll(exit.ports());
    }
    if (o.onDebugByte !== undefined) {
      this.ports.mapAll(new DebugConsole({ onByte: o.onDebugByte }).ports());
    }
  }

  #setCmos(): void {
    const o = this.#options;
    const disks = [0, 1, 2, 3].map((position) => {
      const at = o.drives.findIndex((d) => d.kind === 'disk' && d.index === position);
      if (at < 0) return undefined;
      const { translation, ...geometry } = this.#geometry(at);
      return { ...geometry, translation: TRANSLATIONS[translation] ?? 'none' };
    });
    const cmos = cmosImage({
      ramSize: o.ramBytes,
      ...(o.bootOrder === undefined ? {} : { bootOrder: o.bootOrder }),
      disks,
    });
    const types = [0, 1].map((unit) => floppyCmosType(this.fdc.driveType(unit)));
    cmos.set(0x10, (types[0]! << 4) | types[1]!);
    const floppyCount = types.filter((t) => t !== 0).length;
    if (floppyCount > 0) cmos.set(0x14, (cmos.get(0x14) ?? 0) | 1 | ((floppyCount - 1) << 6));
    for (const [index, value] of cmos) this.rtc.setCmos(index, value);
  }

  #ramBlocks(): RamBlock[] {
    const block = (name: string, bytes: Uint8Array): RamBlock => ({ name, sizeBytes: bytes.length, bytes });
    return [
      block('pc.ram', this.#area('ram')),
      ...(this.vga === undefined ? [] : [block('0000:00:02.0/vga.vram', this.#area('vram'))]),
      block(ACPI_TABLES_BLOCK.name, this.#area('acpiTables')),
      block('pc.bios', this.#bios),
      block('pc.rom', this.#area('optionRom')),
      ...(this.vga === undefined || this.#options.vgaRom === undefined
        ? []
        : [block('0000:00:02.0/vga.rom', this.#area('vgaRom'))]),
      block(ACPI_LOADER_BLOCK.name, this.#area('acpiLoader')),
      block(ACPI_RSDP_BLOCK.name, this.#area('acpiRsdp')),
    ];
  }
}
