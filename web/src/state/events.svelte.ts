// SPDX-License-Identifier: Apache-2.0
// The daemon's event stream, /admin/v1/events: a snapshot, then what changes. What happened is told from the two, what
// happened to memories also from before the page was opened; the newest kMost are kept.
import { protocols, socketUrl } from '../api/stream';
import type { MemoryEvent, Operation } from '../api/types';

export type Happening =
  | { id: number; time: number; kind: 'state'; from: string; to: string }
  | { id: number; time: number; kind: 'memory'; event: MemoryEvent }
  | { id: number; time: number; kind: 'operation'; operation: Operation };

interface Message {
  type: 'snapshot' | 'delta' | 'pong' | 'error';
  unix_ms: number;
  state: string;
  operations: Operation[];
  memory_events: MemoryEvent[]; // oldest first
}

const kMost = 200;

export class Events {
  list = $state.raw<Happening[]>([]); // newest first
  connection = $state<'connecting' | 'live' | 'lost'>('connecting');
  everOpened = $state(false);

  #socket: WebSocket | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #state = '';
  #told = 0; // the newest memory event's number
  #operations = new Map<number, string>();
  #next = 0;

  open(): void {
    let socket: WebSocket;
    try {
      socket = this.#socket = new WebSocket(socketUrl('/admin/v1/events'), protocols());
    } catch {
      this.connection = 'lost'; // A key with characters that no subprotocol can have.
      return;
    }
    socket.onopen = () => {
      this.connection = 'live';
      this.everOpened = true;
      this.#failures = 0;
    };
    socket.onmessage = (event: MessageEvent<string>) => this.#take(JSON.parse(event.data) as Message);
    socket.onclose = () => {
      this.connection = 'lost';
      this.#failures += 1;
      this.#retry = setTimeout(() => this.open(), Math.min(10_000, 500 * 2 ** this.#failures));
    };
  }
  close(): void {
    clearTimeout(this.#retry);
    if (!this.#socket) return;
    this.#socket.onclose = null;
    this.#socket.close(1000);
  }

  #take(message: Message): void {
    if (message.type !== 'snapshot' && message.type !== 'delta') return;
    const time = message.unix_ms;
    const fresh: Happening[] = [];
    if (this.#state && message.state !== this.#state) {
      fresh.push({ id: this.#next++, time, kind: 'state', from: this.#state, to: message.state });
    }
    this.#state = message.state;
    // A daemon that was restarted counts from the start again.
    if ((message.memory_events.at(-1)?.number ?? 0) < this.#told && message.type === 'snapshot') this.#told = 0;
    for (const event of message.memory_events) {
      if (event.number <= this.#told) continue;
      this.#told = event.number;
      fresh.push({ id: this.#next++, time: event.unix_ms, kind: 'memory', event });
    }
    // What had happened before the page was opened is no event of it.
    const first = this.#operations.size === 0 && message.type === 'snapshot';
    for (const operation of [...message.operations].reverse()) {
      const now = `${operation.state} ${operation.stage}`;
      if (!first && this.#operations.get(operation.id) !== now) fresh.push({ id: this.#next++, time, kind: 'operation', operation });
      this.#operations.set(operation.id, now);
    }
    if (this.#operations.size > 1000) this.#operations = new Map([...this.#operations].slice(-500));
    if (fresh.length) this.list = [...fresh.reverse(), ...this.list].sort((a, b) => b.time - a.time || b.id - a.id).slice(0, kMost);
  }
}
