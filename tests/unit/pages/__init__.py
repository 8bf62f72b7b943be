"""What the pages say of the code is so."""
