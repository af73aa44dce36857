// SPDX-License-Identifier: Apache-2.0
// Constrained output beyond what OpenAI's client asks for: grammars, the WebSocket, templates with tools, and schemas made
// to cost much.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, root } from './daemon.mjs';
import { Client } from './websocket.mjs';

const prompt = 'The capital of Mongolia is';
let daemon;
let dir;
before(async () => {
  // The bundled model with a template that takes tools, as those of Hermes and Qwen do.
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-tools-'));
  const model = path.join(dir, 'tools');
  fs.cpSync(path.join(root, 'models/lexicon'), model, { recursive: true });
  const file = path.join(model, 'tokenizer_config.json');
  const config = JSON.parse(fs.readFileSync(file, 'utf8'));
  config.chat_template = "{% if tools %}Tools: {% for t in tools %}{{ t | tojson }}{% endfor %} write <tool_call> {% endif %}"
    + "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}"
    + "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}</tool_call>{% endfor %} {% endfor %}Answer:";
  fs.writeFileSync(file, JSON.stringify(config));
  daemon = await Daemon.start({ model });
});
after(async () => {
  const end = await daemon?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
  assert.deepEqual(end, { code: 0, signal: null });
});
const complete = async (body) => {
  const { status, json, text } = await daemon.post('/v1/completions', { prompt, max_tokens: 100, temperature: 1, seed: 2, ...body });
  assert.equal(status, 200, text);
  return json.choices[0];
};

test('a grammar leaves the model its choice, and ends the text where it is whole', async () => {
  const free = await complete({ temperature: 0, max_tokens: 1 });
  const choice = await complete({ temperature: 0, grammar: 'root ::= " Ulaanbaatar" | " Paris" | " Oslo, perhaps"' });
  assert.equal(choice.text, ' Ulaanbaatar');
  assert.ok(choice.text.startsWith(free.text));
  assert.equal(choice.finish_reason, 'stop');
  const other = await complete({ temperature: 0, grammar: 'root ::= " Paris" | " Oslo"' });
  assert.match(other.text, /^ (Paris|Oslo)$/);
  // ignore_eos does not make a text longer than its grammar.
  assert.equal((await complete({ grammar: 'root ::= "x"{3}', ignore_eos: true })).text, 'xxx');
});

test('a grammar holds in every way to sample', async () => {
  const grammar = 'root ::= [A-F0-9]{4} ("-" [A-F0-9]{4}){1,3} "." #hex\n';
  for (const sampling of [
    { temperature: 0 }, { temperature: 2 }, { top_k: 5 }, { top_p: 0.3 }, { min_p: 0.2 }, { top_k: 40, top_p: 0.9, min_p: 0.01 },
    { repetition_penalty: 1.5, frequency_penalty: 1, presence_penalty: 1 }, { logit_bias: { 5: 100, 300: 100 } }, { top_k: 1, temperature: 1.5 },
  ]) {
    for (const seed of [1, 2, 3]) {
      const { text } = await complete({ grammar, seed, ...sampling });
      assert.match(text, /^[A-F0-9]{4}(-[A-F0-9]{4}){1,3}\.$/, JSON.stringify(sampling));
    }
  }
});

test('many constrained and free generations at once do not mix', async () => {
  const grammar = (i) => `root ::= "${i}:" [a-z]{5} ";"`;
  const answers = await Promise.all(Array.from({ length: 24 }, async (_, i) => {
    const body = i % 3 === 2 ? { temperature: 0, max_tokens: 6 } : { grammar: grammar(i % 3), seed: i };
    return [i, (await complete(body)).text];
  }));
  const free = answers.filter(([i]) => i % 3 === 2).map(([, text]) => text);
  assert.equal(new Set(free).size, 1);
  for (const [i, text] of answers) if (i % 3 !== 2) assert.match(text, new RegExp(`^${i % 3}:[a-z]{5};$`));
});

test('errors of a grammar say where', async () => {
  const { status, json } = await daemon.post('/v1/completions', { prompt, grammar: 'root ::= "a"\nb ::= [z-a]' });
  assert.equal(status, 400);
  assert.equal(json.error.param, 'grammar');
  assert.match(json.error.message, /line 2, column 8/);
});

test('the same over the WebSocket', async () => {
  const client = await Client.open(daemon);
  const { end, tokens } = await client.generate({ id: 'a', prompt, max_tokens: 50, grammar: 'root ::= [0-9]{4} "!"' });
  assert.equal(end.finish_reason, 'stop');
  assert.match(tokens.map((m) => m.text).join(''), /^[0-9]{4}!$/);
  const call = await client.generate({
    id: 'b', messages: [{ role: 'user', content: 'When?' }], max_tokens: 200, tool_choice: 'required', parallel_tool_calls: false,
    tools: [{ type: 'function', function: { name: 'at', parameters: { type: 'object', properties: { hour: { type: 'integer', minimum: 0, maximum: 23 } }, required: ['hour'] } } }],
  });
  assert.equal(call.end.finish_reason, 'tool_calls');
  const deltas = call.tokens.flatMap((m) => m.tool_calls ?? []);
  assert.equal(deltas[0].function.name, 'at');
  const { hour } = JSON.parse(deltas.map((d) => d.function.arguments).join(''));
  assert.ok(hour >= 0 && hour <= 23);
  assert.equal(call.tokens.map((m) => m.text).join(''), '');
  await client.close();
});

test('tools with a template that takes them', async () => {
  const tools = [{ type: 'function', function: { name: 'add', parameters: { type: 'object', properties: { a: { const: 1 } }, required: ['a'] } } }];
  const messages = [{ role: 'user', content: 'Add' }];
  const chat = async (body) => {
    const { status, json, text } = await daemon.post('/v1/chat/completions', { messages, tools, max_tokens: 60, temperature: 0, ...body });
    assert.equal(status, 200, text);
    return json.choices[0];
  };
  // The template shows them, and calls of the past as objects.
  const shown = await chat({
    return_token_ids: true,
    messages: [...messages, { role: 'assistant', content: null, tool_calls: [{ id: 'c', type: 'function', function: { name: 'add', arguments: '{"a":1}' } }] },
      { role: 'tool', tool_call_id: 'c', content: '2' }],
  });
  const { json } = await daemon.post('/detokenize', { tokens: shown.prompt_token_ids });
  assert.match(json.prompt, /^Tools: \{.*"name": ?"add".*user: Add.*<tool_call>add \{"a": ?1\}<\/tool_call>.*tool: 2/s);
  // Made to call, it writes the tags, which are not in the answer.
  const forced = await chat({ tool_choice: 'required', parallel_tool_calls: false, return_token_ids: true });
  assert.equal(forced.finish_reason, 'tool_calls');
  assert.deepEqual(JSON.parse(forced.message.tool_calls[0].function.arguments), { a: 1 });
  const raw = await daemon.post('/detokenize', { tokens: forced.token_ids });
  assert.match(raw.json.prompt, /^<tool_call>\n\{"name": "add", "arguments": \{.*\}\}\n<\/tool_call>$/s);
  // Left to itself, with a liking for "<": text, then perhaps a call; never half of one that is not.
  const less = (await daemon.post('/tokenize', { prompt: '<', add_special_tokens: false })).json.tokens[0];
  const automatic = await chat({ logit_bias: { [less]: 100 }, max_tokens: 300 });
  assert.doesNotMatch(automatic.message.content ?? '', /<tool_call>/);
  // Tags tell calls from an answer that is JSON itself.
  const both = await chat({ response_format: { type: 'json_schema', json_schema: { name: 'n', schema: { const: 'text' } } } });
  if (both.finish_reason === 'stop') assert.equal(both.message.content, '"text"');
  const none = await chat({ tool_choice: 'none', max_tokens: 5 });
  assert.equal(none.message.tool_calls, undefined);
});

test('schemas and grammars made to cost much end soon and leave the daemon well', async () => {
  const deep = (n, inner) => (n === 0 ? inner : { type: 'array', items: deep(n - 1, inner) });
  const schema = (value) => ({ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: value } } });
  const wide = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, { type: 'string', pattern: '^(a+)+$' }]));
  const defs = {};
  for (let i = 0; i < 30; ++i) defs[`d${i}`] = { allOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] };
  defs.d30 = { type: 'null' };
  const hostile = [
    schema(deep(50, { type: 'integer' })),
    schema({ pattern: '^(([a-z]+)+)+$' }),
    schema({ type: 'object', properties: wide }),
    schema({ enum: Array.from({ length: 20000 }, (_, i) => `value ${i}`) }),
    schema({ $defs: defs, $ref: '#/$defs/d0' }),
    schema({ $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }),
    schema({ type: 'string', maxLength: 1000000000 }),
    schema({ type: 'array', items: { type: 'array', items: { type: 'array' } }, minItems: 1000000 }),
    { grammar: 'root ::= (("a"{1,500}){1,500}){1,500}' },
    { grammar: `root ::= ${'('.repeat(50000)}` },
    { grammar: `root ::= ${'[a-z]? '.repeat(20000)}` },
    { grammar: 'root ::= root "x" | "y"' },
    { grammar: Array.from({ length: 3000 }, (_, i) => `r${i} ::= r${i + 1} r${i + 1} | "x"`).join('\n').replace('r0 ::=', 'root ::=') + '\nr3000 ::= "y"' },
  ];
  for (const body of hostile) {
    const { status, json } = await daemon.post('/v1/completions', { prompt, max_tokens: 40, temperature: 1, seed: 1, ...body });
    assert.ok(status === 200 || status === 400, `${status} ${JSON.stringify(json).slice(0, 300)}`);
    if (status === 400) assert.ok(json.error.message.length < 1000 && json.error.param, JSON.stringify(json));
  }
  assert.equal((await complete({ grammar: 'root ::= "well"' })).text, 'well');
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]);
  assert.ok(resident < 800 * 1024, `${resident} kB resident`);
});
