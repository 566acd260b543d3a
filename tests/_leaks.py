"""What a test may leave behind: nothing. See `ttsmux.testing.leaks`."""

from ttsmux.testing.leaks import Snapshot, since, snapshot, tasks, tasks_since

__all__ = ["Snapshot", "since", "snapshot", "tasks", "tasks_since"]
