"""Import the host without the packages that it needs in few of its functions.

mmengine, mmdet and mmdet3d import pandas, scikit-learn, parts of scipy and torch's sharded training for trackers, plots
and data sets that most runs never touch: half of the time in which a command starts. :func:`defer_imports` lets their
import statements pass and loads such a package when something of it is used.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, NoReturn

from lidar_rank.settings import SKIP_VARIABLE, skipped_repairs

DEFERRED: Final = (
    "matplotlib.pyplot",
    "pandas",
    "scipy.optimize",
    "scipy.stats",
    "seaborn",
    "sklearn",
    "torch.distributed.fsdp",
    "torch.distributed.optim",
)


class DeferredName:
    """What ``from package import name`` gives: loads the package when it is called or one of its attributes is read.

    A class can derive from it, as mmengine's wrappers of torch's sharded training do. Such a class refuses to be
    instantiated, because its true base was not there when it was defined.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call what the name stands for."""
        return self._load()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._load(), name)

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[type, ...]:
        whole = f"{self._module}.{self._name}"

        def refuse(cls: type, *_: Any, **__: Any) -> NoReturn:
            raise ImportError(
                f"{cls.__name__} needs {whole}, which lidar_rank leaves out to start faster; set {SKIP_VARIABLE}="
                f"{defer_imports.__name__} to have it"
            )

        return (type(self._name, (), {"__new__": refuse, "__module__": self._module}),)

    def _load(self) -> Any:
        return getattr(import_module(self._module), self._name)


class DeferredModule(ModuleType):
    """What ``import package`` gives: names to be loaded later, and those of the package once it is loaded."""

    __path__: Sequence[str] = ()  # so that its submodules are asked for too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if sys.modules.get(self.__name__) is self:
            return DeferredName(self.__name__, name)
        return getattr(import_module(self.__name__), name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        known = any(fullname == name or fullname.startswith(f"{name}.") for name in DEFERRED)
        return ModuleSpec(fullname, self, is_package=True) if known else None

    def create_module(self, spec: ModuleSpec) -> DeferredModule:
        return DeferredModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


@contextmanager
def defer_imports() -> Iterator[None]:
    """Defer the packages of :data:`DEFERRED` that are not loaded yet while the block imports the host.

    After the block every import statement gets the packages themselves. ``LIDAR_RANK_SKIP=defer_imports`` leaves this
    out.
    """
    if defer_imports.__name__ in skipped_repairs():
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, DeferredModule)]:
            del sys.modules[name]
            package, _, child = name.rpartition(".")
            if isinstance(vars(sys.modules.get(package, sys)).get(child), DeferredModule):
                delattr(sys.modules[package], child)
