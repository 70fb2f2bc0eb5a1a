# What metric_inc costs in real uWSGI, called in a worker: the loop of metrics.ts.

import json
import time
from urllib.parse import parse_qs

import uwsgi


def application(environ, start_response):
    turns = int(parse_qs(environ['QUERY_STRING'])['turns'][0])
    began = time.process_time()
    for _ in range(turns):
        uwsgi.metric_inc('hits')
    nanoseconds = (time.process_time() - began) * 1e9 / turns
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(nanoseconds).encode()]
