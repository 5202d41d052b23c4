# SPDX-License-Identifier: Apache-2.0
"""`analyze` as a user calls it: names, totals, bytes, odd models and wrong calls."""

import json
from collections import OrderedDict

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.analysis.result import FORMAT, VERSION
from convsmith.errors import ArgumentError, CaptureError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.conv(x))
        y = self.conv(y)
        y += x
        return torch.relu(y + 1)


def test_layers_are_named_in_the_users_module_tree() -> None:
    found = cs.analyze(nn.Sequential(nn.Conv2d(3, 4, 1), Block()), (1, 3, 8, 8))
    names = ["0", "1.conv", "1.act", "1.conv@2", "1:add", "1:add#2", "1:relu"]
    assert [layer.name for layer in found.layers] == names
    again = found.layers[3]
    assert again.notes == ("shares 1.conv.bias with 1.conv", "shares 1.conv.weight with 1.conv")
    assert found.layers[4].line.startswith("test_analyzing.py:")
    assert found.total.parameters == 16 + 148
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)


def test_bytes_and_intensity() -> None:
    found = cs.analyze(nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64), (2, 3, 8, 8))
    (layer,) = found.layers
    assert layer.weight_bytes == (4 * 3 * 9 + 4) * 8
    assert (layer.input_bytes, layer.output_bytes) == (2 * 3 * 64 * 8, 2 * 4 * 64 * 8)
    moved = layer.weight_bytes + layer.input_bytes + layer.output_bytes
    assert layer.intensity == 2 * layer.all_macs / moved
    assert found.inputs[0].dtype == "float64"


def test_peak_memory_frees_what_nobody_reads_again() -> None:
    model = nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(5)])
    assert cs.analyze(model, (1, 1, 10, 10)).total.peak_bytes == 2 * 400
    reused = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True), nn.Flatten())
    found = cs.analyze(reused, (1, 1, 10, 10))
    assert found.total.peak_bytes == 2 * 400
    assert found.layers[1].output_bytes == 0

    class Skip(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.sin()
            return y + y.cos().tan()

    # x, y, cos | y, cos, tan | y, tan, sum
    assert cs.analyze(Skip(), (1, 100)).total.peak_bytes == 3 * 400


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor, token: torch.Tensor, *, gain=None) -> dict:
        y = self.conv(image) + self.embed(token)[:, :, None, None]
        return {"map": y if gain is None else y * gain, "pair": (y.mean(), [y.amax(1)])}


def test_several_inputs_and_nested_results() -> None:
    token = torch.zeros(1, dtype=torch.long)
    found = cs.analyze(TwoInputs(), [(1, 3, 5, 5), token], kwargs={"gain": (1, 4, 5, 5)})
    assert [(item.name, item.shape) for item in found.inputs] == [
        ("x0", (1, 3, 5, 5)), ("x1", (1,)), ("gain", (1, 4, 5, 5)),
    ]  # fmt: skip
    assert found.total.macs.all == 25 * 12
    assert found.total.parameters == 40 + 16
    by_name = {"image": (1, 3, 5, 5), "token": token}
    assert cs.analyze(TwoInputs(), [], kwargs=by_name).total.macs == found.total.macs


def test_models_in_any_state() -> None:
    shape = (1, 3, 8, 8)
    expected = cs.analyze(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), shape)
    assert expected.notes == ()
    with torch.device("meta"):
        on_meta = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    found = cs.analyze(on_meta, shape)
    assert found.total == expected.total
    assert found.notes == ("the model is in training mode; its inference path is analysed",)
    unused = nn.Sequential(nn.Conv2d(3, 4, 3))
    unused.spare = nn.Parameter(torch.zeros(7))
    unused.forward = unused[0].forward
    found = cs.analyze(unused, shape)
    assert found.total.unused_parameters == 7
    assert found.notes[-1] == "7 parameters are read by no layer"
    half = cs.analyze(nn.Conv2d(3, 4, 3, dtype=torch.bfloat16), shape)
    assert half.inputs[0].dtype == "bfloat16"


def test_parameters_that_no_model_owns_are_told_of() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Conv2d(3, 4, 3)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[0](x)

    found = cs.analyze(Hidden().eval(), (1, 3, 8, 8))
    assert found.total.macs.all == 36 * 4 * 27
    assert found.total.parameters == 0
    assert found.notes[0].startswith("112 parameters are read that the model does not own")


def test_complex_numbers() -> None:
    found = cs.analyze(nn.Conv2d(3, 4, 3, dtype=torch.complex64).eval(), (1, 3, 8, 8))
    assert found.inputs[0].dtype == "complex64"
    assert found.total.macs.all == 36 * 4 * 27
    assert found.cone is not None
    assert [axis.size for axis in found.cone.axes] == [3, 3]
    assert found.notes == (
        "a multiply-accumulate of complex numbers counts as one; it takes four real",
    )


def test_a_saved_network_is_analysed_like_its_model(tmp_path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    cs.optimize(model, torch.zeros(1, 3, 8, 8)).save(tmp_path / "saved")
    found = cs.analyze(cs.load(tmp_path / "saved"), (1, 3, 8, 8))
    assert found.total.macs == cs.analyze(model, (1, 3, 8, 8)).total.macs
    assert found.layers[0].family == "standard"


def test_json_is_plain_and_versioned() -> None:
    found = cs.analyze(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 3, 8, 8)
    )
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (data["format"], data["version"]) == (FORMAT, VERSION)
    assert data["total"]["flops"] == 2 * data["total"]["macs"] == 2 * (4 * 36 * 27 + 288)
    assert [layer["kind"] for layer in data["layers"]] == ["convolution", "linear"]
    assert data["layers"][0]["options"] == {
        "kernel_size": [3, 3], "stride": [1, 1], "padding": [[0, 0], [0, 0]],
        "dilation": [1, 1], "groups": 1,
    }  # fmt: skip


def test_wrong_calls_say_what_to_do() -> None:
    conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(ArgumentError, match="model is a int; it must be"):
        cs.analyze(3, (1, 3, 8, 8))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="an input is 'large'; it must be a shape"):
        cs.analyze(conv, "large")
    with pytest.raises(ArgumentError, match=r"an input is \(1, -3, 8, 8\); it must be a shape"):
        cs.analyze(conv, (1, -3, 8, 8))
    with pytest.raises(CaptureError, match=r"expected input\[1, 1, 8, 8\] to have 3 channels"):
        cs.analyze(conv, (1, 1, 8, 8))
    with pytest.raises(CaptureError, match=r"inputs of shape \(8,\); give the shapes it takes"):
        cs.analyze(conv, (8,))


def test_a_planned_network_is_analysed_convolution_by_convolution() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()
    )
    planned = cs.optimize(model, torch.zeros(1, 3, 8, 8), timing=False)
    assert planned.report.plan is not None
    found, wanted = (cs.analyze(m, (1, 3, 8, 8)) for m in (planned.model, model))
    assert found.total.macs == wanted.total.macs
    assert found.cone == wanted.cone
    families = [layer.family for layer in found.layers if layer.family]
    assert families == ["pointwise", "depthwise"]


def test_whole_numbers_in_a_buffer_may_be_asked_for() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("width", torch.tensor(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.pad(x, (int(self.width), 0)) * self.width.item()

    assert cs.analyze(Padded(), (1, 2, 5)).layers[-1].output == (1, 2, 8)
    with pytest.raises(CaptureError, match=r"at module '' \(test_analyzing.py:.*shapes alone"):
        cs.analyze(Padded().to("meta"), (1, 2, 5))


def test_saved_and_planned_networks_keep_the_names_of_modules(tmp_path) -> None:
    inner = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    model = nn.Sequential(OrderedDict(stem=inner, head=nn.Conv2d(8, 4, 1)))
    example = torch.zeros(1, 3, 8, 8)
    plain = cs.optimize(model, example, timing=False)
    plain.save(tmp_path / "saved")
    for network in (plain.model, cs.load(tmp_path / "saved")):
        found = cs.analyze(network, (1, 3, 8, 8))
        assert [layer.name for layer in found.layers] == ["stem.0", "stem:relu", "head"]
        assert found.layers[0].module == "stem.0"
        assert found.layers[0].parameters == 8 * 27 + 8
    with pytest.raises(CaptureError, match="size 4 in dimension 1, expected 3"):
        cs.analyze(plain.model, (1, 4, 8, 8))
