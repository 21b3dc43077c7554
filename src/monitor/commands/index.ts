/** All commands, in the order of their names. */
import { argument as arg, type Command, command, fullName } from '../command.ts';
import { BLOCK_COMMANDS } from './block.ts';
import { BLOCK_JOB_COMMANDS } from './block-jobs.ts';
import { INFO_COMMANDS } from './info.ts';
import { MACHINE_COMMANDS } from './machine.ts';
import { MEMORY_COMMANDS } from './memory.ts';
import { RINGBUF_COMMANDS } from './ringbuf.ts';
import { SNAPSHOT_COMMANDS } from './snapshot.ts';
import { VNC_COMMANDS } from './vnc.ts';
import { TRACE_COMMANDS } from './trace.ts';

const HELP = command('help|?', [arg('rest', 'name?')], '[cmd]', 'show the help', ({ host }, args) => {
  const topic = args.optional('name');
  return topic === 'log' ? host.logHelp() : helpText(topic);
});

const INFO: Command = {
  ...command(
    'info',
    [arg('string', 'item?')],
    '[subcommand]',
    'show various information about the system state',
    () => helpText('info'),
  ),
  subcommands: INFO_COMMANDS,
};

export const COMMANDS: readonly Command[] = [
  HELP,
  INFO,
  ...BLOCK_COMMANDS,
  ...BLOCK_JOB_COMMANDS,
  ...MACHINE_COMMANDS,
  ...MEMORY_COMMANDS,
  ...RINGBUF_COMMANDS,
  ...SNAPSHOT_COMMANDS,
  ...VNC_COMMANDS,
  ...TRACE_COMMANDS,
].sort((a, b) => (a.name < b.name ? -1 : 1));

/** Help on everything, on a command, or on the sub-commands of one. */
export function helpText(topic: string | undefined): string {
  if (topic === undefined) return COMMANDS.map((c) => helpLine(c)).join('');
  let commands = COMMANDS;
  let prefix = '';
  let found: Command | undefined;
  for (const word of topic.split(/\s+/)) {
    found = commands.find((c) => c.name === word || c.aliases?.includes(word));
    if (found === undefined) return `unknown command: '${topic}'\n`;
    commands = found.subcommands ?? [];
    if (found.subcommands !== undefined) prefix += `${found.name} `;
  }
  const subcommands = found?.subcommands;
  if (subcommands !== undefined) return subcommands.map((c) => helpLine(c, prefix)).join('');
  return helpLine(found!, prefix);
}

/** `savevm tag -- save a VM snapshot…` */
function helpLine(command: Command, prefix = ''): string {
  return `${prefix}${fullName(command)} ${command.params} -- ${command.help}\n`;
}
