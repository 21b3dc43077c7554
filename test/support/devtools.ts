/** Headless Chromium driven over the DevTools protocol: a page, real clicks and keys, scripts in it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';

type Json = Record<string, unknown>;

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--remote-debugging-port=0',
  '--window-size=1400,900',
];

export class Browser {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (message: Json) => void>();
  #last = 0;
  #session: string | undefined;

  static async start(): Promise<Browser> {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-devtools-'));
    const child = spawn('chromium', [...FLAGS, `--user-data-dir=${folder}`, 'about:blank']);
    const address = await new Promise<string>((resolve, reject) => {
      let text = '';
      child.stderr.on('data', (chunk) => {
        text += chunk;
        const found = /listening on (ws:\S+)/.exec(text);
        if (found !== null) resolve(found[1]!);
      });
      child.once('close', (code) => reject(new Error(`chromium ended with code ${code}\n${text}`)));
    });
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    return new Browser(child, folder, socket);
  }

  private constructor(child: ChildProcess, folder: string, socket: WebSocket) {
    this.#child = child;
    this.#folder = folder;
    this.#socket = socket;
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as Json;
      const id = message['id'] as number | undefined;
      if (id === undefined) return;
      this.#waiting.get(id)?.(message);
      this.#waiting.delete(id);
    });
  }

  async send(method: string, params: Json = {}): Promise<Json> {
    const id = ++this.#last;
    const answer = new Promise<Json>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    const { error, result } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result as Json;
  }

  async open(url: string): Promise<void> {
    const { targetId } = await this.send('Target.createTarget', { url });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    this.#session = sessionId as string;
  }

  /** Value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const answer = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (answer['exceptionDetails'] !== undefined) throw new Error(JSON.stringify(answer['exceptionDetails']));
    return (answer['result'] as Json)['value'] as T;
  }

  /** Until an expression is true. */
  async until(expression: string): Promise<void> {
    while (!(await this.evaluate<boolean>(`Boolean(${expression})`).catch(() => false))) await delay(100);
  }

  /** A real click in the middle of an element. */
  async click(query: string): Promise<void> {
    const [x, y] = await this.evaluate<[number, number]>(
      `(() => { const b = document.querySelector(${JSON.stringify(query)}).getBoundingClientRect();
        return [b.x + b.width / 2, b.y + b.height / 2]; })()`,
    );
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
    }
  }

  /** A letter key, down and up. */
  async key(letter: string): Promise<void> {
    const key = { key: letter, code: `Key${letter.toUpperCase()}`, text: letter };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...key });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...key });
  }

  async enter(): Promise<void> {
    const key = { key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13, text: '\r' };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...key });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...key });
  }

  async type(text: string): Promise<void> {
    await this.send('Input.insertText', { text });
  }

  /** PNG of the page. */
  async screenshot(): Promise<Buffer> {
    return Buffer.from((await this.send('Page.captureScreenshot'))['data'] as string, 'base64');
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#socket.terminate();
    this.#child.kill('SIGKILL');
    await closed;
    // Its helpers live a little longer, and write.
    try {
      rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
    } catch {
      // In a folder for what is temporary.
    }
  }
}
