/** `-display web`: the machine in a browser. */
import type { VncServer } from '../host/vnc/server.ts';
import type { WebDisplay, WebDisplayOptions } from '../host/web/server.ts';
import type { WebConfig } from './config.ts';
import { parsePairs, toMap, UsageError, unsigned } from './grammar.ts';
import { LOOPBACK } from './vnc.ts';

const MAX_PORT = 65_535;

/** `web`, `web=8080`, `web,port=8080,host=0.0.0.0`. Throws UsageError. */
export function parseWeb(value: string, where: string): WebConfig {
  const map = toMap(parsePairs(value), ['web', 'port', 'host'], where);
  const text = map.get('port') ?? (map.get('web') === 'on' ? '0' : (map.get('web') ?? '0'));
  const port = unsigned(text);
  if (port === undefined || port > MAX_PORT) throw new UsageError(`${where}: '${text}' is not a port`);
  return { where, host: map.get('host') ?? LOOPBACK, port };
}

export class WebControl {
  #vnc: VncServer | undefined;
  #display: WebDisplay | undefined;
  #thumbnails: WebDisplayOptions['thumbnails'] | undefined;

  /** Returns the address to open. Rejects with UsageError. */
  async start(config: WebConfig, options: Omit<WebDisplayOptions, 'vnc' | 'thumbnails'>): Promise<string> {
    // Loaded when wanted: the program starts faster without.
    const [{ VncServer }, { WebDisplay }, { Thumbnails }] = await Promise.all([
      import('../host/vnc/server.ts'),
      import('../host/web/server.ts'),
      import('../host/web/thumbnails.ts'),
    ]);
    const vnc = new VncServer({ machine: options.machine, name: 'ambervm', authenticate: false });
    this.#vnc = vnc;
    const thumbnails = new Thumbnails(options.machine);
    this.#thumbnails = thumbnails;
    try {
      const display = new WebDisplay({ ...options, vnc, thumbnails });
      await display.listen(config.host, config.port);
      this.#display = display;
      return display.url;
    } catch (error) {
      await this.close();
      throw new UsageError(`${config.where}: ${(error as Error).message}`);
    }
  }

  async close(): Promise<void> {
    await this.#display?.close();
    await this.#vnc?.close();
    this.#thumbnails?.close();
    this.#display = undefined;
    this.#vnc = undefined;
  }
}
