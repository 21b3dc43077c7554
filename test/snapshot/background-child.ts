/** Run as a program: saves in the background, again and again, while the guest writes to memory and disk; to be killed. */
import { openChurn } from './churn.ts';

const pc = await openChurn(process.argv[2]!, { loadvm: 'boot' });
pc.machine.start();
// The guest has to have written something when the first save begins.
await new Promise((resolve) => setTimeout(resolve, 200));
const saves = (async () => {
  for (let i = 0; i < 200; i++) {
    const save = await pc.machine.savevmInBackground(i % 3 === 0 ? 'boot-again' : `b${i % 2}`, {
      incremental: i % 2 === 0,
    });
    if (i === 0) console.log('saving');
    await save.done;
  }
})();
await saves;
