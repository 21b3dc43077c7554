import { expect, it } from 'vitest';
import { Jobs } from '../machine/jobs.ts';
import { showProgress } from './progress-line.ts';

function terminal(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, columns: 40, written, write: (text: string) => written.push(text) };
}

it('a job that takes its time has a line, which goes at the end', () => {
  const jobs = new Jobs();
  const tty = terminal(true);
  let ms = 0;
  const stop = showProgress(jobs, tty, () => ms);
  const job = jobs.create('snapshot-save', 'a');
  job.start();
  for (; ms < 600; ms += 50) job.progress(ms * 2 ** 20, 2 ** 30);
  job.conclude();
  expect(tty.written).toEqual([
    '\r\x1b[Ksavevm a: 24 % (250 of 1024 MiB)',
    '\r\x1b[Ksavevm a: 34 % (350 of 1024 MiB)',
    '\r\x1b[Ksavevm a: 43 % (450 of 1024 MiB)',
    '\r\x1b[Ksavevm a: 53 % (550 of 1024 MiB)',
    '\r\x1b[K',
  ]);
  stop();
});

it('a quick job, one in the background, and a file have none', () => {
  const jobs = new Jobs();
  const [tty, file] = [terminal(true), terminal(false)];
  let ms = 0;
  showProgress(jobs, tty, () => ms);
  showProgress(jobs, file, () => ms);
  const quick = jobs.create('snapshot-load', 'a');
  quick.start();
  quick.progress(10, 20);
  quick.conclude();
  const slow = jobs.create('snapshot-save', 'b', { isBackground: true });
  slow.start();
  ms = 1000;
  slow.progress(10, 20);
  slow.conclude(new Error('full'));
  expect(tty.written).toEqual([]);
  const other = jobs.create('snapshot-save', 'c');
  ms = 3000;
  other.progress(10, 20);
  other.conclude();
  expect(file.written).toEqual([]);
  expect(tty.written).toHaveLength(2);
});
