"""How long the fuzzers run: a few examples, always the same; or at random, for a given time."""

import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

# For each fuzzer.
SECONDS = float(os.environ.get('FUZZ_SECONDS', 0))


def fuzz(examples: int = 25, **strategies: SearchStrategy) -> Callable:
    """Run a test with many arguments.

    Args:
        examples: How many, unless FUZZ_SECONDS says for how long.
        **strategies: Where the arguments are drawn from.
    """

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        run = settings(
            max_examples=200 if SECONDS else examples,
            derandomize=not SECONDS,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(**strategies)(test))

        def repeat() -> None:
            end = time.monotonic() + SECONDS
            run()
            while time.monotonic() < end:
                run()

        repeat.__name__ = test.__name__
        return repeat

    return decorate
