/** Makes a machine of what the command line, or a program, asks for: finds firmware, reads kernels, opens images. */
import { readFile } from 'node:fs/promises';
import { kernelKind } from '../devices/kernel-loader.ts';
import { type BootModule, moduleNames } from '../devices/multiboot-loader.ts';
import { reasonOf } from '../host/chardev/reason.ts';
import { findFirmware, findKernelRoms } from '../host/firmware.ts';
import { nodeHost } from '../host/host-services.ts';
import { Machine } from '../machine/machine.ts';
import type { MachineOptions } from '../machine/options.ts';
import type { Config } from './config.ts';
import { UsageError } from './grammar.ts';
import { openDrives } from './open-drives.ts';

export interface BuildOptions {
  /** Where the output of the serial ports goes, by port number. */
  readonly serials: MachineOptions['serials'];
  /** Where LPT1 prints to; absent: there is none. */
  readonly parallel?: MachineOptions['parallel'];
  /** Told what the user should know. */
  readonly notice: (message: string) => void;
}

/**
 * Opens everything and powers the machine on, without starting it. Rejects with UsageError, FirmwareError, BlockError or
 * KernelLoadError; nothing is open then.
 */
export async function buildMachine(
  config: Config,
  { serials, parallel, notice }: BuildOptions,
): Promise<Machine> {
  const files = await readFiles(config, notice);
  const drives = await openDrives(config, notice);
  try {
    return await Machine.create({ ...machineOptions(config, files, drives, serials), parallel });
  } catch (error) {
    for (const { node } of drives) await node?.close().catch(() => {});
    throw error;
  }
}

type Kernel = Pick<MachineOptions, 'kernelRoms' | 'kernel' | 'initrd' | 'modules'>;
type Files = Pick<MachineOptions, 'bios' | 'vgaRom'> & Kernel;

async function readFiles(config: Config, notice: (message: string) => void): Promise<Files> {
  const firmware = await findFirmware({ bios: config.bios, dirs: config.dataDirs, notice });
  return {
    bios: firmware.bios,
    ...(firmware.vgaRom === undefined ? {} : { vgaRom: firmware.vgaRom }),
    ...(config.kernel === undefined ? {} : await readKernel(config, config.kernel)),
  };
}

async function readKernel({ initrd, dataDirs }: Config, name: string): Promise<Kernel> {
  const data = await readNamed(name, 'could not open kernel file');
  const kernelRoms = await findKernelRoms(dataDirs);
  const kernel = { kernelRoms, kernel: { name, data } };
  if (initrd === undefined) return kernel;
  if (kernelKind(data) === 'linux')
    return { ...kernel, initrd: await readNamed(initrd, 'error reading initrd') };
  return { ...kernel, modules: await Promise.all(moduleNames(initrd).map(readModule)) };
}

/** What comes after a space is the module's command line. */
async function readModule(commandLine: string): Promise<BootModule> {
  const [path] = commandLine.split(' ', 1);
  return { commandLine, data: await readNamed(path!, 'Failed to open file') };
}

async function readNamed(path: string, complaint: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new UsageError(`${complaint} '${path}': ${reasonOf(error)}`);
  }
}

function machineOptions(
  config: Config,
  files: Files,
  drives: MachineOptions['drives'],
  serials: MachineOptions['serials'],
): MachineOptions {
  const { bios, vgaRom, ...kernel } = files;
  const vga = config.vga ?? (config.noDefaults ? 'none' : 'std');
  const order = config.bootOnce ?? config.bootOrder;
  return {
    machineType: config.machineType,
    ramBytes: config.ramBytes,
    cpuModel: config.cpuModel,
    bios,
    ...(vga === 'std' && vgaRom !== undefined ? { vgaRom } : {}),
    ...kernel,
    ...(config.append === undefined ? {} : { commandLine: config.append }),
    vga,
    drives,
    serials,
    ...(order === undefined ? {} : { bootOrder: order }),
    ...(config.bootMenu === undefined ? {} : { bootMenu: config.bootMenu }),
    ...(config.bootMenuWaitMs === undefined ? {} : { bootMenuWaitMs: config.bootMenuWaitMs }),
    ...(config.icount === undefined ? {} : { icount: config.icount }),
    rtc: { baseSeconds: rtcBase(config), clock: config.rtcClock },
    noReboot: config.noReboot,
    noShutdown: config.noShutdown,
    noGraphic: config.noGraphic,
    ...(config.debugExit === undefined ? {} : { debugExit: config.debugExit }),
    ...(config.uuid === undefined ? {} : { uuid: config.uuid }),
    host: nodeHost,
  };
}

/** Seconds since 1970 that the guest's clock shows at power-on. */
function rtcBase({ rtcBase: base }: Config): number {
  if (typeof base === 'number') return base;
  const now = Math.floor(nodeHost.wallClock() / 1000);
  return base === 'utc' ? now : now - new Date(now * 1000).getTimezoneOffset() * 60;
}
