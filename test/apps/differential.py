# The same application as differential.mjs, for the real uWSGI.

import time


def application(environ, start_response):
    _, call, number = environ['PATH_INFO'].split('/')
    if call == 'throw':
        raise RuntimeError('as asked')
    if call == 'sleep':
        time.sleep(int(number) / 1000)
        number = '2'
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', number)])
    return [b'x' * int(number)]
