/**
 * Who may drive the web display: whoever knows the token in its address. A page of another site can make the browser
 * send requests here, but does not know the token, and its name is in `Origin`; a name of its own that it lets point to
 * this computer (DNS rebinding) is in `Host`.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

const TOKEN_BYTES = 24;
const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];

export function makeToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

/** In a time that tells nothing. */
export function isToken(given: string | null, token: string): boolean {
  const [a, b] = [Buffer.from(given ?? ''), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Whether the address that the browser believes to talk to is ours: a loopback name, the name asked for, any number. */
export function isOurHost(host: string | undefined, boundHost: string): boolean {
  if (host === undefined || !URL.canParse(`http://${host}`)) return false;
  const { hostname } = new URL(`http://${host}`);
  if (LOOPBACK_NAMES.includes(hostname) || hostname === boundHost) return true;
  // Bound to all addresses: no name, so no rebinding.
  const isEverywhere = boundHost === '0.0.0.0' || boundHost === '::';
  return isEverywhere && isIP(hostname.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Whether a WebSocket comes from our page. Programs other than browsers name no origin. */
export function isOurOrigin(origin: string | undefined, host: string | undefined): boolean {
  return origin === undefined || origin === `http://${host}`;
}
