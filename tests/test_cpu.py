"""A CPU's dropout drops what it should, where transformers asks for it; its attention is torch's."""

import math
import os
import platform
import resource
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mrc.cpu import CpuKernels
from mrc.models import load_model
from mrc.packing import IMPLEMENTATION, packed, set_attention
from mrc.training.supervise import MALLOC
from tests.tiny import write_model

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
def test_attention_in_half_precision_is_that_of_float32_but_for_rounding(masked: str | None, is_autocast: bool) -> None:
    torch.manual_seed(3)
    query, key, value = (torch.randn(2, 3, 80, 16).to(torch.bfloat16).float().requires_grad_() for _ in range(3))
    given = torch.float32 if is_autocast else torch.bfloat16
    rounded = [tensor.detach().to(given).requires_grad_() for tensor in (query, key, value)]
    mask = None if masked is None else torch.arange(80) < torch.tensor([50, 80])[:, None, None, None]
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


_FAULTS_OF_A_SECOND_GRADIENT = """
import resource, threading

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    before = faults()
    bytearray(256 << 20)  # given back at once
    counts.append(faults() - before)

def loop():
    for _ in range(3):
        step()

counts = []
thread = threading.Thread(target=loop)  # as Ray Train runs a worker's
thread.start()
thread.join()
print(*counts)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are those of the GNU C library")
def test_a_workers_memory_is_not_taken_from_the_system_at_each_step() -> None:
    def counts(**variables: str) -> list[int]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-c", _FAULTS_OF_A_SECOND_GRADIENT]
        run = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
        return [int(count) for count in run.stdout.split()]

    pages = (256 << 20) // resource.getpagesize()
    assert counts()[-1] > pages / 2
    assert counts(**MALLOC)[-1] < pages / 100
