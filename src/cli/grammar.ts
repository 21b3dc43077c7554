/**
 * QEMU's option grammar (docs/system/qemu-manpage.rst, util/qemu-option.c): `a=b,c=d` where the first key may be left
 * out, `,,` for a comma, `on|off`, numbers, sizes with K M G T. Messages are QEMU 7.2's, measured.
 */

/** The command line is wrong. Each report is printed behind the program's name; a report may have several lines. */
export class UsageError extends Error {
  /** What went wrong, for programs. */
  readonly code = 'usage';
  /** Lines as the program prints them, each with its name before it. */
  readonly reports: readonly string[];

  constructor(...reports: string[]) {
    super(reports.join('\n'));
    this.name = 'UsageError';
    this.reports = reports;
  }
}

/** One `key=value`; a word alone has value undefined. */
export interface Pair {
  readonly key: string;
  readonly value: string | undefined;
}

/** Cuts at single commas; a doubled one is a literal comma. */
export function splitAtCommas(text: string): string[] {
  const parts: string[] = [''];
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char !== ',') parts[parts.length - 1] += char;
    else if (text[i + 1] === ',') {
      parts[parts.length - 1] += ',';
      i++;
    } else parts.push('');
  }
  return parts;
}

/** The inverse of splitAtCommas for one value. */
export function escapeCommas(value: string): string {
  return value.replaceAll(',', ',,');
}

/** The pairs of an option's argument. `implied` is the key of a first part without `=`. */
export function parsePairs(text: string, implied?: string): Pair[] {
  const pairs: Pair[] = [];
  splitAtCommas(text).forEach((part, index) => {
    const equals = part.indexOf('=');
    if (equals >= 0) pairs.push({ key: part.slice(0, equals), value: part.slice(equals + 1) });
    else if (index === 0 && implied !== undefined) pairs.push({ key: implied, value: part });
    else if (part !== '') pairs.push({ key: part, value: undefined });
  });
  return pairs;
}

/** Later values of a key replace earlier ones; a word alone is `on`, one with `no` before a known key is `off`. */
export function toMap(pairs: readonly Pair[], known: readonly string[], where: string): Map<string, string> {
  const map = new Map<string, string>();
  for (const { key, value } of pairs) {
    if (known.includes(key)) map.set(key, value ?? 'on');
    else if (value === undefined && key.startsWith('no') && known.includes(key.slice(2))) {
      map.set(key.slice(2), 'off');
    } else throw new UsageError(`${where}: Invalid parameter '${key}'`);
  }
  return map;
}

export function parseBoolean(key: string, value: string, where: string): boolean {
  if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true;
  if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false;
  throw new UsageError(`${prefix(where)}Parameter '${key}' expects 'on' or 'off'`);
}

/** Decimal, 0x hexadecimal or 0 octal, not negative. */
export function parseNumber(key: string, value: string, where: string): number {
  const number = unsigned(value);
  if (number === undefined) throw new UsageError(`${prefix(where)}Parameter '${key}' expects a number`);
  return number;
}

export function unsigned(text: string): number | undefined {
  if (/^0[xX][0-9a-fA-F]+$/.test(text)) return Number.parseInt(text, 16);
  if (/^0[0-7]+$/.test(text)) return Number.parseInt(text, 8);
  if (/^(0|[1-9][0-9]*)$/.test(text)) return Number(text);
  return undefined;
}

const SUFFIXES = 'BKMGTPE';

/** Bytes. Without a suffix `value` counts units of `unit` bytes. Fractions need a suffix above B: `1.5G`. */
export function parseSize(key: string, value: string, where: string, unit = 1): number {
  const match = /^(0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?)([bBkKmMgGtTpPeE]?)$/.exec(value);
  const suffix = match?.[2]?.toUpperCase() ?? '';
  const scale = suffix === '' ? unit : 1024 ** SUFFIXES.indexOf(suffix);
  const bytes = match === null ? Number.NaN : Number(match[1]) * scale;
  if (!(bytes >= 0) || bytes >= 2 ** 64 || (scale === 1 && !Number.isInteger(bytes))) {
    throw new UsageError(
      `${prefix(where)}Parameter '${key}' expects a non-negative number below 2^64\n` +
        'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
    );
  }
  return Math.floor(bytes);
}

/** Whether an option's argument asks for the list of its choices. */
export function isHelp(value: string): boolean {
  return value === 'help' || value === '?';
}

function prefix(where: string): string {
  return where === '' ? '' : `${where}: `;
}
