"""A CPU's dropout drops what it should, where transformers asks for it; its attention and linear layers are torch's."""

import copy
import math
import os
import pathlib
import pickle
import platform
import resource
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from mrc import precision
from mrc.cpu import CpuKernels, block_weights, plain_weights, unblock_weights
from mrc.models import load_model
from mrc.packing import IMPLEMENTATION, packed, set_attention
from mrc.pretrained import load_tokenizer
from mrc.reader import Reader
from mrc.training.supervise import MALLOC
from tests.tiny import write_model, write_reader

SHAPE = (7, 11, 2003)  # of an odd number of values


def assert_share(kept: Tensor, probability: float) -> None:
    """Within five standard errors, and half of the resolution."""
    error = math.sqrt(probability * (1 - probability) / kept.numel())
    assert (~kept).double().mean().item() == pytest.approx(probability, abs=5 * error + 2**-17)


@pytest.mark.parametrize("probability", [1e-7, 0.1, 0.5, 0.9, 1 - 1e-7])
def test_values_are_dropped_or_scaled(probability: float) -> None:
    torch.manual_seed(1)
    values = torch.randn(SHAPE, dtype=torch.float64).requires_grad_()
    with CpuKernels():
        dropped = torch.nn.Dropout(probability)(values)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    kept = gradient != 0
    assert_share(kept, probability)
    for lane in range(4):
        assert_share(kept.flatten()[lane::4], probability)
    level = round(probability * 65536) / 65536
    nearest = level if 0 < level < 1 else probability
    torch.testing.assert_close(dropped, values * kept / (1 - nearest))
    # Neighbours are dropped independently of each other.
    flat = kept.flatten()
    assert_share(flat[1:] | flat[:-1], probability**2)


def test_a_seed_decides() -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with CpuKernels():
            return functional.dropout(torch.ones(1000), 0.3)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_without_dropout_nothing_changes() -> None:
    values = torch.randn(2, 3, 5, 8)
    with CpuKernels():
        assert torch.equal(functional.dropout(values, 0.5, training=False), values)
        assert torch.equal(functional.dropout(values, 0.0), values)
        assert functional.dropout(values, 1.0).count_nonzero() == 0
        found = functional.scaled_dot_product_attention(values, values, values)
    assert torch.equal(found, functional.scaled_dot_product_attention(values, values, values))


@pytest.mark.parametrize("masked", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.25])
def test_weights_of_attention_are_dropped_or_scaled(masked: str | None, scale: float | None) -> None:
    torch.manual_seed(2)
    query, key = torch.randn(2, 3, 80, 16), torch.randn(2, 3, 80, 16)
    value = torch.eye(80).expand(2, 3, 80, 80)  # so that the outcome is the weights
    mask = None if masked is None else torch.arange(80) < torch.tensor([50, 80])[:, None, None, None]
    if masked == "float":
        assert mask is not None
        mask = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    options: dict[str, Any] = {"attn_mask": mask, "scale": scale}
    weights = functional.scaled_dot_product_attention(query, key, value, **options)
    with CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.25, **options)
    torch.testing.assert_close(found, torch.where(found != 0, weights / 0.75, 0.0))
    assert_share(found[weights != 0] != 0, 0.25)


@pytest.mark.parametrize("masked", [None, "bool", "float"])
@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("length", [64, 70, 80])
def test_attention_in_half_precision_is_that_of_float32_but_for_rounding(
    length: int, is_autocast: bool, masked: str | None
) -> None:
    torch.manual_seed(3)
    query, key, value = (torch.randn(2, 3, length, 16).to(torch.bfloat16).float().requires_grad_() for _ in range(3))
    given = torch.float32 if is_autocast else torch.bfloat16
    rounded = [tensor.detach().to(given).requires_grad_() for tensor in (query, key, value)]
    mask = None if masked is None else torch.arange(length) < torch.tensor([50, length])[:, None, None, None]
    expected = functional.scaled_dot_product_attention(query, key, value, mask)
    if masked == "float":
        assert mask is not None
        mask = torch.zeros(mask.shape, dtype=given).masked_fill(~mask, -math.inf)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast), CpuKernels():
        found = functional.scaled_dot_product_attention(rounded[0], rounded[1], rounded[2], mask)
    assert found.dtype == torch.bfloat16
    upstream = torch.randn(expected.shape)
    pairs = zip(
        [found, *torch.autograd.grad(found, rounded, upstream.to(torch.bfloat16))],
        [expected, *torch.autograd.grad(expected, [query, key, value], upstream)],
        strict=True,
    )
    for mine, torchs in pairs:
        torch.testing.assert_close(mine.float(), torchs, atol=2**-6 * torchs.abs().max().item(), rtol=2**-6)


@pytest.mark.parametrize(
    ("shape", "dtype", "by_products"),
    [
        ((1, 12, 591, 32), torch.bfloat16, True),
        ((1, 12, 592, 32), torch.bfloat16, False),
        ((8, 12, 209, 32), torch.bfloat16, True),
        ((8, 12, 210, 32), torch.bfloat16, False),
        ((1, 12, 128, 32), torch.float32, False),
    ],
)
def test_attention_is_by_products_in_half_precision_where_its_weights_fit(
    shape: tuple[int, ...], dtype: torch.dtype, by_products: bool
) -> None:
    values = torch.randn(shape, dtype=dtype)
    with CpuKernels(), _Counting() as counting:
        functional.scaled_dot_product_attention(values, values, values)
    assert (counting.calls["bmm"] == 2) == by_products
    assert any("scaled_dot_product" in name for name in counting.calls) != by_products


@pytest.mark.parametrize(
    ("length", "dtype", "is_filled"),
    [
        (190, torch.bfloat16, True),
        (172, torch.bfloat16, True),
        (171, torch.bfloat16, False),
        (192, torch.bfloat16, False),
        (190, torch.float16, False),
        (190, torch.float32, False),
    ],
)
def test_rows_of_weights_are_filled_where_much_is_left_at_their_end(
    length: int, dtype: torch.dtype, is_filled: bool
) -> None:
    values = torch.randn(1, 2, length, 16, dtype=dtype)
    with CpuKernels(), _Counting() as counting:
        functional.scaled_dot_product_attention(values, values, values)
    assert (counting.calls["constant_pad_nd"] > 0) == is_filled


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16])
@pytest.mark.parametrize("columns", [1, 80])
def test_a_row_that_is_filled_has_the_weights_of_one_that_is_not(
    columns: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    query, key, value = (torch.randn(2, 3, 80, 16, dtype=torch.bfloat16) for _ in range(3))
    mask = torch.rand(2, 1, 80, columns) < 0.7
    mask[:, :, 7] = False  # a row of padding, which attends to nothing
    if dtype != torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    with CpuKernels():
        filled = functional.scaled_dot_product_attention(query, key, value, mask)
        monkeypatch.setattr("mrc.cpu._FEW_LEFT", 32)
        torch.testing.assert_close(filled, functional.scaled_dot_product_attention(query, key, value, mask))


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_model_draws_nothing_one_by_one(layout: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = load_model(write_model(tmp_path_factory.mktemp("tiny") / "bert"), dropout=0.1).train()
    inputs = {"input_ids": torch.ones(1, 12, dtype=torch.long), "attention_mask": torch.ones(1, 12, dtype=torch.long)}
    if layout == "packed":
        assert set_attention(model, IMPLEMENTATION)
        inputs |= {"position_ids": torch.arange(6).repeat(2)[None]}
        del inputs["attention_mask"]

    def drawn(mode: Any) -> Counter[str]:
        counting = _Counting()
        with packed([6, 6], torch.device("cpu")), counting, mode:
            model(**inputs)
        return counting.calls

    draws = {"bernoulli", "bernoulli_", "native_dropout", "random_"}
    with_torch, cheap = ({name: count for name, count in drawn(mode).items() if name in draws} for mode in modes())
    assert sum(with_torch.values()) == sum(cheap.values()) > 0
    assert list(cheap) == ["random_"]
    assert "random_" not in with_torch


def modes() -> list[Any]:
    return [torch.overrides.BaseTorchFunctionMode(), CpuKernels()]


def is_blocked(model: nn.Module) -> bool:
    """Tell whether all linear layers have their weights in blocks, or none."""
    (found,) = {layer.weight.is_mkldnn for layer in model.modules() if isinstance(layer, nn.Linear)}
    return found


def assert_same_state(model: nn.Module, expected: nn.Module) -> None:
    torch.testing.assert_close(plain_weights(model), {**expected.state_dict()}, rtol=0, atol=0)


needs_blocks = pytest.mark.skipif(platform.machine() != "x86_64", reason="blocks are for processors of x86")


@needs_blocks
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7)])
@pytest.mark.parametrize("shape", [(3, 24), (2, 7, 24)])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_a_linear_layer_with_its_weight_in_blocks(
    bias: bool, shape: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(4)
    plain = nn.Sequential(nn.Linear(24, 40, bias=bias), nn.Linear(40, 2, bias=bias)).to(dtype)
    blocked = copy.deepcopy(plain)
    block_weights(blocked)
    assert is_blocked(blocked)
    values = torch.randn(shape, dtype=dtype)
    torch.testing.assert_close(blocked(values), plain(values), rtol=tolerance, atol=tolerance)
    assert_same_state(blocked, plain)
    for copied in (copy.deepcopy(blocked), pickle.loads(pickle.dumps(blocked))):
        assert is_blocked(copied)
        assert torch.equal(copied(values), blocked(values))
    unblock_weights(blocked)
    assert not is_blocked(blocked)
    assert torch.equal(blocked(values), plain(values))


@needs_blocks
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_reader_that_is_loaded_multiplies_by_blocks(name: str, tmp_path: pathlib.Path) -> None:
    path = write_reader(tmp_path / "read", "bert")
    loaded = Reader.from_pretrained(path, device="cpu", precision=name, exact=True, max_seq_length=48, doc_stride=8)
    assert is_blocked(loaded._finder._first.model)
    assert is_blocked(loaded._finder.model)
    loaded.save_pretrained(tmp_path / "saved")
    assert_same_state(load_model(str(tmp_path / "saved")), load_model(path))
    given = load_model(path)
    reader = Reader(given, load_tokenizer(path), loaded.window, loaded.span, precision=name)
    assert not is_blocked(reader._finder._first.model)


class OwnProduct(nn.Module):
    """A layer that multiplies by another's weight itself."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.linear.weight.T + self.linear.bias


@needs_blocks
def test_a_model_that_reads_otherwise_with_blocks_goes_without(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_reader(tmp_path, "bert")
    model, tokenizer = load_model(path), load_tokenizer(path)

    def tried(model: PreTrainedModel) -> bool:
        before = copy.deepcopy(model)
        precision.block_weights(model, tokenizer, 48)
        if not (found := is_blocked(model)):
            assert_same_state(model, before)
            assert {type(layer) for layer in model.modules()} == {type(layer) for layer in before.modules()}
        return found

    assert tried(copy.deepcopy(model))
    own = copy.deepcopy(model)
    own.set_submodule("qa_outputs", OwnProduct(own.get_submodule("qa_outputs")))  # type: ignore[arg-type]
    assert not tried(own)
    layer = type(next(m for m in blocked_copy(model).modules() if isinstance(m, nn.Linear)))
    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", lambda self, values: self.bias.expand(*values.shape[:-1], -1))
        assert not tried(copy.deepcopy(model))
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)  # as in a torch that has another
    assert not tried(copy.deepcopy(model))


def blocked_copy(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    block_weights(copied)
    return copied


_FAULTS_OF_TENSORS = """
import resource, threading

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    before = faults()
    bytearray(SIZE)  # given back at once
    counts.append(faults() - before)

def loop():
    for _ in range(3):
        step()

counts = []
"""
_IN_A_THREAD = """
thread = threading.Thread(target=loop)  # as Ray Train runs a worker's
thread.start()
thread.join()
print(*counts)
"""
_IN_AN_ACTOR = """
from mrc.cpu import keep_freed_memory

keep_freed_memory()
loop()
print(*counts)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is of the GNU C library")


def faults(script: str, size: int, **variables: str) -> list[int]:
    """Return the page faults of three tensors, one after the other, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", _FAULTS_OF_TENSORS.replace("SIZE", str(size)) + script]
    run = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    return [int(count) for count in run.stdout.split()]


@needs_glibc
def test_a_workers_memory_is_not_taken_from_the_system_at_each_step() -> None:
    size = 256 << 20  # a gradient of embeddings
    pages = size // resource.getpagesize()
    assert faults(_IN_A_THREAD, size)[-1] > pages / 2
    assert faults(_IN_A_THREAD, size, **MALLOC)[-1] < pages / 100


@needs_glibc
def test_an_actors_memory_is_not_taken_from_the_system_at_each_batch() -> None:
    size = 48 << 20  # over what malloc keeps by itself
    pages = size // resource.getpagesize()
    assert faults("loop()\nprint(*counts)", size)[-1] > pages / 2
    assert faults(_IN_AN_ACTOR, size)[-1] < pages / 100
