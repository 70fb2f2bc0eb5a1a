# Makes a list of calls in a worker of real uWSGI, and tells what came back. The list and
# the results are files, one JSON value each; calls.ts says what stands in them.

import json
import time
from urllib.parse import parse_qs

import uwsgi


def told(result):
    if isinstance(result, bytes):
        return 'b' + result.decode('latin1')
    if isinstance(result, list):
        return [key.decode('latin1') for key in result]
    if result is None or result is True:
        return result
    return 'i%d' % result


def make(call, cache):
    op, args = call[0], [word.encode('latin1') if isinstance(word, str) else word for word in call[1:]]
    if op == 'wait':
        return time.sleep(args[0] / 1000)
    if op == 'mark':
        return int(time.time())
    if op == 'nowhere':
        return uwsgi.cache_get(args[0], 'nowhere')
    if op in ('set', 'update'):
        return getattr(uwsgi, 'cache_' + op)(args[0], args[1], args[2], cache)
    if op in ('inc', 'dec', 'mul', 'div'):
        return getattr(uwsgi, 'cache_' + op)(args[0], int(args[1]), args[2], cache)
    return getattr(uwsgi, 'cache_' + op)(*args, cache)


def application(environ, start_response):
    asked = {name: value[0] for name, value in parse_qs(environ['QUERY_STRING']).items()}
    with open(asked['calls']) as file:
        calls = json.load(file)
    results = [told(make(call, asked['cache'])) for call in calls]
    with open(asked['results'], 'w') as file:
        json.dump(results, file)
    start_response('200 OK', [])
    return []
