"""The type checker of the tests' import hook."""

from beartype import BeartypeConf, beartype

# As for static checkers, an int is a float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
