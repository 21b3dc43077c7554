/** What the monitor may do outside the machine: files, images, the log, the end of the program. */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { openImage } from '../block/open.ts';
import { RingBufferChardev } from '../host/chardev/simple.ts';
import { reasonOf } from '../host/chardev/reason.ts';
import { encodePng } from '../host/display/png.ts';
import { encodePpm } from '../host/display/ppm.ts';
import type { MonitorHost, MonitorVnc } from '../monitor/command.ts';
import type { Characters } from './characters.ts';
import { logItemsHelp } from './choices.ts';
import type { Config } from './config.ts';
import { imageFacts } from './image-facts.ts';
import type { EventLog } from './log.ts';
import { VERSION } from './version.ts';

export interface MonitorHostOptions {
  readonly config: Config;
  readonly characters: Pick<Characters, 'open'>;
  readonly log: EventLog;
  readonly gdbserver: (device: string | undefined) => Promise<string>;
  readonly vnc?: MonitorVnc;
  readonly quit: () => void;
}

export function createMonitorHost({
  config,
  characters,
  log,
  gdbserver,
  vnc,
  quit,
}: MonitorHostOptions): MonitorHost {
  return {
    version: `ambervm ${VERSION}`,
    name: config.name,
    uuid: config.uuid === undefined ? undefined : uuidText(config.uuid),
    processId: process.pid,
    async writeFile(path, data) {
      try {
        await writeFile(path, data);
      } catch (error) {
        throw new Error(reasonOf(error), { cause: error });
      }
    },
    encodePng,
    encodePpm,
    imageFacts,
    openImage: (filename, options) => openImage(filename, options),
    characters: () =>
      characters.open.map(({ label, backend }) => ({
        label,
        filename: backend.filename,
        ...(backend instanceof RingBufferChardev ? { ring: backend } : {}),
      })),
    setLog: (items) => log.set(items),
    // Only here: the command line's -d has no such item.
    logHelp: () => logItemsHelp().replace('\n', '\nnone            remove all logs\n'),
    setLogFile: (path) => log.setFile(path),
    completeFile,
    gdbserver,
    ...(vnc && { vnc }),
    quit,
  };
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Files and folders that begin with `prefix`. */
function completeFile(prefix: string): readonly string[] {
  const isFolder = prefix === '' || prefix.endsWith('/');
  const folder = isFolder ? prefix || '.' : dirname(prefix);
  const start = isFolder ? '' : basename(prefix);
  const shown = prefix.slice(0, prefix.length - start.length);
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(({ name }) => name.startsWith(start) && (start !== '' || !name.startsWith('.')))
      .map((entry) => shown + entry.name + (entry.isDirectory() ? '/' : ''));
  } catch {
    return [];
  }
}
