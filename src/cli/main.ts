/** The program: reads the command line, opens what it names, runs the machine until it ends. */
import { readFile, writeFile } from 'node:fs/promises';
import { reasonOf } from '../host/chardev/reason.ts';
import { findFirmware, FirmwareError } from '../host/firmware.ts';
import { nodeHost } from '../host/host-services.ts';
import { restoreTerminal } from '../host/terminal.ts';
import { Machine } from '../machine/machine.ts';
import type { MachineOptions } from '../machine/options.ts';
import { type Characters, openCharacters, withDefaults } from './characters.ts';
import type { Config } from './config.ts';
import { UsageError } from './grammar.ts';
import { EarlyExit } from './handlers.ts';
import { openDrives } from './open-drives.ts';
import { parseCommandLine } from './options.ts';
import { Session } from './session.ts';
import { isTool, runTool, toolOutput } from './tools/tools.ts';

/** Runs the program and returns its exit code. `program` is its name in messages. */
export async function main(args: readonly string[], program = 'ambervm'): Promise<number> {
  const notice = (message: string) => process.stderr.write(`${program}: ${message}\n`);
  try {
    if (isTool(args)) return await runTool(args, toolOutput(), program);
    const config = parseCommandLine(args);
    for (const warning of config.warnings) notice(`warning: ${warning}`);
    return await run(config, program, notice);
  } catch (error) {
    restoreTerminal();
    if (error instanceof EarlyExit) {
      process.stdout.write(error.text);
      return error.code;
    }
    if (!isExpected(error)) throw error;
    for (const report of error instanceof UsageError ? error.reports : [error.message]) notice(report);
    return 1;
  }
}

/** Wrong use or a bad file, as opposed to a fault of ours. */
function isExpected(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error instanceof UsageError || error instanceof FirmwareError) return true;
  return ['BlockError', 'MigrationError', 'LinuxLoadError'].includes(error.name);
}

async function run(config: Config, program: string, notice: (message: string) => void): Promise<number> {
  let session: Session | undefined;
  const isTerminal = process.stdin.isTTY === true;
  withDefaults(config, { isTerminal, notice });
  const parts = await readFiles(config, notice);
  const drives = await openDrives(config, notice);
  const characters = await openCharacters(config, {
    isTerminal,
    out: (line) => process.stdout.write(`${line}\n`),
    notice,
    mux: { exit: () => session?.finish(0), now: () => nodeHost.wallClock() },
  });
  try {
    const machine = await Machine.create(machineOptions(config, parts, drives, characters));
    session = new Session({ config, machine, characters, program, notice });
    await writePidFile(config);
    return await session.run();
  } catch (error) {
    for (const { node } of drives) await node?.close().catch(() => {});
    throw error;
  } finally {
    await characters.close();
  }
}

type Files = Pick<MachineOptions, 'bios' | 'vgaRom' | 'linuxboot' | 'kernel' | 'initrd'>;

async function readFiles(config: Config, notice: (message: string) => void): Promise<Files> {
  const firmware = await findFirmware({ bios: config.bios, dirs: config.dataDirs, notice });
  const kernel =
    config.kernel === undefined ? undefined : await readNamed(config.kernel, 'could not open kernel file');
  const initrd =
    config.initrd === undefined ? undefined : await readNamed(config.initrd, 'error reading initrd');
  return {
    bios: firmware.bios,
    ...(firmware.vgaRom === undefined ? {} : { vgaRom: firmware.vgaRom }),
    ...(firmware.linuxboot === undefined || kernel === undefined ? {} : { linuxboot: firmware.linuxboot }),
    ...(kernel === undefined ? {} : { kernel: { name: config.kernel!, data: kernel } }),
    ...(initrd === undefined ? {} : { initrd }),
  };
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
  characters: Characters,
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
    serials: characters.serials,
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

async function writePidFile({ pidFile }: Config): Promise<void> {
  if (pidFile === undefined) return;
  try {
    await writeFile(pidFile, `${process.pid}\n`);
  } catch (error) {
    throw new UsageError(`cannot create PID file: Could not create '${pidFile}': ${reasonOf(error)}`);
  }
}
