// SPDX-License-Identifier: Apache-2.0
// A request as something to paste elsewhere.
import type { GenerationBody } from './types';

export type Dialect = 'curl' | 'python' | 'node';

const quoteShell = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

function indent(json: string, by: string): string {
  return json.split('\n').join('\n' + by);
}

// JSON as a Python literal: the three words that differ, outside of strings.
function python(value: unknown): string {
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'object') {
    return `{${Object.entries(value as object).map(([name, item]) => `${JSON.stringify(name)}: ${python(item)}`).join(', ')}}`;
  }
  return JSON.stringify(value);
}

// Fields that OpenAI's client does not know travel in its extra body.
const kOpenAi = new Set([
  'model', 'prompt', 'messages', 'max_tokens', 'temperature', 'top_p', 'seed', 'stop', 'presence_penalty', 'frequency_penalty', 'logprobs', 'stream',
]);

export function code(dialect: Dialect, body: GenerationBody, origin: string, signedIn: boolean): string {
  const chat = body.messages !== undefined;
  if (dialect === 'curl') {
    return [
      `curl -N ${origin}${chat ? '/v1/chat/completions' : '/v1/completions'} \\`,
      ...(signedIn ? ['  -H "Authorization: Bearer $ENGRAM_API_KEY" \\'] : []),
      `  -H 'Content-Type: application/json' \\`,
      `  -d ${quoteShell(JSON.stringify({ ...body, stream: true }, null, 1))}`,
    ].join('\n');
  }
  const known = Object.entries({ ...body, stream: true }).filter(([name]) => kOpenAi.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !kOpenAi.has(name)));
  const route = chat ? 'chat.completions' : 'completions';
  if (dialect === 'python') {
    const more = Object.keys(extra).length ? [`    extra_body=${python(extra)},`] : [];
    return [
      ...(signedIn ? ['import os'] : []),
      'from openai import OpenAI',
      '',
      `client = OpenAI(base_url="${origin}/v1", api_key=${signedIn ? 'os.environ["ENGRAM_API_KEY"]' : '"unused"'})`,
      `for chunk in client.${route}.create(`,
      ...known.map(([name, value]) => `    ${name}=${python(value)},`),
      ...more,
      '):',
      chat ? '    print(chunk.choices[0].delta.content or "", end="", flush=True)' : '    print(chunk.choices[0].text, end="", flush=True)',
    ].join('\n');
  }
  return [
    "import OpenAI from 'openai';",
    '',
    `const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: ${signedIn ? 'process.env.ENGRAM_API_KEY' : "'unused'"} });`,
    `const stream = await client.${route}.create(${indent(JSON.stringify({ ...Object.fromEntries(known), ...extra }, null, 2), '')});`,
    `for await (const chunk of stream) process.stdout.write(chunk.choices[0].${chat ? "delta.content ?? ''" : 'text'});`,
  ].join('\n');
}
