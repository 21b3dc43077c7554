/**
 * Code page 437 as the VGA BIOS fonts draw it, to Unicode: the 32 control codes and 0x7f have glyphs too.
 * Source: Unicode Consortium, VENDORS/MICSFT/PC/CP437.TXT and IBMGRAPH.TXT.
 */
const CONTROL = '\u0020☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼';
const HIGH =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀' +
  'αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';

/** Index: character code. NUL shows as a space. */
export const CP437: readonly string[] = Array.from({ length: 256 }, (_, code) => {
  if (code < 0x20) return CONTROL[code]!;
  if (code === 0x7f) return '⌂';
  return code < 0x80 ? String.fromCharCode(code) : HIGH[code - 0x80]!;
});
