/** The program: reads the command line, opens what it names, runs the machine until it ends. */
import { writeFile } from 'node:fs/promises';
import type { CharBackend } from '../host/chardev/chardev.ts';
import { reasonOf } from '../host/chardev/reason.ts';
import { FirmwareError } from '../host/firmware.ts';
import { nodeHost } from '../host/host-services.ts';
import { ConsoleTap } from '../host/web/console-tap.ts';
import { restoreTerminal } from '../host/terminal.ts';
import { buildMachine } from './build-machine.ts';
import { openCharacters, withDefaults } from './characters.ts';
import type { Config } from './config.ts';
import { UsageError } from './grammar.ts';
import { CursesControl } from './curses.ts';
import { EarlyExit } from './early-exit.ts';
import { parseCommandLine } from './options.ts';
import { Session } from './session.ts';
import { isTool, runTool, takeProgress, toolOutput } from './tools/tools.ts';

/** Runs the program and returns its exit code. `program` is its name in messages. */
export async function main(args: readonly string[], program = 'ambervm'): Promise<number> {
  const notice = (message: string) => process.stderr.write(`${program}: ${message}\n`);
  try {
    if (isTool(args)) {
      const { rest, json } = takeProgress(args);
      return await runTool(rest, toolOutput(undefined, json), program);
    }
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
  return ['BlockError', 'MigrationError', 'KernelLoadError'].includes(error.name);
}

async function run(config: Config, program: string, notice: (message: string) => void): Promise<number> {
  let session: Session | undefined;
  const isTerminal = process.stdin.isTTY === true;
  withDefaults(config, { isTerminal, notice });
  let tap: ConsoleTap | undefined;
  const tapConsole = (backend: CharBackend) => {
    tap = new ConsoleTap(backend);
    return tap;
  };
  const curses = config.curses === undefined ? undefined : new CursesControl(config.curses);
  const characters = await openCharacters(config, {
    isTerminal,
    ...(config.web === undefined ? {} : { tapConsole }),
    ...(curses === undefined ? {} : { openConsole: (label) => curses.openConsole(label) }),
    out: (line) => process.stdout.write(`${line}\n`),
    notice,
    mux: {
      exit: () => session?.finish(0),
      commit: () => {
        void session?.commit().then((text) => text === '' || notice(text.trimEnd()));
      },
      now: () => nodeHost.wallClock(),
    },
  });
  try {
    const machine = await buildMachine(config, {
      serials: characters.serials,
      parallel: characters.parallel,
      notice,
    });
    try {
      session = new Session({ config, machine, characters, tap, curses, program, notice });
      await writePidFile(config);
      return await session.run();
    } catch (error) {
      await machine.close().catch(() => {});
      throw error;
    }
  } finally {
    await characters.close();
  }
}

async function writePidFile({ pidFile }: Config): Promise<void> {
  if (pidFile === undefined) return;
  try {
    await writeFile(pidFile, `${process.pid}\n`);
  } catch (error) {
    throw new UsageError(`cannot create PID file: Could not create '${pidFile}': ${reasonOf(error)}`);
  }
}
