"""The rules of docs/architecture.md that a syntax tree shows: who imports whom, who does what."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import unlearn

PACKAGE = Path(unlearn.__file__).parent

# From the top down; a module may import from its own row and from rows below it.
LAYERS = (
    {"__main__", "__init__"},
    {"cli"},
    {"api"},
    {"audits", "doctor"},
    {"verification", "previews"},
    {"protection"},
    {"generators"},
    {"methods", "checkpoint"},
    {"training", "countermeasures", "views"},
    {"attack", "lossy", "datasets"},
    {"sources"},
    {"pictures", "device", "tensors", "together", "config", "settings_file"},
    {"models", "keywords", "files", "forecast", "workers", "demo"},
    {"options"},
    {"radius"},
    {"errors", "rng", "objectives", "limits"},
)
WITHOUT_TORCH = (
    "cli/",
    "files/",
    "forecast",
    "generators/__init__",
    "generators/catalogue",
    "generators/header",
    "generators/index",
    "pictures/",
    "previews/",
    "protection/",
    "sources/",
    "verification/",
    "workers/",
    "settings_file",
    "__init__",
    "__main__",
    "api",
    "keywords",
)
RESTRICTED_PICKLE = "datasets/cifar.py"  # an Unpickler that builds arrays and texts only
DOWNLOADS = "generators/pull.py"  # the one module that opens connections, for generators pull
NETWORK = {
    "asyncio",
    "ftplib",
    "http",
    "httpx",
    "huggingface_hub",
    "pooch",
    "requests",
    "socket",
    "ssl",
    "urllib",
    "urllib3",
}
HEAVY = {"torch", "torchvision", "safetensors"}


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def layer_of(part: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if part in names)


def part_of(module: str) -> str:
    """The row's name of a file: its folder, or the module itself at the top."""
    return Path(module).parts[0].removesuffix(".py")


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Dotted names that the import statements among the nodes load."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            names.add(node.module)
            if node.module == "unlearn":
                names |= {f"unlearn.{alias.name}" for alias in node.names}
    return names


def at_load(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when the module loads: not inside functions, not under TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("module", modules())
def test_imports_point_down_only(module):
    own = layer_of(part_of(module))
    for name in imported(ast.walk(tree_of(module))):
        if name == "unlearn" or not name.startswith("unlearn."):
            continue
        part = name.split(".")[1]
        if part.startswith("__version__"):
            continue
        assert layer_of(part) >= own, f"{module} imports {name} from above"


@pytest.mark.parametrize("module", [m for m in modules() if not m.startswith("cli/")])
def test_typer_rich_and_print_belong_to_the_command_line(module):
    tree = tree_of(module)
    tops = {name.split(".")[0] for name in imported(ast.walk(tree))}
    assert not tops & {"typer", "rich", "click"}
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in calls


@pytest.mark.parametrize("module", [m for m in modules() if m != "attack.py"])
def test_signs_of_gradients_are_taken_in_one_place(module):
    taken = [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute)
        and node.attr in {"sign", "sign_", "sgn"}
        and ast.unparse(node.value) not in {"np", "math"}
    ]
    assert taken == []


@pytest.mark.parametrize("module", [m for m in modules() if m.startswith(WITHOUT_TORCH)])
def test_what_starts_fast_or_often_does_not_load_torch(module):
    tops = {name.split(".")[0] for name in imported(at_load(tree_of(module)))}
    assert not tops & HEAVY


@pytest.mark.parametrize(
    "module", [m for m in modules() if m.startswith("cli/") and not m.endswith("_text.py")]
)
def test_the_command_line_loads_only_itself_and_what_is_light(module):
    light = {
        "unlearn.cli",
        "unlearn.errors",
        "unlearn.radius",
        "unlearn.limits",
        "unlearn.__version__",
    }
    for name in imported(at_load(tree_of(module))):
        if name.startswith("unlearn.") and not name.endswith(".options"):  # see test_options
            assert name.startswith(tuple(light)), f"{module} loads {name}"
        assert name.split(".")[0] not in {"numpy", "PIL"}


def safe_loads(tree: ast.Module) -> bool:
    """Whether every torch.load builds tensors and nothing else."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    return all("weights_only=True" in map(ast.unparse, load.keywords) for load in loads)


@pytest.mark.parametrize("module", modules())
def test_nothing_can_run_code_from_a_file_or_reach_the_network(module):
    tree = tree_of(module)
    tops = {name.split(".")[0] for name in imported(ast.walk(tree))}
    assert not tops & {"marshal", "shelve", "dill"}
    assert "pickle" not in tops or module == RESTRICTED_PICKLE
    names = imported(ast.walk(tree)) - {"urllib.parse"}
    assert not NETWORK & {name.split(".")[0] for name in names} or module == DOWNLOADS
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    calls -= {"torch.load"} if safe_loads(tree) else set()
    assert not calls & {
        "eval",
        "exec",
        "pickle.load",
        "pickle.loads",
        "torch.load",
        "torch.hub.load",
    }


def test_every_module_has_its_row():
    for module in modules():
        layer_of(part_of(module))
