/** The command line as a whole: its options from option-groups.ts, files of options, help. */
import { type Config, emptyConfig } from './config.ts';
import { takeUnusedBlockdevs } from './blockdev.ts';
import { connectDevices } from './devices.ts';
import { EarlyExit } from './early-exit.ts';
import { GENERATED_KINDS, generate } from './generate.ts';
import { UsageError } from './grammar.ts';
import { ide, type Option, type OptionGroup } from './option.ts';
import { BLOCK, BOOT, DEBUG, DISPLAY, IGNORED, REFUSED, STANDARD } from './option-groups.ts';
import { readConfigFile } from './read-config.ts';
import { VERSION, VERSION_TEXT } from './version.ts';

const INFORMATION: readonly Option[] = [
  { name: 'h', aliases: ['help'], help: 'display this help and exit', handler: showHelp },
  {
    name: 'readconfig',
    argument: 'file',
    help: 'options from a file: [group "id"] and key = "value" lines',
    handler: readOptions,
  },
  {
    name: 'generate',
    argument: GENERATED_KINDS.join('|'),
    help: 'print the manual page, a shell’s completions, the list of monitor commands',
    handler: showGenerated,
  },
  { name: 'version', help: 'display version information and exit', handler: showVersion },
];

export const OPTION_GROUPS: readonly OptionGroup[] = [
  { ...STANDARD, options: [...INFORMATION, ...STANDARD.options] },
  BLOCK,
  DISPLAY,
  BOOT,
  DEBUG,
  IGNORED,
  REFUSED,
];

const BY_NAME: ReadonlyMap<string, Option> = new Map(
  OPTION_GROUPS.flatMap(({ options }) =>
    options.flatMap((option) =>
      [option.name, ...(option.aliases ?? [])].map((name) => [name, option] as const),
    ),
  ),
);

/** Reads the command line (without the program's name). Throws UsageError or EarlyExit. */
export function parseCommandLine(args: readonly string[]): Config {
  const config = emptyConfig();
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    if (!argument.startsWith('-') || argument === '-') {
      ide(0)(config, argument, argument);
      continue;
    }
    const option = BY_NAME.get(argument.replace(/^--?/, ''));
    if (option === undefined) throw new UsageError(`${argument}: invalid option`);
    if (option.argument === undefined) {
      option.handler(config, '', argument);
      continue;
    }
    const value = args[++i];
    if (value === undefined) throw new UsageError(`${argument}: requires an argument`);
    option.handler(config, value, `${argument} ${value}`);
  }
  checkTogether(config);
  return config;
}

function checkTogether(config: Config): void {
  connectDevices(config);
  takeUnusedBlockdevs(config);
  const indexes = [...config.bootIndexes].sort((a, b) => a.index - b.index).map(({ letter }) => letter);
  if (indexes.length > 0) config.bootOrder ??= [...new Set(indexes)].join('');
  if (config.kernel !== undefined) return;
  if (config.initrd !== undefined) throw new UsageError('-initrd only allowed with -kernel option');
  if (config.append !== undefined) throw new UsageError('-append only allowed with -kernel option');
}

/** Options in one group, in two columns. */
export function helpText(): string {
  const sections = OPTION_GROUPS.map(({ title, options }) => {
    const lines = options.map(({ name, aliases = [], argument, help }) => {
      const names = [name, ...aliases].map((n) => `-${n}`).join(' or ');
      const usage = argument === undefined ? names : `${names} ${argument}`;
      return usage.length < 16 ? `${usage.padEnd(16)}${help}` : `${usage}\n${' '.repeat(16)}${help}`;
    });
    return `${title}:\n${lines.join('\n')}\n`;
  });
  return `${VERSION_TEXT}\nusage: ambervm [options] [disk_image]\n       ambervm vmstate|snapshot|img help\n\n${sections.join('\n')}`;
}

/** Files that are being read, against one that reads itself. */
const MAX_CONFIG_DEPTH = 8;
let configDepth = 0;

function readOptions(config: Config, path: string): void {
  if (configDepth >= MAX_CONFIG_DEPTH) throw new UsageError(`-readconfig ${path}: files read one another`);
  configDepth++;
  try {
    for (const { name, value, where } of readConfigFile(path)) {
      const option = BY_NAME.get(name);
      if (option === undefined) throw new UsageError(`${where}: Invalid parameter '${name}'`);
      if (option.argument === undefined && value !== 'on') {
        throw new UsageError(`${where}: -${name} takes no argument, only "on"`);
      }
      option.handler(config, option.argument === undefined ? '' : value, where);
    }
  } finally {
    configDepth--;
  }
}

function showGenerated(_config: Config, kind: string): never {
  const text = generate(kind, OPTION_GROUPS);
  if (text === undefined) throw new UsageError(`-generate ${kind}: one of ${GENERATED_KINDS.join(', ')}`);
  throw new EarlyExit(text);
}

function showHelp(): never {
  throw new EarlyExit(helpText());
}

function showVersion(): never {
  throw new EarlyExit(`${VERSION_TEXT}\n`);
}

export { VERSION };
