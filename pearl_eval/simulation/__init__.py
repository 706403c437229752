"""What decoders would take, from forward times and acceptance: no model runs here."""
