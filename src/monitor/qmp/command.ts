/** The table of QMP commands: what each takes, checked before it runs, and what it does. */
import type { Machine } from '../../machine/machine.ts';
import type { MonitorHost } from '../command.ts';
import type { Hmp } from '../hmp.ts';
import { QmpError } from './errors.ts';

export interface QmpContext {
  readonly machine: Machine;
  readonly host: MonitorHost;
  readonly hmp: Hmp;
  /** All commands, for query-commands and query-qmp-schema. */
  readonly commands: readonly QmpCommand[];
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

type Kind = 'string' | 'integer' | 'boolean' | 'array' | 'object' | 'any';

/** Names of arguments with their kinds; `?` behind the kind: may be left out. The name `*`: others too. */
export type Spec = Readonly<Record<string, Kind | `${Kind}?`>>;

export class QmpArguments {
  readonly #values: JsonObject;

  constructor(values: JsonObject) {
    this.#values = values;
  }

  string(name: string): string {
    return this.#values[name] as string;
  }
  optionalString(name: string): string | undefined {
    return this.#values[name] as string | undefined;
  }
  integer(name: string): number {
    return this.#values[name] as number;
  }
  optionalInteger(name: string): number | undefined {
    return this.#values[name] as number | undefined;
  }
  optionalBoolean(name: string): boolean | undefined {
    return this.#values[name] as boolean | undefined;
  }
  list(name: string): readonly Json[] {
    return (this.#values[name] ?? []) as readonly Json[];
  }
  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }
}

export interface QmpCommand {
  readonly name: string;
  readonly spec: Spec;
  readonly run: (context: QmpContext, args: QmpArguments) => Json | undefined | Promise<Json | undefined>;
}

export function qmp(name: string, spec: Spec, run: QmpCommand['run']): QmpCommand {
  return { name, spec, run };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Throws QmpError in the words of QEMU's visitors (qapi/qobject-input-visitor.c). */
export function checkArguments(spec: Spec, values: JsonObject): QmpArguments {
  for (const [name, kind] of Object.entries(spec)) {
    const wanted = kind.replace('?', '') as Kind;
    const value = values[name];
    if (value === undefined) {
      if (kind.endsWith('?')) continue;
      throw new QmpError(`Parameter '${name}' is missing`);
    }
    if (!matches(value, wanted))
      throw new QmpError(`Invalid parameter type for '${name}', expected: ${wanted}`);
  }
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(spec, name) && !Object.hasOwn(spec, '*'))
      throw new QmpError(`Parameter '${name}' is unexpected`);
  }
  return new QmpArguments(values);
}

function matches(value: Json, kind: Kind): boolean {
  switch (kind) {
    case 'integer':
      return typeof value === 'number' && Number.isSafeInteger(value);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'any':
      return true;
    default:
      return typeof value === kind;
  }
}
