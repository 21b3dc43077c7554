/** Just enough of telnet (RFC 854): character mode, binary, commands of the client taken out, break recognised as nothing. */

const IAC = 255;
const WILL = 251;
const DONT = 254;
const DO = 253;
const SUBNEGOTIATION = 250;
const SUBNEGOTIATION_END = 240;
const BINARY = 0;
const ECHO = 1;
const SUPPRESS_GO_AHEAD = 3;

/** We echo, without go-ahead, eight bits both ways. */
export const TELNET_GREETING = Uint8Array.of(
  ...[IAC, WILL, ECHO],
  ...[IAC, WILL, SUPPRESS_GO_AHEAD],
  ...[IAC, WILL, BINARY],
  ...[IAC, DO, BINARY],
);

export class TelnetFilter {
  #state: 'data' | 'command' | 'option' | 'subnegotiation' | 'subnegotiation-iac' = 'data';

  /** What the client typed. */
  decode(bytes: Uint8Array): Uint8Array {
    const out: number[] = [];
    for (const byte of bytes) this.#byte(byte, out);
    return Uint8Array.from(out);
  }

  #byte(byte: number, out: number[]): void {
    switch (this.#state) {
      case 'data':
        if (byte === IAC) this.#state = 'command';
        else out.push(byte);
        return;
      case 'command':
        if (byte === IAC) out.push(IAC);
        this.#state =
          byte === SUBNEGOTIATION ? 'subnegotiation' : byte >= WILL && byte <= DONT ? 'option' : 'data';
        return;
      case 'option':
        this.#state = 'data';
        return;
      case 'subnegotiation':
        if (byte === IAC) this.#state = 'subnegotiation-iac';
        return;
      case 'subnegotiation-iac':
        this.#state = byte === SUBNEGOTIATION_END ? 'data' : 'subnegotiation';
    }
  }

  encode(bytes: Uint8Array): Uint8Array {
    if (!bytes.includes(IAC)) return bytes;
    return Uint8Array.from([...bytes].flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte])));
  }
}
