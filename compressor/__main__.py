"""`python -m compressor` and the console script `compress`."""

from compressor.cli.main import main

if __name__ == "__main__":
    main()
