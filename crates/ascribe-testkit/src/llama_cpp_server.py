"""Serves the GGUF file of the first argument on a free port of the loopback device, until standard input ends."""

import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel = 2
params.n_ctx = 2 * 1024
# One: its threads spin until all of them have come, and tests that run beside it keep them from coming.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.verbosity = 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
