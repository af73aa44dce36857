// SPDX-License-Identifier: Apache-2.0
// Holds answers to docs/openapi.yaml.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv/dist/2020.js';
import { parse } from 'yaml';

const file = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../docs/openapi.yaml');
export const openapi = parse(fs.readFileSync(file, 'utf8'));

const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema(openapi, 'openapi', false, false);

const methods = ['get', 'post', 'put', 'delete'];
// [{method, template, operation, pattern}] of every operation. A parameter at the end takes the rest of the path, as
// the server's routes do.
export const operations = Object.entries(openapi.paths).flatMap(([template, item]) =>
  methods.filter((method) => item[method]).map((method) => ({
    method: method.toUpperCase(),
    template,
    operation: item[method],
    pattern: new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{\w+\}$/, '.+').replace(/\{\w+\}/g, '[^/]+')}$`),
  })));

// Of several that match, the one with the longest fixed part.
export function findOperation(method, pathname) {
  const fixed = ({ template }) => template.replace(/\{.*$/, '').length;
  const matching = operations.filter((operation) => operation.pattern.test(pathname));
  const longest = Math.max(...matching.map(fixed));
  return matching.find((operation) => fixed(operation) === longest && operation.method === method);
}

const escape = (part) => part.replace(/~/g, '~0').replace(/\//g, '~1');
const pointer = (...parts) => `#/${parts.map(escape).join('/')}`;
const compiled = new Map();
function check(reference, value, what) {
  if (!compiled.has(reference)) compiled.set(reference, ajv.compile({ $ref: `openapi${reference.replace(/%/g, '%25')}` }));
  const validate = compiled.get(reference);
  if (validate(value)) return;
  throw new Error(`${what} is not what docs/openapi.yaml says: ${ajv.errorsText(validate.errors.slice(0, 5))}\n` +
    JSON.stringify(value).slice(0, 1000));
}

// Throws if an answer is not what docs/openapi.yaml says of its route.
export function checkAnswer({ method, pathname, status, contentType, text, json }) {
  const what = `${method} ${pathname} ${status}`;
  if (method === 'HEAD' || method === 'OPTIONS') return;
  const found = findOperation(method, decodeURI(pathname));
  if (!found) {
    // Unknown routes and methods.
    if (status < 400) throw new Error(`${what}: docs/openapi.yaml does not have this route`);
    check('#/components/schemas/Error', json, what);
    return;
  }
  const { responses } = found.operation;
  const code = responses[status] ? String(status) : 'default';
  if (!responses[code]) throw new Error(`${what}: docs/openapi.yaml does not have this status`);
  let place = pointer('paths', found.template, found.method.toLowerCase(), 'responses', code);
  let response = responses[code];
  if (response.$ref) {
    place = response.$ref;
    response = response.$ref.slice(2).split('/').reduce((node, part) => node[part], openapi);
  }
  if (!response.content) {
    if (text !== '') throw new Error(`${what}: docs/openapi.yaml has no body for it`);
    return;
  }
  const type = contentType.split(';')[0];
  const media = response.content[type] ? type : '*/*';
  if (!response.content[media]) throw new Error(`${what}: docs/openapi.yaml does not have content type ${type}`);
  if (!response.content[media].schema) return;
  const schema = `${place}/content/${escape(media)}/schema`;
  if (type === 'application/json') check(schema, json, what);
  if (type !== 'text/event-stream') return;
  for (const event of text.split('\n\n').filter(Boolean)) {
    const data = event.slice('data: '.length);
    if (data === '[DONE]') continue;
    const value = JSON.parse(data);
    check(value.error ? '#/components/schemas/Error' : schema, value, `${what}, an event`);
  }
}
