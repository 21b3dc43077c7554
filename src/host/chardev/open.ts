/** Opens a character back end by its description. */
import { type CharBackend, CharDeviceError } from './chardev.ts';
import { PtyChardev } from './pty.ts';
import { FileChardev, NullChardev, RingBufferChardev } from './simple.ts';
import { SocketChardev } from './socket.ts';
import type { CharSpec } from './spec.ts';
import { StdioChardev } from './stdio.ts';
import { UdpChardev } from './udp.ts';

export interface OpenCharOptions {
  /** QEMU's name of the device: `serial0`, `compat_monitor0`. */
  readonly label: string;
  /** Ctrl-C on stdio ends us. */
  readonly signals: boolean;
  /** A line on standard output (the name of a pty). */
  readonly announce: (line: string) => void;
  /** Opens a console of the display, where it has any. */
  readonly openConsole?: ((label: string) => CharBackend) | undefined;
  /** A line on standard error. */
  readonly notice: (line: string) => void;
}

export async function openChardev(spec: CharSpec, options: OpenCharOptions): Promise<CharBackend> {
  switch (spec.kind) {
    case 'null':
    case 'none':
      return new NullChardev();
    case 'stdio':
      return new StdioChardev({ signals: options.signals });
    case 'file':
      return new FileChardev(spec.path, spec.append);
    case 'ringbuf':
      return new RingBufferChardev(spec.size);
    case 'udp':
      return UdpChardev.open(spec);
    case 'unix':
    case 'tcp':
      return SocketChardev.open(spec, options.notice);
    case 'pty': {
      const pty = await PtyChardev.open();
      options.announce(`char device redirected to ${pty.path} (label ${options.label})`);
      return pty;
    }
    case 'vc':
      if (options.openConsole !== undefined) return options.openConsole(options.label);
      throw new CharDeviceError("'vc' needs -display curses; use stdio, unix: or tcp:");
  }
}
