/** `--generate`: manual page, shell completions and the list of monitor commands, all from the tables that the program works by. */
import type { Command } from '../monitor/command.ts';
import { TRACE_EVENTS } from '../machine/trace.ts';
import { COMMANDS } from '../monitor/commands/index.ts';
import type { Option, OptionGroup } from './option.ts';
import { VERSION } from './version.ts';

const GENERATORS: Readonly<Record<string, (groups: readonly OptionGroup[]) => string>> = {
  man: manualPage,
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
  monitor: () => monitorCommands(),
  trace: () => traceEvents(),
};

export const GENERATED_KINDS: readonly string[] = Object.keys(GENERATORS);

/** Undefined: there is no such kind. */
export function generate(kind: string, groups: readonly OptionGroup[]): string | undefined {
  return Object.hasOwn(GENERATORS, kind) ? GENERATORS[kind]!(groups) : undefined;
}

const namesOf = ({ name, aliases = [] }: Option) => [name, ...aliases].map((n) => `-${n}`);
/** Options whose argument is a file, for completions. */
const takesFile = ({ argument, name }: Option) =>
  /\bfile\b/.test(argument ?? '') || /^(cdrom|kernel|bios)$/.test(name);

/** Whole values that an option may have, for completions. */
const valuesOf = ({ values = [] }: Option) => values.join(' ');

function manualPage(groups: readonly OptionGroup[]): string {
  const text = (s: string) =>
    s
      .replaceAll('\\', '\\e')
      .replaceAll('-', '\\-')
      .replace(/^([.'])/gm, '\\&$1');
  const sections = groups.map(({ title, options }) => {
    const items = options.map((option) => {
      const names = namesOf(option)
        .map((n) => `\\fB${text(n)}\\fR`)
        .join(', ');
      const argument = option.argument === undefined ? '' : ` \\fI${text(option.argument)}\\fR`;
      return `.TP\n${names}${argument}\n${text(option.help)}\n`;
    });
    return `.SS ${text(title)}\n${items.join('')}`;
  });
  const commands = COMMANDS.map(
    ({ name, params, help }) => `.TP\n\\fB${text(name)}\\fR ${text(params)}\n${text(help)}\n`,
  );
  return [
    `.TH AMBERVM 1 "" "ambervm ${VERSION}" "User commands"\n`,
    '.SH NAME\nambervm \\- PC emulator whose snapshots are QEMU\\(aqs snapshots\n',
    '.SH SYNOPSIS\n.B ambervm\n[\\fIoptions\\fR] [\\fIdisk_image\\fR]\n.br\n.B ambervm\nvmstate|snapshot|img help\n',
    '.SH OPTIONS\nOne or two dashes, as with QEMU. A comma in a value is written twice.\n',
    ...sections,
    '.SH MONITOR\n',
    ...commands,
    '.SH EXIT STATUS\n0 after a shutdown, \\fBquit\\fR or a signal; 1 if something could not be opened or was wrong; what the guest asked for with isa\\-debug\\-exit.\n',
  ].join('');
}

function bashCompletion(groups: readonly OptionGroup[]): string {
  const options = groups.flatMap((group) => group.options);
  const files = options.filter(takesFile).flatMap(namesOf);
  const choices = options.flatMap((option) => {
    const values = valuesOf(option);
    const pattern = namesOf(option).join('|');
    return values === ''
      ? []
      : [`    ${pattern}) COMPREPLY=($(compgen -W "${values}" -- "$word")); return ;;`];
  });
  return [
    '# bash completion of ambervm',
    '_ambervm() {',
    '  local word=$2 before=$3',
    '  case $before in',
    `    ${files.join('|')}) COMPREPLY=($(compgen -f -- "$word")); return ;;`,
    ...choices,
    '  esac',
    '  case $word in',
    `    -*) COMPREPLY=($(compgen -W "${options.flatMap(namesOf).join(' ')}" -- "$word")) ;;`,
    '    *) COMPREPLY=($(compgen -f -- "$word")); [ "$COMP_CWORD" = 1 ] && COMPREPLY+=($(compgen -W "img snapshot vmstate" -- "$word")) ;;',
    '  esac',
    '}',
    'complete -o filenames -F _ambervm ambervm',
    '',
  ].join('\n');
}

function zshCompletion(groups: readonly OptionGroup[]): string {
  const quote = (s: string) => s.replaceAll("'", "'\\''").replace(/[[\]:\\]/g, '\\$&');
  const lines = groups.flatMap(({ options }) =>
    options.flatMap((option) =>
      namesOf(option).map((name) => {
        const values = valuesOf(option);
        const action = takesFile(option) ? '_files' : values === '' ? '' : `(${values})`;
        const argument = option.argument === undefined ? '' : `:${quote(option.argument)}:${action}`;
        return `  '*${name}[${quote(option.help)}]${argument}' \\`;
      }),
    ),
  );
  return ['#compdef ambervm', '_arguments \\', ...lines, "  '*:disk image:_files'", ''].join('\n');
}

function fishCompletion(groups: readonly OptionGroup[]): string {
  const quote = (s: string) => `'${s.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  return groups
    .flatMap(({ options }) =>
      options.flatMap((option) =>
        [option.name, ...(option.aliases ?? [])].map((name) => {
          const values = valuesOf(option);
          const choices = values === '' ? '' : ` -a '${values}'`;
          const argument = option.argument === undefined ? '' : takesFile(option) ? ' -r -F' : ' -x';
          return `complete -c ambervm -o ${name}${argument}${choices} -d ${quote(option.help)}\n`;
        }),
      ),
    )
    .join('');
}

function monitorCommands(): string {
  const cell = (s: string) => s.replaceAll('|', '\\|').replaceAll('<', '&lt;');
  const row = (prefix: string, { name, aliases = [], params, help }: Command) =>
    `| \`${prefix}${name}${params === '' ? '' : ` ${params.replaceAll('|', '\\|')}`}\`${aliases.map((a) => `, \`${a}\``).join('')} | ${cell(help)} |`;
  const table = (prefix: string, commands: readonly Command[]) => [
    '| command | what it does |',
    '|---|---|',
    ...commands.map((c) => row(prefix, c)),
  ];
  const groups = COMMANDS.filter(({ subcommands }) => subcommands !== undefined);
  return [
    '# Monitor commands',
    '',
    'Made by `ambervm --generate monitor` from the command table. Words and formats are QEMU 7.2’s where QEMU has the command.',
    '',
    ...table('', COMMANDS),
    ...groups.flatMap(({ name, subcommands = [] }) => [
      '',
      `## ${name}`,
      '',
      ...table(`${name} `, subcommands),
    ]),
    '',
  ].join('\n');
}

const KINDS: Readonly<Record<string, string>> = { x: 'number, in hexadecimal', s: 'text' };

function traceEvents(): string {
  const argument = (parameter: string) => {
    const [name, kind = ''] = parameter.split(':');
    return `\`${name}\` ${KINDS[kind] ?? 'number'}`;
  };
  return [
    '# Trace events',
    '',
    'Made by `ambervm --generate trace` from the table in src/machine/trace.ts. An event that is off costs one test of a boolean.',
    '',
    '    node bin/ambervm.js -trace savevm_end -snapshot -fda images/demo/demo.img   one event, on standard error',
    "    node bin/ambervm.js -trace 'enable=block_*,file=trace.log' -snapshot -fda images/demo/demo.img",
    '    node bin/ambervm.js -d trace:cpu_out,int -D log.txt -snapshot -fda images/demo/demo.img',
    '    (qemu) trace-event isa_irq on',
    '    (qemu) info trace-events block_*',
    '',
    '`-trace events=FILE` reads patterns from a file, one a line, `-` before one that is to be off. A line of output is the name and the',
    'arguments: `savevm_end tag a, bytes 344064, error`. In a program each event that is on is also a message on',
    '`node:diagnostics_channel`, channel `ambervm:NAME`: an object with `name` and the arguments by their names. By QMP:',
    '`trace-event-get-state`, `trace-event-set-state`.',
    '',
    '| event | arguments | when |',
    '|---|---|---|',
    ...TRACE_EVENTS.map(
      ({ name, parameters, about }) => `| \`${name}\` | ${parameters.map(argument).join(', ')} | ${about} |`,
    ),
    '',
  ].join('\n');
}
