"""`python -m modelpool` is the command `modelpool`."""

from modelpool.cli.main import run

if __name__ == "__main__":
    run()
