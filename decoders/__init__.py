"""Decoders: token ids in, token ids and rounds out.

One module per decoder; each holds one :class:`decoders.decoder.Decoder` subclass whose dataclass
fields are its settings. Nothing here knows Hydra, W&B, tasks or text.
"""
