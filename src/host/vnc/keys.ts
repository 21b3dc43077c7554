/**
 * Keys of clients as QEMU's key names. A client with the extended key event names the key by its scan code, whatever
 * the layout; one without names the character, which is then looked for on a US keyboard (X11 keysymdef.h).
 */
import { byScanCode } from '../../monitor/commands/keys.ts';
import { keysOf } from '../../monitor/us-keyboard.ts';

const BY_KEYSYM: ReadonlyMap<number, string> = new Map([
  [0xff08, 'backspace'],
  [0xff09, 'tab'],
  [0xfe20, 'tab'],
  [0xff0d, 'ret'],
  [0xff13, 'pause'],
  [0xff14, 'scroll_lock'],
  [0xff15, 'sysrq'],
  [0xff1b, 'esc'],
  [0xff50, 'home'],
  [0xff51, 'left'],
  [0xff52, 'up'],
  [0xff53, 'right'],
  [0xff54, 'down'],
  [0xff55, 'pgup'],
  [0xff56, 'pgdn'],
  [0xff57, 'end'],
  [0xff61, 'print'],
  [0xff63, 'insert'],
  [0xff67, 'menu'],
  [0xff7f, 'num_lock'],
  [0xff8d, 'kp_enter'],
  [0xff95, 'kp_7'],
  [0xff96, 'kp_4'],
  [0xff97, 'kp_8'],
  [0xff98, 'kp_6'],
  [0xff99, 'kp_2'],
  [0xff9a, 'kp_9'],
  [0xff9b, 'kp_3'],
  [0xff9c, 'kp_1'],
  [0xff9d, 'kp_5'],
  [0xff9e, 'kp_0'],
  [0xff9f, 'kp_decimal'],
  [0xffaa, 'kp_multiply'],
  [0xffab, 'kp_add'],
  [0xffad, 'kp_subtract'],
  [0xffae, 'kp_decimal'],
  [0xffaf, 'kp_divide'],
  [0xffe1, 'shift'],
  [0xffe2, 'shift_r'],
  [0xffe3, 'ctrl'],
  [0xffe4, 'ctrl_r'],
  [0xffe5, 'caps_lock'],
  [0xffe7, 'alt'],
  [0xffe8, 'alt_r'],
  [0xffe9, 'alt'],
  [0xffea, 'alt_r'],
  [0xfe03, 'alt_r'],
  [0xffeb, 'meta_l'],
  [0xffec, 'meta_r'],
  [0xffff, 'delete'],
  ...Array.from({ length: 10 }, (_, i) => [0xffb0 + i, `kp_${i}`] as const),
  ...Array.from({ length: 12 }, (_, i) => [0xffbe + i, `f${i + 1}`] as const),
]);
/** e0 37: the key that set 1 also knows as 0x54. */
const PRINT_SCAN_CODE = 0xb7;

/** Undefined: the keyboard has no such key. The number has 0x80 for the prefix e0. */
export function keyOfScanCode(scanCode: number): string | undefined {
  return scanCode === PRINT_SCAN_CODE ? 'print' : byScanCode(scanCode);
}

/** Shift is the client's business: it sends it as a key of its own. */
export function keyOfKeysym(keysym: number): string | undefined {
  const special = BY_KEYSYM.get(keysym);
  if (special !== undefined || keysym < 0x20 || keysym > 0x7e) return special;
  return keysOf(String.fromCharCode(keysym))?.at(-1);
}
