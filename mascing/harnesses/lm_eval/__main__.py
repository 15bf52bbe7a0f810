"""`python -m mascing.harnesses.lm_eval`: the command line of lm-evaluation-harness, which knows `--model mascing`."""

import sys

from mascing.errors import MascingError
from mascing.harnesses.extras import require
from mascing.prose import echo_prose


def main() -> int:
    """Run their command line; an error of ours is one line."""
    try:
        require("lm-eval")
        from lm_eval.__main__ import cli_evaluate

        import mascing.harnesses.lm_eval.steered_lm  # noqa: F401 - registers the model

        cli_evaluate()
    except MascingError as error:
        echo_prose(f"error: {error}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
