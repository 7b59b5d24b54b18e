"""Every shape annotation of the loss core is checked while its tests run."""

from importlib.util import find_spec

if find_spec("jaxtyping") and find_spec("beartype"):
    from jaxtyping import install_import_hook

    import tests.losses.typecheck  # noqa: F401  (the hook looks it up by name)

    install_import_hook("lidar_rank.losses", "tests.losses.typecheck.check")

collect_ignore = ["typecheck.py"]  # needs beartype, and has no doctest to collect
