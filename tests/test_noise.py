"""Noise is examined by counting: whatever an ideal source would show on average, this one must show too.

Each statistic is brought to the scale of the standard normal distribution; its z-score is how many standard
deviations it lies away from the ideal.  The criterion: of all statistics, 112,626 in number, none has a z-score
beyond 5.5.  For a single one of an ideal source the probability of that is 4e-8, so one ideal source in two
hundred would fail by chance; here the keys are fixed, and chance was asked once.

    uniformity     each bit of a number is balanced and knows nothing of the others; the 256 values of each
                   byte come equally often
    positions      no correlation between the numbers, nor between their top bits, at 1 to 1,024 places'
                   distance and at 4,096; rows and columns of tables have sums as wide as they should be
    neighbours     the same between two streams or two steps that follow each other or differ in one bit,
                   side by side and shifted against each other
    avalanche      flipping one bit of the stream or of the step flips each bit of the numbers half of the time

It is an examination of masks, which is what the noise is for.  (It is no general generator: within one step
no number comes twice, where of 2¹⁷ an ideal source would repeat two.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target

import martlet as mt
from martlet.noise import bits, chance

LIMIT = 5.5
LENGTH = 2**17  # of each sequence that is looked at by itself
SHORT = 2**14  # of each that is looked at beside a hundred others
Key = tuple[int, int, int]  # the two words of the stream, and the step
Source = Callable[[Key, int], np.ndarray]

SINGLE: list[Key] = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0), (2**32 - 1, 2**32 - 1, 2**32 - 1), (2**31, 2**31, 0)]
SINGLE += [tuple(key) for key in np.random.default_rng(0).integers(0, [2**32, 2**32, 10_000], (6, 3)).tolist()]
PAIRED: list[Key] = [(5, 9, 100), (123_456_789, 3_000_000_000, 3)]


def word(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype="uint32").view("int32")


def martlets(key: Key, count: int) -> np.ndarray:
    return bits(word(*key[:2]), word(key[2]), count)


def values(numbers: np.ndarray) -> np.ndarray:
    """int32 as numbers of mean 0 and variance 1."""
    return ((numbers + 0.5) * (math.sqrt(3.0) / 2**31)).astype("float32")


def top(numbers: np.ndarray) -> np.ndarray:
    """The highest bit, which decides at a rate of one half, as -1 and 1."""
    return np.where(numbers < 0, -1.0, 1.0).astype("float32")


def signs(numbers: np.ndarray) -> np.ndarray:
    """All 32 bits as -1 and 1: (count, 32)."""
    return np.unpackbits(numbers.view("uint8").reshape(-1, 4), axis=1).astype("float32") * 2.0 - 1.0


def byte_counts(numbers: np.ndarray) -> np.ndarray:
    """How often each of the four bytes has each of its values: (4, 256)."""
    return np.stack([np.bincount(byte, minlength=256) for byte in numbers.view("uint8").reshape(-1, 4).T])


def balance(counts: np.ndarray) -> np.ndarray:
    """The z-scores of the 32 bits, from the counts of the bytes: as many ones as zeros."""
    total = counts[0].sum()
    ones = counts @ np.unpackbits(np.arange(256, dtype="uint8")[:, None], axis=1)
    return (2.0 * ones.ravel() - total) / math.sqrt(total)


def from_chi_square(x: Any, freedom: float) -> Any:
    """The z-score of a chi-square statistic, by the cube root of Wilson and Hilferty."""
    spread = 2.0 / (9.0 * freedom)
    return ((x / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)


def pooled(rows: list[np.ndarray]) -> np.ndarray:
    """The z-scores of each key, and those of all keys together, in which a small but constant bias adds up."""
    table = np.stack(rows)
    return np.concatenate([table.ravel(), table.sum(axis=0) / math.sqrt(len(rows))])


def correlations(spectrum: np.ndarray, other: np.ndarray, lags: np.ndarray, count: int) -> np.ndarray:
    """The z-scores of Σ x[i] y[i + lag], around the circle, from the Fourier transforms of x and y."""
    return np.fft.irfft(np.conj(spectrum) * other, count)[..., lags] / math.sqrt(count)


# ------------------------------------------------------------------------------------ the examination


def uniformity(source: Source) -> np.ndarray:
    rows = []
    for key in SINGLE:
        numbers = source(key, LENGTH)
        counts, b = byte_counts(numbers), signs(numbers)
        chi = np.sum((counts - LENGTH / 256) ** 2 / (LENGTH / 256), axis=1)
        together = (b.T @ b)[np.triu_indices(32, 1)] / math.sqrt(LENGTH)
        rows.append(np.concatenate([balance(counts), from_chi_square(chi, 255.0), together]))
    return pooled(rows)


def positions(source: Source) -> np.ndarray:
    lags, rows = np.array([*range(1, 1025), 4096]), []
    for key in SINGLE:
        numbers = source(key, LENGTH)
        found = []
        for x in (values(numbers), top(numbers)):
            spectrum = np.fft.rfft(x)
            found.append(correlations(spectrum, spectrum, lags, LENGTH))
        found.append(np.array([z for width in (2, 10, 64, 100, 784, 1024) for z in sums(values(numbers), width)]))
        rows.append(np.concatenate(found))
    return pooled(rows)


def sums(x: np.ndarray, width: int) -> list[float]:
    """Whether the sums over the rows, and over the columns, of a table of this width have their variance."""
    table = x[: len(x) // width * width].reshape(-1, width).astype("float64")
    found = []
    for axis in (0, 1):
        length, count = table.shape[axis], table.shape[1 - axis]
        squares = np.sum(table.sum(axis=axis) ** 2) / length
        # The square of a sum of uniform numbers varies a little less than that of a normal one.
        freedom = count / (1.0 - 0.6 / length)
        found.append(from_chi_square(squares * (freedom / count), freedom))
    return found


def one_bit_away(key: Key) -> list[Key]:
    words = range(3)
    return [tuple(key[w] ^ (1 << bit) if w == place else key[w] for w in words) for place in words for bit in range(32)]


def neighbours(source: Source) -> np.ndarray:
    lags = np.array([*range(33), *(2**k for k in range(6, 13)), *range(-32, 0), *(-(2**k) for k in range(6, 13))])
    found = []
    for key in PAIRED:
        following = [(key[0], key[1], key[2] + k) for k in range(1, 33)]
        keys = list(dict.fromkeys([key, *one_bit_away(key), *following]))
        numbers = np.stack([source(k, SHORT) for k in keys])
        for x in (values(numbers), top(numbers)):
            everyone = x @ x.T / math.sqrt(SHORT)
            spectra = np.fft.rfft(x)
            found += [everyone[np.triu_indices(len(keys), 1)]]
            found += [correlations(spectra[0], spectra[1:], lags[lags != 0], SHORT).ravel()]
    return np.concatenate(found)


def avalanche(source: Source) -> np.ndarray:
    rows = []
    for key in PAIRED:
        start = source(key, SHORT)
        rows.append(np.concatenate([balance(byte_counts(start ^ source(k, SHORT))) for k in one_bit_away(key)]))
    return pooled(rows)


EXAMINATIONS = [uniformity, positions, neighbours, avalanche]


@functools.cache
def scores(examine: Callable[[Source], np.ndarray]) -> np.ndarray:
    """How martlet's noise does."""
    return examine(martlets)


@pytest.mark.parametrize("examine", EXAMINATIONS)
def test_the_noise_passes(examine: Callable[[Source], np.ndarray]) -> None:
    assert np.abs(scores(examine)).max() < LIMIT
    assert 0.97 < np.std(scores(examine)) < 1.03  # the scores are on the scale that the limit is meant for


def test_the_criterion_is_what_the_docstring_says() -> None:
    count = sum(scores(examine).size for examine in EXAMINATIONS)
    assert f"{count:,} in number" in " ".join((__doc__ or "").split())
    assert count * math.erfc(LIMIT / math.sqrt(2.0)) < 1 / 200


# --------------------------------------------------------------------- sources that ought to be rejected


def mixed(x: np.ndarray) -> np.ndarray:
    """The same good hash that martlet has, on NumPy's unsigned integers."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def stirred(x: np.ndarray) -> np.ndarray:
    """A weak hash: one multiplication."""
    x = x * np.uint32(0x9E3779B1)
    return x ^ (x >> 16)


def unsigned(*numbers: int) -> np.ndarray:
    return np.array([sum(numbers) % 2**32], dtype="uint32")


def places(count: int) -> np.ndarray:
    return np.arange(count, dtype="uint32")


def start_of(key: Key) -> np.ndarray:
    return mixed(mixed(unsigned(key[2]) ^ unsigned(key[0])) + unsigned(key[1]))


NAIVE: dict[str, tuple[Callable[[Key, int], np.ndarray], Callable[[Source], np.ndarray]]] = {
    "stream, step and position added, and mixed once": (
        lambda key, count: mixed(places(count) + unsigned(*key)),
        neighbours,
    ),
    "the sum of seed and layer as the stream, each step one place on": (
        lambda key, count: mixed(mixed(unsigned(key[0], key[1])) + unsigned(key[2]) + places(count)),
        neighbours,
    ),
    "a start of its own for each step, but the same stride": (
        lambda key, count: mixed(places(count) + start_of(key)),
        neighbours,
    ),
    "the hash of the position, xor that of the key": (
        lambda key, count: mixed(places(count)) ^ start_of(key),
        avalanche,
    ),
    "added, and mixed weakly": (lambda key, count: stirred(places(count) + unsigned(*key)), positions),
    "the powers of a multiplier": (lambda key, count: start_of(key) * np.uint32(1664525) ** places(count), uniformity),
}


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_source_is_rejected(name: str) -> None:
    source, examine = NAIVE[name]
    assert np.abs(examine(lambda key, count: source(key, count).view("int32"))).max() > 2 * LIMIT


# ------------------------------------------------------------------------------------ the same everywhere


def test_bits_are_equal_on_every_backend(xp: Target) -> None:
    for key in SINGLE:
        expected = martlets(key, 1000)
        here = xp.run(lambda stream, step: bits(stream, step, 1000), xp.put(word(*key[:2])), xp.put(word(key[2])))
        assert str(here.dtype).endswith("int32")
        np.testing.assert_array_equal(mt.to_numpy(here), expected)


def test_bits_are_a_hash_of_their_position() -> None:
    """By definition, in Python's integers: no array wraps around here."""

    def mix(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return x ^ x >> 16

    for first, second, step in SINGLE:
        start = mix((mix(step ^ first) + second) % 2**32)
        odd = mix(start ^ first) | 1
        expected = word(*[mix((i * odd + start) % 2**32) for i in range(20)])
        np.testing.assert_array_equal(martlets((first, second, step), 20), expected)


def test_a_part_of_the_noise_needs_not_the_rest() -> None:
    np.testing.assert_array_equal(martlets(SINGLE[-1], 100), martlets(SINGLE[-1], 10_000)[:100])


@pytest.mark.parametrize("probability", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
def test_chance_keeps_its_probability(xp: Target, probability: float) -> None:
    stream, step, count = xp.put(word(1, 2)), xp.put(word(3)), 2**18
    table = mt.to_numpy(xp.run(lambda stream, step: chance(stream, step, (256, 1024), probability), stream, step))
    assert table.dtype == bool
    assert table.shape == (256, 1024)
    deviation = math.sqrt(count * probability * (1.0 - probability))
    assert abs(table.sum() - count * probability) <= LIMIT * deviation
    one_row = mt.to_numpy(chance(stream, step, (1024,), probability))
    np.testing.assert_array_equal(table[0], one_row)  # row after row


def test_positions_that_int32_cannot_tell_apart_are_refused(xp: Target) -> None:
    stream, step = xp.put(word(1, 2)), xp.put(word(3))
    for shape in ((2**31, 2**31), (2**31,), (2**16, 2**15)):  # the first could not be made in any case
        with pytest.raises(ValueError, match="up to 2147483647"):
            chance(stream, step, shape, 0.5)
    with pytest.raises(ValueError, match="up to 2147483647"):
        bits(stream, step, 2**31)


# ------------------------------------------------------------------------------------------------ Dropout


def dropout(rate: float = 0.5, seed: int = 0) -> mt.Dropout:
    return mt.Dropout.init(rate, np.random.default_rng(seed))


def test_masks_are_equal_on_every_backend(xp: Target) -> None:
    ones, layer = np.ones((50, 30)), dropout(0.3)
    expected, _ = layer.forward(ones)
    y, cache = xp.run(lambda layer, x: layer.forward(x), xp.put(layer), xp.put(ones))
    np.testing.assert_array_equal(mt.to_numpy(y) != 0.0, expected != 0.0)
    np.testing.assert_allclose(mt.to_numpy(y), expected, rtol=1e-7)
    dx, grad = xp.put(layer).backward(cache, xp.put(ones))
    np.testing.assert_array_equal(mt.to_numpy(dx), mt.to_numpy(y))  # backward has the mask of forward
    assert grad is None
    np.testing.assert_array_equal(mt.to_numpy(xp.put(layer).predict(xp.put(ones))), ones)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_mask_is_one_on_average(rate: float) -> None:
    y, _ = dropout(rate).forward(np.ones((500, 500)))
    assert set(np.unique(y)) <= {0.0, 1.0 / (1.0 - rate)}
    assert abs(y.mean() - 1.0) <= LIMIT * math.sqrt(rate / (1.0 - rate) / y.size)


def test_each_step_has_a_mask_of_its_own(xp: Target) -> None:
    layer, ones, seen = xp.put(dropout()), xp.put(np.ones((8, 16))), set()
    step = xp.compile(lambda layer, x: (lambda y, cache: (layer.observe(cache), y))(*layer.forward(x)))
    for number in range(20):
        assert mt.to_numpy(layer.step).tolist() == [number]
        again = mt.to_numpy(layer.forward(ones)[0])
        layer, y = step(layer, ones)
        np.testing.assert_array_equal(mt.to_numpy(y), again)  # until it has observed, it draws the same
        seen.add(mt.to_numpy(y).tobytes())
    assert len(seen) == 20


def test_the_counter_wraps_around_quietly(xp: Target) -> None:
    layer = mt.replace(xp.put(dropout()), {"step": xp.put(np.array([2**31 - 1], dtype="int32"))})
    _, cache = layer.forward(xp.put(np.ones((2, 2))))
    assert mt.to_numpy(layer.observe(cache).step).tolist() == [-(2**31)]


def test_one_generator_never_gives_a_stream_twice() -> None:
    rng = np.random.default_rng(0)
    assert len({mt.Dropout.init(0.5, rng).stream.tobytes() for _ in range(1000)}) == 1000


def model_with(*layers: mt.Layer) -> mt.Sequential:
    rng = np.random.default_rng(1)
    return mt.Sequential(affine(rng, 2, 4), *layers, affine(rng, 4, 3))


def train(model: mt.Layer, **settings: Any) -> tuple[Any, mt.History]:
    x, t = mt.datasets.spiral(4, dtype="float64")
    call = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(lr=0.1), "epochs": 2, "batch_size": 6}
    return mt.fit(model, x, t, **call | settings)


def test_fit_refuses_two_layers_with_one_stream(xp: Target) -> None:
    twice = dropout()
    message = "fit: the Dropout layers 1 and {} share a stream"
    for model, other in (
        (model_with(twice, twice), "2"),
        (model_with(dropout(0.1, seed=7), mt.Tanh(), dropout(0.9, seed=7)), "3"),
        (model_with(twice, mt.Sequential(mt.Tanh(), mt.Freeze(twice))), "2.1.layer"),
    ):
        with pytest.raises(ValueError, match=message.format(other)):
            train(xp.put(model))
    rng = np.random.default_rng(7)
    train(xp.put(model_with(mt.Dropout.init(0.1, rng), mt.Dropout.init(0.1, rng))))


def test_fit_moves_the_counters_on(xp: Target) -> None:
    """Also that of a frozen layer, unless its statistics are to be held still."""
    layers = dropout(seed=1), mt.Freeze(dropout(seed=2)), mt.Freeze(dropout(seed=3), statistics=True)
    model, _ = train(xp.put(model_with(*layers)))
    assert [int(mt.to_numpy(layer.step)[0]) for layer in (model[1], model[2].layer, model[3].layer)] == [4, 4, 0]


def test_a_run_with_dropout_is_the_same_everywhere(xp: Target) -> None:
    model = model_with(dropout())
    expected = train(model)[1].loss
    np.testing.assert_allclose(train(xp.put(model))[1].loss, expected, rtol=1e-10 if xp.double == "float64" else 1e-4)
    still = model_with(mt.Freeze(dropout(), statistics=True))
    assert train(still)[1].loss[1] != expected[1]  # the masks of the second step matter


def test_a_frozen_mask_is_the_same_at_every_step() -> None:
    layer = mt.Freeze(dropout(), statistics=True)
    first, cache = layer.forward(np.ones((4, 4)))
    np.testing.assert_array_equal(layer.observe(cache).forward(np.ones((4, 4)))[0], first)
    moving = mt.Freeze(dropout())
    assert (moving.observe(cache).forward(np.ones((4, 4)))[0] != first).any()
