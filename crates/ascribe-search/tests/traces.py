"""The golden traces of `laws/traces.rs`, worked without the library: `python3 crates/ascribe-search/tests/traces.py`.

It knows the searches as their papers and module docs state them, and of the library only what a trace hangs on: a seed's
stream is ChaCha8 over the key (seed, FNV-1a of the name, index, length of the name), a child of a text draws from the child
seed ("node", its number), candidate i draws from the stream ("sample", i), and the likelier token comes first in a draw.
"""

import math
import struct

MASK = (1 << 64) - 1
# The next token after nothing, and after each token.
FIRST = [0.5, 0.3, 0.2]
AFTER = [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4]]
DEPTH = 3
# What the token at a place is worth: the place, from 1, times this, in thirty-seconds.
WORTH = [1, 3, 2]


def chacha(key, rounds, blocks):
    def quarter(x, a, b, c, d):
        for one, other, by, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[other]) & 0xFFFFFFFF
            x[by] ^= x[one]
            x[by] = ((x[by] << turn) | (x[by] >> (32 - turn))) & 0xFFFFFFFF

    words = []
    for block in range(blocks):
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
        start += list(struct.unpack("<8I", key)) + [block & 0xFFFFFFFF, block >> 32, 0, 0]
        x = list(start)
        for _ in range(rounds // 2):
            for at in range(4):
                quarter(x, at, 4 + at, 8 + at, 12 + at)
            for at in range(4):
                quarter(x, at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4)
        words += [(now + then) & 0xFFFFFFFF for now, then in zip(x, start)]
    return words


# The first words of ChaCha20 and ChaCha8 with a key of zeros: RFC 7539 and the eSTREAM vectors.
assert chacha(bytes(32), 20, 1)[:4] == [0xADE0B876, 0x903DF1A0, 0xE56A5D40, 0x28BD8653]
assert chacha(bytes(32), 8, 1)[:2] == [0x2FEF003E, 0xD6405F89]


class Stream:
    def __init__(self, seed, name, index):
        hashed = 0xCBF29CE484222325
        for byte in name.encode():
            hashed = ((hashed ^ byte) * 0x100000001B3) & MASK
        self.words = chacha(struct.pack("<4Q", seed, hashed, index, len(name)), 8, 2)
        self.at = 0

    def integer(self):
        low, high = self.words[self.at], self.words[self.at + 1]
        self.at += 2
        return low | high << 32

    def uniform(self):
        return (self.integer() >> 11) / 2.0**53


def child_seed(seed, name, index):
    return Stream(seed, name, index).integer()


def single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def table(tokens):
    return AFTER[tokens[-1]] if tokens else FIRST


def score(tokens):
    return sum((at + 1) * WORTH[token] for at, token in enumerate(tokens)) / 32.0


class Node:
    def __init__(self, tokens, logp, seed, id, parent):
        self.tokens, self.logp, self.seed, self.id, self.parent = tokens, logp, seed, id, parent
        self.value, self.visits, self.state = None, 0, "Open"

    def ended(self):
        return len(self.tokens) == DEPTH


class Trace:
    def __init__(self, seed):
        self.root = Node([], 0.0, child_seed(seed, "search", 0), 0, None)
        self.nodes = [self.root]
        self.generated = self.scored = 0

    def draw(self, node, number, seed=None):
        """Child `number` of a text: one token, drawn from the stream of that number."""
        seed = node.seed if seed is None else seed
        stream = Stream(seed, "sample", number)
        order = sorted(range(3), key=lambda token: (-table(node.tokens)[token], token))
        point, mass, token = stream.uniform(), 0.0, order[-1]
        for one in order:
            mass += table(node.tokens)[one]
            if point < mass:
                token = one
                break
        logp = node.logp + single(math.log(table(node.tokens)[token]))
        child = Node(node.tokens + [token], logp, child_seed(seed, "node", number), len(self.nodes), node.id)
        self.nodes.append(child)
        self.generated += 1
        return child

    def judge(self, node):
        self.scored += 1
        node.value = score(node.tokens)
        return node.value

    def show(self, name, found, chosen, more=""):
        for node in found:
            node.state = "Found"
        found[chosen].state = "Chosen"
        print(f"// {name}: {self.generated} tokens, {self.scored} scores. {more}")
        for node in self.nodes[1:]:
            value = "None" if node.value is None else f"Some({node.value!r})"
            print(f"    ({node.parent}, {node.tokens[-1]}, {value}, {node.visits}, {node.state}),")
        print("// found", [node.id for node in found], "chosen", chosen)


def best_first(nodes):
    return sorted(nodes, key=lambda node: (-node.value, -node.logp, node.id))


def step_beam(seed, n, expand):
    trace, finished = Trace(seed), []
    active, width = [trace.root], n
    while active and len(finished) < n:
        children, seen = [], set()
        for node in active:
            for number in range(width):
                child = trace.draw(node, number)
                if tuple(child.tokens) not in seen:
                    seen.add(tuple(child.tokens))
                    children.append(child)
        for child in children:
            trace.judge(child)
        finished += [child for child in children if child.ended()]
        going = best_first([child for child in children if not child.ended()])
        active, width = going[: n // expand], expand
        for child in going:
            child.state = "Kept" if child in active else "Pruned"
    finished.sort(key=lambda node: node.id)
    trace.show("step beam", finished, finished.index(best_first(finished)[0]))


def diverse_trees(seed, n, expand):
    trace = Trace(seed)
    trees = [{"kept": trace.root, "seed": trace.root.seed} for _ in range(n // expand)]
    for number, tree in enumerate(trees[1:], 1):
        tree["seed"] = child_seed(trace.root.seed, "tree", number)
    for _ in range(DEPTH):
        for tree in trees:
            tree["last"] = [trace.draw(tree["kept"], number, tree["seed"]) for number in range(expand)]
        for tree in trees:
            for child in tree["last"]:
                trace.judge(child)
            tree["kept"] = best_first(tree["last"])[0]
            tree["kept"].state, tree["seed"] = "Kept", tree["kept"].seed
    found = [child for tree in trees for child in tree["last"]]
    trace.show("diverse trees", found, found.index(best_first(found)[0]))


def tree_search(seed, simulations, expand):
    trace, ended = Trace(seed), []
    c_base, c_init = 19652.0, 1.25
    places = {}

    def place(node):
        if node.id not in places:
            places[node.id] = {"node": node, "children": None, "N": 0, "W": 0.0, "own": None, "P": 1.0}
        return places[node.id]

    def grow(at):
        children = []
        for child in [trace.draw(at["node"], number) for number in range(expand)]:
            if all(child.tokens != other["node"].tokens for other in children):
                children.append(place(child))
        weights = [math.exp(child["node"].logp - at["node"].logp) for child in children]
        for child, weight in zip(children, weights):
            child["P"] = weight / sum(weights)
        at["children"] = children

    def looks(at, child):
        q = child["W"] / child["N"] if child["N"] else at["W"] / at["N"]
        c = math.log((at["N"] + c_base + 1) / c_base) + c_init
        return q + c * child["P"] * math.sqrt(at["N"]) / (1 + child["N"])

    root = place(trace.root)
    line = [root]
    while not root["node"].ended():
        for _ in range(simulations):
            at, path = root, [root]
            while at["N"] > 0 and not at["node"].ended():
                if at["children"] is None:
                    grow(at)
                here = at
                at = max(here["children"], key=lambda child: looks(here, child))
                path.append(at)
            if at["own"] is None:
                at["own"] = trace.judge(at["node"]) if at["node"].tokens else 0.5
                if at["node"].ended():
                    ended.append(at["node"])
            for node in path:
                node["N"] += 1
                node["W"] += at["own"]
        root = max((child for child in root["children"] if child["N"]), key=lambda one: (one["N"], one["W"] / one["N"]))
        line.append(root)
    for one in places.values():
        one["node"].visits = one["N"]
        if one["N"]:
            one["node"].value = one["W"] / one["N"]
    for one in line:
        one["node"].state = "Kept"
    chosen = [node.tokens for node in ended].index(root["node"].tokens)
    trace.show("tree search", ended, chosen, f"The prompt: {trace.root.visits} visits, {trace.root.value!r}")


def particles(seed, n, kappa, tilts):
    trace = Trace(seed)
    texts = [trace.root] * n
    seeds = [trace.root.seed] * n
    weights, log_z, potentials, resampled = [1.0 / n] * n, 0.0, [0.0] * n, []
    origins = list(range(n))
    for step in range(1, DEPTH + 1):
        for at in range(n):
            # The first steps are samples of one prompt.
            texts[at] = trace.draw(texts[at], at if step == 1 else 0, seeds[at])
            seeds[at] = texts[at].seed
        before, now = (0.0 if step == 1 else tilts[step - 2]), tilts[step - 1]
        gains = []
        for at in range(n):
            potential = trace.judge(texts[at])
            gains.append(math.exp(now * potential - before * potentials[at]))
            potentials[at] = potential
        total = sum(weight * gain for weight, gain in zip(weights, gains))
        log_z += math.log(total)
        weights = [weight * gain / total for weight, gain in zip(weights, gains)]
        if step < DEPTH and 1.0 / sum(weight**2 for weight in weights) < kappa * n:
            within = Stream(trace.root.seed, "resample", step).uniform()
            sums = [sum(weights[: at + 1]) for at in range(n)]
            ancestors = [min(at for at in range(n) if (k + within) / n < sums[at] or at == n - 1) for k in range(n)]
            taken = [0] * n
            following = []
            for ancestor in ancestors:
                number = taken[ancestor]
                taken[ancestor] += 1
                following.append(seeds[ancestor] if number == 0 else child_seed(seeds[ancestor], "copy", number))
            texts, potentials = [texts[at] for at in ancestors], [potentials[at] for at in ancestors]
            origins = [origins[at] for at in ancestors]
            seeds, weights = following, [1.0 / n] * n
            resampled.append((step, ancestors))
    point, mass, chosen = Stream(trace.root.seed, "particle", 0).uniform(), 0.0, n - 1
    for at in range(n):
        mass += weights[at]
        if point < mass:
            chosen = at
            break
    for text, weight in zip(texts, weights):
        text.value = weight
    more = f"log Z {log_z!r}, weights {weights!r}, resampled {resampled}, ancestors {len(set(origins))}"
    trace.show("particles", texts, chosen, more)


if __name__ == "__main__":
    step_beam(7, 6, 3)
    diverse_trees(7, 4, 2)
    tree_search(7, 6, 3)
    particles(7, 4, 0.9, [16.0, 20.0, 24.0])
