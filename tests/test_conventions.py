"""What holds for the whole of the project: layers, exports, sizes, pins, and the README's map of the tree."""

import ast
import graphlib
import importlib
import itertools
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parents[1]

LAYERS = (
    {"errors", "examples"},
    {"validation", "windows", "spans", "metrics", "batching"},
    {"storage"},
    {"settings", "lease", "sources", "pipeline", "sample", "tasks", "pretrained", "model_files"},
    {"cpu", "models", "packing", "probes", "precision", "finder", "reader"},
    {"training", "answering", "evaluation"},
    {"report"},
    {"launch"},
)
"""The parts of mrc from the bottom up: a part imports its own layer and those before it."""

PURE = (
    "errors",
    "examples",
    "validation",
    "windows",
    "spans",
    "metrics",
    "batching",
    "storage",
    "settings",
    "lease",
    "sources",
    "sample",
    "pipeline",
    "model_files",
)
TORCHLESS = ("training.prepare", "training.progress", "answering.stages", "evaluation.exchange")
"""What the tasks and actors of a job unpickle where they hold no model."""
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "mrc").rglob("*.py"))
JOBS = sorted((ROOT / "jobs").glob("*.py"))


def layer_of(part: str) -> int:
    found = [number for number, parts in enumerate(LAYERS) if part in parts]
    assert found, f"mrc/{part} has no place in LAYERS"
    return found[0]


def imported_modules(path: pathlib.Path) -> Iterator[str]:
    """Yield the absolute names that a file imports, anywhere in it but for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in itertools.chain.from_iterable(map(ast.walk, node.body))
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            # `from mrc import storage` names a part, `from mrc.errors import MrcError` a thing in one.
            yield from ([f"mrc.{alias.name}" for alias in node.names] if node.module == "mrc" else [str(node.module)])


def parts_imported(path: pathlib.Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("mrc.")}


@pytest.mark.parametrize(
    "module", [path for path in MODULES if len(path.parts) > 2 or path.stem != "__init__"], ids=str
)
def test_imports_run_one_way(module: pathlib.Path) -> None:
    own = layer_of(module.with_suffix("").parts[1])
    above = {part for part in parts_imported(ROOT / module) if layer_of(part) > own}
    assert not above, f"{module} imports from the layers above it: {above}"


def test_imports_have_no_cycle() -> None:
    """Not between the parts of a layer either, nor between the files of a part."""
    graph = {
        ".".join(path.with_suffix("").parts): {
            name for name in imported_modules(ROOT / path) if name.startswith("mrc.")
        }
        for path in MODULES
        if path.name != "__init__.py"
    }

    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.name)
def test_nothing_imports_jobs(job: pathlib.Path) -> None:
    importers = [path for path in MODULES if f"jobs.{job.stem}" in set(imported_modules(ROOT / path))]
    assert not importers


def assert_not_loaded(heavy: set[str], modules: Iterable[str]) -> None:
    """Import each module in a fresh interpreter, all at once, and see that none loads what is heavy."""
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*({*sys.argv[2:]} & set(sys.modules)))"
    started = {
        name: subprocess.Popen([sys.executable, "-c", code, name, *heavy], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in modules
    }
    loaded = {name: (process.communicate()[0].strip(), process.returncode) for name, process in started.items()}
    assert loaded == dict.fromkeys(started, ("", 0))


def test_pure_modules_load_neither_ray_nor_torch() -> None:
    assert_not_loaded({"ray", "torch"}, ["mrc", *(f"mrc.{part}" for part in PURE)])


def test_tasks_without_a_model_do_not_load_torch() -> None:
    assert_not_loaded({"torch"}, [f"mrc.{part}" for part in TORCHLESS])


def test_a_driver_does_not_load_what_only_workers_need() -> None:
    assert_not_loaded({"transformers"}, ["mrc.training.supervise", "mrc.answering.run", "mrc.evaluation.run"])


@pytest.mark.parametrize("part", ["spans", "pretrained", "models", "probes", "precision", "reader"])
def test_torch_side_does_not_name_ray(part: str) -> None:
    files = [path for path in MODULES if path.with_suffix("").parts[1] == part]
    assert files
    assert not [path for path in files for name in imported_modules(ROOT / path) if name.split(".")[0] == "ray"]


@pytest.mark.parametrize("module", [path for path in MODULES if path.name == "__init__.py"], ids=str)
def test_exported_names_exist(module: pathlib.Path) -> None:
    package = importlib.import_module(".".join(module.parent.parts))
    names = getattr(package, "__all__", [])
    assert len(set(names)) == len(names)
    assert not [name for name in names if not hasattr(package, name)]


@pytest.mark.parametrize(("folder", "most_lines"), [("mrc", 300), ("jobs", 300), ("tests", 500)])
def test_files_are_short(folder: str, most_lines: int) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert not {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > most_lines}


@pytest.mark.parametrize("path", [*MODULES, *(job.relative_to(ROOT) for job in JOBS)], ids=str)
def test_every_file_says_what_it_is(path: pathlib.Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring.splitlines()[0]) > 20


@pytest.fixture(scope="module")
def project() -> dict[str, list[Requirement]]:
    """The requirements of pyproject.toml by extra, those of an install without extras under ""."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": table["dependencies"], **table["optional-dependencies"]}
    return {extra: list(map(Requirement, lines)) for extra, lines in groups.items()}


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def test_pins_are_in_the_ranges(project: dict[str, list[Requirement]], pins: dict[str, Version]) -> None:
    ranges = {requirement.name: requirement.specifier for group in project.values() for requirement in group}
    out_of_range = {name: str(pin) for name, pin in pins.items() if name in ranges and pin not in ranges[name]}
    assert not out_of_range
    unpinned = {requirement.name for requirement in project[""]} - pins.keys()
    assert not unpinned, "what mrc needs has no tested version in constraints.txt"


def test_tokenizers_that_lose_windows_are_excluded(
    project: dict[str, list[Requirement]], pins: dict[str, Version]
) -> None:
    [tokenizers] = [requirement for requirement in project[""] if requirement.name == "tokenizers"]
    assert "0.23.0" in tokenizers.specifier
    assert "0.23.1" not in tokenizers.specifier
    assert "0.23.2" not in tokenizers.specifier
    assert str(pins["tokenizers"]) in tokenizers.specifier


TREE_ENTRY = re.compile(r"^(?P<indent>[ │├└─]*)(?P<names>[\w.*/-]+(?:[, ] ?[\w*-]+\.\w+)*)(?: {2,}.*)?$")


def tree_paths(readme: str) -> list[str]:
    """Return the paths in the README's annotated tree: the indented or fenced block that lists `mrc/`.

    A line is a name, two spaces or more and a remark; a folder's content stands deeper than the folder.
    """
    blocks = re.findall(r"```\w*\n(.*?)```", readme, flags=re.DOTALL) + re.findall(
        r"(?:^ {4}.*\n)+", readme, re.MULTILINE
    )
    tree = next((block for block in blocks if re.search(r"^[ │├└─]*mrc/", block, re.MULTILINE)), "")
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in tree.splitlines():
        entry = TREE_ENTRY.match(line)
        if not entry:
            continue
        depth = len(entry["indent"])
        while folders and folders[-1][0] >= depth:
            folders.pop()
        base = folders[-1][1] if folders else ""
        names = re.split(r"[, ]+", entry["names"])
        # `jobs/train.py answer.py`: further names stand in the first one's folder.
        first_folder = names[0].rpartition("/")[0] + "/" if "/" in names[0].rstrip("/") else ""
        found = [base + (name if i == 0 else first_folder + name) for i, name in enumerate(names)]
        paths += found
        if names[0].endswith("/"):
            folders.append((depth, found[0]))
    return paths


def test_tree_reader_reads_both_ways_of_drawing() -> None:
    indented = (
        "    jobs/train.py answer.py   thin\n    mrc/errors.py    the tree\n    mrc/training/\n        run.py    all\n"
    )
    assert tree_paths(indented) == [
        "jobs/train.py",
        "jobs/answer.py",
        "mrc/errors.py",
        "mrc/training/",
        "mrc/training/run.py",
    ]
    drawn = "```\nmrc/\n├── errors.py     the tree\n└── training/    runs\n    └── run.py   all\ntests/    tests\n```\n"
    assert tree_paths(drawn) == ["mrc/", "mrc/errors.py", "mrc/training/", "mrc/training/run.py", "tests/"]


def test_readme_tree_names_what_is_there() -> None:
    paths = tree_paths((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(paths) > 5, "README.md has no annotated tree that lists mrc/"
    missing = [path for path in paths if not list(ROOT.glob(path))]
    assert not missing
