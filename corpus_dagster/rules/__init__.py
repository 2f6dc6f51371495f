"""Quality, repetition and line rules: signals measured in one pass, by family and dialect."""
