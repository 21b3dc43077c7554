/** A line plot as SVG: logarithmic axes, a line for each emulator and measure. */

export interface Line {
  readonly name: string;
  readonly color: string;
  readonly isDashed?: boolean;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const WIDTH = 700;
const HEIGHT = 400;
const LEFT = 70;
const RIGHT = 210;
const TOP = 40;
const BOTTOM = 50;

/** Powers of `base` from below the smallest value to above the largest. */
function ticks(values: readonly number[], base: number): number[] {
  const log = (value: number): number => Math.log(value) / Math.log(base);
  const first = Math.floor(log(Math.min(...values)) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(log(Math.max(...values)) - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => base ** (first + i));
}

function label(value: number): string {
  return value >= 1 ? String(Math.round(value)) : value.toPrecision(1);
}

/** `xBase`: what the ticks of the x axis are powers of. Points that are not above zero are left out. */
export function plot(
  title: string,
  xTitle: string,
  yTitle: string,
  xBase: number,
  lines: readonly Line[],
): string {
  const shown = lines.map((line) => ({ ...line, points: line.points.filter(([x, y]) => x > 0 && y > 0) }));
  const points = shown.flatMap((line) => line.points);
  if (points.length === 0) return '';
  const xs = ticks(
    points.map(([x]) => x),
    xBase,
  );
  const ys = ticks(
    points.map(([, y]) => y),
    10,
  );
  const scale = (value: number, [first, last]: readonly [number, number], from: number, to: number): number =>
    from + (Math.log(value / first) / Math.log(last / first)) * (to - from);
  const x = (value: number): number => scale(value, [xs[0]!, xs.at(-1)!], LEFT, WIDTH - RIGHT);
  const y = (value: number): number => scale(value, [ys[0]!, ys.at(-1)!], HEIGHT - BOTTOM, TOP);
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${LEFT}" y="22" font-size="15">${title}</text>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${xTitle}</text>`,
    `<text transform="translate(16 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">${yTitle}</text>`,
  ];
  const text = (at: string, value: number): string => `<text ${at}>${label(value)}</text>`;
  for (const value of xs) {
    const at = x(value).toFixed(1);
    out.push(`<path d="M${at} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/>`);
    out.push(text(`x="${at}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle"`, value));
  }
  for (const value of ys) {
    const at = y(value).toFixed(1);
    out.push(`<path d="M${LEFT} ${at}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    out.push(text(`x="${LEFT - 6}" y="${at}" dy="4" text-anchor="end"`, value));
  }
  for (const [i, { name, color, isDashed, points: of }] of shown.entries()) {
    const path = of.map(([px, py], n) => `${n === 0 ? 'M' : 'L'}${x(px).toFixed(1)} ${y(py).toFixed(1)}`);
    const style = `stroke="${color}" stroke-width="2" fill="none"${isDashed ? ' stroke-dasharray="5 4"' : ''}`;
    out.push(`<path d="${path.join('')}" ${style}/>`);
    for (const [px, py] of of)
      out.push(`<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3" fill="${color}"/>`);
    const row = TOP + 10 + i * 20;
    out.push(`<path d="M${WIDTH - RIGHT + 8} ${row}h22" ${style}/>`);
    out.push(`<text x="${WIDTH - RIGHT + 36}" y="${row + 4}">${name}</text>`);
  }
  return `${out.join('\n')}\n</svg>\n`;
}
