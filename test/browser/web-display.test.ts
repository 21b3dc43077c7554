/** `-display web` in headless Chromium: real clicks and keys, the canvas against the screen. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { buildMachine } from '../../src/cli/build-machine.ts';
import { parseCommandLine } from '../../src/cli/options.ts';
import { WebControl } from '../../src/cli/web.ts';
import { isCursorShownAt } from '../../src/devices/vga/render.ts';
import { ConsoleTap } from '../../src/host/web/console-tap.ts';
import { SerialLink } from '../../src/host/serial-link.ts';
import { Hmp } from '../../src/monitor/hmp.ts';
import type { MonitorHost } from '../../src/monitor/command.ts';
import { Browser } from '../support/devtools.ts';
import { requireProgram } from '../support/programs.ts';

const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ambervm-web-'));
const cleanups: (() => unknown)[] = [
  () => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 }),
];
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const hda = join(folder, 'demo.qcow2');

/** `again`: on the image as it is. */
async function startMachine(again = false) {
  if (!again) await createQcow2(hda, { sizeBytes: 1024 * 1024, backingFile: DEMO, backingFormat: 'raw' });
  const config = parseCommandLine(['-m', '16', '-bios', 'amberbios', '-hda', hda, '-display', 'web']);
  const tap = new ConsoleTap({
    filename: 'null',
    attach: () => {},
    write: (bytes) => bytes.length,
    acceptInput: () => {},
    close: async () => {},
  });
  const link = new SerialLink(tap);
  const machine = await buildMachine(config, { serials: [link], notice: () => {} });
  link.connect(machine.serial(0)!.receiver, () => machine.wake());
  tap.attach(link);
  const web = new WebControl();
  cleanups.push(
    () => machine.close(),
    () => web.close(),
  );
  const url = await web.start(config.web!, {
    machine,
    hmp: new Hmp({ machine, host: {} as MonitorHost }),
    serial: tap,
    onFault: (error) => {
      throw error;
    },
  });
  return { machine, web, url };
}

test.skipIf(!requireProgram('chromium'))(
  'screen, keys, buttons, snapshots, serial, monitor (skipped without chromium)',
  async () => {
    const { machine, web, url } = await startMachine();
    machine.start();
    const browser = await Browser.start();
    cleanups.push(() => browser.close());
    await browser.open(url);
    await browser.until('document.body.dataset.connected');
    await browser.until(`document.querySelector('#serial pre').textContent.includes('tick')`);
    expect(await browser.evaluate(`document.querySelector('#state').textContent`)).toBe('running');

    // A key goes to the guest: the demo names the last one in its line.
    await browser.click('#screen canvas');
    await browser.key('k');
    await browser.until(`document.querySelector('#serial pre').textContent.includes('key=k')`);

    // Pause: the canvas is the screen, pixel for pixel.
    await browser.click('#pause');
    await browser.until(`document.querySelector('#state').textContent === 'paused'`);
    expect(machine.state).toBe('paused');
    expect(await canvasOf(browser, machine)).toBe('equal');
    const before = machine.cpu.instructions;

    await browser.click('#tag');
    await browser.type('here');
    await browser.click('#savevm');
    await browser.until(`document.querySelector('tr[data-tag=here] img')`);
    expect(machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['here']);
    expect(await browser.evaluate(`document.querySelector('tr[data-tag=here] img').naturalWidth`)).toBe(160);
    const picture = process.env['AMBERVM_SCREENSHOT'];
    if (picture !== undefined) writeFileSync(picture, await browser.screenshot());

    await browser.click('#resume');
    await browser.until(`document.querySelector('#state').textContent === 'running'`);
    while (machine.cpu.instructions < before + 1_000_000) await delay(50);
    await browser.click('#pause');
    await browser.until(`document.querySelector('#state').textContent === 'paused'`);
    const loaded = new Promise((resolve) => machine.on('loaded', resolve));
    await browser.click('tr[data-tag=here]');
    expect(await loaded).toEqual({ tag: 'here' });
    expect(await canvasOf(browser, machine)).toBe('equal');

    await browser.click('[data-tab=monitor]');
    await browser.click('#monitor input');
    await browser.type('info snapshots');
    await browser.enter();
    await browser.until(`document.querySelector('#monitor pre').textContent.includes('here')`);

    // Another machine on the same image knows nothing but what is in it: the picture is there, a click loads.
    await web.close();
    await machine.close();
    const next = await startMachine(true);
    await browser.open(next.url);
    await browser.until(`document.querySelector('tr[data-tag=here] img')?.naturalWidth >= 40`);
    if (picture !== undefined) writeFileSync(`${picture}-again.png`, await browser.screenshot());
    const loadedAgain = new Promise((resolve) => next.machine.on('loaded', resolve));
    await browser.click('tr[data-tag=here]');
    expect(await loadedAgain).toEqual({ tag: 'here' });

    await browser.click('#resume');
    const pressed: string[] = [];
    const { keyboard } = next.machine;
    const key = keyboard.key.bind(keyboard);
    keyboard.key = (name, down) => {
      if (down) pressed.push(name);
      return key(name, down);
    };
    await browser.click('#cad');
    await expect.poll(() => pressed, { timeout: 60_000 }).toEqual(['ctrl', 'alt', 'delete']);
    const reset = new Promise((resolve) => next.machine.on('reset', resolve));
    await browser.click('#reset');
    expect(await reset).toEqual({ guest: false });
  },
  600_000,
);

/** `equal`, once noVNC has drawn what the machine shows; else what is different. */
async function canvasOf(browser: Browser, machine: Awaited<ReturnType<typeof startMachine>>['machine']) {
  let difference = '';
  for (let i = 0; i < 100; i++) {
    const { width, height, pixels } = machine.screen!.render(isCursorShownAt(machine.clock.now()));
    const canvas = await browser.evaluate<{ width: number; height: number; rgb: string }>(
      `(() => { const c = document.querySelector('#screen canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let rgb = ''; for (let i = 0; i < d.length; i += 4) rgb += String.fromCharCode(d[i], d[i + 1], d[i + 2]);
        return { width: c.width, height: c.height, rgb: btoa(rgb) }; })()`,
    );
    const rgb = Buffer.from(canvas.rgb, 'base64');
    let wrong = 0;
    for (let p = 0; p < width * height; p++) if (rgb.readUIntBE(p * 3, 3) !== pixels[p]) wrong++;
    if (canvas.width === width && canvas.height === height && wrong === 0) return 'equal';
    difference = `${canvas.width}×${canvas.height}, not ${width}×${height}; ${wrong} pixels`;
    await delay(100);
  }
  return difference;
}
