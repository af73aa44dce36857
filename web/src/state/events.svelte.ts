// SPDX-License-Identifier: Apache-2.0
// The daemon's event stream, /admin/v1/events: a snapshot, then what changes. What happened is told from the two; the
// newest kMost are kept.
import { protocols, socketUrl } from '../api/stream';
import type { Operation } from '../api/types';

export type Happening =
  | { id: number; time: number; kind: 'state'; from: string; to: string }
  | { id: number; time: number; kind: 'version'; model: string; from: number; to: number }
  | { id: number; time: number; kind: 'operation'; operation: Operation };

interface Message {
  type: 'snapshot' | 'delta' | 'pong' | 'error';
  unix_ms: number;
  state: string;
  metrics: Record<string, number | null>; // null: gone
  operations: Operation[];
}

const kMost = 200;
const kVersion = /^engramd_memory_version(?:\{.*?model="([^"]*)".*\})?$/;

export class Events {
  list = $state.raw<Happening[]>([]); // newest first
  connection = $state<'connecting' | 'live' | 'lost'>('connecting');
  everOpened = $state(false);

  #socket: WebSocket | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #state = '';
  #versions = new Map<string, number>();
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
    for (const [name, value] of Object.entries(message.metrics)) {
      const model = kVersion.exec(name)?.[1];
      if (model === undefined || value === null) continue;
      const from = this.#versions.get(model);
      if (from !== undefined && from !== value) fresh.push({ id: this.#next++, time, kind: 'version', model, from, to: value });
      this.#versions.set(model, value);
    }
    // What had happened before the page was opened is no event of it.
    const first = this.#operations.size === 0 && message.type === 'snapshot';
    for (const operation of [...message.operations].reverse()) {
      const now = `${operation.state} ${operation.stage}`;
      if (!first && this.#operations.get(operation.id) !== now) fresh.push({ id: this.#next++, time, kind: 'operation', operation });
      this.#operations.set(operation.id, now);
    }
    if (this.#operations.size > 1000) this.#operations = new Map([...this.#operations].slice(-500));
    if (fresh.length) this.list = [...fresh.reverse(), ...this.list].slice(0, kMost);
  }
}
