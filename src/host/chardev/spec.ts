/** What `-serial`, `-monitor` and `-chardev` name: QEMU's character back ends, as far as we have them. */

export type CharSpec =
  | { readonly kind: 'null' | 'none' | 'pty' | 'stdio' | 'vc' }
  | { readonly kind: 'ringbuf'; readonly size?: number }
  | {
      readonly kind: 'udp';
      readonly host: string;
      readonly port: number;
      /** Where answers come to; any port if 0. */
      readonly localHost: string;
      readonly localPort: number;
    }
  | { readonly kind: 'file'; readonly path: string; readonly append: boolean }
  | ({ readonly kind: 'unix'; readonly path: string } & SocketSpec)
  | ({ readonly kind: 'tcp'; readonly host: string; readonly port: number } & SocketSpec);

export interface SocketSpec {
  readonly server: boolean;
  /** Server: nothing runs until somebody has connected. */
  readonly wait: boolean;
  readonly telnet: boolean;
}

/** A back end and whether the monitor shares it (`mon:`). */
export interface CharDescription {
  readonly mux: boolean;
  readonly spec: CharSpec;
  /** As the user wrote it, for messages. */
  readonly text: string;
  /** What is written goes to a file too. */
  readonly log?: { readonly path: string; readonly append: boolean };
}

const PLAIN = new Set(['null', 'none', 'pty', 'stdio', 'ringbuf', 'vc']);

/** Undefined: not a back end that we know. */
export function parseCharSpec(text: string): CharDescription | undefined {
  const mux = text.startsWith('mon:');
  const [plain, log] = takeLog(mux ? text.slice(4) : text);
  const spec = parseSpec(plain);
  if (spec === undefined) return undefined;
  return log === undefined ? { mux, spec, text } : { mux, spec, text, log };
}

const UDP = /^(?:\[([^\]]*)\]|([^:@]*)):(\d+)(?:@(?:\[([^\]]*)\]|([^:]*)):(\d+))?$/;

/** `logfile=` and `logappend=` are for every kind. */
function takeLog(text: string): [string, CharDescription['log']] {
  const path = /,logfile=([^,]*)/.exec(text)?.[1];
  const plain = text.replace(/,log(?:file|append)=[^,]*/g, '');
  return [plain, path === undefined ? undefined : { path, append: /,logappend=on/.test(text) }];
}

function parseSpec(text: string): CharSpec | undefined {
  const [first = '', ...rest] = text.split(',');
  // A size (`vc:80Cx24C`) means nothing here: the terminal has its own.
  if (/^vc:/.test(text)) return { kind: 'vc' };
  const ring = /^ringbuf:(\d+)$/.exec(text);
  if (ring !== null) return { kind: 'ringbuf', size: Number(ring[1]) };
  if (PLAIN.has(text)) return { kind: text as 'null' };
  const colon = first.indexOf(':');
  const kind = first.slice(0, colon);
  const address = first.slice(colon + 1);
  if (colon < 0 || address === '') return undefined;
  const options = new Map(rest.map(word));
  const isOn = (key: string, absent: boolean) => {
    const value = options.get(key);
    return value === undefined ? absent : value === 'on';
  };
  if (kind === 'udp') {
    const match = UDP.exec(address);
    if (match === null || Number(match[3]) > 65535 || Number(match[6] ?? 0) > 65535) return undefined;
    const [, host6, host4, port, local6, local4, localPort = '0'] = match;
    return {
      kind,
      host: host6 ?? (host4 || '127.0.0.1'),
      port: Number(port),
      localHost: local6 ?? local4 ?? '',
      localPort: Number(localPort),
    };
  }
  if (kind === 'file') return { kind, path: address, append: isOn('append', false) };
  const server = isOn('server', false);
  const socket = {
    server,
    wait: server && isOn('wait', true),
    telnet: kind === 'telnet' || isOn('telnet', false),
  };
  if (kind === 'unix') return { kind, path: address, ...socket };
  if (kind !== 'tcp' && kind !== 'telnet') return undefined;
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]+)$/.exec(address);
  if (match === null || Number(match[3]) > 65535) return undefined;
  return { kind: 'tcp', host: match[1] ?? match[2] ?? '', port: Number(match[3]), ...socket };
}

/** `server` and `nowait` are the old forms of `server=on` and `wait=off`. */
function word(text: string): [string, string] {
  const equals = text.indexOf('=');
  if (equals >= 0) return [text.slice(0, equals), text.slice(equals + 1)];
  return text.startsWith('no') && text !== 'nodelay' ? [text.slice(2), 'off'] : [text, 'on'];
}
