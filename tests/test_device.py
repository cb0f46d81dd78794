import pytest
import torch

from unlearn.device import Run, has_fast_bf16, select_device, select_run
from unlearn.errors import EnvironmentProblem, UsageProblem

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def two_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)


def pretend_cpu_bf16(monkeypatch, avx512, amx, library=True):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: library)


def test_a_library_that_is_told_to_do_without_bf16_makes_it_slow(monkeypatch):
    pretend_cpu_bf16(monkeypatch, avx512=True, amx=True, library=False)
    assert not has_fast_bf16(CPU)
    assert select_run("cpu").precision == "fp32"


def test_auto_is_the_cpu_where_there_is_nothing_faster(no_cuda):
    assert select_device("auto") == CPU
    assert select_device("cpu") == CPU


def test_auto_is_cuda_where_there_is_one(two_cuda):
    assert select_device("auto") == CUDA
    assert select_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "", "1", "cuda:-1", "cuda:x", "meta", "xpu:0", "CPU "])
def test_unknown_devices_are_refused_with_the_choices(name):
    with pytest.raises(UsageProblem, match="choose auto, cpu, cuda, cuda:N or mps") as caught:
        select_device(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_that_is_not_there_is_a_problem_of_the_machine(no_cuda, name):
    with pytest.raises(EnvironmentProblem, match=f"--device {name}: this PyTorch sees 0 CUDA"):
        select_device(name)


def test_a_cuda_device_beyond_the_last_is_refused(two_cuda):
    with pytest.raises(EnvironmentProblem, match="sees 2 CUDA devices"):
        select_device("cuda:2")


def test_mps_needs_a_machine_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match="--device mps: not available here"):
        select_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("mps") == torch.device("mps")


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"),
    [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16"), (True, True, "bf16")],
)
def test_auto_precision_is_what_the_processor_multiplies_fast(monkeypatch, avx512, amx, precision):
    pretend_cpu_bf16(monkeypatch, avx512, amx)
    assert select_run("cpu").precision == precision


def test_auto_precision_asks_the_gpu_for_real_bf16_not_for_emulation(two_cuda):
    assert has_fast_bf16(CUDA)
    assert not has_fast_bf16(torch.device("mps"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_named_precision_is_taken_whatever_the_processor(monkeypatch, precision):
    for has in (False, True):
        pretend_cpu_bf16(monkeypatch, has, has)
        assert select_run("cpu", precision, seed=5) == Run(CPU, precision, 5)


def test_a_run_says_where_and_how_it_computes():
    assert select_run("cpu", "fp32").words == "cpu (fp32)"
    assert select_run("cpu", "bf16", compiled=True).words == "cpu (bf16, compiled)"
    assert not select_run("cpu").compiled


def test_unknown_precisions_are_refused():
    with pytest.raises(UsageProblem, match="unknown precision 'fp16'; choose auto, fp32 or bf16"):
        select_run("cpu", "fp16")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_computes_in_the_precision_of_the_run(precision, dtype):
    layer = torch.nn.Linear(2, 2)
    with Run(CPU, precision).autocast():
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_autocast_ends_with_its_block_even_after_an_exception():
    with pytest.raises(KeyError), Run(CPU, "bf16").autocast():
        raise KeyError
    assert not torch.is_autocast_enabled("cpu")
