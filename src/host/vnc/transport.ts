/** A connection as the protocol sees it: bytes both ways, over TCP or (websocket.ts) a WebSocket. */
import type { Socket } from 'node:net';

export interface Transport {
  /** Who is there, for `info vnc`. */
  readonly peer: string;
  readonly isWebSocket: boolean;
  /** Bytes not yet taken by the network. */
  readonly bufferedBytes: number;
  write(bytes: Buffer): void;
  /** Called once each. `drain` follows a write that had to wait. */
  listen(handlers: TransportHandlers): void;
  /** What was written still goes out, for a moment. */
  end(): void;
  destroy(): void;
}

export interface TransportHandlers {
  data(bytes: Buffer): void;
  drain(): void;
  closed(): void;
}

export function socketTransport(socket: Socket): Transport {
  socket.setNoDelay(true);
  return {
    peer: `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`,
    isWebSocket: false,
    get bufferedBytes() {
      return socket.writableLength;
    },
    write: (bytes) => {
      if (socket.writable) socket.write(bytes);
    },
    listen: ({ data, drain, closed }) => {
      socket.on('data', data);
      socket.on('drain', drain);
      socket.on('error', () => {});
      socket.once('close', closed);
    },
    end: () => socket.destroySoon(),
    destroy: () => socket.destroy(),
  };
}
