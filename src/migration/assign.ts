/** Copies a decoded record into the objects that a device has, in place: nobody's cached reference goes stale. */
import { assert } from './errors.ts';

type Unknown = { [property: string]: unknown };
type AnyArray = { length: number; [index: number]: unknown };

/** Every property of `source` into `target`. Objects and arrays are filled, never replaced; shapes must agree. */
export function assignState(target: object, source: object): void {
  assignRecord(target as Unknown, source as Unknown, 'state');
}

function assignRecord(target: Unknown, source: Unknown, path: string): void {
  for (const property in source) {
    const value = source[property];
    if (typeof value !== 'object' || value === null) {
      target[property] = value;
      continue;
    }
    const place = target[property];
    const here = `${path}.${property}`;
    assert(typeof place === 'object' && place !== null, `${here} exists once and for all in the device`);
    if (isArray(value)) assignArray(place as AnyArray, value, here);
    else assignRecord(place as Unknown, value as Unknown, here);
  }
}

function assignArray(target: AnyArray, source: AnyArray, path: string): void {
  assert(
    target.length === source.length,
    `${path} has ${source.length} elements, the device has ${target.length}`,
  );
  // A disk controller's buffer is 128 KiB: in one piece where the kinds agree.
  if (target instanceof Uint8Array && source instanceof Uint8Array) {
    target.set(source);
    return;
  }
  for (let i = 0; i < source.length; i++) {
    const value = source[i];
    if (typeof value === 'object' && value !== null) {
      assignRecord(target[i] as Unknown, value as Unknown, `${path}[${i}]`);
    } else {
      target[i] = value;
    }
  }
}

function isArray(value: object): value is AnyArray {
  return Array.isArray(value) || ArrayBuffer.isView(value);
}
