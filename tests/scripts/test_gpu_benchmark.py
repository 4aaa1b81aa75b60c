"""The benchmark for GPUs at toy sizes: all systems take a step, and the files hold what was measured in time."""

import json
import signal
from contextlib import nullcontext
from functools import partialmethod

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks import gpu, gpu_report
from benchmarks.gpu_tasks import tasks

PLAIN = [task for task in tasks(toy=True) if "compiled" not in task.form]
COMPILED = [task for task in tasks(toy=True) if "compiled" in task.form and task.system != "AVFF pretrain"]
CPU = torch.device("cpu")


def measured(folder, *arguments):
    gpu.main(["--toy", "--workers=0", f"--out={folder}", *arguments])
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text()), path.with_suffix(".md").read_text()


@pytest.fixture(scope="module", params=PLAIN, ids=lambda task: task.name)
def started(request):
    """A system, and the same on the CPU."""
    return request.param, request.param.start(CPU)


def test_every_system_takes_a_step(started, monkeypatch):
    """Its parameters have a finite gradient."""
    found = []
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self, **_: found.append(self))
    task, running = started
    running.step(running.batch(task.clips))
    gradients = [p.grad for p in found[-1].param_groups[0]["params"] if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_step_of_ours_needs_no_value(started):
    """On tensors without values, code that would wait for a GPU to know one fails, as the released steps do."""
    task, running = started
    waits = task.name == "stage 1: released"
    if task.system in ("AVFF pretrain", "stage 2, frozen") or (task.form == "released" and not waits):
        return  # they share their code with another one
    batch = running.batch(task.clips)
    ends = pytest.raises(DataDependentOutputException) if waits else nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True), ends:
        running.step(batch)


@pytest.mark.parametrize("task", COMPILED, ids=lambda task: task.name)
def test_compilation_breaks_no_graph(task, monkeypatch):
    """Every layer, or the model as a whole, is one graph, forward; a break would be an error here."""
    torch._dynamo.reset()
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager", fullgraph=True))
    running = task.start(CPU)
    torch._dynamo.utils.counters.clear()
    running.step(running.batch(task.clips))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_all_kinds_of_measurements_of_a_system(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    document, page = measured(tmp_path, "--only=stage 1")
    assert document["failed"] == {}
    assert document["left_out"] == []
    kinds = [(row["kind"], row["form"]) for row in document["results"]]
    assert kinds == [
        *(("steps", "ours"), ("fed", "ours"), ("steps", "released"), ("fed", "released")),
        *(("kernels", "ours"), ("batches", "ours"), ("steps", "ours, compiled")),
    ]
    for row in document["results"][:4]:
        assert row["clips_per_second"] > 0
        assert row["tflops"] > 0
        assert 0 <= row["data_wait"] <= 1
    ours, released = document["results"][0], document["results"][2]
    counted = [row["tflops"] / row["clips_per_second"] for row in (ours, released)]
    assert counted[0] == pytest.approx(counted[1]), "what a system needs, not what a form executes"
    assert len(document["results"][4]["rows"]) == 10
    assert [row["clips"] for row in document["results"][5]["rows"]] == [2, 4]
    assert "Toy sizes" in page
    assert all(f"## {title}" in page for title in ("Steps", "Fed from files", "Batches of stage 1", "Kernels of stage"))


def test_the_end_of_the_time_leaves_a_whole_file(tmp_path, monkeypatch):
    """The measurement that is interrupted counts as left out, like those after it."""
    steps = gpu.Bench._steps

    def interrupted(self, task):
        if task.form == "released":
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 600
            signal.raise_signal(signal.SIGALRM)
        return steps(self, task)

    monkeypatch.setattr(gpu.Bench, "_steps", interrupted)
    document, page = measured(tmp_path, "--only=steps: stage 1", "--seconds=600")
    assert [row["form"] for row in document["results"]] == ["ours"]
    assert document["left_out"] == ["steps: stage 1: released", "steps: stage 1: ours, compiled"]
    assert "- steps: stage 1: released\n" in page
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_failure_does_not_end_the_others(tmp_path, monkeypatch):
    def broken(self, task):
        raise RuntimeError("no such kernel\nat line 1")

    monkeypatch.setattr(gpu.Bench, "_fed", broken)
    document, page = measured(tmp_path, "--only=stage 1: released")
    assert document["failed"] == {"fed: stage 1: released": "RuntimeError: no such kernel"}
    assert [row["kind"] for row in document["results"]] == ["steps"]
    assert "no such kernel" in page


def test_without_a_gpu_only_toy_sizes_are_run(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as error:
        gpu.main([])
    assert error.value.code == 2
    assert "no usable GPU found" in capsys.readouterr().err


# ---- table of README.md


def test_the_readme_has_the_table_of_the_committed_measurements():
    page = gpu_report.README.read_text()
    assert page == gpu_report.filled(page, gpu_report.headline(gpu_report.committed()))


def test_the_table_is_that_of_the_newest_measurement_of_each_card(tmp_path):
    def write(name, rate, **facts):
        steps = {"kind": "steps", "system": "stage 1", "clips": 4, "mfu": 0.5, "memory_gb": 1.0}
        rows = [
            {**steps, "form": "released", "clips_per_second": 100.0},
            {**steps, "form": "ours", "clips_per_second": rate},
            {"kind": "batches", "system": "stage 1", "form": "ours", "largest": 4096, "rows": []},
        ]
        document = {"card": "A", "date": "2026-01-01", "toy": False, "results": rows, **facts}
        (tmp_path / name).write_text(json.dumps(document))

    write("a-old.json", 150.0)
    write("a-new.json", 250.0, date="2026-02-01")
    write("b.json", 1234.0, card="B")
    write("toy.json", 9.0, card="C", toy=True)
    lines = gpu_report.headline(gpu_report.committed(tmp_path)).splitlines()
    assert lines[2:] == [
        "| A | stage 1 | ours | 250 | 2.50 | 50% | 4096 | 2026-02-01 |",
        "| B | stage 1 | ours | 1,234 | 12.34 | 50% | 4096 | 2026-01-01 |",
    ]


def test_without_measurements_the_readme_says_so(tmp_path):
    assert gpu_report.headline(gpu_report.committed(tmp_path)) == gpu_report.NONE
