"""`python -m runner` is the same command as `runner`."""


def main() -> None:
    """Run the command line."""
    from runner.cli.main import run

    run()


if __name__ == "__main__":
    main()
