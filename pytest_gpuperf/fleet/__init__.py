"""One pytest run over many servers: a Ray cluster places it, each server runs it, the results come back together."""
