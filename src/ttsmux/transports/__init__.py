"""Wire libraries, one a file. They carry bytes and report facts; they decide nothing."""
