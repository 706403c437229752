"""Where model pairs come from. One module per kind; each holds one ``PairSource`` dataclass."""
