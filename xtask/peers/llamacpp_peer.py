"""The job of llama.cpp's server on the loopback device (see README.md): samples of one prompt from the GGUF file."""

import json
import urllib.request

import xllamacpp

from common import answer, read_job, repeat


def serve(job):
    """A server with a slot for each sample; slots share one KV cache, so a prompt that was read once is not read again."""
    params = xllamacpp.CommonParams()
    params.model.path = job["gguf"]
    params.n_parallel = job["samples"]
    params.kv_unified = True
    params.n_ctx = 2 * job["samples"] * (len(job["prompts"][0]) + job["new_tokens"])
    params.cpuparams.n_threads = job["threads"]
    params.cpuparams_batch.n_threads = job["threads"]
    params.cache_prompt = True
    params.verbosity = 0
    return xllamacpp.Server(params)


def complete(address, prompt, new, seed, copies=1):
    body = {
        "prompt": prompt,
        "n_predict": new,
        "n_cmpl": copies,
        "ignore_eos": True,
        "cache_prompt": True,
        "return_tokens": True,
        "samplers": ["temperature"],
        "temperature": 1.0,
        "seed": seed,
    }
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/completion", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        said = json.load(response)
    return [entry["tokens"] for entry in (said if isinstance(said, list) else [said])]


def samples(job):
    server = serve(job)
    address, n, new = server.listening_address, job["samples"], job["new_tokens"]

    def one_request(at):
        # The server reads the prompt once and forks its state; requests for one sample each read it again.
        return complete(address, job["prompts"][at], new, job["seed"], copies=n)

    complete(address, job["prompts"][-1], 2, job["seed"])
    seconds, results = repeat(job["repeats"], one_request)
    tokens = sum(len(sample) for sample in results[-1])
    return seconds, tokens, "tokens", {"tokens": tokens}


def main():
    name, job = read_job()
    answer(name, *samples(job))


main()
