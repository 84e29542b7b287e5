"""The checks that a server must pass before it is used; `tests/serving` of a project runs them."""
