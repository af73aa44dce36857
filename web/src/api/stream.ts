// SPDX-License-Identifier: Apache-2.0
// One generation as it is made: over the WebSocket /v1/stream, or as server-sent events where no WebSocket opens.
import { ApiError, key, send } from './client';
import type { Completion, GenerationBody, Usage } from './types';

export interface StreamedToken {
  text: string;
  token?: number;
  logprob?: number;
}
export interface StreamEnd {
  finish_reason: string;
  usage: Usage | null;
  memory_version: number | null;
}
export type Transport = 'websocket' | 'sse';
export interface Listener {
  transport(which: Transport): void;
  token(token: StreamedToken): void;
}

// Resolves at the end of the generation; rejects with ApiError. When `signal` fires the generation is cancelled and the
// end says "cancelled".
export async function stream(body: GenerationBody, listener: Listener, signal: AbortSignal): Promise<StreamEnd> {
  const socket = await open(signal);
  if (socket) return overSocket(socket, body, listener, signal);
  return overEvents(body, listener, signal);
}

const cancelled: StreamEnd = { finish_reason: 'cancelled', usage: null, memory_version: null };

export function socketUrl(path: string): string {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;
}
// Browsers cannot set Authorization here: the key is offered as a subprotocol.
export function protocols(): string[] {
  return key.get() ? ['engramd', `bearer.${key.get()}`] : ['engramd'];
}

function open(signal: AbortSignal): Promise<WebSocket | null> {
  return new Promise((resolve) => {
    let socket: WebSocket;
    try {
      socket = new WebSocket(socketUrl('/v1/stream'), protocols());
    } catch {
      resolve(null); // A key with characters that no subprotocol can have.
      return;
    }
    const done = (result: WebSocket | null): void => {
      socket.onopen = socket.onerror = socket.onclose = null;
      if (!result) socket.close();
      resolve(result);
    };
    socket.onopen = () => done(socket);
    // Why it did not open is not told to pages; the same request over HTTP will say it.
    socket.onerror = socket.onclose = () => done(null);
    signal.addEventListener('abort', () => done(null), { once: true });
  });
}

interface Message {
  type: 'token' | 'done' | 'error' | 'prompt' | 'pong';
  text?: string;
  token?: number;
  logprob?: number;
  finish_reason?: string;
  usage?: Usage;
  memory_version?: number;
  error?: { message: string; param: string | null; code?: string | null };
}

function overSocket(socket: WebSocket, body: GenerationBody, listener: Listener, signal: AbortSignal): Promise<StreamEnd> {
  listener.transport('websocket');
  return new Promise((resolve, reject) => {
    const id = 'g1';
    const finish = (settle: () => void): void => {
      socket.onmessage = socket.onclose = null;
      signal.removeEventListener('abort', cancel);
      socket.close(1000);
      settle();
    };
    const cancel = (): void => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'cancel', id }));
      finish(() => resolve(cancelled));
    };
    signal.addEventListener('abort', cancel, { once: true });
    socket.onclose = (event) =>
      finish(() => reject(new ApiError('offline', 0, event.reason || `WebSocket closed (${event.code})`)));
    socket.onmessage = (event: MessageEvent<string>) => {
      const message = JSON.parse(event.data) as Message;
      if (message.type === 'token') {
        listener.token({ text: message.text ?? '', token: message.token, logprob: message.logprob });
      } else if (message.type === 'done') {
        const { finish_reason = 'stop', usage = null, memory_version = null } = message;
        finish(() => resolve({ finish_reason, usage, memory_version }));
      } else if (message.type === 'error') {
        const { message: text = '', param = null } = message.error ?? {};
        finish(() => reject(new ApiError('failed', 400, text, param ?? null)));
      }
    };
    socket.send(JSON.stringify({ type: 'generate', id, ...body }));
    if (signal.aborted) cancel();
  });
}

async function overEvents(body: GenerationBody, listener: Listener, signal: AbortSignal): Promise<StreamEnd> {
  const end: StreamEnd = { finish_reason: 'stop', usage: null, memory_version: null };
  try {
    const path = body.messages ? '/v1/chat/completions' : '/v1/completions';
    const asked = { ...body, stream: true, stream_options: { include_usage: true } };
    const response = await send(path, { body: asked, signal });
    listener.transport('sse');
    for await (const data of events(response.body!)) {
      if (data === '[DONE]') break;
      const chunk = JSON.parse(data) as Completion & { error?: { message: string; param: string | null } };
      if (chunk.error) throw new ApiError('failed', 500, chunk.error.message, chunk.error.param);
      const choice = chunk.choices[0];
      const text = choice?.text ?? choice?.delta?.content ?? '';
      if (text) listener.token({ text });
      if (choice?.finish_reason) end.finish_reason = choice.finish_reason;
      if (chunk.usage) end.usage = chunk.usage;
      if (chunk.engram) end.memory_version = chunk.engram.memory_version;
    }
  } catch (error) {
    if (signal.aborted) return cancelled;
    throw error instanceof ApiError ? error : new ApiError('offline', 0, String(error));
  }
  return end;
}

// The data of server-sent events, as the daemon writes them: one "data: " line and an empty one.
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffer = '';
  for (;;) {
    const { done, value } = await reader.read();
    buffer += decoder.decode(value, { stream: !done });
    for (let end = buffer.indexOf('\n\n'); end >= 0; end = buffer.indexOf('\n\n')) {
      yield buffer.slice(0, end).replace(/^data: /, '');
      buffer = buffer.slice(end + 2);
    }
    if (done) return;
  }
}
