/**
 * The DSDT: what a guest cannot find by probing. PCI root bridge with its windows and interrupt routing, the interrupt
 * links behind the PIIX3's PIRQ registers, ISA devices, sleep states. ACPI specification 6.4, chapters 5 to 7.
 *
 * Not described, since this machine has it not or guests do without: hot-plug, HPET, docking, batteries, thermal zones.
 */
import {
  type Aml,
  and,
  arg,
  bridgeWindow,
  buffer,
  byteFields,
  bytes,
  call,
  concat,
  createDwordField,
  device,
  eisaId,
  integer,
  ioPorts,
  isaDma,
  isaIrq,
  less,
  little,
  local,
  method,
  name,
  operationRegion,
  orInto,
  PCI_CONFIG,
  path,
  pkg,
  processor,
  resources,
  returns,
  SHARED_INTERRUPT_OFFSET,
  scope,
  sharedInterrupts,
  store,
  string,
  when,
} from './aml.ts';

/** Interrupts that a PIRQ may be routed to; SeaBIOS uses 10 and 11. */
export const PCI_INTERRUPTS: readonly number[] = [5, 10, 11];
/** The system control interrupt. */
export const SCI = 9;

export interface DsdtOptions {
  /** First address above RAM, from where the PCI window reaches to 0xfebfffff. */
  readonly lowMemoryEnd: number;
  /** COM1 is there. */
  readonly hasSerial: boolean;
  /** For each of the two floppy drives, whether it is there. */
  readonly floppies: readonly [boolean, boolean];
  /** \_S3: suspend to RAM. */
  readonly suspendToRam: boolean;
  /** \_S4: hibernation. */
  readonly suspendToDisk: boolean;
}

const PRESENT_ENABLED_SHOWN_WORKING = 0x0f;
const PRESENT_ENABLED_WORKING = 0x0b;
const PRESENT_WORKING = 0x09;
const ROUTE_DISABLED = 0x80;
const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;

function rootBridge(lowMemoryEnd: number): Aml {
  const windows = resources(
    bridgeWindow('bus', 0, 0xff),
    ioPorts(0xcf8, 8),
    bridgeWindow('io', 0, 0xcf7),
    bridgeWindow('io', 0xd00, 0xffff),
    bridgeWindow('cacheable-memory', 0xa0000, 0xbffff),
    bridgeWindow('memory', lowMemoryEnd, 0xfebf_ffff),
  );
  return concat(
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name('_CRS', windows),
    name('_PRT', pciRouting()),
  );
}

/** Pins of all 32 slots: pin p of slot s is PIRQ (p + s - 1) mod 4, but for the power management's, which is the SCI. */
function pciRouting(): Aml {
  const entries: Aml[] = [];
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const link = slot === 1 && pin === 0 ? 'LNKS' : LINKS[(pin + slot + 3) & 3]!;
      entries.push(pkg(integer(slot * 0x1_0000 + 0xffff), integer(pin), path(`\\_SB.${link}`), integer(0)));
    }
  }
  return pkg(...entries);
}

/** Helpers that all links share: status and current interrupt from the value of a PIRQ register. */
function linkHelpers(): Aml {
  return concat(
    method(
      'LSTA',
      { args: 1 },
      when(and(arg(0), integer(ROUTE_DISABLED)), returns(integer(PRESENT_WORKING))),
      returns(integer(PRESENT_ENABLED_WORKING)),
    ),
    method(
      'LCRS',
      { args: 1, serialized: true },
      name('RSRC', resources(sharedInterrupts(0))),
      createDwordField(path('RSRC'), SHARED_INTERRUPT_OFFSET, 'INTN'),
      when(less(arg(0), integer(ROUTE_DISABLED)), store(arg(0), path('INTN'))),
      returns(path('RSRC')),
    ),
  );
}

function link(index: number): Aml {
  const register = `\\_SB.PCI0.ISA.PRQ${index}`;
  return device(
    LINKS[index]!,
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(index)),
    name('_PRS', resources(sharedInterrupts(...PCI_INTERRUPTS))),
    method('_STA', {}, returns(call('\\_SB.LSTA', path(register)))),
    method('_DIS', {}, orInto(path(register), integer(ROUTE_DISABLED), path(register))),
    method('_CRS', {}, returns(call('\\_SB.LCRS', path(register)))),
    method(
      '_SRS',
      { args: 1, serialized: true },
      createDwordField(arg(0), SHARED_INTERRUPT_OFFSET, 'INTN'),
      store(path('INTN'), local(0)),
      store(local(0), path(register)),
    ),
  );
}

/** The link of the power management function: wired to the SCI. */
function sciLink(): Aml {
  const interrupt = resources(sharedInterrupts(SCI));
  return device(
    'LNKS',
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(LINKS.length)),
    name('_PRS', interrupt),
    name('_CRS', interrupt),
    name('_STA', integer(PRESENT_ENABLED_WORKING)),
    method('_DIS', {}),
    method('_SRS', { args: 1 }),
  );
}

function isaDevice(identifier: string, id: string, ...descriptors: readonly Aml[]): Aml {
  return device(
    identifier,
    name('_HID', eisaId(id)),
    name('_STA', integer(PRESENT_ENABLED_SHOWN_WORKING)),
    name('_CRS', resources(...descriptors)),
  );
}

/** _FDE, section 9.9.1: four drives, then "no tape drive". */
function floppyController(floppies: readonly [boolean, boolean]): Aml {
  const drives = [floppies[0], floppies[1], false, false].map((present) => little(present ? 1 : 0, 4));
  return device(
    'FDC0',
    name('_HID', eisaId('PNP0700')),
    name('_STA', integer(PRESENT_ENABLED_SHOWN_WORKING)),
    name('_CRS', resources(ioPorts(0x3f2, 4), ioPorts(0x3f7, 1), isaIrq(6), isaDma(2))),
    name('_FDE', buffer(concat(...drives, little(2, 4)))),
  );
}

function isaBridge(options: DsdtOptions): Aml {
  const serial = device(
    'COM1',
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(1)),
    name('_STA', integer(PRESENT_ENABLED_SHOWN_WORKING)),
    name('_CRS', resources(ioPorts(0x3f8, 8), isaIrq(4))),
  );
  return device(
    'ISA',
    name('_ADR', integer(0x0001_0000)),
    operationRegion('PIRQ', PCI_CONFIG, 0x60, 4),
    byteFields('PIRQ', 'PRQ0', 'PRQ1', 'PRQ2', 'PRQ3'),
    isaDevice('KBD', 'PNP0303', ioPorts(0x60, 1), ioPorts(0x64, 1), isaIrq(1)),
    isaDevice('MOU', 'PNP0F13', isaIrq(12)),
    isaDevice('RTC', 'PNP0B00', ioPorts(0x70, 8), isaIrq(8)),
    floppyController(options.floppies),
    options.hasSerial ? serial : bytes(),
  );
}

/** Lets Linux's qemu_fw_cfg driver find the configuration device. */
function firmwareConfiguration(): Aml {
  return device(
    'FWCF',
    name('_HID', string('QEMU0002')),
    name('_STA', integer(PRESENT_ENABLED_WORKING)),
    name('_CRS', resources(ioPorts(0x510, 12))),
  );
}

/** SLP_TYP values for PM1a_CNT and PM1b_CNT, and two reserved elements. */
function sleepState(identifier: string, sleepType: number): Aml {
  return name(identifier, pkg(integer(sleepType), integer(sleepType), integer(0), integer(0)));
}

/** Body of the DSDT, without the table header. */
export function dsdtBody(options: DsdtOptions): Aml {
  return concat(
    scope(
      '\\_SB',
      // Links before the bridge: the packages of _PRT name them. Their methods name the bridge's fields at run time.
      linkHelpers(),
      ...LINKS.map((_, index) => link(index)),
      sciLink(),
      device('PCI0', rootBridge(options.lowMemoryEnd), isaBridge(options), firmwareConfiguration()),
      processor('CPU0', 0),
    ),
    options.suspendToRam ? sleepState('\\_S3', 1) : bytes(),
    options.suspendToDisk ? sleepState('\\_S4', 2) : bytes(),
    sleepState('\\_S5', 0),
  );
}
