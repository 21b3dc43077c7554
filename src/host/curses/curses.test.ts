/** `-display curses` seen through a pseudo-terminal, and its parts alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleProgram, ROOT } from '../../../test/support/bundle.ts';
import { TerminalScreen } from '../../../test/support/terminal-screen.ts';
import { parseTerminalInput } from './keys.ts';
import { messageScreen, Painter } from './painter.ts';

const pty = await import('node-pty').catch(() => undefined);
const folder = mkdtempSync(join(tmpdir(), 'ambervm-curses-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('keys of a terminal', () => {
  const parse = (text: string) => parseTerminalInput(Buffer.from(text, 'latin1'));

  test.each([
    ['a', ['a']],
    ['A', ['shift', 'a']],
    ['\r', ['ret']],
    ['\x7f', ['backspace']],
    ['\x03', ['ctrl', 'c']],
    ['\x1b', ['esc']],
    ['\x1bx', ['alt', 'x']],
    ['\x1b[A', ['up']],
    ['\x1bOB', ['down']],
    ['\x1b[1;5C', ['ctrl', 'right']],
    ['\x1b[15~', ['f5']],
    ['\x1b[[A', ['f1']],
    ['\x1b[Z', ['shift', 'tab']],
  ])('%j', (text, keys) => {
    expect(parse(text)).toEqual([keys]);
  });

  test('several at once, and what is no key', () => {
    expect(parse('ab\x1b[5~\xe4\x1b')).toEqual([['a'], ['b'], ['pgup'], ['esc']]);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void parseTerminalInput(bytes)));
  });
});

describe('the painter', () => {
  test('tells only what changed, in the middle of a larger terminal', () => {
    const painter = new Painter();
    painter.reset(80, 25);
    const terminal = new TerminalScreen(80, 25);
    const screen = messageScreen('640 x 480 Graphic mode');
    terminal.write(painter.paint(screen));
    expect(terminal.text).toContain('\n                             640 x 480 Graphic mode\n');
    expect(painter.paint(screen)).toBe('');
    screen.cells[61] = 0x1e41;
    expect(painter.paint(screen)).toBe('\x1b[13;12H\x1b[0;93;44mA');
  });

  test('any screen on any terminal, and the part with the cursor on a smaller one', () => {
    const size = { columns: fc.integer({ min: 1, max: 50 }), rows: fc.integer({ min: 1, max: 30 }) };
    const cells = fc.uint8Array({ minLength: 1500, maxLength: 1500 });
    const property = fc.property(
      fc.record(size),
      fc.record(size),
      cells,
      fc.nat(),
      (own, guest, codes, place) => {
        const painter = new Painter();
        painter.reset(own.columns, own.rows);
        const terminal = new TerminalScreen(own.columns, own.rows);
        const count = guest.columns * guest.rows;
        const at = place % count;
        const cursor = { column: at % guest.columns, row: Math.floor(at / guest.columns) };
        // ASCII letters and attributes.
        const screen = {
          ...guest,
          cursor,
          cells: Uint16Array.from(codes.subarray(0, count), (c) => (c << 8) | (65 + (c & 15))),
        };
        terminal.write(painter.paint(screen));
        if (cursor.column >= own.columns) return;
        const shown = terminal.at(terminal.cursor.column, terminal.cursor.row);
        expect(shown).toBe(String.fromCharCode(screen.cells[at]! & 0xff));
      },
    );
    fc.assert(property, { numRuns: 100 });
  });
});

describe.skipIf(pty === undefined || process.platform === 'win32')('the program', () => {
  let program = '';
  beforeAll(async () => {
    program = await bundleProgram(folder);
  });

  interface Terminal {
    readonly screen: TerminalScreen;
    raw: string;
    readonly ended: Promise<void>;
    send(text: string): void;
    kill(signal: string): void;
    until(condition: () => boolean, what: string): Promise<void>;
  }

  /** The program in a shell that says how the terminal was before, and is afterwards. */
  function open(...more: readonly string[]): Terminal {
    const images = join(ROOT, 'images');
    const args = [
      ...['-m', '16', '-bios', join(images, 'firmware/amberbios.bin'), '-display', 'curses', '-snapshot'],
      ...['-fda', join(images, 'demo/demo.img'), '-pidfile', 'pid', ...more],
    ];
    const command = `"${process.execPath}" ${program} ${args.map((arg) => `'${arg}'`).join(' ')}`;
    const script = `echo "BEFORE $(stty -g) "; ${command}; echo "EXIT $? AFTER $(stty -g) "`;
    const child = pty!.spawn('sh', ['-c', script], { cwd: folder, cols: 80, rows: 25 });
    const screen = new TerminalScreen(80, 25);
    const terminal: Terminal = {
      screen,
      raw: '',
      ended: new Promise((resolve) => child.onExit(() => resolve())),
      send: (text) => child.write(text),
      kill: (signal) => void pty!.spawn('sh', ['-c', `kill -${signal} $(cat pid)`], { cwd: folder }),
      async until(condition, what) {
        for (let i = 0; i < 3000; i++) {
          if (condition()) return;
          if (terminal.raw.includes('EXIT ')) break;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        throw new Error(`no ${what}:\n${screen.text}`);
      },
    };
    child.onData((text) => {
      terminal.raw += text;
      screen.write(text);
    });
    return terminal;
  }

  const has = (terminal: Terminal, text: string | RegExp) =>
    terminal.until(
      () =>
        typeof text === 'string' ? terminal.screen.text.includes(text) : text.test(terminal.screen.text),
      String(text),
    );

  function expectRestored({ raw }: Terminal): void {
    const before = /BEFORE (\S+) /.exec(raw)?.[1];
    expect(before).toBeDefined();
    expect(/AFTER (\S+) /.exec(raw)?.[1]).toBe(before);
    // The alternate screen was left, the cursor is there.
    expect(raw.lastIndexOf('\x1b[?1049l')).toBeGreaterThan(raw.lastIndexOf('\x1b[?1049h'));
    expect(raw.lastIndexOf('\x1b[?25h')).toBeGreaterThan(raw.lastIndexOf('\x1b[?25l'));
  }

  test('shows the text screen, takes keys, has monitor and serial port behind Escape 2 and 3', async () => {
    const terminal = open();
    await has(terminal, 'ambervm');
    await has(terminal, '640 x 400 Graphic mode');
    terminal.send('k');
    terminal.send('\x1b3');
    await has(terminal, 'key=k');
    terminal.send('\x1b2');
    await has(terminal, '(qemu)');
    terminal.send('info status\r');
    await has(terminal, 'VM status: running');
    terminal.send('\x1b1');
    await has(terminal, '640 x 400 Graphic mode');
    expect(terminal.screen.text).not.toContain('VM status');
    terminal.send('\x1b2');
    await has(terminal, 'VM status: running');
    terminal.send('quit\r');
    await terminal.ended;
    expect(terminal.raw).toContain('EXIT 0');
    expectRestored(terminal);
  }, 300_000);

  test('gives the terminal back after SIGTERM, and after an error at the start', {
    timeout: 300_000,
  }, async () => {
    const terminal = open();
    await has(terminal, 'ambervm');
    terminal.kill('TERM');
    await terminal.ended;
    expect(terminal.raw).toContain('EXIT 0');
    expectRestored(terminal);
    const wrong = open('-loadvm', 'nosuch');
    await wrong.ended;
    expect(wrong.raw).toContain('EXIT 1');
    expect(/AFTER (\S+) /.exec(wrong.raw)?.[1]).toBe(/BEFORE (\S+) /.exec(wrong.raw)?.[1]);
  });
});
