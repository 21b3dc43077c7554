/**
 * Trace events on node:diagnostics_channel: channel `ambervm:NAME`, message `{ name, … }` with the event's arguments by
 * their names. Only events that are on are published.
 */
import diagnostics from 'node:diagnostics_channel';
import { addTraceSink } from '../machine/trace.ts';

let isPublishing = false;

/** Publishes from now on. Calling it again does nothing. */
export function publishTraceEvents(): void {
  if (isPublishing) return;
  isPublishing = true;
  addTraceSink((event, values) => {
    const channel = diagnostics.channel(`ambervm:${event.name}`);
    if (!channel.hasSubscribers) return;
    const entries = event.parameters.map((parameter, i) => [parameter.split(':')[0]!, values[i]!] as const);
    channel.publish({ name: event.name, ...Object.fromEntries(entries) });
  });
}
