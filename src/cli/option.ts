/** What an option is, and handlers that many options share. */
import type { Config } from './config.ts';
import { simpleDrive } from './drives.ts';
import type { Handler } from './handlers.ts';

export interface Option {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** How the argument is shown; without it the option takes none. */
  readonly argument?: string;
  readonly help: string;
  /** Values to choose from, for shells' completion; not all that there may be. */
  readonly values?: readonly string[];
  readonly handler: Handler;
}

export interface OptionGroup {
  readonly title: string;
  readonly options: readonly Option[];
}

export const flag =
  <K extends keyof Config>(key: K, value: Config[K]): Handler =>
  (config) => {
    config[key] = value;
  };

export const text =
  (key: 'bios' | 'kernel' | 'initrd' | 'append' | 'loadvm' | 'pidFile' | 'logFile'): Handler =>
  (config, value) => {
    config[key] = value;
  };

export const ide =
  (index: number, media: 'disk' | 'cdrom' = 'disk'): Handler =>
  (config, value, where) => {
    config.drives.push(simpleDrive(value, where, { interface: 'ide', media, index }));
  };

export const floppy =
  (index: number): Handler =>
  (config, value, where) => {
    config.drives.push(simpleDrive(value, where, { interface: 'floppy', media: 'disk', index }));
  };

/** Accepted, and said so. */
export function ignored(name: string): Handler {
  return (config) => {
    config.warnings.push(`${name}: accepted, no effect`);
  };
}
