"""What ttsmux costs, beside what else one could do. Run by ``nox -s bench``."""
