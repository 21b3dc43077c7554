/** VNC authentication (RFC 6143, section 7.2.2): a challenge encrypted with single DES, the password as key. */
import { createCipheriv, timingSafeEqual } from 'node:crypto';

export const CHALLENGE_BYTES = 16;
const KEY_BYTES = 8;

/** The answer to a challenge. The key is the password's first 8 bytes, the bits of each in reverse. */
export function vncResponse(challenge: Uint8Array, password: string): Buffer {
  const key = Buffer.alloc(KEY_BYTES);
  Buffer.from(password, 'latin1').copy(key);
  for (let i = 0; i < KEY_BYTES; i++) key[i] = mirrored(key[i]!);
  // OpenSSL 3 has no single DES; triple DES with one key three times is the same function.
  const cipher = createCipheriv('des-ede3', Buffer.concat([key, key, key]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

export function isVncResponse(response: Uint8Array, challenge: Uint8Array, password: string): boolean {
  return timingSafeEqual(response, vncResponse(challenge, password));
}

function mirrored(byte: number): number {
  let result = 0;
  for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) result |= 0x80 >> bit;
  return result;
}
