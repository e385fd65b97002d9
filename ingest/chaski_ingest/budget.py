"""A bound on what is held at a time."""


class Budget:
    """So many things and so many bytes; what does not fit is refused, never waited for."""

    def __init__(self, things: int, size: int) -> None:
        self.max_things = things
        self.max_size = size
        self.things_held = 0
        self.bytes_held = 0

    def reserve(self, size: int, things: int = 1) -> bool:
        """Takes room, or says that there is none."""
        if self.things_held + things > self.max_things or self.bytes_held + size > self.max_size:
            return False
        self.things_held += things
        self.bytes_held += size
        return True

    def release(self, size: int, things: int = 1) -> None:
        """Gives room back."""
        self.things_held -= things
        self.bytes_held -= size
