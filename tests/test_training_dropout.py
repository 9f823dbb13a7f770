"""Cheap dropout drops what it should, as often as it should, where transformers asks for dropout."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mrc.models import load_model
from mrc.packing import IMPLEMENTATION, packed, set_attention
from mrc.training.dropout import CheapDropout
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
    with CheapDropout():
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
        with CheapDropout():
            return functional.dropout(torch.ones(1000), 0.3)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_without_dropout_nothing_changes() -> None:
    values = torch.randn(2, 3, 5, 8)
    with CheapDropout():
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
    with CheapDropout():
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.25, **options)
    torch.testing.assert_close(found, torch.where(found != 0, weights / 0.75, 0.0))
    assert_share(found[weights != 0] != 0, 0.25)


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
    return [torch.overrides.BaseTorchFunctionMode(), CheapDropout()]
