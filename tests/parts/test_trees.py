import numpy as np
import pytest

torch = pytest.importorskip("torch")

from umekomi.data.trees import parse_tree, parse_trees, read_trees
from umekomi.errors import DataError
from umekomi.parts.layers.trees import Levels, TreeEncoder, TreeNetwork

CELLS = [("rnn", 1), ("rntn", 1), ("tree-lstm", 1), ("deep-rnn", 3)]


def random_tree(rng, words):
    """Nodes ``[nodes, 3]`` of a random tree over so many words."""
    nodes = []

    def grow(count):
        if count == 1:
            nodes.append((int(rng.integers(20)), -1, -1))
        else:
            left = int(rng.integers(1, count))
            a, b = grow(left), grow(count - left)
            nodes.append((-1, a, b))
        return len(nodes) - 1

    grow(words)
    return np.array(nodes, np.int64)


def batch(trees):
    lengths = np.array([len(tree) for tree in trees])
    ids = np.zeros((len(trees), lengths.max(), 3), np.int64)
    for row, tree in enumerate(trees):
        ids[row, : len(tree)] = tree
    return ids, lengths


def slow(encoder, words, tree):
    """Node by node, straight from the equations; float64 NumPy."""
    weights = {name: value.detach().double().numpy() for name, value in encoder.named_parameters()}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    below = [words[word] if word >= 0 else None for word, _, _ in tree]
    for number, _ in enumerate(encoder.layers):

        def w(name, number=number):
            return weights.get(f"layers.{number}.{name}")

        h, c = [], []
        for node, (_, left, right) in enumerate(tree):
            cell = None
            if left < 0:
                x = below[node]
                if encoder.cell == "tree-lstm":
                    i, o, u = np.split(w("words.weight") @ x + w("words.bias"), 3)
                    cell = sigmoid(i) * np.tanh(u)
                    out = sigmoid(o) * np.tanh(cell)
                elif encoder.cell == "deep-rnn":
                    out = np.maximum(0, w("words.weight") @ x + w("words.bias"))
                else:
                    out = np.tanh(x if w("words.weight") is None else w("words.weight") @ x + w("words.bias"))
            else:
                pair = np.concatenate([h[left], h[right]])
                z = w("both.weight") @ pair + w("both.bias")
                if encoder.cell == "tree-lstm":
                    i, o, fl, fr, u = np.split(z, 5)
                    cell = sigmoid(i) * np.tanh(u) + sigmoid(fl) * c[left] + sigmoid(fr) * c[right]
                    out = sigmoid(o) * np.tanh(cell)
                elif encoder.cell == "rntn":
                    tensor = w("tensor")
                    out = np.tanh(z + [pair @ tensor[:, :, k] @ pair for k in range(encoder.width)])
                elif encoder.cell == "deep-rnn":
                    more = w("below.weight") @ below[node] if number else 0
                    out = np.maximum(0, z + more)
                else:
                    out = np.tanh(z)
            h.append(out)
            c.append(cell)
        below = h
    return np.stack(h)


@pytest.mark.parametrize(("cell", "layers"), CELLS)
@pytest.mark.parametrize("width", [5, 7])
def test_levels_are_exact_to_a_slow_recursion(cell, layers, width):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    trees = [random_tree(rng, words) for words in (1, 2, 9, 4, 1, 17)]
    table = rng.normal(size=(20, 5)).astype(np.float32)
    encoder = TreeEncoder(5, cell=cell, width=width, layers=layers)
    levels = Levels(*batch(trees))
    states = encoder(torch.from_numpy(table)[levels.words], levels).detach().numpy()
    for first, tree in zip(levels.first, trees, strict=True):
        places = levels.place[first : first + len(tree)]
        assert states[places] == pytest.approx(slow(encoder, table.astype(np.float64), tree), abs=1e-5)


@pytest.mark.parametrize(("cell", "layers"), CELLS)
def test_a_tree_is_the_same_in_any_batch(cell, layers):
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    trees = [random_tree(rng, int(words)) for words in rng.integers(1, 30, 12)]
    network = TreeNetwork(20, 6, cell=cell, width=6, layers=layers).eval()
    ids, lengths = (torch.from_numpy(part) for part in batch(trees))
    together = network(ids, lengths).vectors.detach()
    for row, tree in enumerate(trees):
        alone = network(torch.from_numpy(tree)[None], torch.tensor([len(tree)])).vectors[0]
        assert torch.allclose(together[row], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("cell", "layers"), CELLS)
def test_gradients_against_finite_differences(cell, layers):
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    trees = [random_tree(rng, words) for words in (3, 1, 5)]
    encoder = TreeEncoder(3, cell=cell, width=3, layers=layers).double()
    levels = Levels(*batch(trees))
    words = torch.tensor(rng.normal(size=(len(levels.words), 3)), requires_grad=True)
    # away from the kink of the rectifier, where there is no derivative
    assert torch.autograd.gradcheck(lambda given: encoder(given, levels), (words,), eps=1e-7, atol=1e-4)


def test_an_empty_tree_is_zero_and_a_deep_one_is_read():
    network = TreeNetwork(20, 4, cell="tree-lstm", width=4).eval()
    some = torch.from_numpy(random_tree(np.random.default_rng(0), 3))[None]
    ids = torch.cat([some, torch.zeros_like(some)])
    assert (network(ids, torch.tensor([5, 0])).vectors[1] == 0).all()
    nodes = [(1, -1, -1)]
    for _ in range(3000):
        nodes += [(2, -1, -1), (-1, len(nodes) - 1, len(nodes))]
    with torch.no_grad():
        assert torch.isfinite(network.encode_long(torch.tensor(nodes))).all()


def test_children_behind_their_parent_are_an_error():
    with pytest.raises(DataError, match="children that stand before their parent"):
        Levels(np.array([[[-1, 1, 2], [0, -1, -1], [0, -1, -1]]]), np.array([3]))


# --- brackets -----------------------------------------------------------------------------------------------------------


def test_unary_nodes_are_passed_over_with_their_label():
    tree = parse_tree("(4 (3 (2 (1 good) ) (0 film)))")
    assert tree.words == ["good", "film"]
    assert tree.labels == ["2", "0", "4"]
    assert tree.children.tolist() == [[-1, -1], [-1, -1], [0, 1]]
    assert parse_tree("(S (-LRB- -LRB-) (NN x))").words == ["(", "x"]


BAD = {
    "(3 (2 a) (2 b)": "line 7, column 15: expected ')' to close the '(' of column 1, found the end of the line",
    "(3 (2 a) (2 b)))": "line 7, column 16: expected the end of the line behind a whole tree, found ')'",
    "3 (2 a)": "line 7, column 1: expected a tree that begins with '(', found '3'",
    "((2 a) (2 b))": "line 7, column 2: expected a label behind '(', found '('",
    "(2 a (2 b))": "line 7, column 6: expected ')' behind the word 'a', found '('",
    "(2 a b)": "line 7, column 6: expected ')' behind the word 'a', found 'b'",
    "(3 (2 a) b)": "line 7, column 10: expected '(' or ')' behind a child, found 'b'",
    "(3 (2 a) (2 b) (2 c))": "line 7, column 1: expected a node of one word or one or two children, found 3 children",
    "(3 (2) (2 b))": "line 7, column 4: expected a node of one word or one or two children, found neither",
    "()": "line 7, column 2: expected a label behind '(', found ')'",
    "": "line 7, column 1: expected a tree in brackets, found nothing",
}


@pytest.mark.parametrize("line", BAD)
def test_a_tree_that_does_not_parse_names_line_and_column(line):
    with pytest.raises(DataError) as error:
        parse_tree(line, "trees.txt", 7)
    assert str(error.value) == f"trees.txt, {BAD[line]}"


def test_a_file_of_trees(tmp_path):
    file = tmp_path / "trees.txt"
    file.write_text("(1 (2 a) (3 b))\n\n(2 c)\n")
    assert [tree.text for tree in parse_trees(read_trees(file)["tree"].to_pylist())] == ["a b", "c"]
    from umekomi.data import load, shape_name

    named = tmp_path / "some.trees"
    named.write_text(file.read_text())
    assert shape_name(load(named)["all"]) == "trees"
    file.write_text("\n")
    with pytest.raises(DataError, match="expected at least one tree, found none"):
        read_trees(file)
    file.write_text("(1 (2 a) (3 b))\n\n(2 c\n")
    with pytest.raises(DataError, match="trees.txt, line 3, column 5"):
        read_trees(file)


def test_a_tree_of_a_hundred_thousand_words_is_parsed():
    count = 100_000
    tree = parse_tree("(2 (2 a) " * (count - 1) + "(2 b)" + ")" * (count - 1))
    assert len(tree.words) == count
    assert len(tree.labels) == 2 * count - 1
