// SPDX-License-Identifier: Apache-2.0
// The API field by field, on a small random model.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Daemon, expected } from './daemon.mjs';

const name = 'dense-paper-hc4';
const greedy = { prompt: [1849, 650], max_tokens: 4, temperature: 0, ignore_eos: true };
let daemon;
before(async () => {
  daemon = await Daemon.start({ model: name });
});
after(() => daemon?.stop());
const complete = async (body) => {
  const { status, json, text } = await daemon.post('/v1/completions', { ...greedy, ...body });
  assert.equal(status, 200, text);
  return json;
};

test('models', async () => {
  const list = await daemon.get('/v1/models');
  assert.equal(list.json.object, 'list');
  assert.equal(list.json.data[0].id, name);
  assert.deepEqual((await daemon.get(`/v1/models/${name}`)).json, list.json.data[0]);
  const missing = await daemon.get('/v1/models/no%20such');
  assert.equal(missing.status, 404);
  assert.equal(missing.json.error.code, 'model_not_found');
  assert.match(missing.json.error.message, /no such/);
});

test('tokenize and detokenize', async () => {
  for (const prompt of ['hello world', 'naïve 漢字 🙂', '']) {
    const { json } = await daemon.post('/tokenize', { prompt, add_special_tokens: false });
    assert.equal(json.count, json.tokens.length);
    assert.equal((await daemon.post('/detokenize', { tokens: json.tokens })).json.prompt, prompt);
  }
  const bad = await daemon.post('/detokenize', { tokens: [1, 4096000] });
  assert.equal(bad.status, 400);
  assert.equal(bad.json.error.param, 'tokens[1]');
});

test('text, ids and lists of either are the same prompt', async () => {
  const text = 'hello world';
  const { tokens } = (await daemon.post('/tokenize', { prompt: text })).json;
  const want = (await complete({ prompt: text })).choices[0].text;
  assert.equal((await complete({ prompt: tokens })).choices[0].text, want);
  const list = await complete({ prompt: [text, tokens, text], n: 2 });
  assert.deepEqual(list.choices.map((choice) => choice.index), [0, 1, 2, 3, 4, 5]);
  assert.ok(list.choices.every((choice) => choice.text === want));
  assert.equal(list.usage.completion_tokens, 6 * greedy.max_tokens);
});

test('usage and defaults', async () => {
  const { json } = await daemon.post('/v1/completions', { prompt: [5, 6, 7], ignore_eos: true });
  assert.deepEqual([json.usage.prompt_tokens, json.usage.completion_tokens, json.usage.total_tokens], [3, 16, 19]);
  assert.equal(json.engram.memory_version, 0);
  assert.equal(json.model, name);
});

test('echo with log probabilities covers the prompt first', async () => {
  const json = await complete({ echo: true, logprobs: 3, return_token_ids: true });
  const [choice] = json.choices;
  const total = greedy.prompt.length + greedy.max_tokens;
  for (const list of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset']) {
    assert.equal(choice.logprobs[list].length, total, list);
  }
  assert.equal(choice.logprobs.token_logprobs[0], null);
  assert.equal(choice.logprobs.top_logprobs[0], null);
  assert.ok(choice.logprobs.token_logprobs.slice(1).every((logprob) => logprob < 0));
  assert.deepEqual(choice.prompt_token_ids, greedy.prompt);
  assert.equal(choice.token_ids.length, greedy.max_tokens);
  const plain = await complete({});
  const prompt = (await daemon.post('/detokenize', { tokens: greedy.prompt })).json.prompt;
  assert.equal(choice.text, prompt + plain.choices[0].text);
  const only = await complete({ echo: true, logprobs: 0, max_tokens: 0 });
  assert.deepEqual(only.choices[0].logprobs.token_logprobs,
    choice.logprobs.token_logprobs.slice(0, greedy.prompt.length));
  assert.equal(only.usage.completion_tokens, 0);
});

test('a stream adds up to the whole answer', async () => {
  const body = { ...greedy, n: 2, echo: true, logprobs: 1, return_token_ids: true, engram: { gates: true, rows: true } };
  const whole = await complete(body);
  const events = await daemon.stream('/v1/completions', { ...body, stream_options: { include_usage: true } });
  assert.equal(events.pop(), '[DONE]');
  const usage = events.pop();
  assert.deepEqual(usage.choices, []);
  assert.deepEqual(usage.usage, whole.usage);
  assert.ok(events.every((event) => event.usage === null));
  for (const choice of whole.choices) {
    const parts = events.map((event) => event.choices[0]).filter((part) => part.index === choice.index);
    assert.equal(parts.map((part) => part.text).join(''), choice.text);
    assert.deepEqual(parts.flatMap((part) => part.token_ids), choice.token_ids);
    assert.deepEqual(parts.flatMap((part) => part.logprobs?.token_logprobs ?? []), choice.logprobs.token_logprobs);
    assert.deepEqual(parts.flatMap((part) => part.logprobs?.text_offset ?? []), choice.logprobs.text_offset);
    assert.deepEqual(parts.at(-1).engram, choice.engram);
    assert.ok(parts.slice(0, -1).every((part) => part.finish_reason === null));
    assert.equal(parts.at(-1).finish_reason, choice.finish_reason);
  }
});

test('stop strings, stop ids and logit bias', async () => {
  const [{ text, token_ids: ids }] = (await complete({ return_token_ids: true })).choices;
  const { tokens } = (await daemon.post('/tokenize', { prompt: text })).json;
  assert.ok(tokens.length > 0);
  const second = (await daemon.post('/detokenize', { tokens: [ids[2]] })).json.prompt;
  const stopped = (await complete({ stop: [second] })).choices[0];
  assert.equal(stopped.text, text.slice(0, text.indexOf(second)));
  assert.equal(stopped.finish_reason, 'stop');
  const ended = await complete({ stop_token_ids: [ids[1]], return_token_ids: true });
  const byId = ended.choices[0];
  assert.equal(byId.finish_reason, 'stop');
  assert.deepEqual(byId.token_ids, ids.slice(0, 2)); // the stop token was generated too: counted and listed, not shown
  assert.equal(ended.usage.completion_tokens, 2);
  assert.ok(text.startsWith(byId.text) && byId.text.length < text.length);
  const biased = (await complete({ logit_bias: { 77: 100 }, return_token_ids: true })).choices[0];
  assert.deepEqual(biased.token_ids, [77, 77, 77, 77]);
});

test('engram off differs from on, and gates have their shape', async () => {
  const testCase = expected(name).cases.at(-1);
  const body = { ...greedy, prompt: testCase.prompt, engram: { gates: true } };
  const on = (await complete(body)).choices[0];
  assert.deepEqual(on.engram.layers.map(String), Object.keys(testCase.gates));
  assert.equal(on.engram.gates.length, testCase.prompt.length + greedy.max_tokens - 1);
  assert.equal(on.engram.rows, undefined);
  const off = (await complete({ ...body, logprobs: 0, echo: true, engram: { enabled: false } })).choices[0];
  const with0 = (await complete({ ...body, logprobs: 0, echo: true })).choices[0];
  assert.notDeepEqual(off.logprobs.token_logprobs, with0.logprobs.token_logprobs);
});

test('accepted without effect', async () => {
  const want = (await complete({})).choices[0].text;
  const more = {
    user: 'u', metadata: { a: 'b' }, store: false, service_tier: 'auto', best_of: 1, suffix: null, stop: null,
    response_format: { type: 'text' }, logit_bias: null, engram: { overlays: [], as_of: 0, enabled: true },
  };
  assert.equal((await complete(more)).choices[0].text, want);
});

const badCompletions = [
  [{ temperature: -0.1 }, 'temperature'], [{ temperature: 2.1 }, 'temperature'], [{ temperature: '1' }, 'temperature'],
  [{ top_p: 0 }, 'top_p'], [{ top_p: 1.01 }, 'top_p'], [{ top_k: -2 }, 'top_k'], [{ top_k: 1.5 }, 'top_k'],
  [{ min_p: 2 }, 'min_p'], [{ repetition_penalty: 0 }, 'repetition_penalty'],
  [{ presence_penalty: 3 }, 'presence_penalty'], [{ frequency_penalty: -3 }, 'frequency_penalty'],
  [{ n: 0 }, 'n'], [{ n: 17 }, 'n'], [{ n: 'two' }, 'n'], [{ n: 1.5 }, 'n'],
  [{ max_tokens: 0 }, 'max_tokens'], [{ max_tokens: -1 }, 'max_tokens'], [{ max_tokens: 2 ** 53 }, 'max_tokens'],
  [{ max_tokens: 1.5 }, 'max_tokens'], [{ max_tokens: true }, 'max_tokens'],
  [{ logprobs: 21 }, 'logprobs'], [{ logprobs: -1 }, 'logprobs'], [{ logprobs: 'x' }, 'logprobs'],
  [{ stop: 7 }, 'stop'], [{ stop: ['a', ''] }, 'stop[1]'], [{ stop: ['a', 1] }, 'stop[1]'],
  [{ stop: Array(17).fill('a') }, 'stop'], [{ stop_token_ids: [4096000] }, 'stop_token_ids[0]'],
  [{ stop_token_ids: 3 }, 'stop_token_ids'], [{ seed: 1.5 }, 'seed'], [{ seed: 'x' }, 'seed'],
  [{ logit_bias: { x: 1 } }, 'logit_bias'], [{ logit_bias: { 1: 101 } }, 'logit_bias.1'],
  [{ logit_bias: { 4096000: 1 } }, 'logit_bias'], [{ logit_bias: { 1: '1' } }, 'logit_bias.1'],
  [{ echo: 1 }, 'echo'], [{ stream: 'yes' }, 'stream'], [{ stream_options: {} }, 'stream_options'],
  [{ stream: true, stream_options: { x: 1 } }, 'stream_options.x'], [{ ignore_eos: 0 }, 'ignore_eos'],
  [{ return_token_ids: 'a' }, 'return_token_ids'], [{ suffix: 'x' }, 'suffix'], [{ best_of: 2 }, 'best_of'],
  [{ response_format: { type: 'yaml' } }, 'response_format.type'], [{ tempreature: 1 }, 'tempreature'],
  [{ response_format: { type: 'json_schema' } }, 'response_format.json_schema'],
  [{ response_format: { type: 'json_schema', json_schema: { schema: {} } } }, 'response_format.json_schema.name'],
  [{ response_format: { type: 'json_schema', json_schema: { name: 'x' } } }, 'response_format.json_schema.schema'],
  [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { not: {} } } } },
    'response_format.json_schema.schema'],
  [{ response_format: { type: 'json_object', more: 1 } }, 'response_format.more'],
  [{ response_format: { type: 'json_object' }, grammar: 'root ::= "a"' }, 'grammar'],
  [{ grammar: '' }, 'grammar'], [{ grammar: 7 }, 'grammar'], [{ grammar: 'root ::= (' }, 'grammar'],
  [{ model: 7 }, 'model'], [{ engram: true }, 'engram'], [{ engram: { gates: 1 } }, 'engram.gates'],
  [{ engram: { gate: true } }, 'engram.gate'], [{ engram: { enabled: 'no' } }, 'engram.enabled'],
  [{ engram: { overlays: 'a' } }, 'engram.overlays'], [{ engram: { overlays: [1] } }, 'engram.overlays[0]'],
  [{ engram: { as_of: -1 } }, 'engram.as_of'], [{ engram: { as_of: 0.5 } }, 'engram.as_of'],
  [{ prompt: undefined }, 'prompt'], [{ prompt: null }, 'prompt'], [{ prompt: 7 }, 'prompt'],
  [{ prompt: {} }, 'prompt'], [{ prompt: [] }, 'prompt'], [{ prompt: [[]] }, 'prompt[0]'],
  [{ prompt: ['a', 7] }, 'prompt[1]'], [{ prompt: [1, 'a'] }, 'prompt[1]'], [{ prompt: [1, -1] }, 'prompt[1]'],
  [{ prompt: [1, 4096000] }, 'prompt[1]'], [{ prompt: [1, 1.5] }, 'prompt[1]'], [{ prompt: Array(129).fill('a') }, 'prompt'],
];
test('bad completions name their field', async (t) => {
  for (const [body, param] of badCompletions) {
    await t.test(JSON.stringify(body).slice(0, 60), async () => {
      const { status, json } = await daemon.post('/v1/completions', { ...greedy, ...body });
      assert.equal(status, 400, JSON.stringify(json));
      assert.equal(json.error.type, 'invalid_request_error');
      assert.equal(json.error.param, param);
      assert.ok(json.error.message.length > 10);
    });
  }
});

test('things that do not exist are 404', async () => {
  for (const [body, param] of [[{ model: 'x' }, 'model'], [{ engram: { overlays: ['x'] } }, 'engram.overlays[0]'],
    [{ engram: { as_of: 3 } }, 'engram.as_of']]) {
    const { status, json } = await daemon.post('/v1/completions', { ...greedy, ...body });
    assert.deepEqual([status, json.error.param], [404, param]);
  }
});

test('lengths', async () => {
  const context = (await daemon.get('/v1/models')).json.data[0].max_model_len;
  const long = await daemon.post('/v1/completions', { prompt: Array(context + 1).fill(5) });
  assert.deepEqual([long.status, long.json.error.code], [400, 'context_length_exceeded']);
  assert.match(long.json.error.message, new RegExp(`${context + 1}.*${context}`));
  const sum = await daemon.post('/v1/completions', { prompt: Array(context - 1).fill(5), max_tokens: 2 });
  assert.deepEqual([sum.status, sum.json.error.code, sum.json.error.param],
    [400, 'context_length_exceeded', 'max_tokens']);
  const full = await complete({ prompt: Array(context - 1).fill(5), max_tokens: undefined });
  assert.equal(full.usage.completion_tokens, 1);
});

const badChats = [
  [{}, 'messages'], [{ messages: [] }, 'messages'], [{ messages: 'hi' }, 'messages'], [{ messages: [1] }, 'messages[0]'],
  [{ messages: [{ content: 'x' }] }, 'messages[0].role'],
  [{ messages: [{ role: 'user', content: 'x' }, { role: 7, content: 'x' }] }, 'messages[1].role'],
  [{ messages: [{ role: 'king', content: 'x' }] }, 'messages[0].role'],
  [{ messages: [{ role: 'user' }] }, 'messages[0].content'], [{ messages: [{ role: 'user', content: 3 }] }, 'messages[0].content'],
  [{ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'messages[0].content[0].type'],
  [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, 'messages[0].content[0].text'],
  [{ top_logprobs: 2 }, 'top_logprobs'], [{ logprobs: 2 }, 'logprobs'], [{ tools: 'x' }, 'tools'],
  [{ tool_choice: 'required' }, 'tool_choice'], [{ tools: [{}] }, 'tools[0].type'],
  [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools[0].function.name'],
  [{ tools: [{ type: 'function', function: { name: 'a', parameters: { type: 'array' } } }] }, 'tools[0].function.parameters'],
  [{ parallel_tool_calls: 1 }, 'parallel_tool_calls'],
  [{ messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].tool_call_id'],
  [{ messages: [{ role: 'user', content: 'x', tool_calls: [{}] }] }, 'messages[0].tool_calls'],
  [{ messages: [{ role: 'assistant', tool_calls: [{ id: 'a', function: { name: 'f', arguments: '[]' } }] }] },
    'messages[0].tool_calls[0]'], [{ max_completion_tokens: -1 }, 'max_completion_tokens'],
  [{ prompt: 'x' }, 'prompt'], [{ add_generation_prompt: 1 }, 'add_generation_prompt'],
  [{ chat_template_kwargs: [] }, 'chat_template_kwargs'],
];
test('bad chats name their field', async () => {
  for (const [body, param] of badChats) {
    const full = body.messages || Object.keys(body).length === 0 ? body
      : { messages: [{ role: 'user', content: 'hi' }], ...body };
    const { status, json } = await daemon.post('/v1/chat/completions', full);
    assert.deepEqual([status, json.error.param], [400, param], JSON.stringify(body));
  }
});

test('bodies that are no JSON object', async () => {
  const bad = [
    '', ' ', '{', '[]', '"x"', '{"prompt":"a"} x', '\ufeff{"prompt":"a"}', '{"prompt":"\\ud800"}',
    '{"prompt":"\\udc00\\ud800"}', '{"prompt":"a","prompt":"b"}', '{"engram":{"gates":true,"gates":false},"prompt":"a"}',
    '{"prompt":"a","temperature":1e400}', '{"prompt":"a","temperature":NaN}', "{'prompt':'a'}", '{"prompt":"a",}',
    `{"prompt":${'['.repeat(200_000)}`, `${'{"a":'.repeat(100_000)}`, '{"prompt":"a\nb"}', '{"prompt":"a","n":01}',
    Buffer.from([...Buffer.from('{"prompt":"'), 0xff, 0xfe, ...Buffer.from('"}')]),
    Buffer.from([...Buffer.from('{"prompt":"'), 0xed, 0xa0, 0x80, ...Buffer.from('"}')]),
  ];
  for (const body of bad) {
    for (const route of ['/v1/completions', '/v1/chat/completions', '/tokenize', '/detokenize']) {
      const { status, json } = await daemon.post(route, body);
      assert.equal(status, 400, `${route} ${String(body).slice(0, 40)}`);
      assert.equal(json.error.type, 'invalid_request_error');
    }
  }
});

test('methods, routes, content types, request ids', async () => {
  const wrong = await daemon.get('/v1/completions');
  assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST, OPTIONS']);
  assert.equal((await daemon.post('/v1/models', {})).status, 405);
  assert.equal((await daemon.get('/v1/nothing')).status, 404);
  assert.equal((await daemon.call('HEAD', '/v1/models')).status, 200);
  assert.equal((await daemon.call('OPTIONS', '/v1/completions')).headers.get('allow'), 'POST, OPTIONS');
  const body = JSON.stringify(greedy);
  const form = await daemon.post('/v1/completions', body, { 'content-type': 'application/x-www-form-urlencoded' });
  assert.equal(form.status, 200);
  assert.equal((await daemon.post('/v1/completions', body, { 'content-type': 'multipart/form-data; boundary=x' })).status, 415);
  assert.equal((await daemon.get('/health/live', { 'x-request-id': 'abc.1-2_3' })).headers.get('x-request-id'), 'abc.1-2_3');
  const replaced = (await daemon.get('/health/live', { 'x-request-id': 'a b' })).headers.get('x-request-id');
  assert.match(replaced, /^req-[0-9a-f]{24}$/);
});

test('metrics are valid and count', async () => {
  const before = await daemon.metric('engramd_http_requests_total', 'route="/v1/completions",method="POST",code="200"');
  await complete({});
  const { headers, text } = await daemon.get('/metrics');
  assert.equal(headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  assert.match(text, /^engramd_build_info\{version="[^"]+",plugin_abi="\d+\.\d+"\} 1$/m);
  assert.equal(await daemon.metric('engramd_http_requests_total',
    'route="/v1/completions",method="POST",code="200"'), before + 1);
});

test('keys and scopes', async (t) => {
  const sha256 = (text) => createHash('sha256').update(text).digest('hex');
  const locked = await Daemon.start({
    model: 'plain',
    config: `auth:
  keys:
    - {name: alice, sha256: ${sha256('key-a')}, scopes: [generate]}
    - {name: bob, sha256: ${sha256('key-b')}, scopes: [read]}
`,
  });
  t.after(() => locked.stop());
  const as = (key) => ({ authorization: `Bearer ${key}` });
  assert.equal((await locked.get('/health/live')).status, 200);
  for (const headers of [{}, as('wrong'), { authorization: 'Basic key-a' }, as('')]) {
    const refused = await locked.post('/v1/completions', greedy, headers);
    assert.equal(refused.status, 401);
    assert.match(refused.headers.get('www-authenticate'), /^Bearer/);
    assert.equal(refused.json.error.code, 'invalid_api_key');
    assert.equal((await locked.get('/metrics', headers)).status, 401);
  }
  assert.equal((await locked.post('/v1/completions', greedy, as('key-a'))).status, 200);
  assert.equal((await locked.get('/v1/models', as('key-a'))).status, 200);
  assert.equal((await locked.get('/metrics', as('key-a'))).status, 403);
  assert.equal((await locked.get('/metrics', as('key-b'))).status, 200);
  assert.equal((await locked.post('/v1/completions', greedy, as('key-b'))).status, 403);
  assert.match(locked.log, /POST \/v1\/completions 200 .* alice/);
  assert.ok(!locked.log.includes('key-a'));
});
