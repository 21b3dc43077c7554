/** Matchers for vitest: `expect(vm).toShowText('login:')`, `expect(vm).toHaveScreen('menu.png')`. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Machine } from '../api/machine.ts';
import { toPattern } from '../api/wait.ts';
import { decodePng } from '../host/display/png-decode.ts';

/** How alike pictures must be. */
export interface ScreenComparison {
  /** Pixels that may differ; default 0. */
  readonly maxDifferentPixels?: number;
  /** Write the picture instead of comparing; default: where there is none, or UPDATE_SCREENS=1 is set. */
  readonly update?: boolean;
}

interface MatcherResult {
  readonly pass: boolean;
  readonly message: () => string;
}

export const matchers = {
  /** The text screen shows this now. */
  toShowText(vm: Machine, wanted: string | RegExp): MatcherResult {
    const text = vm.screen.text();
    const pass = toPattern(wanted).test(text);
    return { pass, message: () => `the screen ${pass ? 'shows' : 'does not show'} ${wanted}:\n${text}` };
  },

  /** The screen looks like this PNG file, pixel for pixel; the text cursor is left out. */
  toHaveScreen(vm: Machine, file: string, options: ScreenComparison = {}): MatcherResult {
    const update = options.update ?? (!existsSync(file) || process.env['UPDATE_SCREENS'] === '1');
    if (update) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, vm.screen.png());
      return { pass: true, message: () => `${file} was written` };
    }
    const wanted = decodePng(readFileSync(file));
    const found = vm.screen.picture();
    if (wanted.width !== found.width || wanted.height !== found.height) {
      const sizes = `expected ${wanted.width}x${wanted.height}, found ${found.width}x${found.height}`;
      return { pass: false, message: () => `the screen has another size than ${file}: ${sizes}` };
    }
    const different = differentPixels(wanted.rgb, found.rgb);
    const pass = different <= (options.maxDifferentPixels ?? 0);
    return { pass, message: () => `${different} pixels differ from ${file}` };
  },
};

function differentPixels(a: Uint8Array, b: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < a.length; i += 3) {
    if (a[i] !== b[i] || a[i + 1] !== b[i + 1] || a[i + 2] !== b[i + 2]) count++;
  }
  return count;
}
