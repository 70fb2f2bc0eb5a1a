# What the same calls cost in real uWSGI: the loops, run inside a worker, one request
# each. They mirror those of loops.ts: same keys, same sizes, same clock.

import json
import os
import time
from urllib.parse import parse_qs

import uwsgi

made = json.loads(os.environ['BENCH_KEYS'])
keys = absent = []


def begin_half_way():
    """The second of a pair: two processes in step would meet at every key."""
    global keys, absent
    first = (uwsgi.worker_id() - 1) * len(made) // 2
    keys = made[first:] + made[:first]
    absent = [key.replace('key', 'not') for key in keys]


uwsgi.post_fork_hook = begin_half_way
values = {size: b'x' * size for size in (32, 100, 1024, 16384)}
mixed_passes = 0


def fill(cache, size):
    for key in sorted(made):
        uwsgi.cache_update(key, values[size], 0, cache)


def fill_counters(cache, size):
    for key in sorted(made):
        uwsgi.cache_inc(key, 1, 0, 'counters')


def fill_runs(cache, size):
    for key in sorted(made):
        uwsgi.cache_update(key, values[size], 0, 'runs')


def fill_many(cache, size):
    for number in range(100000):
        uwsgi.cache_set('key:%012x' % number, b'x' * 128, 0, 'many')


def nothing(cache, size):
    pass


def get(cache, size):
    for key in keys:
        uwsgi.cache_get(key, cache)


def miss(cache, size):
    for key in absent:
        uwsgi.cache_get(key, cache)


def update(cache, size):
    value = values[size]
    for key in keys:
        uwsgi.cache_update(key, value, 0, cache)


def update_bitmap(cache, size):
    value = values[size]
    for key in keys:
        uwsgi.cache_update(key, value, 0, 'runs')


def update_mixed(cache, size):
    global mixed_passes
    short, long = values[size], b'x' * (3 * size)
    turn = mixed_passes & 1
    mixed_passes += 1
    for key in keys:
        uwsgi.cache_update(key, short if turn & 1 else long, 0, 'runs')
        turn += 1


def evict(cache, size):
    value = values[size]
    for key in keys:
        uwsgi.cache_update(key, value, 0, 'lru')


def set_and_del(cache, size):
    value = values[size]
    for key in absent:
        uwsgi.cache_set(key, value, 0, cache)
        uwsgi.cache_del(key, cache)


def inc(cache, size):
    for key in keys:
        uwsgi.cache_inc(key, 1, 0, 'counters')


def application(environ, start_response):
    asked = {name: value[0] for name, value in parse_qs(environ['QUERY_STRING']).items()}
    one_pass = globals()[asked['op']]
    size, start, end = int(asked['size']), float(asked['start']), float(asked['end'])
    cache = 'v%d' % size

    # Both processes of a pair begin and end at the same moment of the same clock.
    while time.monotonic() * 1000 < start:
        pass
    passes, began = 0, time.process_time()
    while True:
        one_pass(cache, size)
        passes += 1
        if time.monotonic() * 1000 >= end:
            break
    nanoseconds = (time.process_time() - began) * 1e9 / (passes * len(keys))

    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({'pid': os.getpid(), 'nanoseconds': nanoseconds, 'wall': 0}).encode()]
