/** Tab completion, from the command table. */
import type { ArgumentSpec } from './arguments.ts';
import { TRACE_EVENTS } from '../machine/trace.ts';
import type { Command } from './command.ts';
import { KEY_NAMES } from './commands/keys.ts';

export interface Completion {
  /** Where the word to be completed begins. */
  readonly start: number;
  /** All words that fit, sorted. One: take it. */
  readonly words: readonly string[];
}

export interface CompletionSources {
  snapshots(): readonly string[];
  devices(): readonly string[];
  sections(): readonly string[];
  files(prefix: string): readonly string[];
}

export function completeLine(
  line: string,
  commands: readonly Command[],
  sources: CompletionSources,
): Completion {
  const start = /\S*$/.exec(line)!.index;
  const word = line.slice(start);
  const before = line
    .slice(0, start)
    .trim()
    .split(/\s+/)
    .filter((part) => part !== '');
  const words = candidates(before, word, commands, sources);
  return { start, words: [...new Set(words.filter((name) => name.startsWith(word)))].sort() };
}

function candidates(
  before: readonly string[],
  word: string,
  commands: readonly Command[],
  sources: CompletionSources,
): readonly string[] {
  const [first, ...others] = before;
  if (first === undefined) return commands.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
  const command = commands.find((c) => c.name === first || c.aliases?.includes(first));
  if (command === undefined) return [];
  if (command.name === 'help') return candidates(others, word, commands, sources);
  if (command.subcommands !== undefined) return candidates(others, word, command.subcommands, sources);
  const places = command.args.filter(({ kind }) => kind !== 'flag' && kind !== 'format');
  const given = others.filter((part) => !part.startsWith('-') && !part.startsWith('/'));
  return wordsFor(places[given.length], word, sources);
}

function wordsFor(
  spec: ArgumentSpec | undefined,
  word: string,
  sources: CompletionSources,
): readonly string[] {
  switch (spec?.kind) {
    case 'snapshot':
      return sources.snapshots();
    case 'device':
      return sources.devices();
    case 'section':
      return sources.sections();
    case 'trace':
      return TRACE_EVENTS.map(({ name }) => name);
    case 'filename':
    case 'path':
      return sources.files(word);
    case 'switch':
      return ['on', 'off'];
    case 'keys': {
      const held = word.slice(0, word.lastIndexOf('-') + 1);
      return KEY_NAMES.map((key) => held + key);
    }
    default:
      return [];
  }
}
