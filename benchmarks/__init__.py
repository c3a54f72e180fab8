"""What Runner costs, measured on this machine beside loops that keep nothing: see README.md."""
