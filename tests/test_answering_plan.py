"""What bulk answering settles before it needs a cluster: plans, fingerprints, folders, shapes, and what it tells."""

import json
import pathlib
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.answering import AnswerConfig, Plan, pipeline, plan, records
from mrc.answering.config import MAY_CHANGE, check_input
from mrc.answering.pipeline import Shape, shape_of
from mrc.answering.progress import Progress, duration
from mrc.answering.records import Ledger, UnitRecord
from mrc.answering.run import check_folder
from mrc.errors import UsageError
from mrc.metrics import Sums
from mrc.model_files import check_there, load_settings, model_fingerprint
from mrc.settings import write_settings
from mrc.sources import SourceConfig
from mrc.spans import SpanConfig
from mrc.windows import WindowConfig
from tests.source_files import make_examples, write_jsonl
from tests.tiny import write_reader

SOURCE = SourceConfig()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_reader(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows() -> str:
    """Ten questions with their contexts."""
    url = f"memory://{uuid.uuid4().hex}/rows.jsonl"
    write_jsonl(url, make_examples(10))
    return url


@pytest.fixture
def products() -> tuple[str, str]:
    """Three questions, and ten documents with a number."""
    place = f"memory://{uuid.uuid4().hex}"
    questions = [{"id": f"q{number}", "question": "Who?"} for number in range(3)]
    documents = [{"id": f"d{number}", "context": "I am.", "number": number} for number in range(10)]
    for name, lines in (("q", questions), ("d", documents)):
        storage.write_text(f"{place}/{name}.jsonl", "\n".join(map(json.dumps, lines)))
    return f"{place}/q.jsonl", f"{place}/d.jsonl"


@pytest.fixture
def make_plan(model: str) -> Callable[..., Plan]:
    def make(**changes: Any) -> Plan:
        return plan(AnswerConfig(**{"model": model, "max_seq_length": 64, "doc_stride": 16, **changes}), SOURCE)

    return make


# Plans


def test_a_plan_has_all_rows_in_units(make_plan: Callable[..., Plan], rows: str) -> None:
    planned = make_plan(input=rows, unit_rows=4, keep_columns="title, title")
    assert [unit.num_rows for unit in planned.units] == [4, 4, 2]
    assert planned.num_questions == 10
    assert planned.input.keep == ("title",)
    assert planned.schema.names[-2:] == ["n_best", "title"]
    assert (planned.window.max_seq_length, planned.scorer, planned.bad_files) == (64, "squad", {})
    assert sum(unit.num_rows for unit in make_plan(input=rows, unit_rows=4, limit=5).units) == 5


def test_a_plan_of_a_product_counts_pairs(make_plan: Callable[..., Plan], products: tuple[str, str]) -> None:
    questions, documents = products
    planned = make_plan(questions=questions, documents=documents, unit_rows=7, keep_columns="number")
    assert planned.num_questions == 30
    assert [unit.num_rows for unit in planned.units] == [2] * 5
    assert planned.schema.names[-3:] == ["document_id", "question_id", "number"]
    assert make_plan(questions=questions, documents=documents, limit=2).num_questions == 6
    # A unit is never less than a document.
    assert len(make_plan(questions=questions, documents=documents, unit_rows=1).units) == 10


def test_fewer_candidates_may_be_written_than_share_the_probability(make_plan: Callable[..., Plan], rows: str) -> None:
    own = make_plan(input=rows).span.n_best_size
    assert make_plan(input=rows, n_best_size=3).span.n_best_size == own
    assert make_plan(input=rows, n_best_size=own + 5).span.n_best_size == own + 5
    assert "n_best" not in make_plan(input=rows, n_best_size=0).schema.names


def test_bad_files_are_left_out_where_that_is_asked_for(make_plan: Callable[..., Plan], rows: str) -> None:
    folder = rows.rpartition("/")[0]
    storage.write_bytes(f"{folder}/torn.parquet", b"PAR1")
    with pytest.raises(UsageError, match=r"torn\.parquet: not a whole Parquet file"):
        make_plan(input=folder)
    planned = make_plan(input=folder, skip_bad_files=True)
    assert planned.num_questions == 10
    assert [url.rpartition("/")[2] for url in planned.bad_files] == ["torn.parquet"]
    storage.remove(rows)
    with pytest.raises(UsageError, match=r"^the input has no rows in files that are whole$"):
        make_plan(input=folder, skip_bad_files=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_per": "title"}, "--best_per title: name a column of --keep_columns (none are carried through)"),
        ({"best_per": "id", "keep_columns": "title"}, "--best_per id: name a column of --keep_columns (title)"),
        ({"best_per": "answers", "keep_columns": "answers,title"}, None),
        ({"keep_columns": "id"}, "--keep_columns id: the predictions have a column of that name; rename the input's"),
        ({"keep_columns": "title,num_passages"}, "no column 'num_passages', which --keep_columns names"),
        ({"model": "no/such/folder"}, "no/such/folder"),
        ({"input": "none.jsonl"}, "no file at none.jsonl"),
        ({"max_seq_length": 0}, "--max_seq_length"),
        ({"scorer": "korquad", "limit": 1}, None),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    changes: dict[str, Any], message: str | None, make_plan: Callable[..., Plan], rows: str
) -> None:
    if message is None:
        make_plan(**{"input": rows, **changes})
        return
    with pytest.raises(UsageError) as error:
        make_plan(**{"input": rows, **changes})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given_input", "message"),
    [
        ({}, "^no input: give --input, or --questions and --documents$"),
        ({"questions": "q.jsonl"}, "^--documents is missing"),
        ({"documents": "d.jsonl", "input": "a.jsonl"}, "^--questions is missing"),
        ({"questions": "q", "documents": "d", "input": "a"}, "two kinds of input: give one of them"),
    ],
)
def test_one_kind_of_input_is_needed(given_input: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_input(AnswerConfig(**given_input))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("limit", "max_batch_tokens", "num_actors", "unit_rows", "store_timeout_s")),
        ("n_best_size", -1),
        ("min_probability", 1.1),
        ("max_reject_share", -0.1),
    ],
)
def test_values_that_no_run_can_use_are_refused_by_their_flag(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^--{name} {value}: must be "):
        AnswerConfig(**{name: value})


# Models, fingerprints and folders


@pytest.mark.parametrize("job", ["answering", "training"])
def test_a_job_is_planned_without_torch_which_is_loaded_while_ray_starts(job: str, model: str) -> None:
    data = {"answering": "input", "training": "train_data"}[job] + "='sample://train?num_examples=4'"
    lines = (
        "import sys",
        f"from mrc.{job} import CONFIGS, plan",
        f"first, *others = CONFIGS; plan(first(model={model!r}, {data}), *(of() for of in others))",
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)",
    )
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_model_without_its_config_is_missing_wherever_it_is(model: str, tmp_path: pathlib.Path) -> None:
    url = f"memory://{uuid.uuid4().hex}/model"
    storage.upload_tree(model, url)
    for there in (model, f"file://{model}", url):
        check_there(there)
    storage.remove(storage.join(url, "config.json"))
    for missing in (url, str(tmp_path), "memory://nowhere/model", "nowhere/model"):
        with pytest.raises(UsageError, match=rf"^--model {missing}: .*on a machine that reaches the hub\)$"):
            check_there(missing)


def test_settings_on_a_store_are_a_folders(model: str) -> None:
    url = f"memory://{uuid.uuid4().hex}/model"
    assert load_settings(url, {}) == (WindowConfig(), SpanConfig())
    storage.write_text(
        storage.join(url, "reader.json"), '{"doc_stride": 16, "n_best_size": 3, "of_a_later_version": 1}'
    )
    window, span = load_settings(url, {"n_best_size": 4})
    assert (window.doc_stride, span.n_best_size) == (16, 4)
    with pytest.raises(UsageError, match="unknown setting stride"):
        load_settings(url, {"stride": 1})


def test_a_models_fingerprint_is_that_of_its_bytes(model: str, tmp_path: pathlib.Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(model, copied)
    first = model_fingerprint(model)
    assert model_fingerprint(str(copied)) == model_fingerprint(f"file://{copied}") == first
    (copied / ".hidden").write_text("left behind by an editor")
    assert model_fingerprint(str(copied)) == first
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(str(copied)) != first
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(str(copied)) == first
    (copied / "reader.json").write_text("{}")
    assert model_fingerprint(str(copied)) != first


def test_a_models_fingerprint_on_a_store_is_that_of_its_files(model: str) -> None:
    url = f"memory://{uuid.uuid4().hex}/model"
    storage.upload_tree(model, url)
    first = model_fingerprint(url)
    assert model_fingerprint(url) == first
    storage.write_text(storage.join(url, "reader.json"), "{}")
    assert model_fingerprint(url) != first


def test_an_inputs_fingerprint_changes_with_files_questions_and_cut(
    make_plan: Callable[..., Plan], products: tuple[str, str]
) -> None:
    questions, documents = products

    def fingerprint(**changes: Any) -> Any:
        planned = make_plan(**{"questions": questions, "documents": documents, **changes})
        return planned.settings["input_fingerprint"]

    first = fingerprint()
    assert fingerprint(output="elsewhere", keep_columns="number", min_probability=0.5) == first
    different = [fingerprint(unit_rows=3), fingerprint(limit=2)]
    storage.write_text(questions, storage.read_text(questions).replace("Who?", "Whom?"))
    different.append(fingerprint())
    storage.write_text(documents, storage.read_text(documents) + "\n")
    different.append(fingerprint())
    assert len({first, *different}) == 5


def test_a_folder_of_another_run_is_refused_with_the_difference(
    make_plan: Callable[..., Plan], rows: str, model: str, tmp_path: pathlib.Path
) -> None:
    output = str(tmp_path / "answers")
    planned = make_plan(input=rows, output=output)
    check_folder(planned)
    write_settings(planned.url("config.yaml"), planned.settings)
    check_folder(planned)
    check_folder(make_plan(input=rows, output=output, num_actors=3, max_batch_tokens=64, wait_for_nodes=True))

    def refusal(**changes: Any) -> str:
        with pytest.raises(UsageError) as error:
            check_folder(make_plan(**{"input": rows, "output": output, **changes}))
        assert "\n" not in str(error.value)
        assert f"--output {output} holds another run (" in str(error.value)
        return str(error.value)

    assert "(--min_probability: 0.0 -> 0.5)" in refusal(min_probability=0.5)
    assert "--max_answer_length: 30 -> 5; --min_probability: 0.0 -> 0.5" in refusal(
        max_answer_length=5, min_probability=0.5
    )
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "reader.json").write_text("{}")
    assert f"(--model: {model} -> {other}; model: " in refusal(model=str(other))
    storage.write_text(rows, storage.read_text(rows) + "\n")
    assert "(input: " in refusal()


def test_every_setting_that_may_change_is_one(make_plan: Callable[..., Plan], rows: str) -> None:
    assert make_plan(input=rows).settings.keys() >= MAY_CHANGE


# Shapes


def node(cpus: float, gpus: float = 0) -> dict[str, Any]:
    return {"CPU": cpus, "memory": 1e12, "node:10.0.0.1": 1.0, "cores": 8} | ({"GPU": gpus} if gpus else {})


def shape(*nodes: dict[str, Any], **changes: Any) -> Shape:
    return shape_of(AnswerConfig(**changes), nodes, num_units=100)


def test_a_small_input_is_cut_into_as_many_units_as_keep_actors_busy(make_plan: Callable[..., Plan]) -> None:
    def units(rows: int, **changes: Any) -> list[int]:
        made = make_plan(input=f"sample://test?num_examples={rows}", **changes)
        return [unit.stop - unit.start for unit in made.units]

    assert units(50) == [50]
    assert sum(units(200)) == 200
    assert 3 <= len(units(200)) <= 4
    assert min(units(200)) >= 50
    assert len(units(4_000)) == 16
    assert units(4_000, unit_rows=4_000) == [4_000]
    assert max(units(40_000)) >= 2_000


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "cores_here", lambda: 8)


@pytest.mark.usefixtures("eight_cores")
def test_one_cpu_carries_an_actor_and_the_tasks_around_it() -> None:
    small = Shape(num_actors=1, use_gpu=False, actor_cpus=0.25, task_cpus=0.25, most_tasks=2, threads=8)
    assert shape(node(1)) == shape(node(2), num_actors=1) == small
    assert shape(node(2)) == replace(small, num_actors=2, threads=4)


@pytest.mark.usefixtures("eight_cores")
def test_each_core_gets_an_actor_of_one_thread() -> None:
    three = shape(node(8), node(8), node(0), node(8))
    assert (three.num_actors, three.threads, three.task_cpus, three.most_tasks) == (24, 1, 1.0, None)
    assert shape(node(8), num_actors=16).threads == 1
    # The CPUs that Ray was told of may be more than there are.
    assert shape(node(64)).num_actors == 8


@pytest.mark.usefixtures("eight_cores")
def test_machines_have_actors_and_threads_by_their_own_cores() -> None:
    head, machine = {**node(2), "cores": 2}, {**node(16), "cores": 16}
    all_cores = shape(head, machine)
    assert (all_cores.num_actors, all_cores.threads) == (18, 1)
    assert shape(head, machine, num_actors=2).threads == 9


@pytest.mark.usefixtures("eight_cores")
def test_what_keeps_all_actors_waiting_is_told() -> None:
    on_cpus, on_gpus = shape(node(8), node(8)), shape(node(8, 1), node(8, 1))
    head = node(0)
    assert (on_cpus.lack([head, node(8)]), on_gpus.lack([head, node(8), node(8, 1)])) == ("", "")
    assert on_cpus.lack([head]) == on_cpus.lack([]) == "the cluster has none with a CPU"
    assert on_gpus.lack([head, node(8)]) == "the cluster has none with a GPU"


@pytest.mark.usefixtures("eight_cores")
def test_no_more_actors_are_started_than_fit_into_memory_or_have_a_unit() -> None:
    assert shape({**node(8), "memory": 7 * 2**30}).num_actors == 3
    assert shape({**node(8), "memory": 2**30}).num_actors == 1
    assert shape_of(AnswerConfig(), [node(8)], num_units=3).num_actors == 3
    assert shape_of(AnswerConfig(), [node(16, 4)], num_units=3).num_actors == 3
    assert shape_of(AnswerConfig(num_actors=5), [node(8)], num_units=3).num_actors == 5


@pytest.mark.usefixtures("eight_cores")
def test_each_gpu_gets_an_actor_where_there_are_any() -> None:
    four = shape(node(16, 2), node(16, 2))
    assert (four.num_actors, four.use_gpu, four.threads) == (4, True, None)
    assert shape(node(16, 2), num_actors=1).num_actors == 1
    on_cpus = shape(node(16, 2), node(16), use_gpu=False)
    assert (on_cpus.num_actors, on_cpus.use_gpu) == (16, False)


@pytest.mark.parametrize(
    ("nodes", "changes", "message"),
    [
        ([], {}, r"need 0\.75 CPUs and the cluster has 0:"),
        ([node(0.5)], {}, r"need 0\.75 CPUs and the cluster has 0\.5:"),
        ([node(1)], {"num_actors": 3}, r"^--num_actors 3 of 0\.25 CPU each .* need 1\.25 CPUs and the cluster has 1:"),
        ([node(4, 1)], {"num_actors": 2}, r"^--num_actors 2 need as many GPUs and the cluster has 1"),
        ([node(4)], {"use_gpu": True}, r"^--num_actors 1 need as many GPUs and the cluster has 0"),
    ],
)
def test_a_cluster_that_is_too_small_is_refused_unless_it_grows(
    nodes: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        shape(*nodes, **changes)
    grown = shape(*nodes, **changes, wait_for_nodes=True)
    assert grown.num_actors == changes.get("num_actors", 1)
    assert grown.use_gpu or (grown.threads or 0) >= 1


@given(
    nodes=st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), max_size=6),
    num_actors=st.none() | st.integers(1, 40),
)
def test_what_is_not_refused_fits(nodes: list[tuple[int, int]], num_actors: int | None) -> None:
    try:
        found = shape(*(node(*each) for each in nodes), num_actors=num_actors)
    except UsageError:
        return
    cpus, gpus = (sum(each[i] for each in nodes) for i in (0, 1))
    # A task that reads and one that writes, beside all actors.
    assert found.num_actors * found.actor_cpus + 2 * found.task_cpus <= cpus
    assert not found.use_gpu or found.num_actors <= gpus


def test_nodes_that_are_yet_to_come_are_taken_for_large_ones() -> None:
    grown = shape(node(0), use_gpu=True, num_actors=4, wait_for_nodes=True)
    assert (grown.num_actors, grown.use_gpu, grown.task_cpus, grown.most_tasks) == (4, True, 1.0, None)
    assert shape(node(2), num_actors=4, wait_for_nodes=True).most_tasks == 2


# Records, and what is told


def record(name: str, rows: int, rejected: int = 0) -> UnitRecord:
    return UnitRecord(
        name=name,
        rows=rows,
        answered=rows - rejected,
        rejects={"empty_context": rejected} if rejected else {},
        windows=rows,
        sums=Sums().to_dict(),
        groups=0,
        read_again=0,
        seconds={"read": 1.0},
    )


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_folders_records_are_counted_however_many_are_read_together(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_READ_AT_ONCE", at_once)
    output = f"memory://{uuid.uuid4().hex}"
    for number in range(5):
        record(f"unit-{number}", 10 + number, rejected=number).write(output)
    ledger = Ledger.read(output, ["unit-0", "unit-3", "unit-4", "unit-9"], timeout_s=60)
    assert ledger.names == {"unit-0", "unit-3", "unit-4"}
    assert (ledger.rows, ledger.rejected, ledger.rejecting) == (37, 7, {"unit-3", "unit-4"})


def test_a_line_tells_progress_and_what_is_left() -> None:
    ledger = Ledger()
    ledger.add(record("before", 1_000))
    progress = Progress(ledger, 10_000)
    assert progress.line(0) == "1,000 of 10,000 questions (10.0%)  0.0 questions/s  0 rejected"
    ledger.add(record("since", 3_000, rejected=1_500))
    ledger.add(record("since", 3_000, rejected=1_500))
    told = "4,000 of 10,000 questions (40.0%)  50.0 questions/s  1,500 rejected  2 min left"
    assert progress.line(60) == told
    ledger.add(record("last", 6_000))
    assert progress.line(90) == "10,000 of 10,000 questions (100.0%)  100.0 questions/s  1,500 rejected"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (7_169, "119 min"),
        (7_170, "2 h 0 min"),
        (12_000, "3 h 20 min"),
        (172_700, "47 h 58 min"),
        (172_790, "2 d 0 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, told: str) -> None:
    assert duration(seconds) == told
