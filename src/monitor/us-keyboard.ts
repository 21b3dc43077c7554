/** Which keys type a character on a US keyboard, by QEMU's key names. */

const PLAIN: Readonly<Record<string, string>> = {
  ' ': 'spc',
  '\n': 'ret',
  '\t': 'tab',
  '\b': 'backspace',
  '\u001b': 'esc',
  '-': 'minus',
  '=': 'equal',
  '[': 'bracket_left',
  ']': 'bracket_right',
  ';': 'semicolon',
  "'": 'apostrophe',
  '`': 'grave_accent',
  '\\': 'backslash',
  ',': 'comma',
  '.': 'dot',
  '/': 'slash',
};
/** Upper and lower character of the keys that are no letters. */
const SHIFTED = '!1 @2 #3 $4 %5 ^6 &7 *8 (9 )0 _- += {[ }] :; "\' ~` |\\ <, >. ?/';
const UNSHIFTED = new Map(SHIFTED.split(' ').map(([upper, lower]) => [upper!, lower!]));

/** Keys pressed together; undefined if the keyboard has no such character. */
export function keysOf(character: string): readonly string[] | undefined {
  if (/^[a-z0-9]$/.test(character)) return [character];
  if (/^[A-Z]$/.test(character)) return ['shift', character.toLowerCase()];
  const lower = UNSHIFTED.get(character);
  if (lower !== undefined) return ['shift', PLAIN[lower] ?? lower];
  const key = PLAIN[character];
  return key === undefined ? undefined : [key];
}
