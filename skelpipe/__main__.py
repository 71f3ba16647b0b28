"""The `skelpipe` command; also started by `python -m skelpipe`.

Importing this module imports `skelpipe`, which checks that the packages below are its own.
"""


def main() -> None:
    """Run the command; see `pipeline.cli.main`."""
    from pipeline.cli import main as run

    run()


if __name__ == "__main__":
    main()
