#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/vectors-extra/jinja_cases.json: templates, variables and what Jinja2 itself makes of them.

Needs the Debian package python3-jinja2. The environment is the one that Hugging Face's chat templates are written for.
An "error" case is one that Jinja2 refuses to render.
"""
import json
import os
from jinja2 import ext, nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                    extensions=[Generation, "jinja2.ext.loopcontrols"])
ENV.filters["tojson"] = tojson
ENV.globals["raise_exception"] = raise_exception

CHAT = {
    "messages": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi \u00e9\u4e16"},
                 {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello", "tool_calls": [
                     {"function": {"name": "f", "arguments": {"a": 1, "b": [True, None, 1.5, "x\"\n"]}}}]},
                 {"role": "tool", "content": "42"}, {"role": "user", "content": [{"type": "text", "text": "And?"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
    "d": {"b": 2, "a": 1, "C": 3, "items": 9}, "xs": [3, 1, 2], "s": "  Hello, wOrld it's x-ray  ", "n": 7, "f": 2.5,
    "e": [], "u": "\u00e9\u4e16\U0001f600z", "none_value": None, "yes": True,
    "rows": [{"k": "b", "v": {"w": 2}}, {"k": "A", "v": {"w": 1}}, {"k": "c"}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 / 2, 2 ** 10, 2 ** 3 ** 2, -2 ** 2
7.5 // 2, -7.5 % 2, 1e3, 1.5e-7, 1e16, 123456789012345680.0, 0.1 + 0.2, 1_000, 0x1f
"a" ~ 1 ~ none ~ true ~ 1.0 ~ missing ~ [1, "b"] ~ {"k": (1,)}
"a" "b" 'c\n\x41\u00e9\'\q'
'-' * 5, [1, 2] * 2, 3 * 'ab'
[1] + [2, 3], (1, 2) + (3,), ()
1 < 2 < 3, 1 < 2 > 3, 1 == 1.0, true == 1, 'a' < 'b', [1, 2] < [1, 3], 'a' != 'b'
not true, not missing, not '', not e
'' or 'x', 'a' and 'b', none and 1, 0 or e or 'z'
'yes' if yes else 'no'
'yes' if not yes
'x' in 'xyz', 'q' not in 'xyz', 1 in xs, 'a' in d, 'z' in d, 4 not in xs
xs[0], xs[-1], xs[1:], xs[::-1], xs[:-1], xs[5], xs[-3:2], xs[::2], xs[10:], xs[:-10:-1]
u[0], u[-1], u[1:3], u[::-1], u|length, u|reverse
messages[0].role, messages[0]['role'], messages[0].missing, messages[-1]['content'][0].text
d.a, d['a'], d.get('q'), d.get('q', 5), d.get('a'), d['items']
d.items()|list, d.keys()|list, d.values()|list
d, xs, s, none_value, yes, f, n, e, {}, [none], {1: 2, 'x': [1.0, "it's", 'q"']}
s.strip(), s.lstrip(), s.rstrip()
s|trim, s|upper, s|lower, s|title, s|capitalize, s.title(), s.capitalize(), s.upper()
'xxaxx'.strip('x'), 'xxaxx'.lstrip('x'), 'abc'.rstrip('cb')
'a,b,,c'.split(','), 'a b  c '.split(), 'a,b,c'.split(',', 1), ' a b c'.split(none, 1), 'a,b,c'.rsplit(',', 1)
'</think>x</think>y'.split('</think>')[-1].lstrip('\n'), 'x'.split('y')
'abc'.startswith('ab'), 'abc'.endswith(('x', 'c')), 'abcabc'.find('ca'), 'abc'.find('z'), 'abcabc'.rfind('a')
'aXbX'.replace('X', '--'), 'aXbX'.replace('X', '', 1), 'ab'|replace('', '.'), 'aaa'|replace('a', 'b', 2)
'a-b'.join(['1', '2']), xs|join, xs|join(', '), rows|join('+', attribute='k')
'abc'.isdigit(), '12'.isdigit(), 'ab'.isalpha(), ' '.isspace(), 'AB'.isupper(), 'aB'.islower(), 'aba'.count('a')
'l1\nl2\n'.splitlines(), 'prefix-x'.removeprefix('prefix-'), 'x.py'.removesuffix('.py')
messages|tojson
tools|tojson(indent=4)
tools|tojson(indent=2, ensure_ascii=true)
u|tojson(ensure_ascii=true), u|tojson, '\x01\x7f/<&'|tojson, 1.0|tojson, 1e30|tojson, none|tojson, (1, 2)|tojson, {}|tojson(indent=2), [[]]|tojson(indent=1)
d|tojson(sort_keys=true), d|tojson(separators=(',', ':')), {1: 1, none: 2, true: 3}|tojson
xs|length, d|count, ''|length, missing|length, missing|list, missing|first is defined, e|last is undefined
xs|first, xs|last, s|first, xs|sort, xs|sort(reverse=true), ['b', 'A', 'c']|sort, ['b', 'A']|sort(case_sensitive=true)
rows|sort(attribute='k')|map(attribute='k')|list, rows|map(attribute='v.w', default='-')|list, rows|map('length')|list
xs|map('string')|list, ['a', 'B']|map('upper')|join(' '), [[1, 2], [3]]|map('join', '-')|list
rows|selectattr('k', 'equalto', 'b')|list, rows|rejectattr('k', 'in', ['b', 'c'])|list, rows|selectattr('v')|list|length
xs|select('odd')|list, xs|reject('even')|list, [0, 1, '', 'a']|select|list, xs|select('gt', 1)|list, rows|selectattr('v', 'defined')|list|length
d|items|list, d|dictsort, d|dictsort(by='value', reverse=true), d|dictsort(true)
[1, 2, 1, 'a', 'A']|unique|list, xs|min, xs|max, xs|sum, rows[:2]|sum(attribute='v.w'), xs|sum(start=10), e|max is defined
'3'|int, '3.7'|int, 'x'|int, 'x'|int(9), 3.9|int, true|int, '2.5'|float, 'x'|float, 3|float, ' 12 '|int, '1e2'|int
2.5|round, 3.5|round, 2.567|round(2), 2.1|round(0, 'ceil'), 2.9|round(method='floor'), 1234|round, 0.125|round(2), 2.675|round(2)
-3|abs, -2.5|abs, 3|abs, -n|abs
'a\nb\n\nc'|indent, 'a\nb'|indent(2), 'a\nb'|indent(2, true), 'a\n\nb'|indent(2, blank=true), 'a\nb'|indent('> ')
missing|default('x'), none|default('x'), ''|default('x', true), none|d('y', true), missing|default is defined, missing.x|default('q') if false else 1
('<b>'|safe)|string|length, 5|string|length, 'abc'|list, 'hello world foo-bar (baz'|title, 'ab'|reverse, xs|reverse|list
missing is defined, missing is undefined, none is none, none is defined, 'a' is string, d is mapping, xs is mapping
xs is iterable, 'a' is iterable, 1 is iterable, d is iterable, missing is iterable, xs is sequence, d is sequence, 'a' is sequence, 1 is sequence, missing is sequence
1 is number, 1.5 is number, true is number, 'a' is number, 1 is integer, true is integer, 1.0 is integer, 1.0 is float, true is boolean, 1 is boolean
true is true, 1 is true, false is false, 3 is odd, 4 is even, 9 is divisibleby 3, 9 is divisibleby(2), range is callable, 1 is callable
1 is eq 1, 1 is equalto(2), 1 is ne 2, 1 is lt 2, 3 is ge 3, 2 is in [1, 2], 'a' is lower, 'A' is upper, none is sameas none
not 1 is odd, 1 is not odd, missing is not defined and 1, xs is iterable and xs is not string
range(5)|list, range(2, 5)|list, range(5, 0, -2)|list, range(0)|list
dict(a=1, b=2), dict({'x': 1}, y=2), namespace(a=3).a
(1), (1,), (1, 2), ((1, 2), 3)
'%}', '}}', {'a': {'b': {}}}
-1|abs, +3, - -3, -(2 + 3), 10 - 2 - 3, 2 * 3 % 4
xs.index(2), xs.count(3), (1, 2, 1).count(1)
'ÀÉß'|lower, 'straße'|upper, 'éa éb'|title, 'ÉA'|capitalize, 'ǆ'|upper
[1, [2, {'a': none}]]|string, 'a\\b', "q'q", 'é\x00\u200b'|list
messages[1:]|map(attribute='role')|join(','), messages|selectattr('role', 'eq', 'user')|map(attribute='content')|list|length
1 if none_value else 2 if false else 3
{'a': 1}.a, {'a': 1}['a'], [1, 2][1], 'abc'[1], ('x', 'y')[0]
d.items is defined, d.nope is defined, xs.nope is defined, s.nope is defined
'a' == "a", [1, 2] == [1, 2], {'a': 1} == {'a': 1.0}, [1] == (1,), none == none, missing == missing
1.0, 100.0, 1e22, -0.0, 1.5|string, 3.0 * 2, 7 / 7
missing, missing ~ 'x', none, [missing]|length
'ab'.missing is defined, (xs|length) - 1, xs|length - 1, loop is defined
""".strip().split("\n")

ERRORS = r"""
missing.x
missing['x']
missing.x.y
missing()
missing + 1
1 + 'a'
missing < 1
1 < 'a'
none + 1
1 / 0
xs.append(1)
d.update({})
raise_exception('no')
none|length
1|list
none.x.y
{}.a.b
missing|tojson
missing|int
[] > 1
xs[::0]
1 in 5
range(1000000)
none|join
'a' * 'b'
'x'.split('')
d|dictsort(by='other')
5(1)
""".strip().split("\n")

TEMPLATES = [
    "plain\n", "two\n\n", "a\r\nb\rc\n", "", "\n", "{{ 1 }}\n", "{{ 1 }}\n\nx",
    "{% if yes %}\nA\n{% else %}\nB\n{% endif %}\nC\n", "  {% if yes %}\n  A\n  {% endif %}\n  C",
    "x  {% if yes %} y {% endif %}  z", "x  {%- if yes -%} y {%- endif -%}  z", "  {%+ if yes %}a{% endif +%}\nb",
    "{# c #}\nx{#- c -#}  y {# multi\nline #}\n  {# indented #}\nz", "\n  {{- 1 -}}  \n  {{ 2 }}\n",
    "{% for x in xs %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/"
    "{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.previtem }}/{{ loop.nextitem }}/"
    "{{ loop.cycle('a', 'b') }};{% endfor %}",
    "{% for x in e %}x{% else %}none{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}{{ x }}{{ loop.length }}{% else %}n{% endfor %}",
    "{% for x in xs if x > 9 %}x{% else %}n{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for (k, v) in d|dictsort %}{{ k }}{{ v }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ loop.depth }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% set x = 1 %}{% for i in xs %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set ns = namespace(n=0, last=none) %}{% for i in xs %}{% set ns.n = ns.n + i %}{% set ns.last = i %}{% endfor %}{{ ns.n }}{{ ns.last }}{{ ns.nope }}",
    "{% set t %}\n  body {{ n }}\n{% endset %}[{{ t }}]", "{% set t | upper | trim %} body {% endset %}[{{ t }}]",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | trim %} aa {% endfilter %}|",
    "{% raw %}{{ x }}{% if %}{% endraw %}\nx", "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "  {% raw %}\n x\n  {% endraw %}\n y",
    "{% macro m(a, b=2, c=a) %}<{{ a }},{{ b }},{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m(1)|length }}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set g = 1 %}{% macro m() %}{{ g }}{{ later }}{% endmacro %}{% set later = 2 %}{{ m() }}{% for g in xs %}{{ m() }}{% endfor %}",
    "{% macro outer(x) %}{% macro inner() %}[{{ x }}]{% endmacro %}{{ inner() }}{{ inner() }}{% endmacro %}{{ outer(3) }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% generation %}x{{ n }}{% endgeneration %}y", "{%- generation -%}\n x {% endgeneration %}\ny",
    "{% if false %}a{% elif missing %}b{% elif n == 7 %}c{% else %}d{% endif %}",
    "{{ '{{' }}{{ \"}}\" }}{{ '{% raw %}' }}", "{{ {'a': 1}['a'] }}{{ {'a': {'b': 2}}.a.b }}", "{% set x = {'a': [1, 2]} %}{{ x.a[1] }}",
    "{{ bos_token }}{% for m in messages %}{% if m['content'] is string %}{{ '<|' + m['role'] + '|>\n' + m['content'] | trim + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "{%- set ns = namespace(multi=true, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
    "    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi and message.role == 'user' and message.content is string "
    "and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}\n"
    "        {%- set ns.multi = false %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n{{ ns.last }}{{ ns.multi }}",
    "{% for m in messages %}{% if m.tool_calls %}{% for t in m.tool_calls %}{{ t.function.name }}({{ t.function.arguments | tojson }}){% endfor %}{% endif %}{% endfor %}",
    "{%- for m in messages %}\n    {%- if '</think>' in m.content and m.content is string %}\n        {%- set r = m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
    "        {{- '[' + r + ']' + m.content.split('</think>')[-1].lstrip('\\n') }}\n    {%- endif %}\n{%- endfor %}\n",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% endif %}"
    "{{ sys.strip() }}{% for m in loop_messages %}{{ (m['role'] == 'user') != (loop.index0 % 2 == 0) }}{% endfor %}",
    "{% set first_user = messages | selectattr('role', 'equalto', 'user') | first %}{{ first_user.content }}",
    "{{- '<x>' }}\n    {%- if tools %}\n\n{{ tools[0].function.name }}\n    {% endif %}\n  end",
    "{% set x = 1 %}\n\n{% set y = 2 %}\n{{ x + y }}\n", "a\n   {{ 1 }}   \n  {% set z = 1 %}  \nb", "\t{% if yes %}\tx\t{% endif %}\t\ny",
    "{%- set ns.x = 1 %}", "{% set ns = namespace() %}{% set ns.x = xs %}{{ ns.x }}", "{{ namespace(a=1).b is defined }}",
    "{% for i in range(3) %}{{ i }}{% set outer = loop %}{% for j in range(2) %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{{ 1 }}{{+ 2 }}{{- 3 +}}", "x{%- if yes +%}\n a{%+ endif -%}\n b", "{{ xs\n | join(\n'-') }}", "{{ 'a\nb' }}", "{%if yes%}a{%endif%}",
]


def case(template, variables):
    try:
        return {"template": template, "expected": ENV.from_string(template).render(**variables)}
    except Exception as error:  # what Python raises inside a template is of any type
        return {"template": template, "error": type(error).__name__}


def main():
    cases = [case("{{ [" + e + "] }}" if "," in e else "{{ " + e + " }}", CHAT) for e in EXPRESSIONS + ERRORS]
    cases += [case(t, CHAT) for t in TEMPLATES]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "tests", "vectors-extra", "jinja_cases.json"), "w", encoding="utf-8") as out:
        json.dump({"variables": CHAT, "cases": cases}, out, ensure_ascii=False, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
