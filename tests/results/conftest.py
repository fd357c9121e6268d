"""The run and the archive of `tests.archives`."""

from tests.archives import call, made  # noqa: F401 - fixtures
