"""Where lines of progress go when nobody asked for them."""


def silent(_line: str) -> None:
    """Takes a line and does nothing with it."""
