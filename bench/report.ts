/** The measurements as rows of text: one structure, printed as a table on a terminal, as Markdown, and kept as JSON. */

export interface Table {
  readonly title: string;
  /** What the figures are, in a sentence. */
  readonly note: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Three significant digits, no exponent; `-` for nothing measured. */
export function figure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '-';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

export function ratioText(value: number | undefined): string {
  return value === undefined ? '-' : `${figure(value)} ×`;
}

export function plain({ title, note, head, rows }: Table): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [`\n${title}`, note, '', line(head), rule, ...rows.map(line), ''].join('\n');
}

export function markdown({ title, note, head, rows }: Table): string {
  const line = (row: readonly string[]) => `| ${head.map((_, column) => row[column] ?? '').join(' | ')} |`;
  const rule = `|${head.map((_, column) => (column === 0 ? '---|' : '---:|')).join('')}`;
  return [`### ${title}`, '', note, '', line(head), rule, ...rows.map(line), ''].join('\n');
}
