/** savevm, loadvm, delvm. What can go wrong is said by the migration layer, in QEMU's words first. */
import { argument as arg, type Command, command } from '../command.ts';

export const SNAPSHOT_COMMANDS: readonly Command[] = [
  command(
    'savevm',
    [arg('flag', 'b'), arg('flag', 'z'), arg('snapshot', 'name?')],
    '[-b] [-z] tag',
    'save a VM snapshot (-b: while the guest runs, -z: compressed). If no tag is provided, a new snapshot is created',
    async ({ machine }, args) => {
      const options = args.flag('z') ? { compress: {} } : {};
      if (args.flag('b')) await machine.savevmInBackground(args.optional('name'), options);
      else await machine.savevm(args.optional('name'), options);
      return undefined;
    },
  ),
  command(
    'loadvm',
    [arg('snapshot', 'name')],
    'tag',
    'restore a VM snapshot from its tag',
    async ({ machine }, args) => {
      const { notices } = await machine.loadvm(args.string('name'));
      return notices.length === 0 ? undefined : `${notices.join('\n')}\n`;
    },
  ),
  command(
    'delvm',
    [arg('snapshot', 'name')],
    'tag',
    'delete a VM snapshot from its tag',
    async ({ machine }, args) => {
      const name = args.string('name');
      // QEMU says nothing; a user who mistyped is glad of a word, and no script takes it for an error.
      return (await machine.delvm(name)) ? undefined : `There is no snapshot '${name}'.\n`;
    },
  ),
];
