from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize, quantize

from ragloom.components.requantise import q4_1_to_q8_0

Q4_1, Q8_0, F32 = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0, GGMLQuantizationType.F32


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    writer = GGUFWriter(tmp_path / "source.gguf", "llama")
    writer.add_file_type(3)
    writer.add_token_list(["a", "é", "<|im_start|>"])
    writer.add_rope_freq_base(100000.0)
    writer.add_tensor("slow", quantize(rng.standard_normal((4, 64), np.float32), Q4_1), raw_dtype=Q4_1)
    writer.add_tensor("norm", rng.standard_normal(64, np.float32))
    writer.add_tensor("fast", quantize(rng.standard_normal((2, 32), np.float32), Q8_0), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "source.gguf"


def test_only_q4_1_tensors_change_and_lose_next_to_nothing(source: Path, tmp_path: Path):
    q4_1_to_q8_0(source, tmp_path / "target.gguf")
    before = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    after = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "target.gguf").tensors}
    assert {name: tensor.tensor_type for name, tensor in after.items()} == {"slow": Q8_0, "norm": F32, "fast": Q8_0}
    assert [list(tensor.shape) for tensor in after.values()] == [list(tensor.shape) for tensor in before.values()]
    for name in ("norm", "fast"):
        np.testing.assert_array_equal(after[name].data, before[name].data)
    weights = dequantize(before["slow"].data, Q4_1)
    # Q8_0 rounds to 127 steps of the largest weight of a block, and the step itself to half precision
    np.testing.assert_allclose(dequantize(after["slow"].data, Q8_0), weights, atol=1.1 * np.abs(weights).max() / 254)


def test_metadata_stay_but_for_the_file_type(source: Path, tmp_path: Path):
    q4_1_to_q8_0(source, tmp_path / "target.gguf")
    before, after = GGUFReader(source), GGUFReader(tmp_path / "target.gguf")
    assert list(after.fields) == list(before.fields)
    changed = {name for name, field in after.fields.items() if field.contents() != before.fields[name].contents()}
    assert changed == {"general.file_type"}
    assert after.fields["general.file_type"].contents() == 7


def test_equal_files_become_equal_files(source: Path, tmp_path: Path):
    for name in ("one.gguf", "two.gguf"):
        q4_1_to_q8_0(source, tmp_path / name)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()
