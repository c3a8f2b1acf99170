"""How types and shapes are checked in the tests: a whole number is good enough for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
