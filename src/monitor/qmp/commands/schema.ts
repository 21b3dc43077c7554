/**
 * `query-qmp-schema`: what the commands take, in the form of qapi/introspect.json, made from the command table. Results are told
 * as `any`; the names of types are numbers, as QEMU's are. Not here: fields of results and of nested arguments, enumerations.
 */
import type { Json, QmpCommand, Spec } from '../command.ts';

/** Events that there are; their data is not described. */
const EVENTS = [
  ...['SHUTDOWN', 'POWERDOWN', 'RESET', 'STOP', 'RESUME', 'SUSPEND', 'DEVICE_TRAY_MOVED', 'BLOCK_IO_ERROR'],
  ...['JOB_STATUS_CHANGE', 'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED'],
];
const BUILT_IN: readonly (readonly [name: string, json: string])[] = [
  ['str', 'string'],
  ['int', 'int'],
  ['bool', 'boolean'],
  ['any', 'value'],
];
const TYPE_OF: Readonly<Record<string, string>> = {
  string: 'str',
  integer: 'int',
  boolean: 'bool',
  array: '[any]',
  object: 'any',
  any: 'any',
};
const EMPTY = '0';

export function schemaOf(commands: readonly QmpCommand[]): Json {
  const types: Json[] = [{ name: EMPTY, 'meta-type': 'object', members: [] }];
  const described = commands.map(({ name, spec }) => {
    const members = membersOf(spec);
    let argument = EMPTY;
    if (members.length > 0) {
      argument = String(types.length);
      types.push({ name: argument, 'meta-type': 'object', members });
    }
    return { name, 'meta-type': 'command', 'arg-type': argument, 'ret-type': 'any' };
  });
  return [
    ...described,
    ...EVENTS.map((name) => ({ name, 'meta-type': 'event', 'arg-type': EMPTY })),
    ...types,
    ...BUILT_IN.map(([name, json]) => ({ name, 'meta-type': 'builtin', 'json-type': json })),
    { name: '[any]', 'meta-type': 'array', 'element-type': 'any' },
  ];
}

function membersOf(spec: Spec): Json[] {
  return Object.entries(spec).flatMap(([name, kind]) =>
    name === '*'
      ? []
      : [
          {
            name,
            type: TYPE_OF[kind.replace('?', '')]!,
            // Absent means: what the command does without it.
            ...(kind.endsWith('?') ? { default: null } : {}),
          },
        ],
  );
}
