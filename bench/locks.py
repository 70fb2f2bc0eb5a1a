# What user locks cost in real uWSGI: the loops of locks.ts, run inside its workers.

import json
import os
import time
from urllib.parse import parse_qs

import uwsgi


def alone(turns):
    lock, unlock = uwsgi.lock, uwsgi.unlock
    began = time.process_time()
    for _ in range(turns):
        lock()
        unlock()
    return (time.process_time() - began) * 1e9 / turns


def together(start, end):
    lock, unlock = uwsgi.lock, uwsgi.unlock
    clock = time.monotonic
    while clock() < start:
        pass
    turns = 0
    while clock() < end:
        lock()
        turns += 1
        unlock()
    return turns


def application(environ, start_response):
    asked = {name: value[0] for name, value in parse_qs(environ['QUERY_STRING']).items()}
    if 'turns' in asked:
        result = alone(int(asked['turns']))
    else:
        result = together(float(asked['start']), float(asked['end']))
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({'pid': os.getpid(), 'result': result}).encode()]
