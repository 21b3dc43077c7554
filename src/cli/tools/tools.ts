/** The tools by their word, and their dispatch. */
import { UsageError } from '../grammar.ts';
import { IMG_TOOL } from './img/img.ts';
import { SNAPSHOT_TOOL } from './snapshot.ts';
import type { Tool, ToolOutput } from './tool.ts';
import { VMSTATE_TOOL } from './vmstate.ts';

export const TOOLS: { readonly [word: string]: Tool } = {
  vmstate: VMSTATE_TOOL,
  snapshot: SNAPSHOT_TOOL,
  img: IMG_TOOL,
};

/** Whether the command line is a tool's and not QEMU's option grammar. */
export function isTool(args: readonly string[]): boolean {
  return args[0] !== undefined && Object.hasOwn(TOOLS, args[0]);
}

/** Runs a tool; gives the exit code. */
export async function runTool(
  args: readonly string[],
  out: ToolOutput,
  program = 'ambervm',
): Promise<number> {
  const [word = '', name = '', ...rest] = args;
  const tool = TOOLS[word]!;
  if (name === '' || name === 'help' || name === '--help' || name === '-h') {
    for (const line of toolHelp(word, program)) out.line(line);
    return name === '' ? 1 : 0;
  }
  const command = Object.hasOwn(tool.commands, name) ? tool.commands[name] : undefined;
  if (command === undefined)
    throw new UsageError(`${word}: no command '${name}'; see ${program} ${word} help`);
  try {
    return await command.run(rest, out);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(
      `${word} ${name}: ${error.message}\nusage: ${program} ${word} ${name} ${command.usage}`,
    );
  }
}

export function toolHelp(word: string, program = 'ambervm'): string[] {
  const tool = TOOLS[word]!;
  const lines = [`${program} ${word}: ${tool.help}`];
  for (const [name, { usage, help }] of Object.entries(tool.commands)) {
    lines.push('', `  ${program} ${word} ${name} ${usage}`, `      ${help}`);
  }
  return lines;
}

/** Takes `--progress=json` out of a tool's words; options end at `--`. */
export function takeProgress(args: readonly string[]): { readonly rest: string[]; readonly json: boolean } {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const isProgress = (word: string, at: number): boolean => at < end && word.startsWith('--progress=');
  const wrong = args.find((word, at) => isProgress(word, at) && word !== '--progress=json');
  if (wrong !== undefined) throw new UsageError(`${wrong}: only --progress=json is known`);
  const rest = args.filter((word, at) => !isProgress(word, at));
  return { rest, json: rest.length < args.length };
}

/** Standard output as a tool sees it; progress, on standard error, as a line or as objects (`{"percent":12}`). */
export function toolOutput(program = 'ambervm', jsonProgress = false): ToolOutput {
  const { stdout, stderr } = process;
  let shown = -1;
  return {
    line: (text) => stdout.write(`${text}\n`),
    error: (text) => stderr.write(`${/^WARNING: /.test(text) ? '' : `${program}: `}${text}\n`),
    write: (text) => stdout.write(text),
    jsonProgress,
    progress: (percent) => {
      const whole = percent === undefined ? 100 : Math.floor(percent);
      if (jsonProgress) {
        if (whole > shown) stderr.write(`{"percent":${whole}}\n`);
        shown = whole;
      } else if (stderr.isTTY) {
        stderr.write(percent === undefined ? '\r\x1b[K' : `\r\x1b[K${whole} %`);
      }
    },
  };
}
