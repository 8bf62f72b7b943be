"""Values and rules: names, sizes, capabilities, publications, errors. No I/O is done here."""
