// SPDX-License-Identifier: Apache-2.0
// What the microscope looks at: a prompt and its continuation, token by token, with the memory on and off.
import { api } from './api/client';
import type { Completion, EngramOptions, GenerationBody, InspectedPosition } from './api/types';
import { viewTokens, type TokenView } from './tokens';

export interface Expectation {
  logprob: number | null; // of the token that stands there
  top: { text: string; logprob: number }[]; // most likely first
}
// Arrays are by position over prompt and continuation.
export interface Look {
  model: string;
  version: number | null;
  promptLength: number;
  views: TokenView[];
  ids: number[];
  expected: Expectation[];
  layers: number[];
  gates: number[][][]; // [position][layer][stream]; shorter than views: the last token was not processed
  rows: number[][][]; // [position][layer][column]
  finish: string | null;
}
export interface Contrast {
  views: TokenView[]; // what comes without memory, after the prompt
  expected: Expectation[]; // of the look's own tokens, without memory
}

const kTop = 5;

function asked(prompt: string | number[], length: number, engram: EngramOptions): GenerationBody {
  return { prompt, max_tokens: length, temperature: 0, echo: true, logprobs: kTop, return_token_ids: true, engram };
}

function expectations(completion: Completion): Expectation[] {
  const logprobs = completion.choices[0]!.logprobs!;
  return logprobs.tokens.map((_, at) => ({
    logprob: logprobs.token_logprobs[at] ?? null,
    top: Object.entries(logprobs.top_logprobs[at] ?? {})
      .map(([text, logprob]) => ({ text, logprob }))
      .sort((a, b) => b.logprob - a.logprob)
      .slice(0, kTop),
  }));
}

export async function look(prompt: string, length: number, engram: EngramOptions, signal: AbortSignal): Promise<Look> {
  const completion = await api.completion(asked(prompt, length, { ...engram, gates: true, rows: true }), signal);
  const choice = completion.choices[0]!;
  const promptIds = choice.prompt_token_ids ?? [];
  return {
    model: completion.model,
    version: completion.engram?.memory_version ?? null,
    promptLength: promptIds.length,
    views: viewTokens(choice.logprobs!.tokens),
    ids: [...promptIds, ...(choice.token_ids ?? [])],
    expected: expectations(completion),
    layers: choice.engram?.layers ?? [],
    gates: choice.engram?.gates ?? [],
    rows: choice.engram?.rows ?? [],
    finish: choice.finish_reason,
  };
}

// The same with the memory off: what it would have said, and what it thinks of what was said.
export async function contrast(of: Look, length: number, engram: EngramOptions, signal: AbortSignal): Promise<Contrast> {
  const off = { ...engram, enabled: false };
  const prompt = of.ids.slice(0, of.promptLength);
  const whole = of.ids.slice(0, of.views.length);
  const [said, scored] = await Promise.all([
    length > 0 ? api.completion(asked(prompt, length, off), signal) : null,
    api.completion(asked(whole, 0, off), signal),
  ]);
  return {
    views: said ? viewTokens(said.choices[0]!.logprobs!.tokens).slice(of.promptLength) : [],
    expected: expectations(scored),
  };
}

// A close look comes in stretches: its answer grows by kilobytes a token, and a long text has ten thousand.
export const kStretch = 256;
export const stretchOf = (position: number): number => position - (position % kStretch);

// The positions of the stretch that begins at `from`, of the memory that was looked at.
export async function inspect(of: Look, from: number, engram: EngramOptions, signal: AbortSignal): Promise<InspectedPosition[]> {
  const prompt = of.ids.slice(0, Math.min(of.views.length, from + kStretch));
  const pinned = of.layers.length && of.version !== null ? { as_of: of.version, ...engram } : engram;
  return (await api.inspect({ prompt, from, engram: pinned, top: 3 }, signal)).positions;
}
