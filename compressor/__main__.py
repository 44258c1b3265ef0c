"""`python -m compressor` and the console script `compress`."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from compressor.cli.main import main as run
        from compressor.core.waiting import wait_asleep
    except KeyboardInterrupt:
        print("error: Interrupted before anything was begun.", file=sys.stderr)
        raise SystemExit(130) from None
    wait_asleep()
    run()


if __name__ == "__main__":
    main()
