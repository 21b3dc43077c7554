/**
 * What a terminal sends, as keys of a PC keyboard (US layout: a terminal tells characters, not keys). Facts: ECMA-48 and
 * xterm's control sequences; Escape before a key is Alt, as in QEMU ui/curses.c.
 */
import { keysOf } from '../../monitor/us-keyboard.ts';

/** Keys pressed together, by QEMU's names. */
export type Stroke = readonly string[];

const ESCAPE = 0x1b;
const SEQUENCES: Readonly<Record<string, string>> = {
  A: 'up',
  B: 'down',
  C: 'right',
  D: 'left',
  H: 'home',
  F: 'end',
  P: 'f1',
  Q: 'f2',
  R: 'f3',
  S: 'f4',
  '1~': 'home',
  '2~': 'insert',
  '3~': 'delete',
  '4~': 'end',
  '5~': 'pgup',
  '6~': 'pgdn',
  '7~': 'home',
  '8~': 'end',
  '11~': 'f1',
  '12~': 'f2',
  '13~': 'f3',
  '14~': 'f4',
  '15~': 'f5',
  '17~': 'f6',
  '18~': 'f7',
  '19~': 'f8',
  '20~': 'f9',
  '21~': 'f10',
  '23~': 'f11',
  '24~': 'f12',
  '[A': 'f1',
  '[B': 'f2',
  '[C': 'f3',
  '[D': 'f4',
  '[E': 'f5',
};
const CONTROL: Readonly<Record<number, readonly string[]>> = {
  0: ['ctrl', 'spc'],
  8: ['backspace'],
  9: ['tab'],
  10: ['ret'],
  13: ['ret'],
  28: ['ctrl', 'backslash'],
  29: ['ctrl', 'bracket_right'],
  30: ['ctrl', 'shift', '6'],
  31: ['ctrl', 'minus'],
  127: ['backspace'],
};

/** One read's worth of input. A sequence comes whole, so that an Escape at the end is the key itself. */
export function parseTerminalInput(bytes: Uint8Array): Stroke[] {
  const text = Buffer.from(bytes).toString('latin1');
  const strokes: Stroke[] = [];
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    // CSI with modifiers (`ESC [ 1 ; 5 A`), SS3 (`ESC O A`), the Linux console's `ESC [ [ A`.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what terminals send
    const match = /^\x1b(?:\[(\d*)(?:;(\d+))?([A-DFHPQRSZ~])|O([A-DFHPQRS])|\[(\[[A-E]))/.exec(rest);
    if (match !== null) {
      at += match[0].length;
      const keys = sequenceKeys(match);
      if (keys !== undefined) strokes.push(keys);
      continue;
    }
    const code = rest.charCodeAt(0);
    if (code === ESCAPE && rest.length > 1 && rest.charCodeAt(1) !== ESCAPE) {
      at += 2;
      const keys = characterKeys(rest.charCodeAt(1));
      if (keys !== undefined) strokes.push(['alt', ...keys]);
      continue;
    }
    at++;
    const keys = code === ESCAPE ? ['esc'] : characterKeys(code);
    if (keys !== undefined) strokes.push(keys);
  }
  return strokes;
}

function sequenceKeys([, number = '', modifier, final = '', ss3, linux]: RegExpExecArray):
  | readonly string[]
  | undefined {
  if (final === 'Z') return ['shift', 'tab'];
  const name = ss3 ?? linux ?? (final === '~' ? `${number}~` : final);
  const key = SEQUENCES[name];
  if (key === undefined) return undefined;
  // xterm: 1 and the sum of 1 for Shift, 2 for Alt, 4 for Ctrl.
  const held = modifier === undefined ? 0 : Number(modifier) - 1;
  const modifiers = ['shift', 'alt', 'ctrl'].filter((_name, bit) => held & (1 << bit));
  return [...modifiers, key];
}

function characterKeys(code: number): readonly string[] | undefined {
  const control = CONTROL[code];
  if (control !== undefined) return control;
  if (code < 0x1b) return ['ctrl', String.fromCharCode(code + 0x60)];
  return keysOf(String.fromCharCode(code));
}
