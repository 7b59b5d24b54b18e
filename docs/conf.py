"""Sphinx builds the site of the documentation with this file: ``make docs``.

The sources are the Markdown files of the repository where they lie, so that their links work on the site as they do in
the repository. Navigation and the page of commands are added while the files are read.
"""

import argparse
import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from latex2mathml.converter import convert
from numpy.typing import ArrayLike
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import stringify_annotation

import lidar_rank
from lidar_rank.cli import build_parser

REPOSITORY: Final = Path(__file__).parents[1]
_ARRAY_LIKE: Final = stringify_annotation(ArrayLike, "smart")

project = "lidar_rank"
release = lidar_rank.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/**.md", "docs/**.rst"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nitpick_ignore_regex = [
    ("py:.*", r"(?!lidar_rank\.)\w+\..*"),  # of other packages, in annotations
    ("py:.*", r"lidar_rank\.(.*\.)?_.*"),  # private, in annotations: the bounds of options
    ("py:class", r"[-\d.e]+|inf|Figure"),  # the numbers in such bounds; matplotlib's class, which is loaded late
]

autodoc_default_options = {"exclude-members": "function"}  # the function of a loss's module has an entry of its own
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

highlight_language = "bash"  # of blocks that name none
smartquotes = False  # they would turn the two dashes of an option into one
html_theme = "furo"
html_title = "lidar_rank"
html_show_copyright = False
html_copy_source = False
html_math_renderer = "mathml"  # drawn by the browser itself: no script, and nothing to load from elsewhere

NAVIGATION: Final = """
```{toctree}
:hidden:
:caption: Use it
:glob:

docs/kitti
docs/your_*
docs/losses
docs/diagnostics
docs/see_a_run
docs/detectors_2d
data/README
```

```{toctree}
:hidden:
:caption: Look it up

docs/commands
docs/api/index
```

```{toctree}
:hidden:
:caption: What came out

docs/results/README
docs/results/ablations
docs/results/ablation_3d
docs/results/ablation_2d
docs/results/ablation_2d_cars
docs/results/simulation
docs/results/kitti_real
docs/results/losses
docs/results/speed
docs/results/gpu
```

```{toctree}
:hidden:
:caption: Change it

docs/architecture
CONTRIBUTING
CHANGELOG
```
"""


def setup(app: Sphinx) -> None:
    """Register what this project adds to Sphinx."""
    app.add_html_math_renderer("mathml", (_visit_inline_math, None), (_visit_math_block, None))
    app.connect("source-read", _complete_page)
    app.connect("build-finished", _make_start_page)
    app.connect("autodoc-process-signature", _shorten_types)
    app.connect("missing-reference", _find_public_name)


def _visit_inline_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _visit_math_block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def _complete_page(_app: Sphinx, name: str, source: list[str]) -> None:
    """Add to the text of a page what is made while the site is built."""
    if name == "README":
        source[0] += NAVIGATION
    if name == "docs/commands":
        source[0] += "\n".join([*_describe_commands(build_parser()), *_describe_scripts()])


def _make_start_page(app: Sphinx, error: Exception | None) -> None:
    """Give the start page the name that a server looks for."""
    if error is None:
        shutil.copy(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def _shorten_types(
    _app: Sphinx, _kind: str, _name: str, _object: Any, _options: Any, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write ``ArrayLike`` instead of the union that it stands for."""
    return arguments and arguments.replace(_ARRAY_LIKE, "~numpy.typing.ArrayLike"), returns


def _find_public_name(
    app: Sphinx, environment: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Find a name that an annotation takes from the module that defines it where it is public."""
    python = environment.domains.python_domain
    name = node["reftarget"].rpartition(".")[2]
    known = [full for full in python.objects if full.startswith("lidar_rank.") and full.endswith(f".{name}")]
    if node.get("refdomain") != "py" or not known:
        return None
    shortest = min(known, key=len)
    return python.resolve_xref(environment, node["refdoc"], app.builder, node["reftype"], shortest, node, content)


def _describe_commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Lines of Markdown: a section for each command, with what its parser says."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        yield f"\n## lidar-rank {name}\n\n{_plain(command.description)}\n"
        yield f"```console\n{command.epilog.removeprefix('example: ')}\n```\n"
        formatter = command._get_formatter()
        for group in command._action_groups:
            actions = [action for action in group._group_actions if action.dest != "help"]
            if actions:
                yield f"\n**{_plain(group.title[0].upper() + group.title[1:])}**\n"
            for action in actions:
                said = f": {_plain(formatter._expand_help(action))}" if action.help else ""
                yield f"* `{formatter._format_action_invocation(action)}`{said}"


def _describe_scripts() -> Iterator[str]:
    """Lines of Markdown: the first line of each script's docstring."""
    yield "\n## Scripts\n\nEach explains its options with `--help`.\n\n| script | what it does |\n| --- | --- |"
    for path in sorted((REPOSITORY / "tools").rglob("*.py")):
        said = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        yield f"| `{path.relative_to(REPOSITORY)}` | {_plain(said.replace('``', ''))} |"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to format."""
    return re.sub(r"([\\`*_<>|\[\]$])", r"\\\1", text)
